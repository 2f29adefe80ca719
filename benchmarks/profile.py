"""Where the engine's time goes: share of cost per layer, and how many faults are alive there.

No goal of its own: it says what limits `benchmarks/engine.py`. FP32 neuron faults on one thread.
A fault is alive at a layer when the layer is run for it, by its differences alone or as a whole
tensor; "sparse" and "whole" are shares of all time, up to the next layer; the rest is strikes and
regrouping.
"""

from __future__ import annotations

import argparse
import bisect
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import radhard as rh
from benchmarks.engine import PLANS
from benchmarks.networks import network
from radhard.engine import passage, whole
from radhard.engine.memory import keep_freed_memory


def main(arguments: list[str]) -> None:
    """Print a table per network, or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='profile ...'", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object of rows")
    parser.add_argument("--networks", default="lenet5,resnet20,resnet18", help="comma-separated")
    parser.add_argument("--format", default="fp32", help="number format")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    found = {name: profile(name, asked.format) for name in asked.networks.split(",")}
    if asked.json:
        print(json.dumps(found))
        return
    for name, rows in found.items():
        print(f"\n{name}\n{'layer':26} {'alive':>7} {'as whole':>9} {'sparse':>7} {'whole':>7}")
        for row in rows:
            print("{:26} {:7.1%} {:9.1%} {:7.1%} {:7.1%}".format(*row.values()))


def profile(name: str, fmt: str) -> list[dict[str, Any]]:
    """One row per layer, and one for the rest."""
    model, shape = network(name)
    count, faults, _ = PLANS[name]
    images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(count, dtype=torch.int64)
    work = rh.capture(model, images, labels, format=rh.format_named(fmt))
    trace, space = rh.record(work), rh.software_space(work, ("activation",))
    drawn = rh.Uniform().draw(space, faults, np.random.default_rng(2))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, drawn)
    rh.resume(trace, corruption)  # warm up
    ends = [layer.step for layer in work.layers]
    seconds, alive = np.zeros((2, len(ends), 2))

    def timed(
        run: Callable[..., Any], kind: int, step_of: Callable[..., int], runs_of: Callable[..., int]
    ) -> Callable[..., Any]:
        def job(*given: Any) -> Any:
            start = time.perf_counter()
            result = run(*given)
            layer = bisect.bisect_right(ends, step_of(*given)) - 1
            seconds[layer, kind] += time.perf_counter() - start
            if ends[layer] == step_of(*given) and result is not None:
                alive[layer, kind] += runs_of(*given)
            return result

        return job

    sparse, advanced = passage._advanced, whole._advanced
    try:
        passage._advanced = timed(
            sparse, 0, lambda _, stage, __: stage.first, lambda _, __, front: len(front.fault)
        )
        whole._advanced = timed(
            advanced, 1, lambda _, __, end: end,
            lambda _, batch, end: len(batch.fault) * (batch.position < end),
        )  # fmt: skip
        start = time.perf_counter()
        rh.resume(trace, corruption)
        total = time.perf_counter() - start
    finally:
        passage._advanced, whole._advanced = sparse, advanced
    rows = [
        {
            "layer": layer.name,
            "alive": (alive[k, 0] + alive[k, 1]) / faults,
            "alive_whole": alive[k, 1] / faults,
            "sparse": seconds[k, 0] / total,
            "whole": seconds[k, 1] / total,
        }
        for k, layer in enumerate(work.layers)
    ]
    rest = 1 - seconds.sum() / total
    last = {"layer": "rest", "alive": 0.0, "alive_whole": 0.0, "sparse": rest, "whole": 0.0}
    return [*rows, last]
