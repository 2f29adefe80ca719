"""What the cells of an array do to the values that pass them, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Codes = NDArray[np.uint8]

_compiled = njit(cache=True, nogil=True)


class Cells(NamedTuple):
    """What the cells of an array do to the values that pass them.

    Attributes:
        tables: products (s, 256, 256), ``[which, weight, operand]``, int32.
        which: of the tables each cell has, (rows, cols), int64.
        operand: bits of operands that are kept and set, (2, rows, cols), uint8.
        product: the same of products, int32.
        psum: the same of sums, int64.
        bits: of products, at most 16, in two's complement (negative: of unsigned ones), of sums,
            and 1 where some bits of sums are stuck, (3,), int64.
    """

    tables: NDArray[np.int32]
    which: NDArray[np.int64]
    operand: Codes
    product: NDArray[np.int32]
    psum: NDArray[np.int64]
    bits: NDArray[np.int64]


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
    """What a cell makes of two codes, of which the first meets what is stuck on its way."""
    return of_codes(stuck(a, cells.operand, row, col), w, cells, row, col)


@_compiled
def of_codes(a, w, cells, row, col):
    """What a cell makes of two codes that are in its registers."""
    found = np.int64(cells.tables[cells.which[row, col], w, a])
    return extended(stuck(found, cells.product, row, col), cells.bits[0])


@_compiled
def added(total, one, cells, row, col):
    """A sum as a cell passes it on."""
    return extended(stuck(total + one, cells.psum, row, col), cells.bits[1])


class Rows(NamedTuple):
    """The products of cells as words: their bits, the sign turned, so that all count from 0.

    Attributes:
        words: (s, 256, 256) by table, weight and operand; they begin where a line of a cache does.
        which, operand: as of `Cells`.
        word: bits of words that are kept and set, (2, rows, cols), uint16.
        sound: which cells multiply as their tables say, (rows, cols).
        less: what words are larger than products.
    """

    words: NDArray[np.uint16]
    which: NDArray[np.int64]
    operand: Codes
    word: NDArray[np.uint16]
    sound: NDArray[np.bool_]
    less: int


def rows_of(cells: Cells) -> Rows:
    """What cells multiply, as words."""
    bits = int(cells.bits[0])
    every = (1 << abs(bits)) - 1
    sign = 1 << (bits - 1) if bits > 0 else 0
    words: NDArray[np.uint16] = room(2 * cells.tables.size).view(np.uint16)
    words = words.reshape(cells.tables.shape)
    words[:] = (cells.tables & every) ^ sign
    keep = cells.product[0] & ~cells.product[1] & every
    word = np.stack([keep, (cells.product[1] ^ sign) & ~keep & every]).astype(np.uint16)
    sound = (cells.operand[0] == 255) & (cells.operand[1] == 0) & (keep == every)
    return Rows(words, cells.which, cells.operand, word, sound, sign)


@_compiled
def room(size):
    """Bytes that begin where a line of a cache does."""
    held = np.empty(size + 64, np.uint8)
    first = -held.ctypes.data % 64
    return held[first : first + size]


@_compiled
def write_row(words, s, weight, operand, word, row, col, into, at):
    """The products of a weight and all operands in a cell, into 256 words."""
    keep, to = word[0, row, col], word[1, row, col]
    kept, as_set = operand[0, row, col], operand[1, row, col]
    if kept == 255 and as_set == 0:
        for a in range(256):
            into[at, a] = (words[s, weight, a] & keep) | to
    else:
        for a in range(256):
            into[at, a] = (words[s, weight, (a & kept) | as_set] & keep) | to
