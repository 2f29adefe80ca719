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
    rows, cols = left_out.shape
    out = left_out[np.ix_(np.arange(len(w)) % rows, np.arange(w.shape[1]) % cols)]
    for of_operand, of_weight in terms:
        first, second = of_operand.astype(kind)[a], of_weight.astype(kind)[w]
        second[out] = 0
        _product(first, second, found)


def _product(first: NDArray[Any], second: NDArray[Any],
             found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add a product of matrices of integers, in parts whose sums are exact."""
    largest = float(np.abs(first).max(initial=1)) * float(np.abs(second).max(initial=1))
    chunks = -(-len(second) // max(1, int(_EXACT // largest)))
    deep = -(-len(second) // max(1, chunks))
    for k in range(0, len(second), max(1, deep)):
        right = torch.from_numpy(second[k : k + deep])
        for i in range(0, len(first), _ROWS):
            left = torch.from_numpy(first[i : i + _ROWS, k : k + deep])
            _carried((left @ right).numpy(), found[i : i + _ROWS])


@njit(cache=True, nogil=True)
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
    found = row, column
    return found if np.array_equal(np.multiply.outer(column, row), table) else None
