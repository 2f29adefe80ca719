"""Where roads to sums of products cross on this machine; see `radhard.arith.thresholds`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

import radhard as rh
from benchmarks.products import SIDE, Job, cells, mixed, permuting, seconds
from radhard.arith.cell import Cells, rows_of
from radhard.arith.expansion import expanded
from radhard.arith.lookup import one_by_one, row_by_row
from radhard.arith.permute import permutes
from radhard.arith.thresholds import Thresholds, usual

#: Terms of the layers that are tried, their columns where nothing else is said, and many rows.
TERMS, COLUMNS, MANY = 576, 256, 4096
ROWS = (1, 2, 4, 8, 16, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
PRODUCTS, FEW = tuple(1 << k for k in range(12, 22)), 16
WIDTHS, SHARES = (4, 8, 12, 16, 24, 32, 48), (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.4)
NEVER = 1 << 30
_X = TypeVar("_X", int, float)


def measured() -> Thresholds:
    """Thresholds by the times of all roads; two or three minutes."""
    random = np.random.default_rng(0).integers(-(2**15), 2**15, (256, 256)).astype(np.int32)
    exact, pair = (rh.multiplier_named(f"mul8s_{name}").table().T for name in ("exact", "roba"))
    plain, some = cells(random), cells(random, products=0.1)
    found = replace(
        usual(),
        small=crossing(PRODUCTS, products("one", plain), products("row", plain)),
        floats=crossing(ROWS, road("row", cells(exact)), road("mixed", cells(exact))),
        expanded=crossing(ROWS, road("row", plain), road("expanded", plain)),
        struck=crossing(ROWS, road("row", some), road("expanded", some)),
        one_term=crossing(SHARES, share("mixed", exact), share("best", exact)),
        two_terms=crossing(SHARES, share("mixed", pair), share("best", pair)),
    )
    if not permutes():
        return found
    return replace(
        found,
        permuted=crossing(ROWS, road("row", plain), road("permuted", plain)),
        most=crossing(ROWS, road("permuted", plain), road("expanded", plain)),
        narrow=crossing(WIDTHS, width("permuted", plain), width("expanded", plain)),
    )


def crossing(grid: Sequence[_X], before: Callable[[_X], float], after: Callable[[_X], float]) -> _X:
    """From which point on one road is always faster than another, by their times."""
    wins = [after(at) < before(at) for at in grid]
    lost = max((k for k, won in enumerate(wins) if not won), default=-1)
    return grid[lost + 1] if lost + 1 < len(grid) else type(grid[0])(NEVER)


def road(name: str, of: Cells) -> Callable[[int], float]:
    """Times by rows of operands."""
    return lambda at: spent(name, of, at, COLUMNS)


def width(name: str, of: Cells) -> Callable[[int], float]:
    """Times by columns."""
    return lambda at: spent(name, of, MANY, at)


def products(name: str, of: Cells) -> Callable[[int], float]:
    """Times by products of a few rows and columns."""
    return lambda at: spent(name, of, FEW, FEW, at // FEW**2)


def share(name: str, table: np.ndarray) -> Callable[[float], float]:
    """Times by the share of products that are stuck."""
    return lambda at: spent(name, cells(np.ascontiguousarray(table), products=at), MANY, COLUMNS)


def spent(name: str, of: Cells, t: int, n: int, k: int = TERMS) -> float:
    """CPU time of a road."""
    rng = np.random.default_rng(1)
    a, w = (rng.integers(0, 256, shape, np.uint8) for shape in ((t, k), (k, n)))
    found = np.zeros((t, n), np.int64)
    jobs: dict[str, Job] = {
        "one": partial(one_by_one, a, w, of, 0, found),
        "row": lambda: row_by_row(a, w, of, rows_of(of), 0, found),
        "expanded": lambda: expanded(a, w, of, rows_of(of), SIDE, found),
        "permuted": partial(permuting, a, w, of, found),
        "mixed": partial(mixed, a, w, of, permutes(), found),
    }
    if name == "best":
        return min(spent(one, of, t, n) for one in ("expanded", "permuted")[: 1 + permutes()])
    jobs[name]()  # compile
    return min(seconds(jobs[name], 0.01) for _ in range(3))
