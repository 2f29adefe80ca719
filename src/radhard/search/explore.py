"""Quantisation by array by protection: accuracy, reliability and hardware of each design.

The automated exploration of Taheri et al. (ISQED'24, "DeepXcel"), with intervals: a network in
several widths, faults in its activations or in the registers of the array that runs it, protections
that the array can have, and what each design costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from radhard.campaign.pool import cores, ready
from radhard.campaign.progress import Watcher
from radhard.network.workload import Workload
from radhard.rtl.hardware import hardware_of
from radhard.search.explored import Explored
from radhard.search.plan import Plan
from radhard.search.point import Point

#: What makes the network of one of a plan's ``bits``, with test images and with others.
Quantised = Callable[[str], tuple[Workload, Workload]]
#: How often points are tried whose process was killed.
_TRIES = 3


def explore(
    plan: Plan,
    quantised: Quantised,
    store: Path,
    watch: Watcher | None = None,
    tell: Callable[[str], None] = lambda said: None,
    workers: int = 1,
) -> Iterator[Point]:
    """Evaluate the grid, design by design; what ``store`` holds is not run again.

    All protections of a network on an array meet the same faults. Results do not depend on
    ``workers``: each takes all protections of a network on an array. Where one is killed, what it
    was at is run again.

    Args:
        plan: the grid.
        quantised: makes the network of one of its ``bits``, with test images and with others, from
            which ranges are learned. For several workers it can be pickled.
        store: folder of campaigns and of what tools make.
        watch: called after each shard of a campaign, by a single worker.
        tell: what is being synthesised, or what is done.
        workers: processes; with one all is done in this one.

    Raises:
        ValueError: where a network can't be had or can't run on such an array, and nothing else has
            run then; or for fewer than 1 worker.
        RuntimeError: where processes are killed again and again.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers can't be: use 1 or more")
    ready = {bits: quantised(bits) for bits in plan.bits}
    for bits, name in product(plan.bits, plan.multipliers):
        Explored(plan, bits, name, *ready[bits])  # refuses what can't be
    parts = [
        _Part(plan, quantised, store, bits, name, size)
        for bits, name, size in product(plan.bits, plan.multipliers, plan.arrays)
    ]
    if workers == 1:
        made: dict[tuple[str, str], Explored] = {}
        for part in parts:
            key = part.bits, part.multiplier
            if key not in made:
                made[key] = Explored(plan, *key, *ready[part.bits])
            yield from part.points(made[key], watch, tell)
        return
    ready.clear()
    yield from _shared(parts, workers, tell)


@dataclass(frozen=True, slots=True)
class _Part:
    """All protections of a network on an array: what one process does at a time."""

    plan: Plan
    quantised: Quantised
    store: Path
    bits: str
    multiplier: str
    size: tuple[int, int]

    @property
    def name(self) -> str:
        rows, cols = self.size
        return f"{self.bits} bits on {rows}x{cols}, {self.multiplier}"

    def points(
        self, own: Explored, watch: Watcher | None, tell: Callable[[str], None]
    ) -> Iterator[Point]:
        found = own.results(self.size, self.store, watch)
        for protect in self.plan.protect:
            design = own.design(self.size, protect)
            hardware = hardware_of(design, self.store / "hardware", self.plan.seeds, tell)
            yield own.point(design, found, hardware)

    def run(self) -> list[Point]:
        """In a process of its own, which keeps the networks that it has made."""
        key = self.bits, self.multiplier
        if _HELD.get("key") != key:
            _HELD.update(key=key, own=Explored(self.plan, *key, *self.quantised(self.bits)))
        return list(self.points(_HELD["own"], None, lambda said: None))


#: What a worker has made last.
_HELD: dict[str, Any] = {}


def _shared(parts: Sequence[_Part], workers: int, tell: Callable[[str], None]) -> Iterator[Point]:
    """Points in the order of the parts, made by processes; lost ones are tried again."""
    found: dict[int, list[Point]] = {}
    given = 0
    for tries in range(_TRIES):
        left = [k for k in range(len(parts)) if k not in found]
        few = min(workers, len(left))
        pool_of = partial(ProcessPoolExecutor, few, get_context("spawn"))
        with pool_of(initializer=ready, initargs=(max(1, cores() // few),)) as pool:
            running: dict[int, Future[list[Point]]] = {k: pool.submit(parts[k].run) for k in left}
            try:
                for k in left:
                    found[k] = running[k].result()
                    tell(f"{len(found)} of {len(parts)}: {parts[k].name}")
                    while given in found:
                        yield from found[given]
                        given += 1
            except BrokenProcessPool:
                tell(f"a process was killed; what it was at is run again ({tries + 1})")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for k, future in running.items():
            if k not in found and not future.cancelled() and future.exception() is None:
                found[k] = future.result()
        while given in found:
            yield from found[given]
            given += 1
        if given == len(parts):
            return
    raise RuntimeError(
        f"processes were killed {_TRIES} times: there may be too little memory for {workers} "
        "workers; use fewer, what is done is kept"
    )
