"""Sums of products of codes, each product looked up in the table of its own element.

Operands are codes of 8 bits. What multiplies product (k, n) is cell ``[k % rows, n % cols]`` of
`Cells`. Several roads give the same sums, bit for bit: looking up one product after the other;
*row expansion*, which lays out all products of some weights (`radhard.arith.expansion`); permuting
bytes where the processor can (`radhard.arith.permute`); products of matrices in float32 where the
multiplier allows it (`radhard.arith.factor`). Measured times decide which is taken
(`radhard.arith.thresholds`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radhard.arith.cell import Cells, Codes, Rows, rows_of
from radhard.arith.expansion import expanded
from radhard.arith.factor import factored, terms_of
from radhard.arith.lookup import cell_by_cell, one_by_one, row_by_row
from radhard.arith.permute import permuted, permutes
from radhard.arith.thresholds import thresholds


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
    a, w = np.ascontiguousarray(a), np.ascontiguousarray(w)
    found = np.empty((len(a), w.shape[1]), np.int64)
    found[:] = start
    if a.size * w.shape[1] < thresholds().small * len(cells.tables):
        one_by_one(a, w, cells, restart, found)
    else:
        products = rows_of(cells)
        if cells.bits[2] or not _by_terms_if_faster(a, w, cells, products, found):
            _prepared(a, w, cells, products, restart, found)
    return found


def kernel() -> str:
    """What looks up arbitrary products on this processor: ``vbmi`` or ``rows``."""
    return "vbmi" if permutes() else "rows"


def _by_terms_if_faster(a: Codes, w: Codes, cells: Cells, products: Rows,
                        found: NDArray[np.int64]) -> bool:  # fmt: skip
    """Add sums by matrices in float32 if that is faster; whether it was."""
    limits = thresholds()
    if len(a) < limits.floats:
        return False
    listed = ~products.sound | (cells.which != 0)
    share = float(listed[: len(w), : w.shape[1]].mean())
    if share > max(limits.one_term, limits.two_terms):
        return False
    terms = terms_of(products, int(cells.bits[0]))
    if not terms or share > (limits.one_term, limits.two_terms)[len(terms) - 1]:
        return False
    factored(a, w, terms, listed, found)
    if share:
        (permuted if permutes() else cell_by_cell)(a, w, products, listed, found)
    return True


def _prepared(a: Codes, w: Codes, cells: Cells, products: Rows, restart: int,
              found: NDArray[np.int64]) -> None:  # fmt: skip
    """Add sums of products that are looked up."""
    limits = thresholds()
    often = len(a) >= limits.permuted and (len(a) < limits.most or w.shape[1] < limits.narrow)
    if permutes() and often and not cells.bits[2]:
        permuted(a, w, products, np.ones_like(products.sound), found)
        return
    healthy = products.sound.all() and not cells.bits[2]
    many = len(a) >= (limits.expanded if healthy else limits.struck)
    (expanded if many else row_by_row)(a, w, cells, products, restart, found)
