"""Compiled sums of products of codes, each product looked up in the table of its own element.

Operands are codes of 8 bits. What multiplies product (k, n) is cell ``[k % rows, n % cols]`` of
`Cells`. Two ways give the same sums: looking up one product after the other, and, where many rows
of operands share the weights, *row expansion*: for some k and a block of n all products of all 256
codes are laid out, masks of stuck bits applied, and rows of them added up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Codes = NDArray[np.uint8]

#: Columns of a block, and terms whose rows are laid out at once: they fit a core's second cache.
BLOCK, DEPTH = 64, 4
#: Rows of operands from which laying out pays.
MANY = 128
#: Terms whose products, of at most 17 bits, have sums of 32 bits.
_LONGEST = 1 << 14

_compiled = njit(cache=True, nogil=True)


class Cells(NamedTuple):
    """What the cells of an array do to the values that pass them.

    Attributes:
        tables: products (s, 256, 256), ``[which, weight, operand]``, int32.
        which: of the tables each cell has, (rows, cols), int64.
        operand: bits of operands that are kept and set, (2, rows, cols), uint8.
        product: the same of products, int32.
        psum: the same of sums, int64.
        bits: of products in two's complement (negative: of unsigned ones), of sums, and 1 where
            some bits of sums are stuck, (3,), int64.
    """

    tables: NDArray[np.int32]
    which: NDArray[np.int64]
    operand: Codes
    product: NDArray[np.int32]
    psum: NDArray[np.int64]
    bits: NDArray[np.int64]


def matrix_sums(a: Codes, w: Codes, cells: Cells, start: NDArray[np.int64],
                restart: int) -> NDArray[np.int64]:  # fmt: skip
    """Sums of products, (t, n).

    Args:
        a: operands (t, k).
        w: weights (k, n), as cells hold them.
        cells: of the array.
        start: what each sum starts from, (n,).
        restart: after how many terms sums of stuck bits start anew from 0; 0 for never.
    """
    found = np.empty((len(a), w.shape[1]), np.int64)
    found[:] = start
    if cells.bits[2]:
        _through_latches(a, w, cells, restart, found)
    elif len(a) < MANY:
        _looked_up(a, w, cells, found)
    else:
        _expanded(np.ascontiguousarray(a.T), w, cells, found)
    return found


@_compiled
def stuck(value, masks, row, col):
    """A value with the bits of a cell stuck."""
    return (value & masks[0, row, col]) | masks[1, row, col]


@_compiled
def extended(value, bits):
    """The low bits of an integer, in two's complement unless ``bits`` are negative."""
    if bits < 0:
        return value & ((np.int64(1) << -bits) - 1)
    spare = 64 - bits
    return (value << spare) >> spare


@_compiled
def product(a, w, cells, row, col):
    """What a cell makes of two codes."""
    a = stuck(a, cells.operand, row, col)
    found = np.int64(cells.tables[cells.which[row, col], w, a])
    return extended(stuck(found, cells.product, row, col), cells.bits[0])


@_compiled
def added(total, one, cells, row, col):
    """A sum as a cell passes it on."""
    return extended(stuck(total + one, cells.psum, row, col), cells.bits[1])


@_compiled
def _looked_up(a, w, cells, found):
    rows, cols = cells.which.shape
    for i in range(len(a)):
        for k in range(len(w)):
            row = k % rows
            for n in range(w.shape[1]):
                found[i, n] += product(a[i, k], w[k, n], cells, row, n % cols)


@_compiled
def _through_latches(a, w, cells, restart, found):
    rows, cols = cells.which.shape
    held = np.empty(w.shape[1], np.int64)
    for i in range(len(a)):
        held[:] = found[i]
        found[i] = 0
        for k in range(len(w)):
            row = k % rows
            if restart and k and k % restart == 0:
                found[i] += held
                held[:] = 0
            for n in range(w.shape[1]):
                one = product(a[i, k], w[k, n], cells, row, n % cols)
                held[n] = added(held[n], one, cells, row, n % cols)
        found[i] += held


@_compiled
def _expanded(a, w, cells, found):
    """By rows; operands (k, t)."""
    rows = np.empty((DEPTH, 256, BLOCK), np.int32)
    sums = np.empty((a.shape[1], BLOCK), np.int32)
    for first in range(0, w.shape[1], BLOCK):
        wide = min(BLOCK, w.shape[1] - first)
        for longest in range(0, len(w), _LONGEST):
            sums[:] = 0
            for k in range(longest, min(len(w), longest + _LONGEST), DEPTH):
                deep = min(DEPTH, len(w) - k)
                for d in range(deep):
                    _laid_out(w[k + d, first : first + wide], k + d, first, cells, rows[d])
                if deep == DEPTH:
                    _four_added(a[k : k + deep], rows, sums)
                else:
                    for d in range(deep):
                        _one_added(a[k + d], rows[d], sums)
            for i in range(len(sums)):
                for j in range(wide):
                    found[i, first + j] += sums[i, j]


@_compiled
def _laid_out(w, k, first, cells, rows):
    """All products of the codes with the weights of a block."""
    height, cols = cells.which.shape
    row, bits = k % height, cells.bits[0]
    spare = 32 - bits if bits > 0 else 0
    for j in range(len(w)):
        col = (first + j) % cols
        table = cells.tables[cells.which[row, col], w[j]]
        keep, to = cells.operand[0, row, col], cells.operand[1, row, col]
        if keep == 255 and to == 0:
            for a in range(256):
                rows[a, j] = table[a]
        else:
            for a in range(256):
                rows[a, j] = table[(a & keep) | to]
        keep, to = cells.product[0, row, col], cells.product[1, row, col]
        if keep != -1 or to != 0:
            for a in range(256):
                value = np.int32((rows[a, j] & keep) | to)
                if bits > 0:
                    value = np.int32(np.int32(value << spare) >> spare)
                else:
                    value = np.int32(value & ((1 << -bits) - 1))
                rows[a, j] = value


@_compiled
def _four_added(a, rows, sums):
    first, second, third, fourth = rows[0], rows[1], rows[2], rows[3]
    for i in range(len(sums)):
        into = sums[i]
        one, two, three, four = first[a[0, i]], second[a[1, i]], third[a[2, i]], fourth[a[3, i]]
        for j in range(BLOCK):
            into[j] += (one[j] + two[j]) + (three[j] + four[j])


@_compiled
def _one_added(a, rows, sums):
    for i in range(len(sums)):
        into, one = sums[i], rows[a[i]]
        for j in range(BLOCK):
            into[j] += one[j]
