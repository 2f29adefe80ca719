"""What guards make of runs that are followed as differences: they look at what differs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine import around, entry
from radhard.engine.guard import (
    BoundingGuard,
    Bounds,
    Window,
    WindowGuard,
    blocks,
    is_local,
)
from radhard.engine.maps import Maps, Read, plane_of
from radhard.engine.sparse import Front, State
from radhard.engine.trace import Trace
from radhard.network.workload import HOST

Flags = NDArray[np.bool_]
#: Values of windows that are held at once, about: they stay in the cache.
_WINDOWS = 1 << 19


def watchable(trace: Trace) -> bool:
    """Whether a guard can look at differences alone.

    What it makes of the golden outputs of layers themselves is where faults begin. Windows lie in
    maps as the guard sees them.
    """
    guard = trace.guard
    if guard is None or not is_local(guard):
        return False
    planes = {step: plane for step in guard.steps if (plane := Maps(trace).plane(step))}
    return trace.unwatched.keys().isdisjoint(trace.workload.numbers) and all(
        blocks(trace.workload, step) == (1, channels, height * width)
        for step, (channels, height, width) in planes.items()
        if _window(trace, step) is not None
    )


def watched(trace: Trace, step: int, front: Front, detected: Tensor) -> Front:
    """Runs after a local guard has looked at what they differ by in the value of a step."""
    if step not in trace.watched or not len(front.fault):
        return front
    window = _window(trace, step)
    if window is not None:
        state, alarm = _surrounded(trace, step, front, window)
        _note(trace, step, front, alarm, detected)
        return Front(front.fault, front.image, {**front.states, step: state})
    state, bounds = front.states[step], _bounds(trace, step)
    if bounds is None:
        alarm, clean, changed = _touched(trace, step, front)
    else:
        alarm, clean, changed = _bounded(trace, step, front, bounds)
    elsewhere = _golden_alarms(trace, step)[front.image] > clean
    _note(trace, step, front, alarm | elsewhere, detected)
    if changed is None:
        return front
    room = State.room(len(front.fault), len(state.start), len(state.value), state.value.dtype)
    left = room.trimmed(entry.select(state.arrays, *changed, room.arrays))
    return Front(front.fault, front.image, {**front.states, step: left})


def _note(trace: Trace, step: int, front: Front, alarm: Flags, detected: Tensor) -> None:
    """Note which runs raise an alarm at a step."""
    detected[torch.from_numpy(front.fault), trace.column(step)] = torch.from_numpy(alarm)


def _golden_alarms(trace: Trace, step: int) -> NDArray[np.int64]:
    """How many golden values of each image a guard takes for wrong that judges each by itself."""
    key = ("alarms", step)
    if key not in trace.maps:
        guard: Any = trace.guard
        found = np.zeros(len(trace.alarms), np.int64)
        values, raised = trace.unwatched.get(step, trace.values[step]), trace.alarms
        place = torch.arange(values.shape[1], device=values.device)
        for image in np.flatnonzero(raised[:, trace.column(step)].numpy()).tolist():
            found[image] = int(guard.touch(step, values[image], place)[1].sum())
        trace.maps[key] = found
    counts: NDArray[np.int64] = trace.maps[key]
    return counts


def _golden_windows(trace: Trace, step: int, window: _Windows) -> Flags:
    """Where a guard that looks at windows raises an alarm in golden maps, (images, positions)."""
    key = ("alarms", step)
    if key not in trace.maps:
        every = np.arange(len(trace.alarms))
        golden = Maps(trace).values(Read(step, unwatched=True), every)
        count, positions, channels = golden.shape
        found = np.zeros((count, positions), np.bool_)
        most = max(1, _WINDOWS // (len(window.reads) * channels))
        for image in np.flatnonzero(trace.alarms[:, trace.column(step)].numpy()).tolist():
            for first in range(0, positions, most):
                here = np.arange(first, min(first + most, positions))
                reads = (
                    golden[image][here] if window.along else golden[image][window.reads[:, here]]
                )
                values = reads[:, window.reads] if window.along else reads.swapaxes(0, 1)
                given = torch.from_numpy(np.ascontiguousarray(values)), torch.from_numpy(here)
                found[image, here] = window.judge(*given)[1].numpy()
        trace.maps[key] = found
    alarms: Flags = trace.maps[key]
    return alarms


#: Which runs raise an alarm, and how many golden values would where these differ; what entries
#: become and which differ, ``None`` where none changes.
_Looked = tuple[Flags, NDArray[np.int64], tuple[NDArray[Any], NDArray[np.bool_]] | None]


def _bounded(trace: Trace, step: int, front: Front, bounds: Bounds) -> _Looked:
    """By a guard that compares with bounds."""
    golden = Maps(trace).values(Read(step, unwatched=True), front.image)
    state, (_, height, columns) = front.states[step], plane_of(trace, step)
    corrects, ends = step in trace.unwatched, tuple(end.numpy() for end in bounds[:4])
    after, kept = np.empty_like(state.value), np.ones(len(state.value), np.bool_)
    alarm, clean = np.zeros(len(front.fault), np.bool_), np.zeros(len(front.fault), np.int64)
    maps = columns, height * columns
    given = (state.arrays, front.image, golden, maps, ends, (bounds.stays, corrects))
    outside = entry.bounded(*given, (after, kept, alarm, clean))
    return alarm, clean, ((after, kept) if corrects or (outside and not bounds.stays) else None)


def _touched(trace: Trace, step: int, front: Front) -> _Looked:
    """By any other guard."""
    guard: Any = trace.guard
    state, (_, height, columns) = front.states[step], plane_of(trace, step)
    run, place = np.full(len(state.value), -1), np.zeros(len(state.value), np.int64)
    entry.placed(state.arrays, columns, height * columns, run, place)
    values, where = torch.from_numpy(state.value), torch.from_numpy(place)
    after, alarming = guard.touch(step, values, where)
    raised = run[np.flatnonzero(alarming.numpy())]
    alarm, corrects = np.zeros(len(front.fault), np.bool_), step in trace.unwatched
    alarm[raised[raised >= 0]] = True
    golden = Maps(trace).values(Read(step, unwatched=True), front.image)
    clean = np.zeros_like(state.value)
    entry.golden_entries(state.arrays, front.image, golden, columns, clean)
    before, also = guard.touch(step, torch.from_numpy(clean), where)
    here = run[np.flatnonzero(also.numpy())]
    count = np.bincount(here[here >= 0], minlength=len(front.fault))
    if not corrects and (after is values or torch.equal(after, values)):
        return alarm, count, None  # and nothing differs less than before
    before = before if corrects else torch.from_numpy(clean)
    return alarm, count, (after.numpy(), (before != after).numpy())


def _bounds(trace: Trace, step: int) -> Bounds | None:
    """What a guard compares with at a step, as values are; ``None`` for other guards."""
    key = ("bounds", step)
    if key not in trace.maps:
        guard: Any = trace.guard
        found = guard.bounds(step) if isinstance(guard, BoundingGuard) else None
        if found is not None:
            real = trace.logits.dtype
            low, high, below, above = (
                end.detach().to(HOST, real).contiguous() for end in found[:4]
            )
            found = Bounds(low, high, below, above, found.stays)
        trace.maps[key] = found
    bounds: Bounds | None = trace.maps[key]
    return bounds


class _Windows(NamedTuple):
    """A `Window` for kernels: what is read, whether along channels, and which positions read."""

    reads: NDArray[np.uint32]
    along: bool
    readers: NDArray[np.int64]
    judge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, window: Window) -> _Windows:
        """Where windows lie along channels, positions read nothing of each other."""
        reads = np.ascontiguousarray(window.reads.T.numpy(), np.uint32)
        if window.axis == 1:
            return cls(reads, True, np.zeros((1, 0), np.int64), window.judge)
        width, count = reads.shape
        read, reader = reads.reshape(-1), np.tile(np.arange(count), width)
        often, order = np.bincount(read, minlength=count), np.argsort(read, kind="stable")
        readers = np.repeat(np.arange(count)[:, None], often.max(), 1)
        rank = np.arange(len(read)) - np.repeat(np.cumsum(often) - often, often)
        readers[read[order], rank] = reader[order]
        return cls(reads, False, readers, window.judge)


def _surrounded(
    trace: Trace, step: int, front: Front, window: _Windows
) -> tuple[State, NDArray[np.bool_]]:
    """By a guard that looks at windows: what runs differ by then, and which raise an alarm."""
    state, image, maps = front.states[step], front.image, Maps(trace)
    golden, clean = maps.values(Read(step, unwatched=True), image), maps.values(Read(step), image)
    (runs, columns), (_, positions, channels) = (len(image), plane_of(trace, step)[2]), golden.shape
    most = int((state.boxes[:, 2] * state.boxes[:, 3]).sum()) * max(1, window.readers.shape[1])
    places = np.empty(min(most, runs * positions) + 1, np.int64), np.empty(runs, np.int64)
    found, area = around.asked(state.arrays, columns, window.readers, positions, *places)
    left = State.room(runs, area, found * channels, state.value.dtype)
    alarm, used, given = np.zeros(runs, np.bool_), (0, 0), (image, golden, columns, window.reads)
    for first, last in _parts(places[1], _WINDOWS // (len(window.reads) * channels)):
        begin = places[1][first - 1] if first else 0
        these, here = (first, last), places[0][begin : places[1][last - 1]]
        values = np.empty((len(here), len(window.reads), channels), state.value.dtype)
        if window.along:
            around.beside(state.arrays, these, *given, values)
        else:
            around.around(state.arrays, these, *given, places, values)
        after, alarming = window.judge(torch.from_numpy(values), torch.from_numpy(here))
        raised = begin + np.flatnonzero(alarming.numpy())
        alarm[np.searchsorted(places[1], raised, "right")] = True
        begun, those = np.empty(len(here), np.int64), (these, image, clean, columns, places)
        used = around.resolved(*those, after.numpy(), begun, left.arrays, used)
    clean = _golden_windows(trace, step, window)
    if clean.any():  # what does not differ may raise an alarm, too
        here, end = places[0][: places[1][-1]], places[1]
        own = clean[np.repeat(image, np.diff(end, prepend=0)), here]
        among = np.diff(np.concatenate([[0], own.cumsum()])[end], prepend=0)
        alarm |= clean.sum(1)[image] > among
    return left.trimmed(used), alarm


def _parts(end: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Runs in a row that have at most so many positions together, or are one."""
    first = 0
    while first < len(end):
        begin = end[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(end, begin + most, "right")))
        yield first, last
        first = last


def _window(trace: Trace, step: int) -> _Windows | None:
    """What a guard reads at a step around each value; ``None`` where it reads that value alone."""
    key = ("window", step)
    if key not in trace.maps:
        guard, real = trace.guard, trace.logits.dtype
        found = guard.window(step, real) if isinstance(guard, WindowGuard) else None
        trace.maps[key] = None if found is None else _Windows.of(found)
    held: _Windows | None = trace.maps[key]
    return held
