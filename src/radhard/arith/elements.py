"""Sums of products of codes on an array of processing elements with stuck bits.

Stuck bits are gathered once, for each element all that values meet on their way to it; then sums of
many positions are products of matrices, and others are computed apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radhard.arith.apart import IS, OS, WS, Wiring, left, started, sums_apart
from radhard.arith.array import Array
from radhard.arith.cell import Cells, Codes, extended
from radhard.arith.gemm import matrix_sums
from radhard.arith.masks import circuits, stuck_bits
from radhard.arith.multiplier import WIDEST_TABLE, Integers, Multiplier
from radhard.arith.where import Where, in_places
from radhard.arith.wide import WideElements

_DATAFLOWS = {"os": OS, "ws": WS, "is": IS}
_CODES = 1 << WIDEST_TABLE


class Elements:
    """An array whose elements have a multiplier.

    Args:
        array: with its defects.
        multiplier: of up to 8 bits; a `Netlist` where gates are stuck.

    Raises:
        ValueError: for bits that registers or products do not have, or gates of multipliers that
            have none.
    """

    def __init__(self, array: Array, multiplier: Multiplier) -> None:
        self._array = array
        self._wiring = _wiring(array, multiplier)
        self._largest = 1 << 2 * multiplier.width
        self._alike = self._labels()

    def sums(self, a: Codes, w: Codes, where: Where) -> Integers:
        """Sums of products, (b, t, m).

        Args:
            a: operands (b, t, k), bit patterns.
            w: weights (b, m, k), likewise; b may be 1 for all.
            where: what they are.
        """
        array = self._array
        idle = array.gated and array.dataflow != "os"
        a, w, where = in_places(a, w, where, idle)
        shape = (*a.shape[:2], w.shape[1])
        columns = where.column[0]
        together = len(where.position) == 1 and bool((where.column == columns).all())
        if where.kept is not None or not together or min(shape[1:]) < 2 or len(where.term) > 1:
            kept = np.zeros((0, 0), np.bool_) if where.kept is None else where.kept
            found = np.empty(shape, np.int64)
            sums_apart(a, w, *where[:3], kept, self._wiring, found)
            return found
        rows = np.zeros((len(w), int(columns.max()) + 1, w.shape[2]), np.uint8)
        rows[:, columns] = w
        pairs = zip(a, np.broadcast_to(rows, (len(a), *rows.shape[1:])), strict=True)
        position = where.position[0]
        return np.stack([self._matrix(x, part.T, position)[:, columns] for x, part in pairs])

    @cached_property
    def kinds(self) -> tuple[Integers, Integers]:
        """What elements make of two codes, bypassed ones aside.

        Returns:
            kind of each element (rows, cols), and of each kind the number of its table, and what is
            kept and set of weights, operands and products (kinds, 7); see `products`.
        """
        cells, shape = self._wiring.cells, (self._array.rows * self._array.cols, -1)
        parts = (self._wiring.weight, cells.operand, cells.product)
        columns = [np.moveaxis(part, 0, -1).reshape(shape).astype(np.int64) for part in parts]
        held = np.concatenate([cells.which.reshape(shape), *columns], 1)
        label = np.zeros(len(held), np.int64)
        for column in held.T:  # sorting whole rows takes ten times as long
            if (column != column[0]).any():
                values, place = np.unique(column, return_inverse=True)
                label = np.unique(label * len(values) + place, return_inverse=True)[1]
        _, first = np.unique(label, return_index=True)
        return label.reshape(self._array.rows, self._array.cols), held[first]

    def products(self, kind: int) -> NDArray[np.int32]:
        """What a kind of elements makes of two codes ``[weight, operand]``.

        With all stuck bits that weights, operands and products meet.
        """
        which, keep_w, set_w, keep_a, set_a, keep, to = self.kinds[1][kind].tolist()
        cells, codes = self._wiring.cells, np.arange(_CODES)
        weight, operand = (codes & keep_w) | set_w, (codes & keep_a) | set_a
        table = cells.tables[which][np.ix_(weight, operand)].astype(np.int64)
        found: NDArray[np.int32] = extended((table & keep) | to, int(cells.bits[0]))
        return found.astype(np.int32)

    @cached_property
    def faulty(self) -> NDArray[np.bool_]:
        """Which kinds of elements are not like those of a fault-free array, (kinds,)."""
        healthy, every = self._wiring.cells.tables[0], range(len(self.kinds[1]))
        return np.array([(self.products(kind) != healthy).any() for kind in every])

    def one_table(self, terms: int, moved: bool) -> NDArray[np.int32] | None:
        """The products ``[weight, operand]`` of which any sum of so many terms is, if there are.

        Args:
            terms: of a sum.
            moved: whether there may be places without terms between them.
        """
        array, cells = self._array, self._wiring.cells
        alone = array.rows * array.cols == 1
        tile = array.rows if array.restart and array.dataflow != "os" else terms
        wraps = tile * self._largest >= 1 << (array.psum_bits - 1)
        if wraps or cells.bits[2] or array.bypassed:
            return None
        table = self.products(0)
        zeros = int(table[0, 0]) != 0 and (moved or not alone)
        return None if zeros or len(self.kinds[1]) > 1 else table

    def _matrix(self, a: Codes, w: Codes, position: Integers) -> Integers:
        """Of operands (t, k) and weights (k, n) of the first n channels of a group."""
        array, wiring, healthy = self._array, self._wiring, self._healthy
        moves = array.dataflow != "os"
        restart = array.rows if array.restart and moves else 0
        zero = np.zeros(w.shape[1], np.int64)
        if moves and not array.gated and not healthy and len(w) % array.rows:
            idle = array.rows - len(w) % array.rows
            a, w = np.pad(a, ((0, 0), (0, idle))), np.pad(w, ((0, idle), (0, 0)))
        wraps = (restart or len(w)) * self._largest >= 1 << (array.psum_bits - 1)
        found = np.empty((len(a), w.shape[1]), np.int64)
        for some, line, part in self._parts(position):
            bits = part.cells.bits | np.array([0, 0, wraps])
            cells, own = part.cells._replace(bits=bits), _masked(w, part.weight)
            start = zero if moves or healthy else started(line, wiring, w.shape[1])
            sums = matrix_sums(np.ascontiguousarray(a[some]), own, cells, start, restart)
            if not (moves or healthy):
                left(sums, line, wiring)
            found[some] = sums
        return found

    def _parts(self, position: Integers) -> Iterator[tuple[Any, int, Wiring]]:
        """Which positions meet the same elements, of which row or column, and these."""
        flow = self._array.dataflow
        if flow == "ws" or self._healthy:
            yield slice(None), 0, self._cut(slice(None), slice(None))
            return
        label = self._alike[position % len(self._alike)]
        for line in np.unique(label).tolist():
            part = slice(line, line + 1)
            rows, cols = (part, slice(None)) if flow == "os" else (slice(None), part)
            yield np.flatnonzero(label == line), line, self._cut(rows, cols)

    @property
    def _healthy(self) -> bool:
        """Whether all elements do the same, and nothing with zeros."""
        gated = self._array.gated
        plain = not self._array.defects and not self._array.bypassed
        return plain and (gated or not self._wiring.cells.tables[0, 0, 0])

    def _labels(self) -> Integers:
        """Of each row of sums that stay, or column of inputs that do, the first that is like it.

        Rows compute with zeros in an order of their own, which none may have before there are
        defects.
        """
        wiring, stays = self._wiring, self._array.dataflow == "os"
        masks = (*wiring.cells[2:5], wiring.weight, wiring.drain)
        found: list[int] = []
        seen: dict[tuple[bytes, int], int] = {}
        for line in range(self._array.rows if stays else self._array.cols):
            at = (slice(None), line) if stays else (slice(None), slice(None), line)
            held, which = [mask[at] for mask in masks], wiring.cells.which[at[1:]]
            busy = which.any() or not all(map(_changes_nothing, held))
            key = b"".join(part.tobytes() for part in (which, *held))
            found.append(seen.setdefault((key, line if busy and stays else -1), line))
        return np.array(found)

    def _cut(self, rows: slice, cols: slice) -> Wiring:
        """Of some rows or columns; of elements that are all alike, of one."""
        if self._healthy:
            rows = cols = slice(1)
        wiring, cells, at = self._wiring, self._wiring.cells, (slice(None), rows, cols)
        own = cells._replace(
            which=cells.which[rows, cols].copy(), operand=cells.operand[at].copy(),
            product=cells.product[at].copy(), psum=cells.psum[at].copy(),
        )  # fmt: skip
        return wiring._replace(cells=own, weight=wiring.weight[at], own=wiring.own[:, *at])


def elements(array: Array, multiplier: Multiplier) -> Elements | WideElements:
    """Those of an array, made once; see `Elements`, and `WideElements` for more than 8 bits."""
    return _made(array, multiplier)  # type: ignore[arg-type]  # frozen dataclasses have a hash


@lru_cache(maxsize=16)
def _made(array: Array, multiplier: Multiplier) -> Elements | WideElements:
    if multiplier.width > WIDEST_TABLE:
        return WideElements(array, multiplier)
    return Elements(array, multiplier)


def _wiring(array: Array, multiplier: Multiplier) -> Wiring:
    held = stuck_bits(array, multiplier)
    kinds, which = circuits(array, multiplier)
    tables = [_full(kind.table()) for kind in kinds]
    if array.bypassed:
        tables.append(np.zeros_like(tables[0]))
    through = any(one.site == "psum" for one in array.defects)
    width = 2 * multiplier.width * (1 if multiplier.signed else -1)
    cells = Cells(
        np.stack(tables), which, held.activation.astype(np.uint8), held.product.astype(np.int32),
        held.psum, np.array([width, array.psum_bits, through]),
    )  # fmt: skip
    passing = any(one.site in ("weight", "activation") for one in array.defects)
    how = [_DATAFLOWS[array.dataflow], array.restart, not array.gated, passing]
    weight, own = held.weight.astype(np.uint8), np.stack(held.own).astype(np.uint8)
    return Wiring(cells, weight, own, held.drain, np.array(how, np.int64))


def _full(table: NDArray[np.int32]) -> NDArray[np.int32]:
    """A table by weight and operand, with room for codes of 8 bits."""
    found = np.zeros((_CODES, _CODES), np.int32)
    found[: len(table), : len(table)] = table.T
    return found


def _masked(w: Codes, masks: Codes) -> Codes:
    """Weights (k, n) as the elements hold them."""
    rows, cols = masks.shape[1:]
    at = np.ix_(np.arange(len(w)) % rows, np.arange(w.shape[1]) % cols)
    held: Codes = (w & masks[0][at]) | masks[1][at]
    return held


def _changes_nothing(masks: NDArray[Any]) -> bool:
    return bool((masks[0] == np.array(-1).astype(masks.dtype)).all() and not masks[1].any())
