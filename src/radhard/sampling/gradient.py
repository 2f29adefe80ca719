"""Sampling faults by what they should do to the decision, to first order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.proposals import Importance
from radhard.sampling.sampler import Score, weighted_share
from radhard.sampling.tally import CELLS, Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson_effective

Reals = NDArray[np.float64]
#: Steps of this, modulo 1, are spread evenly, however many.
_GOLDEN = (5**0.5 - 1) / 2
#: Outcomes become rare more slowly than scores become small.
_POWER = 2 / 3
#: Cells end at these half powers of ten of the score.
_LEVELS = (-12, 6)
#: Variance of the number of places of the sequence in an interval, about (measured: 0.2 to 0.6).
_UNEVEN = 0.4


@dataclass(frozen=True, slots=True)
class GradientImportance:
    """Two phases: many candidates with their true probability; of these, run the telling ones.

    Each candidate gets a score, the first-order change of the decision margin over the margin. It
    is run with a chance in proportion to ``sqrt(P)``, where P is the probability of another top
    class that the score suggests: ``largest * min(1, score)^(2/3)``, at least ``least``. The
    weights undo that, so a wrong score costs precision, not correctness. Candidates are cells by
    component and score (half a power of ten each), and each cell gets its share of the runs at
    every number of them, so that what the score tells adds no variance: the cells' own outcome
    rates are the control variate. The number of candidates is finite, which adds to the variance.

    Attributes:
        candidates: per fault that is run.
        largest, least: probabilities that a score is taken to suggest.

    Raises:
        ValueError: for fewer than 2 candidates, or unless 0 < least < largest < 1.
    """

    candidates: int = 200
    largest: float = 0.8
    least: float = 1e-4

    def __post_init__(self) -> None:
        if self.candidates < 2 or not 0 < self.least < self.largest < 1:
            raise ValueError(
                f"{self} can't be: use 2 or more candidates, and 0 < least < largest < 1"
            )

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
        """``n`` faults of ``space``.

        Raises:
            ValueError: without a score.
        """
        if score is None:
            raise ValueError(
                "gradient importance needs the score of each fault: run it in a Campaign, or give "
                "draw(..., score=...)"
            )
        offered = Importance().draw(space, n * self.candidates, rng)
        found = score(offered)
        chance = np.sqrt(np.clip(self.largest * found**_POWER, self.least, self.largest))
        cell = self._cells(space, offered, found)
        order = np.lexsort((rng.random(len(cell)), cell))
        edges = np.cumsum(chance[order])
        # any first few of these places are spread evenly, so each cell gets its share of them
        places = (rng.random() + np.arange(n) * _GOLDEN) % 1 * edges[-1]
        taken = order[np.minimum(np.searchsorted(edges, places, side="right"), len(edges) - 1)]
        weight = chance.mean() / chance[taken]
        return replace(offered[taken], id=np.arange(n), weight=weight, cell=cell[taken])

    def _cells(self, space: SiteSpace, faults: Faults, score: Reals) -> NDArray[np.int64]:
        """Numbers from 1 that rise with the score; components differ."""
        names = [stratum.component for stratum in space.strata]
        known, number = np.unique(names, return_inverse=True)
        level = np.floor(2 * np.log10(score)).clip(*_LEVELS).astype(np.int64) - _LEVELS[0]
        cell: NDArray[np.int64] = 1 + level * len(known) + number[faults.stratum]
        return np.minimum(cell, CELLS - 1)

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """Weighted share; its variance is that within cells, and that of the candidates.

        A part of the faults, or the faults under another population, have no cells, and the whole
        variance.
        """
        plain = weighted_share(tally, metric, confidence, anytime, 1 / self.candidates)
        if tally.cells is None:
            return plain
        spread = plain.value * (1 - plain.value)
        variance = self._variance(tally.cells, metric, plain.value)
        variance += spread / (self.candidates * tally.total)
        if not spread > 0:
            return plain
        return wilson_effective(plain.value, spread / variance, tally.total, confidence, anytime)

    def _variance(self, cells: Tally, metric: str, value: float) -> float:
        """Variance of the weighted share, given how many faults fell into each cell.

        The rate of a cell counts as if one more fault had been seen, with the probability that its
        score suggests: few faults that agree are no proof that all would.
        """
        drawn = cells.n > 0
        mass, mass2 = cells.weights[:, drawn]
        hits, n = cells.weighted[metric][0, drawn], mass**2 / mass2
        weight = mass / cells.n[drawn]
        suggested = (self.largest * (weight.min() / weight) ** 2).clip(self.least)
        rate = (hits / mass * n + suggested) / (n + 1)
        within = mass**2 * rate * (1 - rate) / n
        uneven = _UNEVEN * (weight * (hits / mass - value)) ** 2
        return float((within + uneven).sum() / mass.sum() ** 2)
