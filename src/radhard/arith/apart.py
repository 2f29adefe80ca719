"""Compiled sums of an array of processing elements, each by itself.

As the array computes them, element by element: the twin of matrices in `radhard.arith.gemm`, and
the way for single outputs, whose terms may be some of all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from radhard.arith.cell import Cells, Codes, added, extended, of_codes, product, stuck

_compiled = njit(cache=True, nogil=True)

#: Numbers of the dataflows.
OS, WS, IS = 0, 1, 2


class Wiring(NamedTuple):
    """What an array does to values on their way, by element.

    Attributes:
        cells: of operands, products and sums.
        weight: bits of weights that are kept and set, (2, rows, cols), uint8.
        own: the same of the registers of activations and of weights alone, (2, 2, rows, cols).
        drain: the same of sums that leave, (2, rows, cols), int64.
        how: dataflow, 1 where sums start anew for each tile, 1 where idle elements compute, 1 where
            registers of operands have stuck bits, (4,).
    """

    cells: Cells
    weight: Codes
    own: Codes
    drain: NDArray[np.int64]
    how: NDArray[np.int64]


@_compiled
def sums_apart(a, w, position, column, term, kept, wiring, found):
    """Sums of products, (b, t, m).

    Args:
        a: operands (b, t, k).
        w: weights (b, m, k).
        position: (b, t).
        column: number of the channel within its group, (b, m).
        term: (b, k).
        kept: which terms are added up, (b, k); of none, all are, and idle elements add theirs.
        wiring: of the array.
        found: their place.
    """
    for b in range(len(a)):
        rows, cells = term[b % len(term)], column[b % len(column)]
        places, weights = position[b % len(position)], w[b % len(w)]
        some = kept[b % max(1, len(kept))] if len(kept) else np.zeros(0, np.bool_)
        for i in range(a.shape[1]):
            for m in range(w.shape[1]):
                found[b, i, m] = _one(a[b, i], weights[m], places[i], cells[m], rows, some, wiring)


@_compiled
def _one(a, w, position, column, term, kept, wiring):
    if wiring.how[0] == OS:
        return _staying(a, w, position, column, kept, wiring)
    other = column if wiring.how[0] == WS else position
    return _moving(a, w, other, term, kept, wiring)


@_compiled
def _moving(a, w, other, term, kept, wiring):
    """A sum that moves down a column, tile by tile."""
    cells = wiring.cells
    rows, cols = cells.which.shape
    col, tile, total, held = other % cols, 0, np.int64(0), np.int64(0)
    for j in range(len(w)):
        if len(kept) and not kept[j]:
            continue
        row = term[j] % rows
        if wiring.how[1] and term[j] // rows != tile:
            total, held, tile = total + held, np.int64(0), term[j] // rows
        one = product(a[j], stuck(w[j], wiring.weight, row, col), cells, row, col)
        held = added(held, one, cells, row, col)
    if wiring.how[2] and not len(kept) and len(w) % rows:
        for row in range(len(w) % rows, rows):
            one = product(np.uint8(0), stuck(np.uint8(0), wiring.weight, row, col), cells, row, col)
            held = added(held, one, cells, row, col)
    return total + held


@_compiled
def _staying(a, w, position, column, kept, wiring):
    """A sum that stays, from clearing to leaving."""
    cells = wiring.cells
    rows, cols = cells.which.shape
    row, col = position % rows, column % cols
    held = added(np.int64(0), np.int64(0), cells, row, col)
    if not len(kept):
        held = waited(held, row, col, wiring)
    for j in range(len(w)):
        if len(kept) and not kept[j]:
            continue
        one = product(a[j], stuck(w[j], wiring.weight, row, col), cells, row, col)
        held = added(held, one, cells, row, col)
    if len(kept):
        return held
    held = with_zeros(held, after(row, col, wiring), row, col, wiring)
    return extended(stuck(held, wiring.drain, row, col), cells.bits[1])


@_compiled
def after(row, col, wiring):
    """How often an element that works computes with zeros after its operands have come."""
    rows, cols = wiring.cells.which.shape
    return rows + cols - 2 - row - col if wiring.how[2] else 0


@_compiled
def waited(held, row, col, wiring):
    """A sum when an element's operands come, of the products that it makes until then.

    Its registers were emptied; what is stuck in those of its neighbours comes to it, one more at
    each edge.
    """
    if not wiring.how[2]:
        return held
    if not wiring.how[3]:
        return with_zeros(held, row + col, row, col, wiring)
    cells = wiring.cells
    for edge in range(row + col):
        a, w = np.uint8(0), np.uint8(0)
        for c in range(max(0, col - edge), col + 1):
            a = stuck(a, wiring.own[0], row, c)
        for r in range(max(0, row - edge), row + 1):
            w = stuck(w, wiring.own[1], r, col)
        one = of_codes(a, w, cells, row, col)
        held = added(held, one, cells, row, col)
    return held


@_compiled
def with_zeros(held, times, row, col, wiring):
    """A sum after products of zeros."""
    cells = wiring.cells
    one = product(np.uint8(0), stuck(np.uint8(0), wiring.weight, row, col), cells, row, col)
    for _ in range(times if one != 0 else 0):
        held = added(held, one, cells, row, col)
    return held


@_compiled
def started(row, wiring, columns):
    """What the sums of a row that stay start from, (n,): cleared, and after zeros."""
    cells = wiring.cells
    found = np.empty(columns, np.int64)
    for n in range(columns):
        col = n % cells.which.shape[1]
        held = added(np.int64(0), np.int64(0), cells, row, col)
        found[n] = waited(held, row, col, wiring)
    return found


@_compiled
def left(sums, row, wiring):
    """Sums (t, n) of a row, after zeros and all the accumulators on their way, in place."""
    cells = wiring.cells
    for n in range(sums.shape[1]):
        col = n % cells.which.shape[1]
        times = after(row, col, wiring)
        for i in range(len(sums)):
            held = with_zeros(sums[i, n], times, row, col, wiring)
            sums[i, n] = extended(stuck(held, wiring.drain, row, col), cells.bits[1])
