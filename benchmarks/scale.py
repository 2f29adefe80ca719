"""Faults per second by several processes, against one, and rows per second into the store.

Goal: at least 1.8 times with 2 workers. Each turn is a whole campaign into a store of its own: with
several workers the start of the processes is in it, and the rate without that is told apart. With
``--cluster ray`` the same as tasks of Ray: seconds until the first shard is there, and what a task
takes that does nothing.

    make bench ARGS="scale --json"
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import radhard as rh
from radhard.campaign.ask import Ask
from radhard.campaign.cluster import Cluster
from radhard.campaign.pool import cores
from radhard.campaign.prepare import prepare
from radhard.engine.memory import keep_freed_memory


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='scale ...'", description=__doc__)
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--chip", default="eyeriss")
    parser.add_argument("--faults", type=int, default=400_000)
    parser.add_argument("--workers", default=str(cores()), help="comma-separated")
    parser.add_argument("--cluster", help="ray, or ray://HOST:PORT; without the others")
    parser.add_argument("--json", action="store_true", help="one object, by number of workers")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    ask = Ask(model=asked.model, chip=asked.chip, format="fp16", sampler="importance")
    campaign = prepare(ask).campaign
    if asked.cluster is not None:
        by_ray = overhead(asked.cluster) | measure(campaign, asked.faults, cores(), asked.cluster)
        print(json.dumps(by_ray))
        return
    found = {1: measure(campaign, asked.faults, 1)}
    for workers in map(int, asked.workers.split(",")):
        if workers > 1:
            found[workers] = measure(campaign, asked.faults, workers)
    alone = found[1]["steady"]
    for one in found.values():
        one["vs_one"] = one["steady"] / alone
    if asked.json:
        print(json.dumps({str(workers): one for workers, one in found.items()}))
        return
    for workers, one in found.items():
        rates = f"{one['whole']:,.0f} faults/s, {one['steady']:,.0f} once they run"
        print(f"{workers} of {cores()} cores: {rates}, {one['vs_one']:.2f} times one")


def overhead(cluster: str, tasks: int = 500) -> dict[str, float]:
    """Of Ray: seconds until a first task is done that does nothing, and what others take."""
    start = time.perf_counter()
    with Cluster[float](nothing, cluster) as pool:
        pool.made((-1.0,), ())
        begun = time.perf_counter()
        every = [(float(number),) for number in range(tasks)]
        for number, task in enumerate(every):
            pool.made(task, every[number + 1 : number + 1 + pool.ahead])
    each = (time.perf_counter() - begun) / tasks
    return {"seconds_to_start": begun - start, "milliseconds_per_task": 1000 * each}


def nothing() -> Callable[[float], float]:
    """Makes what gives back what it gets."""
    return float


def measure(
    campaign: rh.Campaign, faults: int, workers: int, cluster: str | None = None
) -> dict[str, float]:
    """Faults per second of a campaign, as a whole and between its first and last quarter."""
    seen: list[tuple[float, int]] = []
    folder = Path(tempfile.mkdtemp(prefix="radhard-scale-"))
    try:
        start = time.perf_counter()
        told = rh.collect(
            [campaign], faults, folder, lambda step: seen.append((time.perf_counter(), step.done)),
            workers=workers, cluster=cluster,
        )  # fmt: skip
        next(told)
        whole = faults / (time.perf_counter() - start)
    finally:
        shutil.rmtree(folder)
    quarter = [one for one in seen if one[1] >= faults / 4]
    (begun, first), (ended, last) = quarter[0], seen[-1]
    return {"whole": whole, "steady": (last - first) / (ended - begun)}
