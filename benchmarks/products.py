"""Sums of products by the roads of `radhard.arith`, as jobs to be timed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from radhard.arith.cell import Cells, rows_of
from radhard.arith.factor import factored, terms_of
from radhard.arith.lookup import cell_by_cell
from radhard.arith.permute import permuted

#: Rows and columns of the array.
SIDE = 128
#: What is timed.
Job = Callable[[], object]


def cells(table: NDArray[np.int32], products: float = 0, sums: float = 0) -> Cells:
    """An array of one multiplier, a share of whose elements has a stuck bit."""
    rng, shape = np.random.default_rng(2), (SIDE, SIDE)
    masks = []
    for share, bits in ((products, 16), (sums, 32)):
        hit, bit = rng.random(shape) < share, np.int64(1) << rng.integers(0, bits, shape)
        up = rng.random(shape) < 0.5
        masks.append(np.stack([np.where(hit, ~bit, -1), np.where(hit & up, bit, 0)]))
    operand = np.zeros((2, *shape), np.uint8)
    operand[0] = 255
    return Cells(
        table[None], np.zeros(shape, np.int64), operand, masks[0].astype(np.int32), masks[1],
        np.array([16, 32, sums > 0], np.int64),
    )  # fmt: skip


def permuting(a, w, of: Cells, found) -> None:
    """All products by permuting bytes."""
    products = rows_of(of)
    permuted(a, w, products, np.ones_like(products.sound), found)


def mixed(a, w, of: Cells, fast: bool, found) -> None:
    """Healthy products in float32, the others looked up."""
    products = rows_of(of)
    factored(a, w, terms_of(products, 16), ~products.sound, found)
    (permuted if fast else cell_by_cell)(a, w, products, ~products.sound, found)


def seconds(job: Job, least: float = 0.2) -> float:
    """Of CPU time, as often as fills so many of them."""
    begin, count = time.thread_time(), 0
    while count == 0 or time.thread_time() < begin + least:
        job()
        count += 1
    return (time.thread_time() - begin) / count
