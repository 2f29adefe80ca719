"""Sums of products of multipliers that are, exactly, products of functions of their operands.

Such products are those of matrices in float32, whose sums of integers are exact up to 2**24. What
other cells of the array multiply is left out of them, and looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from radhard.arith.cell import Codes, Rows
from radhard.arith.multiplier import operands

_compiled = njit(cache=True, nogil=True)

#: A function of the operand's code and one of the weight's, whose products are added up.
Term = tuple[NDArray[np.int64], NDArray[np.int64]]

#: Largest sum of integers up to which float32 is exact, and rows of operands at a time.
_EXACT, _ROWS = 1 << 24, 512


def terms_of(products: Rows, bits: int) -> tuple[Term, ...]:
    """Of a first table one or two terms that give all its products; empty where there are none.

    Two are found where one of them is the exact product.

    Args:
        products: of cells.
        bits: of products, negative where they are unsigned.
    """
    table = products.words[0].astype(np.int64) - products.less
    single = _single(table)
    if single is not None:
        return (single,)
    width = abs(bits) // 2
    every = np.zeros(256, np.int64)
    every[: 1 << width] = operands(width, bits > 0)
    rest = _single(table - np.multiply.outer(every, every))
    return () if rest is None else ((every, every), rest)


def factored(a: Codes, w: Codes, terms: tuple[Term, ...], left_out: NDArray[np.bool_],
             found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add the sums of operands (t, k) and weights (k, n) to what is found, (t, n).

    Args:
        a, w: operands and weights.
        terms: of the multiplier.
        left_out: cells whose products are not added, (rows, cols).
        found: the sums.
    """
    kind: type[Any] = np.float64
    if torch.get_float32_matmul_precision() == "highest":
        kind = np.float32
    for of_operand, of_weight in terms:
        right = np.empty(w.shape, kind)
        _weights(of_weight, w, left_out, right)
        _product(of_operand.astype(kind), a, right, found)


def _product(function: NDArray[Any], a: Codes, right: NDArray[Any],
             found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add the product of a function of operands and a matrix, in parts whose sums are exact."""
    largest = np.abs(function[_seen(a)]).max(initial=1) * np.abs(right).max(initial=1)
    chunks = -(-len(right) // int(_EXACT // largest))
    deep = max(1, -(-len(right) // max(1, chunks)))
    left = np.empty((_ROWS, len(right)), right.dtype)
    part = torch.empty((_ROWS, right.shape[1]), dtype=torch.from_numpy(right).dtype)
    for i in range(0, len(a), _ROWS):
        rows = min(_ROWS, len(a) - i)
        _operands(function, a[i : i + rows], left)
        for k in range(0, len(right), deep):
            some = torch.from_numpy(left[:rows, k : k + deep])
            torch.mm(some, torch.from_numpy(right[k : k + deep]), out=part[:rows])
            _carried(part[:rows].numpy(), found[i : i + rows])


@_compiled
def _seen(a):
    """Which of the codes occur, (256,)."""
    found = np.zeros(256, np.bool_)
    for i in range(len(a)):
        for k in range(a.shape[1]):
            found[a[i, k]] = True
    return found


@_compiled
def _operands(function, a, into):
    for i in range(len(a)):
        for k in range(a.shape[1]):
            into[i, k] = function[a[i, k]]


@_compiled
def _weights(function, w, left_out, into):
    height, cols = left_out.shape
    for k in range(len(w)):
        row, col = k % height, 0
        for n in range(w.shape[1]):
            into[k, n] = 0 if left_out[row, col] else function[w[k, n]]
            col = col + 1 if col + 1 < cols else 0


@_compiled
def _carried(part, found):
    for i in range(len(part)):
        for j in range(part.shape[1]):
            found[i, j] += np.int64(part[i, j])


def _single(table: NDArray[np.int64]) -> Term | None:
    """The term that a table by weight and operand is, if it is one."""
    w, a = np.unravel_index(np.abs(table).argmax(), table.shape)
    if not table[w, a]:
        return np.zeros(256, np.int64), np.zeros(256, np.int64)
    row = table[w] // np.gcd.reduce(table[w])
    column = table[:, a] // row[a]
    for some in (slice(0, None, 51), slice(None)):  # most tables fail on the first
        if not np.array_equal(np.multiply.outer(column[some], row), table[some]):
            return None
    return row, column
