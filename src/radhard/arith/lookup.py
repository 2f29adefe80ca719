"""Sums of products looked up one by one in compiled loops: few rows of operands, or few cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from radhard.arith.cell import (
    Cells,
    Codes,
    Rows,
    added,
    extended,
    product,
    write_row,
)  # fmt: skip

_compiled = njit(cache=True, nogil=True)


class _Spread(NamedTuple):
    """What cells do, by row of the array and column of the weights, (rows, n) or (2, rows, n)."""

    which: NDArray[np.int64]
    operand: Codes
    word: NDArray[np.uint16]
    psum: NDArray[np.int64]


def one_by_one(a: Codes, w: Codes, cells: Cells, restart: int, found: NDArray[np.int64]) -> None:
    """Add the sums of operands (t, k) and weights (k, n) to what is found, (t, n).

    Nothing is prepared. Where bits of sums are stuck, what is found is what sums start from.
    """
    if cells.bits[2]:
        _through_latches(a, w, cells, restart, found)
    else:
        _looked_up(a, w, cells, found)


def row_by_row(a: Codes, w: Codes, cells: Cells, products: Rows, restart: int,
               found: NDArray[np.int64]) -> None:  # fmt: skip
    """The same for few rows: all columns of a term in turn, four terms at once if all is well."""
    table = np.ascontiguousarray(products.words.transpose(0, 2, 1)).astype(np.int32)
    used, column = min(len(w), len(cells.which)), np.arange(w.shape[1]) % cells.which.shape[1]
    whole = (cells.which, cells.operand, products.word, cells.psum)
    parts: Any = (np.ascontiguousarray(part[..., :used, :][..., column]) for part in whole)
    spread = _Spread(*parts)
    simple = products.sound.all(1) & (cells.which == cells.which[:, :1]).all(1)
    if cells.bits[2]:
        _few_through_latches(a, w, table, spread, simple, products.less, cells.bits, restart, found)
    else:
        _few(a, w, table, spread, simple, products.less, found)


def cell_by_cell(a: Codes, w: Codes, products: Rows, listed: NDArray[np.bool_],
                 found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add the products of cells that are listed, (rows, cols), to what is found."""
    _listed_up(np.ascontiguousarray(a.T), w, products, listed, found)


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
def _few(a, w, table, spread, simple, less, found):
    terms, height, columns, which = len(w), len(simple), w.shape[1], spread.which
    one, held = np.empty(columns, np.int32), np.empty(columns, np.int32)
    four, base = np.zeros(height, np.bool_), which[:, :1].sum(axis=1)
    for row in range(height - 3):
        four[row] = simple[row : row + 4].all()
    for i in range(len(a)):
        k, row = 0, 0
        held[:] = 0
        while k < terms:
            if k + 4 <= terms and four[row]:
                first = table[base[row], a[i, k]]
                second = table[base[row + 1], a[i, k + 1]]
                third = table[base[row + 2], a[i, k + 2]]
                fourth = table[base[row + 3], a[i, k + 3]]
                for n in range(columns):
                    held[n] += (first[w[k, n]] + second[w[k + 1, n]]) + (
                        third[w[k + 2, n]] + fourth[w[k + 3, n]]
                    )
                k, row = k + 4, row + 4
            else:
                _products(a[i, k], w[k], table, spread, simple[row], row, one)
                held += one
                k, row = k + 1, row + 1
            row = row if row < height else 0
            if k % 16384 < 4 or k == terms:
                found[i] += held
                held[:] = 0
        found[i] -= less * terms


@_compiled
def _products(a, w, table, spread, simple, row, one):
    """The words of a term, in all columns."""
    which, operand, word = spread.which[row], spread.operand, spread.word
    if simple:
        found = table[which[0], a]
        for n in range(len(w)):
            one[n] = found[w[n]]
    else:
        for n in range(len(w)):
            code = (a & operand[0, row, n]) | operand[1, row, n]
            value = table[which[n], code, w[n]]
            one[n] = (value & np.int32(word[0, row, n])) | np.int32(word[1, row, n])


@_compiled
def _few_through_latches(a, w, table, spread, simple, less, bits, restart, found):
    terms, height, psum = len(w), len(simple), spread.psum
    one, held = np.empty(w.shape[1], np.int32), np.empty(w.shape[1], np.int64)
    for i in range(len(a) if terms else 0):
        held[:] = found[i]
        found[i] = 0
        for k in range(terms):
            row = k % height
            if restart and k and k % restart == 0:
                for n in range(len(held)):
                    found[i, n] += extended(held[n], bits[1])
                held[:] = 0
            _products(a[i, k], w[k], table, spread, simple[row], row, one)
            for n in range(len(held)):
                held[n] = ((held[n] + one[n] - less) & psum[0, row, n]) | psum[1, row, n]
        for n in range(len(held)):
            found[i, n] += extended(held[n], bits[1])


@_compiled
def _listed_up(a, w, products, listed, found):
    """By cells; operands (k, t)."""
    words, which, operand, word, _, less = products
    height, cols = listed.shape
    own, held = np.empty((1, 256), np.uint16), np.empty(a.shape[1], np.int64)
    for n in range(w.shape[1]):
        held[:] = 0
        for k in range(len(w)):
            row, col = k % height, n % cols
            if listed[row, col]:
                write_row(words, which[row, col], w[k, n], operand, word, row, col, own, 0)
                for i in range(len(held)):
                    held[i] += np.int64(own[0, a[k, i]]) - less
        for i in range(len(held)):
            found[i, n] += held[i]
