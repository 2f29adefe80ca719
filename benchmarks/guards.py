"""Faults per second under a guard, against the same network without one.

Goals: at least 0.7 for guards that judge every value by itself or by a window. Faults are bit flips
in activations in fp32, one thread, networks with random weights; guards learn from images of their
own. They take turns within each round, and ratios are taken within a round, since the machine may
be shared.

    make bench ARGS="guards --quick --json"
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping

import torch

import radhard as rh
from benchmarks.engine import neurons_struck, rate
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.network.workload import Workload
from radhard.protect.bound import ClippedActivation, RangeRestriction, ValueThreshold
from radhard.protect.gradient import NeuronGradientSuppressor
from radhard.protect.median import MedianFeature
from radhard.protect.neuron import BoundedNeuron
from radhard.protect.protection import Protection, joined
from radhard.protect.ranges import RangeDetector

#: Images and faults per turn.
PLANS = {"lenet5": (16, 8000), "resnet20": (16, 2000)}
#: What each guard learns.
GUARDS: Mapping[str, Callable[[Workload], Protection]] = {
    "range-restriction": lambda work: RangeRestriction().learned(work),
    "range-detector": lambda work: RangeDetector().learned(work),
    "clipped-activation": lambda work: ClippedActivation().learned(work),
    "bounded-neuron": lambda work: BoundedNeuron().learned(work),
    "value-threshold": lambda work: ValueThreshold().learned(work),
    "neuron-gradient": lambda work: NeuronGradientSuppressor().learned(work),
    "median-feature": lambda work: MedianFeature(),
}


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='guards ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    parser.add_argument("--json", action="store_true", help="one object, by guard")
    parser.add_argument("--networks", default=",".join(PLANS), help="comma-separated")
    parser.add_argument("--guards", default=",".join(GUARDS), help="comma-separated")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    worst: dict[str, float] = {}
    for name in asked.networks.split(","):
        for guard, ratio in measure(name, asked.guards.split(","), asked.quick).items():
            worst[guard] = min(ratio, worst.get(guard, ratio))
            if not asked.json:
                print(f"{name:10} {guard:20} {ratio:6.3f} of the speed without")
    if asked.json:
        print(json.dumps({key: {"vs_unguarded": round(one, 3)} for key, one in worst.items()}))


def measure(name: str, guards: list[str], quick: bool) -> dict[str, float]:
    """Guards in turns; the median of their ratios."""
    work, training = _work(name, 1), _work(name, 2)
    faults = PLANS[name][1]
    free = _job(work, None, faults)
    jobs = {
        guard: _job(work, make(training), faults)
        for guard, make in GUARDS.items()
        if guard in guards
    }
    for job in (free, *jobs.values()):
        job()  # warm up
    rounds = []
    for _ in range(3 if quick else 9):
        own = rate(free)
        rounds.append({guard: rate(job) / own for guard, job in jobs.items()})
    return {guard: statistics.median(one[guard] for one in rounds) for guard in jobs}


def _work(name: str, seed: int) -> Workload:
    model, shape = network(name)
    count = PLANS[name][0]
    images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    return rh.capture(model, images, torch.zeros(count, dtype=torch.int64), format=rh.FLOAT32)


def _job(work: Workload, protection: Protection | None, faults: int) -> Callable[[], int]:
    guard = joined([protection], work) if protection is not None else None
    return neurons_struck(rh.record(work, guard), faults, 3)
