"""Samplers that choose strata by rules known before the first fault."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace
from radhard.sampling.sampler import Tilted
from radhard.sampling.tally import Tally

Reals = NDArray[np.float64]

#: Share of the draws that follow the true probabilities, where a rule may leave faults out.
_DEFENSIVE = 0.1
#: Faults that a cell of strata has, about, and cells at most.
_CELL, _CELLS = 10, 50
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

    In a `software_space` it is the same as `Importance`. On a chip its estimates are right but
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

    def order(self, proposal: Reals, level: Integers, runs: int) -> Integers:
        """Strata in a row whose weights are alike, as many as have 10 faults between them."""
        rank = np.lexsort((np.arange(len(level)), level))
        share = np.empty_like(proposal)
        share[rank] = np.cumsum(proposal[rank]) - proposal[rank] / 2
        cells = min(max(runs // _CELL, 1), _CELLS)
        found: Integers = (level - level.min()) * (_CELLS + 1) + (share * cells).astype(np.int64)
        return found


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
