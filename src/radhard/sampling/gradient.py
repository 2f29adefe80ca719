"""Sampling faults by what they should do to the decision, to first order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.proposals import Importance
from radhard.sampling.sampler import Score, weighted_share
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson_effective

Reals = NDArray[np.float64]
#: Faults that are chosen together, from the same candidates.
BLOCK = 200
#: Steps of this, modulo 1, are spread evenly, however many.
_GOLDEN = (5**0.5 - 1) / 2
#: Chances are below one by this at least, and levels of cells are as far apart in log odds.
_SURE, _LEVEL = 0.01, 1.0
#: Groups that are told apart, levels in each, and the one of even odds.
_GROUPS, _LEVELS, _EVEN = 8, 128, 64
#: Variance of which side of an edge between cells the place nearest to it falls: f (1 - f), on
#: average over edges at any share f of a part.
_UNEVEN = 1 / 6


@dataclass(frozen=True, slots=True)
class GradientImportance:
    """Two phases: many candidates with their true probability; of these, run the telling ones.

    The score says with which chance P each candidate changes the answer. It is run in proportion
    to ``sqrt(P (1 - P))``, Neyman's rule, and the weights undo that, so a wrong score costs
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

    candidates: int = 200
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
        blocks = [self._block(space, rng, score) for _ in range(max(1, -(-n // BLOCK)))]
        return replace(Faults.joined(blocks)[:n], id=np.arange(n))

    def _block(self, space: SiteSpace, rng: np.random.Generator, score: Score) -> Faults:
        offered = Importance().draw(space, BLOCK * self.candidates, rng)
        outlook = score(offered)
        chance = outlook.chance.clip(self.least, 1 - _SURE)
        level = np.rint(np.log(chance / (1 - chance)) / _LEVEL).astype(np.int64) + _EVEN
        said = _chance(level)
        share = np.sqrt(said * (1 - said))
        cell = outlook.group % _GROUPS * _LEVELS + level
        order = np.argsort(cell + rng.random(len(cell)))
        edges = np.cumsum(share[order])
        # one place in each of equal parts, of which any first few are spread about evenly
        part = np.argsort(np.argsort((rng.random() + np.arange(BLOCK) * _GOLDEN) % 1))
        places = (part + rng.random(BLOCK)) / BLOCK * edges[-1]
        taken = order[np.minimum(np.searchsorted(edges, places, side="right"), len(edges) - 1)]
        weight = share.mean() / share[taken]
        return replace(offered[taken], weight=weight, cell=cell[taken])

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
        drawn = np.flatnonzero(cells.n)
        mass, mass2 = cells.weights[:, drawn]
        n, hits = mass**2 / mass2, cells.weighted[metric][0, drawn] / mass
        rate = (hits * n + _chance(drawn % _LEVELS)) / (n + 1)
        share = mass / cells.total
        expected = min(max(base + float((share * (rate - base)).sum()), 1e-12), 1 - 1e-12)
        within = share**2 * rate * (1 - rate) / n
        blocks, count = -(-cells.total // BLOCK), cells.n[drawn]
        edges = np.diff(share / count * (rate - base))
        # a cell that few blocks reach varies as its count does
        rare = np.minimum(count[1:], count[:-1]) / (2 * blocks)
        uneven = blocks * np.minimum(_UNEVEN, rare) * edges**2
        between = share * (rate - expected) ** 2 / (self.candidates * cells.total)
        return expected, float((within + between).sum() + uneven.sum())


def _chance(level: NDArray[np.int64]) -> Reals:
    """In the middle of a level; weights do not differ within it, which would add variance."""
    found: Reals = 1 / (1 + np.exp(_LEVEL * (_EVEN - level)))
    return found
