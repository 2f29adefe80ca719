"""Faults per second in each number format, against fp16.

Goals: any float format of 8 or 16 bits, posits included, at least 0.5 of the speed of fp16. Faults
are bit flips in activations, one thread, networks with random weights. Formats take turns within
each round, and ratios are taken within a round, since the machine may be shared.

    make bench ARGS="formats --quick --json"
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from examples.own_format import Posit8

import radhard as rh
from benchmarks.engine import neurons_struck, rate
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.formats.floating import FloatFormat
from radhard.formats.number import NumberFormat

#: Images and faults per turn.
PLANS = {"lenet5": (16, 8000), "resnet20": (16, 2000)}
#: What the others are measured against, and the others.
REFERENCE = rh.FLOAT16
FORMATS: tuple[NumberFormat, ...] = (
    rh.BFLOAT16,
    FloatFormat("fp16-saturating", exponent=5, mantissa=10, saturate=True),
    FloatFormat("fp16-e6m9", exponent=6, mantissa=9),
    rh.FLOAT8_E4M3,
    rh.FLOAT8_E5M2,
    Posit8(),
    rh.INT8,
    rh.FLOAT32,
    rh.FLOAT64,
    rh.FIXED32_10,
)


@dataclass(frozen=True)
class Row:
    """What a format reached in one network: medians over rounds."""

    network: str
    format: str
    per_second: float
    vs_fp16: float


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='formats ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    parser.add_argument("--json", action="store_true", help="one object, by format")
    parser.add_argument("--networks", default=",".join(PLANS), help="comma-separated")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    rows = [row for name in asked.networks.split(",") for row in measure(name, asked.quick)]
    if asked.json:
        print(json.dumps(_object(rows)))
        return
    for row in rows:
        print(f"{row.network:10} {row.format:16} {row.per_second:10,.0f}/s {row.vs_fp16:6.2f} fp16")


def measure(name: str, quick: bool) -> list[Row]:
    """All formats in turns."""
    jobs = {fmt.name: _job(name, fmt) for fmt in (REFERENCE, *FORMATS)}
    for job in jobs.values():
        job()  # warm up
    rounds = [{key: rate(job) for key, job in jobs.items()} for _ in range(3 if quick else 9)]
    return [
        Row(
            name,
            key,
            statistics.median(one[key] for one in rounds),
            statistics.median(one[key] / one[REFERENCE.name] for one in rounds),
        )
        for key in jobs
    ]


def _job(name: str, fmt: NumberFormat) -> Callable[[], int]:
    model, shape = network(name)
    count, faults = PLANS[name]
    images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    work = rh.capture(model, images, torch.zeros(count, dtype=torch.int64), format=fmt)
    return neurons_struck(rh.record(work), faults, 2)


def _object(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Each format in the network in which it does worst."""
    worst: dict[str, Row] = {}
    for row in rows:
        if row.format not in worst or row.vs_fp16 < worst[row.format].vs_fp16:
            worst[row.format] = row
    return {
        name: {"vs_fp16": round(row.vs_fp16, 3), "faults_per_second": round(row.per_second, 1)}
        for name, row in worst.items()
    }
