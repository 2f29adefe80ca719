"""Sums over faults that add up: what estimates are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import CELLS, Faults, Offered
from radhard.faults.model import Integers

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Outcomes of a tally, each with a sign; they say of a fault that it has some and lacks others,
#: such as ``{"activated": 1, "sdc1": -1}``. The first one is implied.
Event = Mapping[str, int]
#: An outcome that every fault has, in events.
ANY = "any"


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Faults summed up by a number that each has; ``a + b`` is the summary of both.

    Attributes:
        key: the numbers that some fault has, ascending, (g,).
        n: faults with each, (g,).
        events: for each outcome, faults that had it, (g,).
        weights: sums of the faults' weights and of their squares, (2, g).
        weighted: for each outcome, the same over the faults that had it.
    """

    key: Integers
    n: Integers
    events: Mapping[str, Integers]
    weights: Reals
    weighted: Mapping[str, Reals]

    @classmethod
    def of(cls, number: Integers, weight: Reals, columns: Mapping[str, Flags]) -> Sums:
        """Of n faults, with a number, a weight and outcomes each."""
        key, place = np.unique(number, return_inverse=True)
        size = len(key)

        def sums(chosen: Flags | slice) -> Reals:
            part = weight[chosen]
            both = [np.bincount(place[chosen], part**k, minlength=size) for k in (1, 2)]
            return np.stack(both).astype(np.float64)

        return cls(
            key,
            np.bincount(place, minlength=size),
            {name: np.bincount(place[hit], minlength=size) for name, hit in columns.items()},
            sums(slice(None)),
            {name: sums(hit) for name, hit in columns.items()},
        )

    def having(self, event: Event) -> tuple[Integers, Reals]:
        """Faults with an event, (g,), and sums of their weights and of the squares, (2, g)."""
        counts, sums = {ANY: self.n, **self.events}, {ANY: self.weights, **self.weighted}
        n: Integers = np.sum([sign * counts[name] for name, sign in event.items()], 0)
        weights: Reals = np.sum([sign * sums[name] for name, sign in event.items()], 0)
        return n, weights

    def __add__(self, other: Sums) -> Sums:
        key, place = np.unique(np.concatenate([self.key, other.key]), return_inverse=True)

        def together(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            both = np.zeros((*a.shape[:-1], len(key)), a.dtype)
            both[..., place[: a.shape[-1]]] += a
            both[..., place[a.shape[-1] :]] += b
            return both

        names = [name for name in self.events if name in other.events]
        return Sums(
            key,
            together(self.n, other.n),
            {name: together(self.events[name], other.events[name]) for name in names},
            together(self.weights, other.weights),
            {name: together(self.weighted[name], other.weighted[name]) for name in names},
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Results of n faults, summed up; ``a + b`` is the summary of both.

    Attributes:
        strata: how many the space has.
        groups: the faults by stratum and cell of the sampler: ``stratum * CELLS + cell``.
        images: the faults by image.
        offered: candidates by the same number as ``groups``, and the share of each, (2, m); the
            shares sum to the number of blocks; nothing where the sampler has no candidates.
        looked_at: how many candidates these were.
        proofs: whether what was proved of candidates holds for the runs.
    """

    strata: int
    groups: Sums
    images: Sums
    offered: tuple[Integers, Reals]
    looked_at: int = 0
    proofs: bool = True

    @classmethod
    def of(
        cls, faults: Faults, columns: Mapping[str, Flags], strata: int, proofs: bool = True
    ) -> Tally:
        """The summary of faults with their outcome columns, (n,) of bool each."""
        groups = Sums.of(faults.stratum * CELLS + faults.cell, faults.weight, columns)
        offered = faults.offered or Offered.nothing()
        share = offered.count / max(offered.size, 1)
        own = _summed(offered.stratum * CELLS + offered.cell, share)
        images = Sums.of(faults.image, faults.weight, columns)
        return cls(strata, groups, images, own, offered.looked_at, proofs)

    @classmethod
    def nothing(cls, outcomes: Iterable[str], strata: int) -> Tally:
        """The summary of no faults."""
        none = np.zeros(0, np.int64)
        sums = Sums.of(none, np.zeros(0), dict.fromkeys(outcomes, np.zeros(0, bool)))
        return cls(strata, sums, sums, (none, np.zeros(0)))

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of what was counted."""
        return tuple(self.groups.events)

    @property
    def total(self) -> int:
        """All faults."""
        return int(self.groups.n.sum())

    @property
    def n(self) -> Integers:
        """Faults per stratum, (strata,)."""
        return self._per_stratum(self.groups.n)

    @property
    def events(self) -> Mapping[str, Integers]:
        """For each outcome, faults per stratum that had it, (strata,)."""
        return {name: self._per_stratum(hits) for name, hits in self.groups.events.items()}

    def _per_stratum(self, part: Integers) -> Integers:
        sums = np.bincount(self.groups.key // CELLS, part, minlength=self.strata)
        found: Integers = np.rint(sums).astype(np.int64)
        return found

    def __add__(self, other: Tally) -> Tally:
        keys, shares = (
            np.concatenate([a, b]) for a, b in zip(self.offered, other.offered, strict=True)
        )
        return Tally(
            self.strata,
            self.groups + other.groups,
            self.images + other.images,
            _summed(keys, shares),
            self.looked_at + other.looked_at,
            self.proofs and other.proofs,
        )


def _summed(key: Integers, share: Reals) -> tuple[Integers, Reals]:
    keys, place = np.unique(key, return_inverse=True)
    return keys, np.bincount(place, share, minlength=len(keys)).astype(np.float64)
