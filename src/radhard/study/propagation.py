"""The error-propagation study: number formats x parts of a chip (Li et al., SC'17)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radhard.accel.chip import Chip
from radhard.campaign.ask import Ask
from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import collect
from radhard.campaign.follow import Propagation, follow_shard, followed_alike, trace_of
from radhard.campaign.job import Until
from radhard.campaign.pool import shared
from radhard.campaign.prepare import Prepared, prepare
from radhard.campaign.progress import Progress, Watcher
from radhard.campaign.result import Result
from radhard.campaign.sealed import digest, keep_arrays, reusable_arrays
from radhard.campaign.shard import shard_name, shards_of
from radhard.campaign.store import Folder
from radhard.engine.trace import Trace, record
from radhard.formats.catalogue import format_named
from radhard.metrics.fit import fit
from radhard.network.source import Subject, subject
from radhard.network.workload import HOST, Workload
from radhard.protect.hardening import HardenedLatches
from radhard.protect.ranges import RangeDetector
from radhard.stats.estimate import Estimate
from radhard.stats.interval import total, wilson
from radhard.study.latches import Latches

#: The number formats of the study.
FORMATS = ("fp64", "fp32", "fp16", "fixed32_26", "fixed32_10", "fixed16_10")
#: Training images on which the range detector learns, at most.
_LEARNING_IMAGES = 1000
#: Faults that are followed through the network: anywhere, and in the first layer.
_FOLLOWED, _FOLLOWED_FIRST = 10_000, 4000
#: Where areas are kept, by a hash of what they depend on.
_AREAS = "hardening.npz"


#: What local response normalisation averages squares over channels by.
_AVERAGE_OF_CHANNELS = torch.ops.aten.avg_pool3d.default


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One network in one format: what strikes do, and what the two remedies reach.

    Attributes:
        model, format: which.
        datapath: strikes on the latches of all processing elements.
        buffers: strikes on each memory, by its name.
        guarded: strikes on the whole chip, while a `RangeDetector` watches.
        spread: how faults in the latches spread.
        first: the same for faults in the first layer only.
        ranges: lowest and highest fault-free output of each layer, by name.
        normalised: places of ``spread`` between which the network normalises over channels.
        folder: of the datapath's campaign, where what takes long is kept.
    """

    model: str
    format: str
    datapath: Result
    buffers: Mapping[str, Result]
    guarded: Result
    spread: Propagation
    first: Propagation
    ranges: Mapping[str, tuple[float, float]]
    normalised: tuple[str, ...]
    folder: Folder

    @property
    def buffer_fit(self) -> Estimate:
        """Rate of SDC-1 of all memories together, in FIT."""
        return total([result.fit("sdc1") for result in self.buffers.values()])

    @property
    def datapath_fit(self) -> Estimate:
        """Rate of SDC-1 of all latches in FIT, over the faults that were followed."""
        hits = self.spread.outcomes["sdc1"]
        rate = self.datapath.space.rate_fit
        assert rate is not None
        return fit(wilson(int(hits.sum()), len(hits)), rate)

    @property
    def latches(self) -> Latches:
        """Faults and SDC-1 of each class of latches."""
        strata = self.spread.space.strata
        kinds = {
            kind: k for k, kind in enumerate(dict.fromkeys((s.component, s.bit) for s in strata))
        }
        number = np.array([kinds[s.component, s.bit] for s in strata])[self.spread.faults.stratum]
        n = np.bincount(number, minlength=len(kinds))
        hits = np.bincount(number[self.spread.outcomes["sdc1"]], minlength=len(kinds))
        return Latches(n, hits)

    @property
    def distances(self) -> Mapping[str, Estimate]:
        """Layer by layer, of faults that move one output of the first layer out of its range.

        None where there is no such fault.
        """
        low, high = next(iter(self.ranges.values()))
        # one output moved by more than the whole range lies outside it
        chosen = (self.first.distance[:, 0] > high - low) & (self.first.changed[:, 1] > 0)
        return self.first.distances(chosen) if chosen.any() else {}

    def hardening_area(self, target: float) -> Estimate:
        """Latch area to add, as a share, for ``target`` times fewer SDC-1 failures of the datapath.

        See `Latches.area`. It takes seconds, and is kept in the folder.
        """
        latches = self.latches
        goal, level = HardenedLatches(target=target), self.datapath.confidence
        name = digest([repr(goal), level, *latches.meaning()])
        path = self.folder.path / _AREAS
        kept = reusable_arrays(path) or {}
        if name not in kept:
            kept[name] = np.array(latches.area(goal, level))
            keep_arrays(path, kept)
        value, low, high = kept[name].tolist()
        return Estimate(value, low, high, level, int(latches.n.sum()), "posterior draws")


def study(
    chip: Chip,
    asks: Sequence[Ask],
    until: Until,
    store: str | Path,
    watch: Watcher | None = None,
    device: torch.device = HOST,
    workers: int = 1,
) -> Iterator[Finding]:
    """Run the study; what ``store`` holds already is not run again.

    Args:
        chip: with latches and memories.
        asks: one per network; their format and chip are not used.
        until: faults per format and part, or a `Precision`.
        store: folder of the results.
        watch: called after each shard, or with several workers after each network in a format.
        device: where faults run.
        workers: processes that share networks and formats; with 1 all is done in this one.

    Raises:
        ValueError: when a network can't be had, or the chip has no latches or no memories.
    """
    latches = [component for component in chip.components if component.kind == "latch"]
    memories = [component for component in chip.components if component.kind == "sram"]
    parts = [
        replace(chip, name=f"{chip.name}-{name}", components=tuple(components))
        for name, components in (
            ("datapath", latches),
            *((memory.name.replace(" ", "-"), [memory]) for memory in memories),
        )
    ]
    ready = [prepare(ask, device=device) for ask in asks]  # nothing has run when one can't be had
    counts = _FOLLOWED, _FOLLOWED_FIRST
    made = partial(_runner, chip, parts, asks, ready, until, store, counts)
    tasks = list(product(range(len(asks)), FORMATS))
    found = shared(partial(made, watch if workers == 1 else None), tasks, workers)
    for done, finding in enumerate(found, 1):
        if watch and workers > 1:
            title, known = "networks in formats", finding.datapath["sdc1"]
            watch(Progress(title, done, len(tasks), done, "sdc1", known, workers))
        yield finding


def _runner(
    chip: Chip,
    parts: Sequence[Chip],
    asks: Sequence[Ask],
    ready: Sequence[Prepared],
    until: Until,
    store: str | Path,
    counts: tuple[int, int],
    watch: Watcher | None,
) -> Callable[[int, str], Finding]:
    """Gives what is found of a network in a format."""

    @cache
    def read(number: int) -> Subject:
        """Training images, once for all formats."""
        ask, how = asks[number], asks[number].reading(_LEARNING_IMAGES)
        return subject(ask.model, ask.data, ask.weights, train=True, how=how)

    def run(number: int, name: str) -> Finding:
        ask, prepared = asks[number], ready[number]
        golden = prepared.campaign
        learning = read(number)
        own = learning.images[-_LEARNING_IMAGES:], learning.labels[-_LEARNING_IMAGES:]
        about: dict[str, Any] = {**ask.as_toml(), "data": prepared.data}
        work = golden.workload.with_(format=format_named(name))
        detector = RangeDetector().learned(work.with_(*own))
        title = f"{work.name}-{name}-{chip.name}-guarded"
        campaigns = [
            *(Campaign(work, part, seed=golden.seed) for part in parts),
            Campaign(work, chip, seed=golden.seed, protections=(detector,), name=title),
        ]
        datapath, *buffers, guarded = collect(campaigns, until, store, watch, about)
        latch, first = campaigns[0], work.layers[0].name
        folder = Folder(Path(store) / latch.name, latch.id)
        return Finding(
            work.name,
            name,
            datapath,
            {
                part.components[0].name: found
                for part, found in zip(parts[1:], buffers, strict=True)
            },
            guarded,
            _followed(latch, folder, "followed", counts[0], watch=watch),
            _followed(latch, folder, "followed-first", counts[1], first, watch),
            dict(zip((la.name for la in work.layers), record(work).ranges, strict=True)),
            _normalised(work),
            folder,
        )

    return run


def _followed(
    campaign: Campaign,
    folder: Folder,
    kind: str,
    count: int,
    layer: str | None = None,
    watch: Watcher | None = None,
) -> Propagation:
    """The first ``count`` faults, followed; those that the store has are not followed again."""
    campaign, space = followed_alike(campaign, count, layer)
    trace: Trace | None = None
    parts: list[Propagation] = []
    done = fresh = hits = 0
    for shard, wanted in shards_of(count):
        name = shard_name(shard, kind)
        kept = folder.reusable(name)
        if kept is not None and len(kept[0]) == wanted:
            parts.append(Propagation.of(space, *kept[:2]))
        else:
            start, trace = time.perf_counter(), trace or trace_of(campaign)
            parts.append(follow_shard(campaign, space, trace, shard, wanted))
            took, fresh = time.perf_counter() - start, fresh + wanted
            folder.keep(name, parts[-1].faults, parts[-1].columns(), took)
        done, hits = done + wanted, hits + int(parts[-1].outcomes["sdc1"].sum())
        if watch:
            estimate = wilson(hits, done)
            watch(Progress(f"{campaign.name}, {kind}", done, count, fresh, "sdc1", estimate))
    return Propagation.joined(parts)


def _normalised(work: Workload) -> tuple[str, ...]:
    """The layers whose input has passed a local response normalisation (pow of a mean)."""
    found, last = [], 0
    for layer in work.layers:
        between = work.program.steps[last + 1 : layer.step]
        if any(step.op is _AVERAGE_OF_CHANNELS for step in between):
            found.append(layer.name)
        last = layer.step
    return tuple(found)
