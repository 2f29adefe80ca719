"""Where faults are masked: on the way from a struck register to the answer, stage by stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.accel.readers import activated
from radhard.campaign.campaign import Campaign
from radhard.campaign.follow import followed_alike, trace_of
from radhard.campaign.sealed import keep_arrays, reusable_arrays
from radhard.campaign.shard import shards_of
from radhard.engine.guard import is_local
from radhard.engine.resume import resume
from radhard.engine.strike import by_operand, struck_sums
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace, Stratum
from radhard.formats.integer import IntegerFormat
from radhard.stats.estimate import Estimate, mixed
from radhard.stats.interval import wilson

#: What becomes of a fault, in the order of the way.
STAGES = ("unread", "vote", "product", "scaling", "rounding", "clamp", "later", "argmax", "answer")
_NUMBER = {name: k for k, name in enumerate(STAGES)}
#: Operands that are gathered at once, about.
_GATHERED = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Masking:
    """What became of n faults; the stages are those of Tonetto et al. (VTS'26), and more.

    ``unread``: nothing takes the struck value. ``product``: no sum differs, as where it is
    multiplied by 0. ``scaling``: sums differ, but not as real numbers. ``rounding``: not as codes.
    ``clamp``: the code's end, or a protection's bound at the outputs of layers, makes them alike.
    ``later``: in layers behind, and what lies between. ``argmax``: logits differ, the answer does
    not. ``answer``: it does. ``vote``: the bit is one of three.

    Attributes:
        space: the population that they are from.
        faults: drawn with their true probabilities.
        stage: at which each was masked, as a place among `STAGES`, (n,).
    """

    space: SiteSpace
    faults: Faults
    stage: Integers

    def shares(self, votes: Callable[[Stratum], bool] = lambda _: False) -> dict[str, Estimate]:
        """Probability of each stage, given that a fault strikes; intervals hold each for itself.

        Args:
            votes: of which strata the bits are kept three times.
        """
        voted = np.array([votes(stratum) for stratum in self.space.strata])[self.faults.stratum]
        stage = np.where(voted, _NUMBER["vote"], self.stage)
        n, tried = len(stage), self.space.tried
        found = {}
        for name, number in _NUMBER.items():
            share = wilson(int((stage == number).sum()), n)
            found[name] = mixed(share, tried, (1 - tried) * (name == "unread"))
        return found


def masking(campaign: Campaign, count: int = 1000, store: Path | None = None) -> Masking:
    """Run faults of a campaign and note at which stage each was masked, from their own values.

    Args:
        campaign: the question, about layers of integers; protections are those of guards of steps.
        count: faults.
        store: folder in which what was found is kept.

    Raises:
        ValueError: for fewer than 1 fault, or a network that does not compute with integers.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8)
    >>> found = masking(rh.Campaign(work, rh.chips.Software(("weight",))), 100)
    >>> round(sum(share.value for share in found.shares().values()), 9)
    1.0
    """
    for layer, how in zip(campaign.network.layers, campaign.network.arithmetic, strict=True):
        if not (how.exact and isinstance(how.output, IntegerFormat)) or how.each_step:
            raise ValueError(
                f"layer {layer.name} does not add up integers exactly: stages are told apart in "
                "networks of integers, as radhard.quantise makes them"
            )
    asked, space = followed_alike(campaign, count, None)
    path = None if store is None else store / f"{asked.id[:16]}-{count}-masked.npz"
    kept = None if path is None else reusable_arrays(path)
    parts = [asked.draw(space, *part) for part in shards_of(count)]
    faults = Faults.joined(parts)
    if kept is None:
        trace = trace_of(asked)
        stages = [_stages(asked, space, trace, part) for part in parts]
        kept = {"stage": np.concatenate(stages)}
        if path is not None:
            keep_arrays(path, kept)
    return Masking(space, faults, kept["stage"].astype(np.int64))


def _stages(campaign: Campaign, space: SiteSpace, trace: Trace, faults: Faults) -> Integers:
    work = campaign.network
    corruption = campaign.chip.corrupt(work, space, faults)
    run = resume(trace, corruption)
    alike = ((run.logits == run.golden) | (run.logits.isnan() & run.golden.isnan())).flatten(1)
    wrong = work.task.differ(run.logits, run.golden).cpu().numpy()
    found = np.where(wrong, _NUMBER["answer"], _NUMBER["argmax"])
    found[alike.all(1).cpu().numpy()] = _NUMBER["later"]
    for number, operand, chosen in by_operand(corruption):
        if operand == "output":
            continue
        masked = _within(trace, number, corruption[chosen])
        found[chosen] = np.where(masked < _NUMBER["later"], masked, found[chosen])
    found[~activated(work, corruption)] = _NUMBER["unread"]
    return found


def _within(trace: Trace, number: int, corruption: Corruption) -> NDArray[np.int64]:
    """At which stage within the struck layer each is masked; `later` where not there, (n,)."""
    layer, n = trace.workload.layers[number], len(corruption)
    found = np.full(n, _NUMBER["product"])
    run, m, p = _touched(trace, number, corruption)
    element = layer.output_element(*(torch.from_numpy(part) for part in (m, p)))
    parts = max(1, _GATHERED // layer.fan_in)
    for start in range(0, len(run), parts):
        part = slice(start, start + parts)
        each = replace(
            corruption[run[part]],
            channels=np.stack([m[part], m[part] + 1], 1),
            positions=np.stack([p[part], p[part] + 1], 1),
            first=np.zeros(len(run[part]), np.int64),
        )
        stage = _of_each(trace, number, each, element[part])
        np.maximum.at(found, run[part], stage)
    return found


def _touched(
    trace: Trace, number: int, corruption: Corruption
) -> tuple[Integers, Integers, Integers]:
    """The outputs that can differ: which corruption, channel and position, (k,) each."""
    layer = trace.workload.layers[number]
    if str(corruption.operand[0]) in {"psum", "product"}:
        place = layer.output_place(torch.from_numpy(corruption.element))
        return np.arange(len(corruption)), place[0].numpy(), place[1].numpy()
    found: list[tuple[Integers, ...]] = []
    weights = str(corruption.operand[0]) == "weight"
    for k in range(len(corruption)):
        first, end = corruption.channels[k].clip(0, layer.channels)
        channel = np.arange(first, end)
        if weights:
            own = int(layer.weight_place(torch.from_numpy(corruption.element[k : k + 1]))[0])
            channel = channel[channel == own]
        first, end = corruption.positions[k].clip(0, layer.positions)
        m, p = (side.reshape(-1) for side in np.meshgrid(channel, np.arange(first, end)))
        late = m * layer.positions + p >= corruption.first[k]
        found.append((np.full(int(late.sum()), k), m[late], p[late]))
    run, m, p = (np.concatenate(part) for part in zip(*found, strict=True))
    return run, m, p


def _of_each(trace: Trace, number: int, each: Corruption, element: Tensor) -> NDArray[np.int64]:
    """At which stage single outputs become what they are without a fault, (k,)."""
    how = trace.workload.arithmetic[number]
    fmt: Any = how.output
    struck = struck_sums(trace, number, each, element)
    sums = struck.faulty, struck.free
    unit = how.unit(struck.given).to(torch.float64)
    real = [side.to(torch.float64) * unit for side in sums]
    steps = [(side / fmt.scales(unit)).round() for side in real]
    coded = [how.finished(side, struck.given) for side in sums]
    guard: Any = trace.guard
    step = trace.workload.layers[number].step
    if guard is not None and is_local(guard) and step in guard.steps:
        coded = [guard.touch(step, side.to(trace.logits.dtype), element)[0] for side in coded]
    found = np.full(len(element), _NUMBER["later"])
    for name, (one, other) in (
        ("clamp", coded), ("rounding", steps), ("scaling", real), ("product", sums),
    ):  # fmt: skip
        found[(one == other).cpu().numpy()] = _NUMBER[name]
    return found
