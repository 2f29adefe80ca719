"""Faults per second by several processes, against one, and rows per second into the store.

Goal: at least 1.8 times with 2 workers. Each turn is a whole campaign into a store of its own: with
several workers the start of the processes is in it, and the rate without that is told apart. With
``--cluster ray`` the same as tasks of Ray: seconds until the first shard is there, and what a task
takes that does nothing.

With --rows, so many made-up rows are stored instead. Goal, for 10
million: the last tenth is stored as fast as the first, an estimate under 1 s, a page under 10 s.

    make bench ARGS="scale --json"
    make bench ARGS="scale --rows 10000000 --json"
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import radhard as rh
from radhard.campaign.ask import Ask
from radhard.campaign.cluster import Cluster
from radhard.campaign.collect import begin
from radhard.campaign.pool import cores
from radhard.campaign.prepare import prepare
from radhard.campaign.progress import Progress
from radhard.campaign.shard import span
from radhard.campaign.store import Folder
from radhard.campaign.union import held_in
from radhard.engine.memory import keep_freed_memory, peak_bytes
from radhard.faults.fault import Faults
from radhard.protect.protection import Flags


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='scale ...'", description=__doc__)
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--chip", default="eyeriss")
    parser.add_argument("--sampler", default="importance")
    parser.add_argument("--faults", type=int, default=400_000)
    parser.add_argument("--workers", default=str(cores()), help="comma-separated")
    parser.add_argument("--cluster", help="ray, or ray://HOST:PORT; without the others")
    parser.add_argument("--rows", type=int, help="of a store with made-up outcomes")
    parser.add_argument("--json", action="store_true", help="one object, by number of workers")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    ask = Ask(model=asked.model, chip=asked.chip, format="fp16", sampler=asked.sampler)
    campaign = prepare(ask).campaign
    if asked.cluster is not None:
        by_ray = overhead(asked.cluster) | measure(campaign, asked.faults, cores(), asked.cluster)
        print(json.dumps(by_ray))
        return
    if asked.rows:
        told = measure_store(campaign, asked.rows)
        lines = (f"{name}: {value:,.4g}" for name, value in told.items())
        print(json.dumps(told) if asked.json else "\n".join(lines))
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


def measure_store(campaign: rh.Campaign, rows: int) -> dict[str, float]:
    """Rows per second into a store, and seconds that its answers take."""
    place = Path(tempfile.mkdtemp(prefix="radhard-scale-"))
    try:
        folder = Folder(place / campaign.name, campaign.id)
        job = campaign.job(campaign.golden(), folder)
        begin(folder, campaign, job.nothing, {"budget": {"faults": rows}, "data": "made up"})
        draw, strike = _drawn(job.draw(_LIKE, span(_LIKE)[1])), partial(_made_up, campaign.metrics)
        made = replace(job, draw=draw, strike=strike)
        clock = _Clock()
        start = time.perf_counter()
        made.result(rows, clock)
        found = {"rows": rows, "rows_per_s": rows / (time.perf_counter() - start)}
        rates = clock.rates(rows)
        found |= {"first_tenth_per_s": rates[0], "last_tenth_per_s": rates[-1]}
        files = [path for path in folder.path.iterdir() if path.is_file()]
        found["files"] = len(files)
        found["bytes_per_row"] = sum(path.stat().st_size for path in files) / rows
        found["peak_mib_stored"] = peak_bytes() / 2**20
        for name, ask in {
            "estimate_s": lambda: Folder(folder.path).result()["sdc1"],
            "page_s": lambda: rh.report(place),
            "check_s": lambda: held_in(place),
            "again_s": lambda: next(rh.collect([campaign], rows, place)),
            "one_shard_more_s": lambda: next(rh.collect([campaign], rows + 2000, place)),
        }.items():
            start, busy = time.perf_counter(), time.process_time()
            ask()
            found[name] = time.perf_counter() - start
            found[f"{name}_cpu"] = time.process_time() - busy
        found["peak_mib"] = peak_bytes() / 2**20
    finally:
        shutil.rmtree(place)
    return found


#: The shard whose faults stand for those of all others, which are only numbered anew.
_LIKE = 6


def _drawn(like: Faults) -> Callable[[int, int], Faults]:
    """Draws made-up shards in next to no time."""

    def draw(shard: int, count: int) -> Faults:
        turned = np.roll(np.arange(len(like)), shard)[:count]
        return replace(like[turned], id=np.arange(count) + span(shard)[0])

    return draw


def _made_up(names: tuple[str, ...], faults: Faults) -> dict[str, Flags]:
    """One of a hundred faults has each outcome; which ones, their numbers tell."""
    return {name: (faults.id + 7 * k) % 100 == 0 for k, name in enumerate(names)}


class _Clock:
    """When so many faults were stored, in processor time: disks are waited for."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def __call__(self, step: Progress) -> None:
        self._seen.append((time.process_time(), step.done))

    def rates(self, rows: int) -> list[float]:
        """Rows per second of processor time, tenth by tenth."""
        ends = [
            min(self._seen, key=lambda one, goal=k * rows / 10: abs(one[1] - goal))
            for k in range(11)
        ]
        return [
            (after[1] - before[1]) / (after[0] - before[0])
            for before, after in itertools.pairwise(ends)
        ]


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
