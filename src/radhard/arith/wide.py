"""Sums of products of multipliers too wide for a table, by their formula: exact, and slow."""

from __future__ import annotations

from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from radhard.arith.array import Array
from radhard.arith.cell import extended
from radhard.arith.masks import Masks, circuits, stuck_bits
from radhard.arith.multiplier import WIDEST_TABLE, Integers, Multiplier
from radhard.arith.where import Where, in_places

#: Sums that are held at once, about.
_AT_ONCE = 1 << 20


class WideElements:
    """An array whose elements have a multiplier of more than 8 bits.

    Term after term, as the array computes them; the same rules as `radhard.arith.apart`.

    Args:
        array: with its defects.
        multiplier: of up to 16 bits; a `Netlist` where gates are stuck.

    Raises:
        ValueError: for bits that registers or products do not have, gates of multipliers that have
            none, or partial sums that do not hold a product.
    """

    def __init__(self, array: Array, multiplier: Multiplier) -> None:
        self._array, self._multiplier = array, multiplier
        self._bits = 2 * multiplier.width * (1 if multiplier.signed else -1)
        need = 2 * multiplier.width + (not multiplier.signed)
        if array.psum_bits < need:
            raise ValueError(
                f"partial sums of {array.psum_bits} bits do not hold products of "
                f"{multiplier.name}: use psum_bits of {need} to 48, as in Array(..., psum_bits=48)"
            )
        self._stuck = stuck_bits(array, multiplier)
        self._circuits, self._which = circuits(array, multiplier)

    def sums(self, a: NDArray[Any], w: NDArray[Any], where: Where) -> Integers:
        """Sums of products, (b, t, m).

        Args:
            a: operands (b, t, k), bit patterns.
            w: weights (b, m, k), likewise; b may be 1 for all.
            where: what they are.
        """
        array = self._array
        a, w, where = in_places(a, w, where, array.gated and array.dataflow != "os")
        a, w = a.astype(np.int64), w.astype(np.int64)
        many = max(1, _AT_ONCE // max(1, len(a) * w.shape[1]))
        add = self._staying if array.dataflow == "os" else self._moving
        parts = [
            add(a[:, i : i + many], w, where._replace(position=where.position[:, i : i + many]))
            for i in range(0, max(1, a.shape[1]), many)
        ]
        return np.concatenate(parts, 1)

    @property
    def kinds(self) -> Never:
        """Refused: there are no tables to choose weights by.

        Raises:
            ValueError: always.
        """
        raise self._refusal

    @property
    def faulty(self) -> Never:
        """Refused, as `kinds`."""
        raise self._refusal

    def products(self, kind: int) -> Never:
        """Refused, as `kinds`."""
        raise self._refusal

    @property
    def _refusal(self) -> ValueError:
        return ValueError(
            f"{self._multiplier.name} has no table of products, which retuning needs: use a "
            f"multiplier and formats of up to {WIDEST_TABLE} bits"
        )

    def _moving(self, a: Integers, w: Integers, where: Where) -> Integers:
        """Sums that move down columns, tile by tile."""
        array, (rows, cols) = self._array, self._which.shape
        other = where.column[:, None] if array.dataflow == "ws" else where.position[:, :, None]
        col = other % cols
        total = np.zeros((*a.shape[:2], w.shape[1]), np.int64)
        held, tile = total.copy(), np.zeros((1, 1, 1), np.int64)
        for k in range(w.shape[2]):
            term = where.term[:, k, None, None]
            if array.restart:
                begins = term // rows != tile
                total, held = np.where(begins, total + held, total), np.where(begins, 0, held)
                tile = term // rows
            row = term % rows
            one = self._product(a[:, :, k, None], w[:, None, :, k], row, col)
            held = _where(where.kept, k, self._added(held, one, row, col), held)
        if not array.gated and where.kept is None and w.shape[2] % rows:
            for row in range(w.shape[2] % rows, rows):
                at = np.full((1, 1, 1), row)
                held = self._added(held, self._product(_ZERO, _ZERO, at, col), at, col)
        return total + held

    def _staying(self, a: Integers, w: Integers, where: Where) -> Integers:
        """Sums that stay, from clearing to leaving."""
        rows, cols = self._which.shape
        at = where.position[:, :, None] % rows, where.column[:, None] % cols
        held = np.zeros((*a.shape[:2], w.shape[1]), np.int64)
        held = self._added(held, _ZERO, *at)
        idle = not self._array.gated and where.kept is None
        if idle:
            held = self._waited(held, *at)
        for k in range(w.shape[2]):
            one = self._product(a[:, :, k, None], w[:, None, :, k], *at)
            held = _where(where.kept, k, self._added(held, one, *at), held)
        if idle:
            held = self._with_zeros(held, rows + cols - 2 - at[0] - at[1], *at)
        if where.kept is not None:
            return held
        found: Integers = extended(_stuck(held, self._stuck.drain, *at), self._array.psum_bits)
        return found

    def _waited(self, held: Integers, row: Integers, col: Integers) -> Integers:
        """Sums when operands come, after what was stuck in more and more neighbours."""
        for edge in range(int((row + col).max(initial=0))):
            a, w = _ZERO, _ZERO
            for back in range(edge, -1, -1):
                left, above = np.maximum(col - back, 0), np.maximum(row - back, 0)
                a = np.where(back <= col, _stuck(a, self._stuck.own[0], row, left), a)
                w = np.where(back <= row, _stuck(w, self._stuck.own[1], above, col), w)
            more = self._added(held, self._of_codes(a, w, row, col), row, col)
            held = np.where(edge < row + col, more, held)
        return held

    def _product(self, a: Integers, w: Integers, row: Integers, col: Integers) -> Integers:
        """What elements make of codes, which broadcast against each other and their elements."""
        a, w = _stuck(a, self._stuck.activation, row, col), _stuck(w, self._stuck.weight, row, col)
        return self._of_codes(a, w, row, col)

    def _of_codes(self, a: Integers, w: Integers, row: Integers, col: Integers) -> Integers:
        """What they make of codes that are in their registers."""
        a, w, which = np.broadcast_arrays(a, w, self._which[row, col])
        width = self._multiplier.width * (1 if self._multiplier.signed else -1)
        found = np.zeros(a.shape, np.int64)
        for number, circuit in enumerate(self._circuits):
            here = which == number
            found[here] = circuit.formula(extended(a[here], width), extended(w[here], width))
        made: Integers = extended(_stuck(found, self._stuck.product, row, col), self._bits)
        return made

    def _added(self, held: Integers, one: Integers, row: Integers, col: Integers) -> Integers:
        """Sums as elements pass them on."""
        found: Integers = extended(
            _stuck(held + one, self._stuck.psum, row, col), self._array.psum_bits
        )
        return found

    def _with_zeros(
        self, held: Integers, times: Integers, row: Integers, col: Integers
    ) -> Integers:
        """Sums after products of zeros, which elements without work compute."""
        one = self._product(_ZERO, _ZERO, row, col)
        for done in range(int(times.max(initial=0)) if one.any() else 0):
            more = (done < times) & (one != 0)
            held = np.where(more, self._added(held, one, row, col), held)
        return held


_ZERO = np.zeros((1, 1, 1), np.int64)


def _where(kept: NDArray[np.bool_] | None, k: int, new: Integers, old: Integers) -> Integers:
    return new if kept is None else np.where(kept[:, k, None, None], new, old)


def _stuck(value: Integers, masks: Masks, row: Integers, col: Integers) -> Integers:
    found: Integers = (value & masks[0][row, col]) | masks[1][row, col]
    return found
