"""Counts of outcomes per stratum: what estimates are made from, and what adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.stats.moments import Moments


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Results of n faults, summed up; ``a + b`` is the summary of both.

    Attributes:
        n: faults per stratum, (strata,).
        events: for each outcome, faults per stratum that had it, (strata,).
        weighted: for each outcome, the moments of weight x outcome over all faults.
    """

    n: Integers
    events: Mapping[str, Integers]
    weighted: Mapping[str, Moments]

    @classmethod
    def of(cls, faults: Faults, columns: Mapping[str, np.ndarray], strata: int) -> Tally:
        """The summary of faults with their outcome columns, (n,) of bool each."""
        n = np.bincount(faults.stratum, minlength=strata)
        events = {
            name: np.bincount(faults.stratum[hit], minlength=strata)
            for name, hit in columns.items()
        }
        weighted = {name: Moments.of(faults.weight * hit) for name, hit in columns.items()}
        return cls(n, events, weighted)

    @property
    def total(self) -> int:
        """All faults."""
        return int(self.n.sum())

    def __add__(self, other: Tally) -> Tally:
        names = self.events.keys() & other.events.keys()
        return Tally(
            self.n + other.n,
            {name: self.events[name] + other.events[name] for name in self.events if name in names},
            {name: self.weighted[name] + other.weighted[name] for name in self.events},
        )
