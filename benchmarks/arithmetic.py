"""Faults per second on arithmetic that is not linear, against whole runs, and against exact one.

Goals: at least 3 times whole runs where operands are changed (`ShortOperands` of the example), and
where products come from a function (`ShortProducts`). Faults are bit flips in activations in int8,
one thread, a network with random weights. Jobs take turns within each round, and ratios are taken
within a round, since the machine may be shared.

    make bench ARGS="arithmetic --quick --json"
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable

import numpy as np
import torch
from examples.own_arithmetic import ShortOperands, ShortProducts

import radhard as rh
from benchmarks.engine import neurons_struck, rate
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.engine.trace import Trace
from radhard.network.arithmetic import Datapath

#: Images, faults per turn, and those of whole runs.
IMAGES, FAULTS, FEW = 16, 8000, 800
KINDS: tuple[Datapath, ...] = (ShortOperands(4), ShortProducts(8))


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='arithmetic ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    parser.add_argument("--json", action="store_true", help="one object, by arithmetic")
    parser.add_argument("--networks", default="lenet5", help="comma-separated")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    found = {
        f"{name} {own.name}": measure(name, own, 3 if asked.quick else 9)
        for name in asked.networks.split(",")
        for own in KINDS
    }
    if asked.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        print(
            f"{name:28} {row['faults_per_second']:10,.0f}/s {row['vs_whole']:6.1f} of whole runs "
            f"{row['vs_exact']:6.2f} of exact arithmetic"
        )


def measure(name: str, own: Datapath, rounds: int) -> dict[str, float]:
    """Medians over rounds."""
    model, shape = network(name)
    images = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(1))
    exact = rh.capture(model, images, torch.zeros(IMAGES, dtype=torch.int64), format=rh.INT8)
    trace = rh.record(exact.with_(arithmetic=own))
    jobs = (
        neurons_struck(trace, FAULTS, 2),
        whole(trace),
        neurons_struck(rh.record(exact), FAULTS, 2),
    )
    for job in jobs:
        job()  # warm up
    rates = [[rate(job) for job in jobs] for _ in range(rounds)]
    return {
        "faults_per_second": round(statistics.median(one[0] for one in rates), 1),
        "vs_whole": round(statistics.median(one[0] / one[1] for one in rates), 2),
        "vs_exact": round(statistics.median(one[0] / one[2] for one in rates), 3),
    }


def whole(trace: Trace) -> Callable[[], int]:
    """A job that runs neuron faults as whole tensors."""
    work, rng = trace.workload, np.random.default_rng(2)
    space = rh.SoftwareSpace(work, ("activation",))

    def job() -> int:
        drawn = rh.Uniform().draw(space, FEW, rng)
        rh.resume(trace, rh.chips.SOFTWARE.corrupt(work, space, drawn), patches=False)
        return FEW

    return job
