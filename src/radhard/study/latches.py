"""Latches told apart by kind and bit: how unequal they are, and what hardening them takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import Integers
from radhard.protect.hardening import (
    LATCH_TYPES,
    PLAIN,
    HardenedLatches,
    LatchType,
    asymmetry,
    residual_rates,
)

Reals = NDArray[np.float64]
#: Draws of the rates behind the interval of an area.
_DRAWS = 100
#: What latches are hardened with: each type alone, and the best mixture.
MIXTURES = {**{kind.name: (PLAIN, kind) for kind in LATCH_TYPES[1:]}, "mixed": LATCH_TYPES}


class Sensitivity(NamedTuple):
    """What is left of a rate when the worst latches are perfect.

    Attributes:
        share: of latches that are, worst first.
        left: of the rate.
        fitted: the same by the exponential that is fitted.
        beta: its asymmetry.
    """

    share: Reals
    left: Reals
    fitted: Reals
    beta: float


class Latches(NamedTuple):
    """Faults and SDC-1 of each class of latches, (classes,)."""

    n: Integers
    hits: Integers

    @property
    def rates(self) -> Reals:
        """Share of SDC-1 of each class."""
        found: Reals = self.hits / np.maximum(self.n, 1)
        return found

    @property
    def sensitivity(self) -> Sensitivity:
        """How unequal they are; asked where some fault was SDC-1."""
        count = np.ones(len(self.n))
        share, left = residual_rates(count, self.rates).T
        beta = asymmetry(count, self.rates)
        fitted = (np.exp(-beta * share) - np.exp(-beta)) / -np.expm1(-beta)
        return Sensitivity(share, left, fitted, beta)

    def areas(self, types: Sequence[LatchType], targets: Sequence[float]) -> dict[float, float]:
        """Area added for each target that these types can reach."""
        most = max(kind.reduction for kind in types)
        return {
            target: self._area(HardenedLatches(target=target, types=tuple(types)), self.rates)
            for target in targets
            if target <= most
        }

    def area(self, goal: HardenedLatches, confidence: float) -> tuple[float, float, float]:
        """The area for a goal, and the ends of its interval.

        That is the interval of the choice made anew for rates drawn from their Jeffreys posteriors.
        """
        rng = np.random.default_rng(0)
        drawn = rng.beta(self.hits + 0.5, self.n - self.hits + 0.5, (_DRAWS, len(self.n)))
        areas = [self._area(goal, rates) for rates in drawn]
        tail = 50 * (1 - confidence)
        low, high = np.percentile(areas, [tail, 100 - tail])
        value = self._area(goal, self.rates)
        return value, min(float(low), value), max(float(high), value)

    def meaning(self) -> list[object]:
        """What an area depends on, as plain data."""
        return [_DRAWS, self.n.tolist(), self.hits.tolist()]

    def _area(self, goal: HardenedLatches, rates: Reals) -> float:
        return float(goal.choose(np.ones(len(self.n)), rates).added_area)
