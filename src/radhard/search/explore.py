"""Quantisation by array by protection: accuracy, reliability and hardware of each design.

The automated exploration of Taheri et al. (ISQED'24, "DeepXcel"), with intervals: a network in
several widths, faults in its activations or in the registers of the array that runs it, protections
that the array can have, and what each design costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from radhard.campaign.pool import shared
from radhard.campaign.progress import Watcher
from radhard.network.workload import Workload
from radhard.rtl.hardware import hardware_of
from radhard.search.explored import Explored
from radhard.search.plan import Plan
from radhard.search.point import Point

#: What makes the network of one of a plan's ``bits``, with test images and with others.
Quantised = Callable[[str], tuple[Workload, Workload]]


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
    numbers = ((number,) for number in range(len(parts)))
    found = shared(partial(_runner, parts), numbers, min(workers, len(parts)))
    for done, (part, points) in enumerate(zip(parts, found, strict=True), 1):
        tell(f"{done} of {len(parts)}: {part.name}")
        yield from points


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


def _runner(parts: Sequence[_Part]) -> Callable[[int], list[Point]]:
    """Makes the points of a part; in a process, which keeps the networks that it has made."""
    held: dict[tuple[str, str], Explored] = {}

    def run(number: int) -> list[Point]:
        part = parts[number]
        key = part.bits, part.multiplier
        if key not in held:
            held.clear()
            held[key] = Explored(part.plan, *key, *part.quantised(part.bits))
        return list(part.points(held[key], None, lambda said: None))

    return run
