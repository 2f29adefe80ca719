"""Products of a table per second and core: every road of `radhard.arith.gemm`, in turns.

Goals at 4096 x 1152 x 1024: an arbitrary table at least 6 times the best lookup loop where bytes
are permuted, 3.5 times elsewhere (2.5 at 256 rows); stuck products in half of the cells cost at
most 30 % more than none; in 1 % of the cells of an exact multiplier at most 50 % more than the
exact product in float32. Figures are medians of the thread's CPU time, ratios are taken within a
round. The scalar loop has the structure of AdaPT's, eight terms at a time of an int16 table.

    make bench ARGS="gemm --quick --json"
    make bench ARGS="gemm --calibrate"    # thresholds of this machine, kept in the user's cache
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numba import njit

import radhard as rh
from benchmarks.crossings import measured
from benchmarks.products import SIDE, Job, cells, mixed, permuting, seconds
from radhard.arith.cell import rows_of
from radhard.arith.expansion import expanded
from radhard.arith.gemm import kernel, matrix_sums
from radhard.arith.lookup import row_by_row
from radhard.arith.permute import permutes
from radhard.arith.thresholds import keep

#: Rows of operands, terms and columns: a wide layer, it for one image, and layers of ResNet-20's
#: and LeNet-5's kinds.
SIZES = ((4096, 1152, 1024), (256, 1152, 1024), (8192, 288, 32), (16384, 144, 16), (5760, 25, 6))
LOOPS, FLOAT = ("scalar loop", "lookup loop"), "float32, torch"


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='gemm ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first size, three rounds of nine")
    parser.add_argument("--json", action="store_true", help="one object, by method")
    parser.add_argument("--calibrate", action="store_true", help="keep this machine's thresholds")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.calibrate:
        found = measured()
        print(f"{found}\nkept in {keep(found)}, read by every later process")
        return
    rows = {}
    for size in SIZES[:1] if asked.quick else SIZES:
        prefix = "" if asked.quick else "x".join(map(str, size)) + " "
        found = measure(jobs(*size), np.prod(size) / 1e9, 3 if asked.quick else 9)
        rows.update({prefix + name: row for name, row in found.items()})
    if asked.json:
        print(json.dumps(rows))
        return
    print(f"arbitrary products by {kernel()}")
    for name, row in rows.items():
        print(
            f"{name:60} {row['gmacs_per_core']:7.2f} GMAC/s "
            f"{row['vs_lookup_loop']:6.2f} of the best loop "
            f"{row['vs_exact_float32']:6.2f} of float32"
        )


def measure(of: Mapping[str, Job], gmacs: float, rounds: int) -> dict[str, dict[str, float]]:
    """Medians over rounds, in which all take turns."""
    for job in of.values():
        job()  # compile
    taken = [{name: seconds(job) for name, job in of.items()} for _ in range(rounds)]

    def median(name: str, base: Callable[[Mapping[str, float]], float]) -> float:
        return round(statistics.median(base(one) / one[name] for one in taken), 3)

    return {
        name: {
            "gmacs_per_core": median(name, lambda one: gmacs),
            "vs_lookup_loop": median(name, lambda one: min(one[loop] for loop in LOOPS)),
            "vs_exact_float32": median(name, lambda one: one[FLOAT]),
        }
        for name in of
    }


def jobs(t: int, k: int, n: int) -> dict[str, Job]:
    """All methods on random codes and a random table of 16 bits, or an exact multiplier."""
    rng = np.random.default_rng(1)
    a, w = (rng.integers(0, 256, shape, np.uint8) for shape in ((t, k), (k, n)))
    table = rng.integers(-(2**15), 2**15, (256, 256)).astype(np.int32)
    exact = rh.multiplier_named("mul8s_exact").table().T.copy()
    plain = cells(table)
    found, start = np.zeros((t, n), np.int64), np.zeros(n, np.int64)
    narrow, turned = np.ascontiguousarray(table.T.astype(np.int16)), np.ascontiguousarray(w.T)
    real = torch.from_numpy(a.astype(np.float32)), torch.from_numpy(w.astype(np.float32))
    of: dict[str, Job] = {
        LOOPS[0]: partial(_scalar, a, turned, narrow, found),
        LOOPS[1]: partial(row_by_row, a, w, plain, rows_of(plain), 0, found),
        FLOAT: partial(torch.mm, *real),
        "exact multiplier": partial(matrix_sums, a, w, cells(exact), start, 0),
        "any table": partial(matrix_sums, a, w, plain, start, 0),
        "any table, operands below 128": partial(matrix_sums, a & 127, w, plain, start, 0),
    }
    for share in (0, 0.01, 0.1, 0.5):
        struck = cells(table, products=share)
        of[f"rows, {share:.0%} of products"] = partial(
            expanded, a, w, struck, rows_of(struck), 0, found
        )
        if permutes():
            of[f"vbmi, {share:.0%} of products"] = partial(permuting, a, w, struck, found)
    for share in (0.01, 0.1, 0.5):
        struck = cells(exact, products=share)
        for fast in (False, True)[: 1 + permutes()]:
            name = f"float32 and {'vbmi' if fast else 'a loop'}, {share:.0%} of products"
            of[name] = partial(mixed, a, w, struck, fast, found)
    for share in (0.01, 0.5):
        struck = cells(table, sums=share)
        of[f"rows, {share:.0%} of sums"] = partial(
            expanded, a, w, struck, rows_of(struck), SIDE, found
        )
    return of


@njit(nogil=True)
def _scalar(a, w, table, found):
    for i in range(len(a)):
        for j in range(len(w)):
            total, k = np.int32(0), 0
            while k + 8 <= a.shape[1]:
                for d in range(8):
                    total += table[a[i, k + d], w[j, k + d]]
                k += 8
            while k < a.shape[1]:
                total += table[a[i, k], w[j, k]]
                k += 1
            found[i, j] += total
