"""Sampling faults by what they should do to the decision, to first order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.proposals import evenly, kinds_of
from radhard.sampling.sampler import Score, drawn, weighted_share
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson_effective

Reals = NDArray[np.float64]
#: Faults that are chosen together, from the same candidates.
BLOCK = 200
#: Candidates that say how large chances are, in how many layers at most, and how many of even odds
#: are added to each kind's.
_PILOT, _PILOT_LAYERS, _DOUBT = 2000, 5, 0.02
#: Steps of this, modulo 1, are spread evenly, however many.
_GOLDEN = (5**0.5 - 1) / 2
#: Chances are below one by this at least, and levels of cells are as far apart in log odds.
_SURE, _LEVEL = 0.01, 1.0
#: Groups that are told apart, levels in each, and the one of even odds.
_GROUPS, _LEVELS, _EVEN = 4, 32, 24
#: Ends of the ranges of mean chances that are told apart, and standard deviations of outcomes.
_RANGES = np.array([0.0005, 0.005, 0.02, 0.08, 0.2, 0.4, 0.7])
_SPREADS = np.sqrt([0.0003, 0.002, 0.01, 0.04, 0.12, 0.2, 0.25, 0.2])
#: Variance of which side of an edge between cells the place nearest to it falls: f (1 - f), on
#: average over edges at any share f of a part.
_UNEVEN = 1 / 6


@dataclass(frozen=True, slots=True)
class GradientImportance:
    """Two phases: many candidates are looked at; of these, run the telling ones.

    The score says with which chance P each candidate changes the answer. Kinds of faults (component
    and bit) have candidates by Neyman's rule: true probability times the standard deviation of the
    outcome at the kind's mean P, of which a pilot gives an idea. A candidate is run in proportion
    to what it stands for and to ``sqrt(P (1 - P))``. The weights undo both, so a wrong score costs
    precision, not correctness. Candidates are cells by group and P (a step in log odds each), and
    each cell gets its share of the runs at every number of them, so that what the score tells adds
    no variance: the cells' own outcome rates are the control variate. The number of candidates is
    finite, which adds to the variance.

    Attributes:
        candidates: per fault that is run.
        least: chance that each fault is taken to have at least, whatever its score.

    Raises:
        ValueError: for fewer than 2 candidates, or unless 0 < least < 0.5.
    """

    candidates: int = 100
    least: float = 1e-5

    def __post_init__(self) -> None:
        if self.candidates < 2 or not 0 < self.least < 0.5:
            raise ValueError(f"{self} can't be: use 2 or more candidates, and 0 < least < 0.5")

    @property
    def name(self) -> str:
        """``gradient-importance``."""
        return "gradient-importance"

    @property
    def scored(self) -> bool:
        """``True``."""
        return True

    def draw(
        self, space: SiteSpace, n: int, rng: np.random.Generator, score: Score | None = None
    ) -> Faults:
        """``n`` faults of ``space``; the first few do not depend on how many follow.

        Raises:
            ValueError: without a score.
        """
        if score is None:
            raise ValueError(
                "gradient importance needs the score of each fault: run it in a Campaign, or give "
                "draw(..., score=...)"
            )
        spread = self._spread(space, rng, score)
        blocks = [self._block(space, spread, rng, score) for _ in range(max(1, -(-n // BLOCK)))]
        return replace(Faults.joined(blocks)[:n], id=np.arange(n))

    def _spread(
        self, space: SiteSpace, rng: np.random.Generator, score: Score
    ) -> NDArray[np.int64]:
        """Which of `_RANGES` holds the mean chance of each stratum's kind, (strata,)."""
        kind, layers = kinds_of(space), [stratum.layer for stratum in space.strata]
        hit = dict.fromkeys(itertools.compress(layers, space.exposure > 0))
        some = rng.choice(list(hit), min(_PILOT_LAYERS, len(hit)), replace=False)
        proposal = space.probability * np.isin(layers, some)
        pilot = drawn(space, proposal / proposal.sum(), evenly(_PILOT, rng), rng)
        own, chance = kind[pilot.stratum], score(pilot).chance
        n, total = np.bincount(own, minlength=len(kind)), np.bincount(own, chance, len(kind))
        return np.searchsorted(_RANGES, (total + _DOUBT / 2) / (n + _DOUBT))[kind]

    def _block(
        self, space: SiteSpace, spread: NDArray[np.int64], rng: np.random.Generator, score: Score
    ) -> Faults:
        proposal = space.probability * _SPREADS[spread]
        places = evenly(BLOCK * self.candidates, rng)
        offered = drawn(space, proposal / proposal.sum(), places, rng)
        outlook = score(offered)
        chance = outlook.chance.clip(self.least, 1 - _SURE)
        level = np.rint(np.log(chance / (1 - chance)) / _LEVEL).astype(np.int64) + _EVEN
        level = level.clip(0, _LEVELS - 1)
        said = _chance(level)
        doubt = np.sqrt(said * (1 - said))
        alike = outlook.group % _GROUPS * _LEVELS + level
        cell = alike * len(_SPREADS) + spread[offered.stratum]
        mixed = rng.permutation(len(cell))
        order = mixed[np.argsort(alike[mixed].astype(np.uint8), kind="stable")]
        share = offered.weight * doubt
        edges = np.cumsum(share[order])
        # one place in each of equal parts, of which any first few are spread about evenly
        part = np.argsort(np.argsort((rng.random() + np.arange(BLOCK) * _GOLDEN) % 1))
        places = (part + rng.random(BLOCK)) / BLOCK * edges[-1]
        taken = order[np.minimum(np.searchsorted(edges, places, side="right"), len(edges) - 1)]
        return replace(offered[taken], weight=share.mean() / doubt[taken], cell=cell[taken])

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """Weighted sum over the number of faults; weights are 1 on average.

        Where most have the outcome, those without it are counted. The variance is that within
        cells, that of the candidates, and that of which cell the places next to an edge fall into.
        A part of the faults, or the faults under another population, have no cells, and the whole
        variance.
        """
        if tally.cells is None:
            return weighted_share(tally, metric, confidence, anytime, 1 / self.candidates)
        share = float(tally.weighted[metric][0].sum()) / tally.total
        base = float(share > 0.5)
        if base:
            share = 1 - float(tally.weights[0].sum()) / tally.total + share
        expected, variance = self._moments(tally.cells, metric, base)
        effective = expected * (1 - expected) / variance
        return wilson_effective(
            min(max(share, 0.0), 1.0), effective, tally.total, confidence, anytime
        )

    def _moments(self, cells: Tally, metric: str, base: float) -> tuple[float, float]:
        """Expectation and variance of the estimate, given how many faults each cell has.

        The rate of a cell counts as if one more fault had been seen, with the chance that its score
        says: few faults that agree are no proof that all would.
        """
        columns = np.stack([cells.n, *cells.weights, cells.weighted[metric][0]])
        columns = columns.reshape(4, _GROUPS * _LEVELS, len(_SPREADS))
        reached = np.flatnonzero(columns[0].sum(1))
        count, mass, mass2, hits = columns[:, reached].sum(2)
        n = mass**2 / mass2
        rate = (hits / mass * n + _chance(reached % _LEVELS)) / (n + 1)
        share = mass / cells.total
        expected = min(max(base + float((share * (rate - base)).sum()), 1e-12), 1 - 1e-12)
        within = share**2 * rate * (1 - rate) / n
        blocks = -(-cells.total // BLOCK)
        edges = np.diff(share / count * (rate - base))
        # a cell that few blocks reach varies as its count does
        rare = np.minimum(count[1:], count[:-1]) / (2 * blocks)
        uneven = blocks * np.minimum(_UNEVEN, rare) * edges**2
        lacking = self._of_candidates(cells.total, columns[1, reached], rate)
        return expected, float(within.sum() + uneven.sum()) + lacking

    def _of_candidates(self, total: int, mass: Reals, rate: Reals) -> float:
        """Variance that the candidates add: Neyman's sum over kinds, of masses (k, kinds)."""
        share = mass / total
        own = share.sum(0)
        middle = rate @ share / np.maximum(own, 1e-300)
        apart = (share * (rate[:, None] - middle) ** 2).sum(0)
        whole, rest = divmod(total, BLOCK)
        looked_at = self.candidates * BLOCK * total**2 / (whole * BLOCK**2 + rest**2)
        return float(own @ _SPREADS * (apart / _SPREADS).sum()) / looked_at


def _chance(level: NDArray[np.int64]) -> Reals:
    """In the middle of a level; weights do not differ within it, which would add variance."""
    found: Reals = 1 / (1 + np.exp(_LEVEL * (_EVEN - level)))
    return found
