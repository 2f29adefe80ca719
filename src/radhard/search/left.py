"""What options leave of failures or strikes, as sums for an integer programme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from radhard.search.common import Reals
from radhard.search.integer import Model


@dataclass(frozen=True, slots=True)
class _Term:
    """An amount times what is above 0 of 1, or of an option that is taken, less some options.

    Attributes:
        amount: above 0.
        of: the option; -1 for 1.
        less: the options.
    """

    amount: float
    of: int
    less: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """An amount times the sum of a constant and of columns by factors, which is 0 or 1."""

    amount: float
    constant: float
    factors: dict[int, float]


class Left:
    """What options leave of some amounts, for choices of one option per slot at most.

    Args:
        model: in which the options are the choices.
        amounts: (n,), 0 or more.
        passes: (n, options), the share of each that an option lets through.
        slots: of the options.

    Raises:
        ValueError: where options of two slots let a share of one amount through, as their product
            is no sum.
    """

    def __init__(self, model: Model, amounts: Reals, passes: Reals, slots: Sequence[str]) -> None:
        self._entries = [_entered(model, term, slots) for term in _terms(amounts, passes, slots)]

    @property
    def costs(self) -> dict[int, float]:
        """What is left, by columns, but for a constant."""
        found: dict[int, float] = {}
        for entry in self._entries:
            for column, factor in entry.factors.items():
                found[column] = found.get(column, 0.0) + entry.amount * factor
        return found

    def limit(self, model: Model, most: float) -> None:
        """Leave so much at most: of each amount that is larger, nothing."""
        sums, free = dict[int, float](), 1.0
        for entry in self._entries:
            if entry.amount > most:
                model.row(entry.factors, -entry.constant)
                continue
            share = entry.amount / most
            free -= share * entry.constant
            for column, factor in entry.factors.items():
                sums[column] = sums.get(column, 0.0) + share * factor
        model.row(sums, free)


def _terms(amounts: Reals, passes: Reals, slots: Sequence[str]) -> list[_Term]:
    here = amounts > 0
    rows, group = np.unique(passes[here], axis=0, return_inverse=True)
    sums = np.bincount(group.ravel(), amounts[here], minlength=len(rows))
    found: dict[tuple[int, frozenset[int]], float] = {}
    for row, amount in zip(rows, sums, strict=True):
        for of, less, share in _parts(row, slots):
            found[of, less] = found.get((of, less), 0.0) + share * float(amount)
    return [_Term(amount, *key) for key, amount in found.items()]


def _parts(row: Reals, slots: Sequence[str]) -> Iterable[tuple[int, frozenset[int], float]]:
    """What is left of an amount of 1: with nothing that thins it, and with each that does."""
    stops = np.flatnonzero(row == 0).tolist()
    thins = np.flatnonzero((row > 0) & (row < 1)).tolist()
    thinned = {slots[k] for k in thins}
    if len(thinned) > 1:
        raise ValueError(f"{', '.join(sorted(thinned))} let shares of the same through: join them")
    yield -1, frozenset([*stops, *thins]), 1.0
    others = frozenset(k for k in stops if slots[k] not in thinned)
    for k in thins:
        yield k, others, float(row[k])


def _entered(model: Model, term: _Term, slots: Sequence[str]) -> _Entry:
    """A term in columns: a sum where at most one option counts, else a column of its own."""
    whole = term.of < 0
    factors = dict.fromkeys(sorted(term.less), -1.0)
    if whole and len({slots[k] for k in term.less}) <= 1:
        return _Entry(term.amount, 1.0, factors)
    if not whole:
        factors[term.of] = 1.0
        if not term.less:
            return _Entry(term.amount, 0.0, factors)
    own = model.column()
    model.row({**factors, own: -1.0}, -float(whole))
    return _Entry(term.amount, 0.0, {own: 1.0})
