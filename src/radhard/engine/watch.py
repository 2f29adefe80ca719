"""What guards make of runs that are followed as differences: they look at what differs alone."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine import around, entry
from radhard.engine.guard import BoundingGuard, Bounds, Window, WindowGuard, blocks, is_local
from radhard.engine.maps import Maps, Read, plane_of
from radhard.engine.sparse import Front, State
from radhard.engine.trace import Trace
from radhard.network.workload import HOST

#: Windows that are held at once, about.
_WINDOWS = 1 << 20


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
        state, alarm = _surrounded(trace, step, front.states[step], front.image, window)
        detected[torch.from_numpy(front.fault[alarm])] = True
        return Front(front.fault, front.image, {**front.states, step: state})
    state, bounds = front.states[step], _bounds(trace, step)
    if bounds is None:
        alarm, changed = _touched(trace, step, front)
    else:
        alarm, changed = _bounded(trace, step, front, bounds)
    detected[torch.from_numpy(front.fault[alarm])] = True
    if changed is None:
        return front
    room = State.room(len(front.fault), len(state.start), len(state.value), state.value.dtype)
    left = room.trimmed(entry.select(state.arrays, *changed, room.arrays))
    return Front(front.fault, front.image, {**front.states, step: left})


#: Which runs raise an alarm; what entries become and which differ, ``None`` where none changes.
_Looked = tuple[NDArray[np.bool_], tuple[NDArray[Any], NDArray[np.bool_]] | None]


def _bounded(trace: Trace, step: int, front: Front, bounds: Bounds) -> _Looked:
    """By a guard that compares with bounds."""
    golden = Maps(trace).values(Read(step, unwatched=True), front.image)
    state, (_, height, columns) = front.states[step], plane_of(trace, step)
    corrects, ends = step in trace.unwatched, tuple(end.numpy() for end in bounds[:4])
    after, kept = np.empty_like(state.value), np.ones(len(state.value), np.bool_)
    alarm, maps = np.zeros(len(front.fault), np.bool_), (columns, height * columns)
    given = (state.arrays, front.image, golden, maps, ends, (bounds.stays, corrects))
    outside = entry.bounded(*given, (after, kept, alarm))
    return alarm, ((after, kept) if corrects or (outside and not bounds.stays) else None)


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
    if not corrects and (after is values or torch.equal(after, values)):
        return alarm, None  # and nothing differs less than before
    golden = Maps(trace).values(Read(step, unwatched=True), front.image)
    clean = np.zeros_like(state.value)
    entry.golden_entries(state.arrays, front.image, golden, columns, clean)
    before = torch.from_numpy(clean)
    before = guard.touch(step, before, where)[0] if corrects else before
    return alarm, (after.numpy(), (before != after).numpy())


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


#: For each place along an axis what it reads and who reads it; whether the axis is of channels.
_Reads = tuple[NDArray[np.int64], NDArray[np.int64], bool]


def _surrounded(
    trace: Trace, step: int, state: State, image: NDArray[np.int64], window: _Reads
) -> tuple[State, NDArray[np.bool_]]:
    """By a guard that looks at windows: what runs differ by then, and which raise an alarm."""
    runs, maps, real = len(image), Maps(trace), state.value.dtype
    most = int(around.entries(state.boxes, state.base, state.start)) * window[1].shape[1]
    if runs > 1 and most > _WINDOWS:
        parts = [
            _surrounded(trace, step, state.of(half), image[half], window)
            for half in (slice(runs // 2), slice(runs // 2, runs))
        ]
        (one, first), (other, second) = parts
        return State.joined(one, other), np.concatenate([first, second])
    golden, clean = maps.values(Read(step, unwatched=True), image), maps.values(Read(step), image)
    columns, room = (
        plane_of(trace, step)[2],
        around.Asked.room(runs, most, window[0].shape[1], real),
    )
    found, area = around.surrounding(state.arrays, image, (golden, clean, columns), window, room)
    asked, guard = room.trimmed(found), cast("WindowGuard", trace.guard)
    given = (torch.from_numpy(part) for part in (asked.values, asked.channel, asked.position))
    after, alarming = guard.judge(step, *given)
    alarm = np.zeros(runs, np.bool_)
    alarm[np.searchsorted(asked.end, np.flatnonzero(alarming.numpy()), "right")] = True
    left = State.room(runs, area, found, real)
    return left.trimmed(around.resolved(asked, after.numpy(), columns, left.arrays)), alarm


def _window(trace: Trace, step: int) -> _Reads | None:
    """What a guard reads at a step around each value; ``None`` where it reads that value alone."""
    key = ("window", step)
    if key not in trace.maps:
        guard = trace.guard
        found = guard.window(step) if isinstance(guard, WindowGuard) else None
        trace.maps[key] = None if found is None else _reads(found)
    held: _Reads | None = trace.maps[key]
    return held


def _reads(window: Window) -> _Reads:
    reads = window.reads.cpu().numpy()
    pairs = [np.unique(np.nonzero(reads == place)[0]) for place in range(len(reads))]
    readers = np.repeat(np.arange(len(reads))[:, None], max(map(len, pairs)), 1)
    for row, found in zip(readers, pairs, strict=True):
        row[: len(found)] = found
    return np.ascontiguousarray(reads, np.int64), readers, window.axis == 1
