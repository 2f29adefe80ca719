"""Samplers that choose strata by rules known before the first fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radhard.faults.space import SiteSpace
from radhard.sampling.sampler import Tilted, weighted_share
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson_effective

Reals = NDArray[np.float64]

#: Share of the draws that follow the true probabilities, where a rule may leave faults out.
_DEFENSIVE = 0.1
#: Faults that a cell of strata has at least.
_CELL = 10
#: Accuracy lost to a flip, by place below the sign bit (Tyagi et al., section 5.3).
_BIT_DROPS = (0.15, 0.08, 0.08, 0.08, 0.08)


@dataclass(frozen=True, slots=True)
class Importance(Tilted):
    """Each fault with its true probability; all weights are 1 (Tyagi et al., "constancy")."""

    @property
    def name(self) -> str:
        """``importance``."""
        return "importance"

    def proposal(self, space: SiteSpace) -> Reals:
        """The space's own probabilities."""
        return space.probability


@dataclass(frozen=True, slots=True)
class Uniform(Tilted):
    """Every bit of every variable equally likely, whatever its exposure; weights correct for that.

    In a `SoftwareSpace` it is the same as `Importance`. On a chip its estimates are right but
    spread widely, since true probabilities differ by orders of magnitude.
    """

    @property
    def name(self) -> str:
        """``uniform``."""
        return "uniform"

    def proposal(self, space: SiteSpace) -> Reals:
        """Strata by their number of variables."""
        return _normal(np.array([s.variables if s.exposure else 0.0 for s in space.strata]))


@dataclass(frozen=True, slots=True)
class MacWeighted(Tilted):
    """Layers by the time that they take, kinds of storage alike (after Mahmoud et al., ISSRE'21).

    A tenth of the draws follows the true probabilities, so that no weight exceeds ten.
    """

    @property
    def name(self) -> str:
        """``mac-weighted``."""
        return "mac-weighted"

    def proposal(self, space: SiteSpace) -> Reals:
        """Each component alike; within it, the space's own probabilities."""
        names = [stratum.component for stratum in space.strata]
        _, number = np.unique(names, return_inverse=True)
        mass = np.bincount(number, space.probability)[number]
        alike = _normal(np.divide(space.probability, mass, where=mass > 0, out=np.zeros(len(mass))))
        return _DEFENSIVE * space.probability + (1 - _DEFENSIVE) * alike


@dataclass(frozen=True, slots=True)
class BitImportance(Tilted):
    """True probability times the accuracy expected after a flip of the bit (Tyagi et al., IS-B).

    The published drops: 15 % for the top exponent bit, 8 % for the next four, none for others.
    They are used whatever the format: for the bits that follow the sign bit.
    """

    @property
    def name(self) -> str:
        """``bit-importance``."""
        return "bit-importance"

    def proposal(self, space: SiteSpace) -> Reals:
        """Probability times expected accuracy, normalised."""
        drops = dict(enumerate(_BIT_DROPS))
        left = [1 - drops.get(s.width - 2 - s.bit, 0.0) for s in space.strata]
        return _normal(space.probability * left)


@dataclass(frozen=True, slots=True)
class Stratified(Tilted):
    """As many faults in each stratum as its probability asks for, to within one; or as rates do.

    Draws are spread evenly over the strata in their order, which removes the randomness of how many
    fall where. With ``rates`` the strata are drawn by Neyman's rule, probability times standard
    deviation, with a floor of a tenth of the true probability.

    Attributes:
        rates: expected probability of the outcome in each stratum, such as `rates_of` a pilot's
            tally; proportional where empty.
    """

    rates: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """``stratified``."""
        return "stratified"

    def proposal(self, space: SiteSpace) -> Reals:
        """Proportional, or Neyman's allocation.

        Raises:
            ValueError: for rates of another number of strata.
        """
        if not self.rates:
            return space.probability
        if len(self.rates) != len(space.strata):
            raise ValueError(
                f"{len(self.rates)} rates do not fit {len(space.strata)} strata: learn them in the "
                "same space"
            )
        rate = np.array(self.rates)
        spread = _normal(space.probability * np.sqrt(rate * (1 - rate)))
        return _DEFENSIVE * space.probability + (1 - _DEFENSIVE) * spread

    def places(self, n: int, rng: np.random.Generator) -> Reals:
        """One place in each of n equal parts, in any order."""
        return rng.permutation(evenly(n, rng))

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """Weighted share; its variance is that within cells, where n was fixed.

        A cell is as many strata in a row as have at least 10 faults between them.
        """
        plain = weighted_share(tally, metric, confidence, anytime)
        spread = plain.value * (1 - plain.value)
        variance = _within_cells(tally, metric)
        if anytime or not variance > 0 or not spread > 0:
            return plain
        return wilson_effective(plain.value, spread / variance, tally.total, confidence)


def _within_cells(tally: Tally, metric: str) -> float:
    """Variance of the weighted share, given how many faults fell into each cell; 0 without any."""
    if not tally.total:
        return 0.0
    before = np.cumsum(tally.n) - tally.n
    last = max(int(tally.total // _CELL) - 1, 0)
    cell = np.minimum(before // _CELL, last)
    n = np.bincount(cell, tally.n)
    mass, mass2, hits, hits2 = (
        np.bincount(cell, part) for part in (*tally.weights, *tally.weighted[metric])
    )
    share = hits / np.maximum(mass, 1e-300)
    squares = hits2 * (1 - 2 * share) + share**2 * mass2
    return float((squares * n / np.maximum(n - 1, 1)).sum() / max(mass.sum(), 1e-300) ** 2)


def rates_of(space: SiteSpace, tally: Tally, metric: str) -> tuple[float, ...]:
    """Rates of an outcome per stratum as a pilot suggests: those of its component and bit.

    Layers are pooled, since a pilot has few faults in each stratum; half an event in one fault is
    added, so that no stratum counts as certain.
    """
    number = kinds_of(space)
    n, hits = (np.bincount(number, counts)[number] for counts in (tally.n, tally.events[metric]))
    return tuple(((hits + 0.5) / (n + 1)).tolist())


def kinds_of(space: SiteSpace) -> NDArray[np.int64]:
    """Numbers of the strata, (strata,), alike for those of the same component and bit."""
    kinds: dict[tuple[str, int], int] = {}
    return np.array([kinds.setdefault((s.component, s.bit), len(kinds)) for s in space.strata])


def evenly(n: int, rng: np.random.Generator) -> Reals:
    """One place in each of n equal parts of [0, 1), ascending."""
    return (np.arange(n) + rng.random(n)) / max(n, 1)


def _normal(mass: Reals) -> Reals:
    found: Reals = mass / mass.sum()
    return found
