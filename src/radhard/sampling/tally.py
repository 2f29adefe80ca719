"""Counts of outcomes per stratum: what estimates are made from, and what adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.model import Integers

Reals = NDArray[np.float64]
#: Numbers of cells are below this.
CELLS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Results of n faults, summed up; ``a + b`` is the summary of both.

    Attributes:
        n: faults per stratum, (strata,).
        events: for each outcome, faults per stratum that had it, (strata,).
        weights: sums of the weights and of the squared weights of a stratum's faults, (2, strata).
        weighted: for each outcome, the same over the faults that had it.
        cells: the same faults by the sampler's cells instead of strata; ``None`` where it has none,
            or the faults are not all that were drawn.
    """

    n: Integers
    events: Mapping[str, Integers]
    weights: Reals
    weighted: Mapping[str, Reals]
    cells: Tally | None = None

    @classmethod
    def of(cls, faults: Faults, columns: Mapping[str, np.ndarray], strata: int) -> Tally:
        """The summary of faults with their outcome columns, (n,) of bool each."""
        found = _summed(faults.stratum, faults.weight, columns, strata)
        if not faults.cell.any():
            return found
        return replace(found, cells=_summed(faults.cell, faults.weight, columns, CELLS))

    @classmethod
    def nothing(cls, outcomes: Iterable[str], strata: int) -> Tally:
        """The summary of no faults."""
        n, weights = np.zeros(strata, np.int64), np.zeros((2, strata))
        names = list(outcomes)
        return cls(n, dict.fromkeys(names, n), weights, dict.fromkeys(names, weights))

    @property
    def total(self) -> int:
        """All faults."""
        return int(self.n.sum())

    def of_outcomes(self, base: str | None, hit: str, but: str | None = None) -> Tally:
        """Of the faults with outcome ``base`` (or all), those with ``hit`` and without ``but``.

        ``hit`` must imply ``base``, or the ones that it adds to it be those of ``but``, which must
        imply ``hit``. The only outcome of the new tally is ``hit``, under that name.
        """
        n, weights = (
            (self.n, self.weights) if base is None else (self.events[base], self.weighted[base])
        )
        hits, weighted = self.events[hit], self.weighted[hit]
        if but is not None:
            hits, weighted = hits - self.events[but], weighted - self.weighted[but]
        return Tally(n, {"hit": hits}, weights, {"hit": weighted})

    def of_strata(self, chosen: NDArray[np.bool_] | Integers) -> Tally:
        """What the faults in some of the strata did, with places for these strata alone."""
        return Tally(
            self.n[chosen],
            {name: hits[chosen] for name, hits in self.events.items()},
            self.weights[:, chosen],
            {name: hits[:, chosen] for name, hits in self.weighted.items()},
        )

    def scaled(self, factor: Reals) -> Tally:
        """The faults with each stratum's weights times a factor: as of another population."""
        by = np.stack([factor, factor**2])
        weighted = {name: sums * by for name, sums in self.weighted.items()}
        return Tally(self.n, self.events, self.weights * by, weighted)

    def __add__(self, other: Tally) -> Tally:
        names = [name for name in self.events if name in other.events]
        empty = [part for part in (self, other) if not part.total]
        cells = (
            next((p.cells for p in (self, other) if p not in empty), None)
            if empty
            else self.cells + other.cells
            if self.cells and other.cells
            else None
        )
        return Tally(
            self.n + other.n,
            {name: self.events[name] + other.events[name] for name in names},
            self.weights + other.weights,
            {name: self.weighted[name] + other.weighted[name] for name in names},
            cells,
        )


def _summed(
    number: Integers, weight: Reals, columns: Mapping[str, np.ndarray], count: int
) -> Tally:
    """Faults summed up by a number that each has, below ``count``."""

    def sums(chosen: np.ndarray | slice) -> Reals:
        part = weight[chosen]
        return np.stack([np.bincount(number[chosen], part**k, minlength=count) for k in (1, 2)])

    return Tally(
        np.bincount(number, minlength=count),
        {name: np.bincount(number[hit], minlength=count) for name, hit in columns.items()},
        sums(slice(None)),
        {name: sums(hit) for name, hit in columns.items()},
    )
