"""A small language for integer programmes, which scipy's HiGHS solves."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

#: Costs further apart than this are not told apart.
_REACH = 1e7


@contextmanager
def _told_elsewhere() -> Iterator[None]:
    """What the solver prints by itself goes to standard error: standard output may be JSON."""
    sys.stdout.flush()
    held = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # which keeps what it prints until then
        os.dup2(held, 1)
        os.close(held)


class _Row(NamedTuple):
    """Columns times factors are at most so much."""

    factors: Mapping[int, float]
    most: float


class Model:
    """Choices of 0 or 1, columns that follow from them, and rows that all keep to.

    Args:
        choices: how many; they are the first columns.

    >>> model = Model(3)
    >>> model.at_most({0: 5.0, 1: 4.0, 2: 3.0}, 8.0)
    >>> model.least({0: -6.0, 1: -5.0, 2: -4.0})
    [0, 2]
    """

    def __init__(self, choices: int) -> None:
        self.choices, self._columns = choices, choices
        self._rows = list[_Row]()

    def copy(self) -> Model:
        """One to which more can be added."""
        found = Model(self.choices)
        found._columns, found._rows = self._columns, list(self._rows)
        return found

    def column(self) -> int:
        """One more, between 0 and 1, that rows decide."""
        self._columns += 1
        return self._columns - 1

    def row(self, factors: Mapping[int, float], most: float) -> None:
        """Columns times factors are at most so much."""
        self._rows.append(_Row(factors, most))

    def at_most(self, costs: Mapping[int, float], most: float) -> None:
        """Costs of columns, none below 0, are at most so much, however little that is."""
        if not np.isfinite(most):
            return
        dear = {column: 1.0 for column, cost in costs.items() if cost > max(most, 0.0)}
        if dear:
            self.row(dear, 0.0)
        if most > 0:
            rest = {k: cost / most for k, cost in costs.items() if k not in dear}
            self.row(rest, 1.0)
        elif most < 0:
            self.row({}, most)

    def least(self, costs: Mapping[int, float]) -> list[int] | None:
        """The choices of 1 at the least cost; ``None`` where no choices keep to the rows.

        Raises:
            RuntimeError: where the solver gives up.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp  # which takes long to import
        from scipy.sparse import coo_array

        if any(row.most < 0 and not row.factors for row in self._rows):
            return None
        if not self._columns:
            return []
        objective = np.zeros(self._columns)
        objective[list(costs)] = list(costs.values())
        sizes = np.abs(objective[objective != 0])
        if len(sizes):
            objective /= max(sizes.min(), sizes.max() / _REACH)
        integral = np.zeros(self._columns)
        integral[: self.choices] = 1
        rows = [row for row in self._rows if row.factors]
        limits = []
        if rows:
            places = [(r, c, f) for r, row in enumerate(rows) for c, f in row.factors.items()]
            number, column, factor = (np.array(part) for part in zip(*places, strict=True))
            matrix = coo_array((factor, (number, column)), (len(rows), self._columns))
            limits = [LinearConstraint(matrix.tocsr(), -np.inf, [row.most for row in rows])]
        with _told_elsewhere():
            found = milp(objective, integrality=integral, bounds=Bounds(0, 1), constraints=limits,
                         options={"mip_rel_gap": 0.0})  # fmt: skip
        if found.status == 2:  # infeasible
            return None
        if found.status != 0:
            raise RuntimeError(f"the integer programme was not solved: {found.message}")
        return np.flatnonzero(found.x[: self.choices] > 0.5).tolist()
