"""The error-propagation study: number formats x parts of a chip (Li et al., SC'17)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radhard.accel.chip import Chip
from radhard.campaign.ask import Ask, prepare
from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import Until, Watcher, collect
from radhard.campaign.result import Result
from radhard.formats.catalogue import format_named
from radhard.protect.hardening import HardenedLatches
from radhard.stats.estimate import Estimate

#: The number formats of the study.
FORMATS = ("fp64", "fp32", "fp16", "fixed32_26", "fixed32_10", "fixed16_10")
#: Draws of the rates behind the interval of an area.
_DRAWS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One network in one format: what strikes on latches, and on each buffer, do.

    Attributes:
        model, format: which.
        datapath: of the latches of all processing elements.
        buffers: of the memories.
    """

    model: str
    format: str
    datapath: Result
    buffers: Result


def study(
    chip: Chip,
    asks: Sequence[Ask],
    until: Until,
    store: str | Path,
    watch: Watcher | None = None,
) -> Iterator[Finding]:
    """Run the study; what ``store`` holds already is not run again.

    Args:
        chip: with latches and memories.
        asks: one per network; their format and chip are not used.
        until: faults per format and part, or a `Precision`.
        store: folder of the results.
        watch: called after each shard.

    Raises:
        ValueError: when a network can't be had, or the chip has no latches or no memories.
    """
    parts = {
        part: replace(
            chip,
            name=f"{chip.name}-{part}",
            components=tuple(c for c in chip.components if (c.kind == "latch") == latches),
        )
        for part, latches in (("datapath", True), ("buffers", False))
    }
    for ask in asks:
        prepared = prepare(ask)
        golden = prepared.campaign
        about: dict[str, Any] = {"data": prepared.data}
        for name in FORMATS:
            work = golden.workload.with_(format=format_named(name))
            campaigns = [Campaign(work, part, seed=golden.seed) for part in parts.values()]
            found = list(collect(campaigns, until, store, watch, about))
            yield Finding(golden.workload.name, name, *found)


def hardening_area(datapath: Result, target: float) -> Estimate:
    """Latch area to add, as a share, for ``target`` times fewer SDC-1 failures of the datapath.

    Latches are told apart by kind and bit. The interval is that of the choice made anew for
    rates drawn from their Jeffreys posteriors.
    """
    parts = datapath.by(lambda s: (s.component, s.bit))
    n = np.array([part.n for part in parts])
    hits = np.array([round(part["sdc1"].value * part.n) if part.n else 0 for part in parts])
    rate = hits / np.maximum(n, 1)
    goal, count = HardenedLatches(target=target), np.ones(len(parts))
    rng = np.random.default_rng(0)
    drawn = rng.beta(hits + 0.5, n - hits + 0.5, (_DRAWS, len(parts)))
    areas = [goal.choose(count, rates).added_area for rates in drawn]
    tail = 50 * (1 - datapath.confidence)
    low, high = np.percentile(areas, [tail, 100 - tail])
    value = goal.choose(count, rate).added_area
    return Estimate(
        value, min(float(low), value), max(float(high), value), datapath.confidence, datapath.n,
        "posterior draws",
    )  # fmt: skip
