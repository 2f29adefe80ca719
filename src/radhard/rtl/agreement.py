"""A network's faults by the fault model and by hardware: the same ones, run by run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from radhard.accel.chips import SOFTWARE
from radhard.accel.matrices import Matrices
from radhard.accel.systolic import Systolic
from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import collect
from radhard.campaign.pool import shared
from radhard.campaign.result import Result
from radhard.campaign.runs import tallied
from radhard.campaign.shard import shards_of
from radhard.engine.trace import record
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.rtl.compiled import built
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.hybrid import OnArray, array_of, compile_for, design_of
from radhard.rtl.inference import multiplied
from radhard.rtl.schedule import Integers, Operands
from radhard.sampling.tally import Tally

#: Faults that run before time is taken.
_WARM = 100


@dataclass(frozen=True, slots=True, eq=False)
class NetworkAgreement:
    """How the answers of the fault model, of hardware and of uniform faults compare.

    Attributes:
        model: by the fault model.
        rtl: of the same faults, by the emitted array.
        software: of faults of software that knows no chip.
        disagreements: faults whose logits or outcomes differ, in words.
        seconds_model, seconds_rtl: processor time per fault of a core, without what both need.
        seconds_whole: of one inference that runs whole on the simulated array; ``None`` where it
            was not measured.
    """

    model: Result
    rtl: Result
    software: Result
    disagreements: tuple[str, ...]
    seconds_model: float
    seconds_rtl: float
    seconds_whole: float | None


def network_agreement(
    campaign: Campaign,
    count: int,
    engine: OnArray | None = None,
    whole: bool = False,
    watch: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 1,
) -> NetworkAgreement:
    """Run the first faults of a campaign twice, and compare every logit.

    Args:
        campaign: on a `Systolic`, or a `ClockedArray`.
        count: of faults.
        engine: the hardware.
        whole: whether an inference is timed that runs whole on the simulated array.
        watch: told how many of how many are done.
        workers: processes that share the faults.

    Raises:
        ValueError: for a network or chip that the hardware does not run.
        RuntimeError: where the whole inference is not that of the network.
    """
    engine = engine or OnArray()
    by_rtl = campaign.with_(engine=engine)
    if engine.used == "verilator":  # so that compiling is not timed
        compile_for(campaign.network, campaign.chip)
    nothing, wrong, done = campaign.job(campaign.golden()).nothing, list[str](), 0
    tallies, taken = [nothing.tally, nothing.tally], [0.0, 0.0]
    parts = list(shards_of(count))
    crew = min(workers, len(parts))
    for (_, size), found in zip(
        parts, shared(partial(_runner, campaign, by_rtl), parts, crew), strict=True
    ):
        for side in range(2):
            tallies[side] += found.tallies[side]
            taken[side] += found.taken[side]
        wrong += found.wrong
        done += size
        watch(done, count)
    model, rtl = (replace(nothing, tally=tally) for tally in tallies)
    uniform = next(collect([replace(campaign, chip=SOFTWARE, name="")], count, workers=crew))
    long = _whole(campaign, engine) if whole else None
    return NetworkAgreement(
        model, replace(rtl, name=by_rtl.name, id=by_rtl.id), uniform, tuple(wrong),
        taken[0] / count, taken[1] / count, long,
    )  # fmt: skip


class _Part(NamedTuple):
    """Of some faults: what they add up to, seconds, of model and hardware, and what differs."""

    tallies: list[Tally]
    taken: list[float]
    wrong: list[str]


def _runner(campaign: Campaign, by_rtl: Campaign) -> Callable[[int, int], _Part]:
    """Runs the first faults of a shard twice."""
    golden, space = campaign.golden(), campaign.space()
    job = campaign.job(golden)
    campaign.strike.runs(space, golden, job.draw(0, _WARM))  # what is made but once

    def run(shard: int, count: int) -> _Part:
        faults = job.draw(shard, count)
        tallies, taken, found = [], [], []
        for one in (campaign, by_rtl):
            start = _seconds()
            found.append(one.strike.runs(space, golden, faults))
            taken.append(_seconds() - start)
            tallies.append(tallied(faults, found[-1][1], space, job.proofs))
        (run, told), (real, seen) = found
        apart = (run.logits != real.logits).flatten(1).any(1).numpy()
        for name, column in told.items():
            apart = apart | (column != seen[name])
        wrong = _lines(campaign, space, faults[np.flatnonzero(apart)])
        return _Part(tallies, taken, wrong)

    return run


def _seconds() -> float:
    """Processor time of this process and those that it has started."""
    return sum(os.times()[:4])


def _lines(campaign: Campaign, space: SiteSpace, faults: Faults) -> list[str]:
    """Faults in words: layer, tile, register, element, bit, edge and image."""
    chip, layers = campaign.chip, [layer.name for layer in campaign.network.layers]
    found = []
    for k in range(len(faults)):
        one, stratum = faults[k : k + 1], space.strata[faults.stratum[k]]
        number = layers.index(stratum.layer)
        if isinstance(chip, Systolic) and chip.replayed(space)[faults.stratum[k]]:
            at = chip.struck(campaign.network, space, one, number)[0]
        else:
            layer = campaign.network.layers[number]
            at = array_of(chip).places(stratum.component, layer, one.index)
        group, up, across, edge, row, col = (int(part[0]) for part in at)
        found.append(
            f"fault {faults.id[k]}, image {faults.image[k]}: {stratum.layer}, group {group}, tile "
            f"{up},{across}: {stratum.component}[{row},{col}].{stratum.bit}@{edge}"
        )
    return found


def _whole(campaign: Campaign, engine: OnArray) -> float:
    """Seconds of one inference, every tile of every layer on the simulated array."""
    work, chip = campaign.network, array_of(campaign.chip)

    def tiled(design: ArrayDesign, operands: Operands) -> Integers:
        runs = (
            Twin(design, operands).run() if engine.used == "twin" else built(design).run(operands)
        )
        return np.asarray(runs[0], np.int64)

    trace = record(work.with_(work.images[:1], work.labels[:1]))
    seconds = 0.0
    for number, layer in enumerate(work.layers):
        how, given = work.arithmetic[number], work.parameters[number]
        assert given is not None
        x = trace.golden(layer.operands[0], torch.tensor([0]))[0]
        matrices, start = Matrices.of(work, number, x), _seconds()
        design = design_of(chip, how)
        parts = [
            multiplied(design, a, w, tiled) for a, w in zip(matrices.a, matrices.w, strict=True)
        ]
        seconds += _seconds() - start
        sums, bias = np.stack(parts).swapaxes(1, 2).reshape(layer.channels, -1), how.bias(given)
        if bias is not None:
            sums = sums + bias.reshape(-1, 1).numpy().astype(np.int64)
        every = layer.output_element(*np.indices(sums.shape))
        if not np.array_equal(sums, matrices.sums[every]):
            raise RuntimeError(f"layer {layer.name}: the array's sums are not the network's")
    return seconds
