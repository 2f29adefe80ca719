"""Take faulty runs through the stages of a program, many at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from radhard.engine import entry, gather
from radhard.engine.change import Change, altered, of_channels
from radhard.engine.maps import Maps, Read, plane_of
from radhard.engine.reweigh import struck_channels, tapped
from radhard.engine.sparse import Entrance, Front, Stage, State
from radhard.engine.stage import Barrier, Plan, planned
from radhard.engine.strike import held_inputs, under_padding
from radhard.engine.trace import Trace
from radhard.engine.watch import watchable, watched
from radhard.engine.whole import Pool
from radhard.faults.corruption import Corruption

#: The types of values that kernels know.
_REALS = (torch.float32, torch.float64)


def followed(trace: Trace) -> bool:
    """Whether compiled kernels can serve the runs of a trace, and its guard look at differences."""
    served = not trace.batched and trace.logits.dtype in _REALS and trace.finite
    return served and (trace.guard is None or watchable(trace))


def enterable(trace: Trace) -> Collection[int]:
    """The layers, by step, at whose ends runs can enter."""
    return _plan(trace).entrances.keys()


def _plan(trace: Trace) -> Plan:
    threads = torch.get_num_threads()  # what a library's kernels depend on
    key = ("plan", trace.rows, threads, trace.watched)
    return trace.workload.once(key, lambda: planned(trace))


def from_outputs(
    trace: Trace, number: int, fault: Tensor, image: Tensor, wrong: tuple[Tensor, Tensor, Tensor]
) -> Front:
    """Runs with one wrong output of a layer each: element, golden and faulty value, (n,)."""
    layer, (element, golden, faulty) = trace.workload.layers[number], wrong
    chosen = torch.nonzero(faulty != golden)[:, 0]
    channel, position = layer.output_place(element[chosen])
    columns = plane_of(trace, layer.step)[2]
    place = torch.stack([position // columns, position % columns], 1).numpy()
    state = State.single(place, channel.numpy(), faulty[chosen].to(trace.logits).numpy())
    return Front(fault[chosen].numpy(), image[chosen].numpy(), {layer.step: state})


def from_inputs(
    trace: Trace, number: int, fault: Tensor, corruption: Corruption
) -> tuple[Front, Change]:
    """Runs with one wrong input of a layer each, read within a box; and by what it changed."""
    how, inside = trace.workload.arithmetic[number].input, corruption.element >= 0
    change = altered(held_inputs(trace, number, corruption), corruption, how)
    if inside.all():
        return _from_elements(trace, number, fault, corruption, change.after), change
    here = torch.from_numpy(inside)
    front = _from_padding(trace, number, fault[~here], corruption[~inside])
    if inside.any():
        held = corruption[inside]
        more = _from_elements(trace, number, fault[here], held, change.after[here])
        front = front.with_more(more)
    return front, change


def _from_elements(
    trace: Trace, number: int, fault: Tensor, corruption: Corruption, wrong: Tensor
) -> Front:
    layer = trace.workload.layers[number]
    _, height, columns = plane_of(trace, layer.operands[0])
    channel, position = np.divmod(corruption.element, height * columns)
    place = np.stack([position // columns, position % columns], 1)
    state = State.single(place, channel, wrong.to(trace.logits).numpy())
    entrance = _plan(trace).entrances[layer.step]
    outputs = entrance.alone.passed(Maps(trace), {layer.operands[0]: state}, corruption.image)
    return _read_within(trace, number, fault, corruption, outputs)


def _from_padding(trace: Trace, number: int, fault: Tensor, corruption: Corruption) -> Front:
    """Runs with a wrong zero of padding each, which some channels of one output position read."""
    layer = trace.workload.layers[number]
    run, element, faulty = under_padding(trace, number, corruption)
    golden = trace.values[layer.step][torch.from_numpy(corruption.image)[run], element]
    wrong = torch.nonzero(faulty != golden)[:, 0]
    count = torch.bincount(run[wrong], minlength=len(fault)).numpy()
    columns = plane_of(trace, layer.step)[2]
    place = np.stack(np.divmod(corruption.positions[:, 0], columns), 1)
    channel = layer.output_place(element[wrong])[0].numpy()
    state = State.column(place, count, channel, faulty[wrong].to(trace.logits).numpy())
    return _alive(Front(fault.numpy(), corruption.image, {layer.step: state}))


def from_weights(
    trace: Trace, number: int, fault: Tensor, corruption: Corruption
) -> tuple[Front, Change]:
    """Runs with one wrong weight of a layer each, read within a box; and by what it changed."""
    workload, layer = trace.workload, trace.workload.layers[number]
    reweigh = _plan(trace).entrances[layer.step].reweigh
    if reweigh is None:
        return _from_weights_anew(trace, number, fault, corruption)
    element = torch.from_numpy(corruption.element)
    channel, tap = layer.weight_place(element)
    weight = layer.weight_rows(workload.weight(number))[channel, tap]
    how = replace(
        workload.arithmetic[number], weight=of_channels(workload.arithmetic[number].weight, channel)
    )
    change = altered(weight, corruption, how.weight)
    before, after = (
        how.integer_weight(part) if how.exact else part for part in (change.before, change.after)
    )
    moved = (after.to(torch.float64) - before.to(torch.float64)).numpy()
    wrong = (*tapped(layer, channel, tap), moved)
    _, height, columns = plane_of(trace, layer.step)
    area = len(corruption) * height * columns
    room = State.room(len(corruption), area, area, Maps(trace).real)
    used = reweigh(wrong, corruption.image, room, Maps(trace))
    return _read_within(trace, number, fault, corruption, room.trimmed(used)), change


def _from_weights_anew(
    trace: Trace, number: int, fault: Tensor, corruption: Corruption
) -> tuple[Front, Change]:
    """The same where outputs don't change by the change of the weight times the input."""
    channel, values, change = struck_channels(trace, number, corruption)
    step, maps = trace.workload.layers[number].step, Maps(trace)
    room = State.room(len(corruption), values.numel(), values.numel(), maps.real)
    golden, columns = maps.values(Read(step), corruption.image), plane_of(trace, step)[2]
    given = values.to(trace.logits).numpy(), channel.numpy(), corruption.image, golden, columns
    used = gather.column(*given, room.arrays)
    return _read_within(trace, number, fault, corruption, room.trimmed(used)), change


def _read_within(
    trace: Trace, number: int, fault: Tensor, corruption: Corruption, state: State
) -> Front:
    """Runs whose outputs differ, of those in the boxes of reads."""
    step = trace.workload.layers[number].step
    _, height, width = plane_of(trace, step)
    reads = np.column_stack([corruption.channels, corruption.positions, corruption.first])
    kept = np.zeros(len(state.value), np.bool_)
    entry.within(state.arrays, width, height * width, reads, kept)
    room = State.room(len(corruption), len(state.start), len(state.value), state.value.dtype)
    left = room.trimmed(entry.select(state.arrays, state.value, kept, room.arrays))
    return _alive(Front(fault.numpy(), corruption.image, {step: left}))


def passed(
    trace: Trace, begun: Mapping[int, list[Front]], logits: Tensor, detected: Tensor
) -> Iterator[Pool]:
    """Take runs through the program, each from the end of the layer (by step) where it begins.

    Args:
        trace: the golden run.
        begun: the runs.
        logits: (faults, classes), golden; overwritten where a run reaches the end.
        detected: (faults, watched steps) alarms of golden runs; set where the guard looks.

    Yields:
        Runs that must go on as whole tensors.
    """
    nobody = np.zeros(0, np.int64)
    front = Front(nobody, nobody)
    plan = _plan(trace)
    for stage in plan.stages:
        if isinstance(stage, Barrier):
            leaving = front.differing(stage.sources)
            if leaving.any():
                yield _whole(trace, front.of(np.flatnonzero(leaving)), stage.first - 1, detected)
                front = front.of(np.flatnonzero(~leaving))
            continue
        if len(front.fault):
            front = _advanced(trace, stage, front, detected)
        for new in begun.get(stage.first, []):
            entrance = plan.entrances[stage.first]
            front = front.with_more(_entered(trace, entrance, new, detected))
    output = trace.workload.program.output
    if len(front.fault):
        rows = logits[front.fault].numpy()
        entry.write(front.states[output].arrays, 1, 1, rows)
        logits[front.fault] = torch.from_numpy(rows)


def _entered(trace: Trace, entrance: Entrance, front: Front, detected: Tensor) -> Front:
    """Runs that begin at the end of a layer, taken through the chain behind it."""
    stage = entrance.stage
    begun = watched(trace, stage.first, front, detected)
    state = entrance.chain.passed(Maps(trace), begun.states, begun.image)
    found = Front(begun.fault, begun.image, {stage.end: state})
    behind = stage.end != stage.first
    return _alive(watched(trace, stage.end, found, detected) if behind else found)


def _advanced(trace: Trace, stage: Stage, front: Front, detected: Tensor) -> Front:
    if any(step in front.states for step in stage.sources):
        front.states[stage.end] = stage.passed(Maps(trace), front.states, front.image)
        front = watched(trace, stage.end, front, detected)
        last = trace.last_reader
        front.states = {s: held for s, held in front.states.items() if last[s] > stage.end}
        return _alive(front)
    return front


def _alive(front: Front) -> Front:
    left = front.differing(list(front.states))
    return front if left.all() else front.of(np.flatnonzero(left))


def _whole(trace: Trace, front: Front, position: int, detected: Tensor) -> Pool:
    """Runs with whole values of the steps that are read after ``position``."""
    image = torch.from_numpy(front.image)
    values = {step: trace.golden(step, image) for step in trace.live_after(position)}
    for step, rows in values.items():
        if step in front.states:
            _, height, width = plane_of(trace, step)
            entry.write(front.states[step].arrays, width, height * width, rows.numpy())
    fault = torch.from_numpy(front.fault)
    return Pool(position, fault, image, detected[fault], values)
