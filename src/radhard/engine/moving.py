"""Stages of operations that put values elsewhere: margins, slices, flattening, joining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radhard.engine import entry
from radhard.engine.maps import Maps
from radhard.engine.sparse import Boxes, Stage, State
from radhard.network.operation import Join, Pad, Slice
from radhard.network.program import Ref


def same(boxes: Boxes) -> Boxes:
    """Where results lie in the boxes of what they are made of."""
    return boxes


def padded(maps: Maps, index: int, done: Pad) -> Stage | None:
    """Margins of a constant, or what is cut off where they are below 0."""
    axes = _axes(maps, index)
    margins = dict(zip(reversed(axes), done.margins, strict=False))
    if not done.constant or len(done.margins) > len(axes):
        return None
    return _moved(maps, index, {axis: -before for axis, (before, _) in margins.items()})


def sliced(maps: Maps, index: int, done: Slice) -> Stage | None:
    """Every so many places of one axis."""
    axes, source = _axes(maps, index), maps.trace.workload.program.steps[index].args[0].step
    rows = maps.trace.workload.program.rows[source]
    number = done.axis + len(axes) + 1 if done.axis < 0 else done.axis
    if rows is None or not 0 < number <= len(axes) or done.stride < 1:
        return None
    first = slice(done.start, done.stop).indices(rows.shape(1)[number])[0]
    axis = axes[number - 1]
    return _moved(maps, index, {axis: first}, {axis: done.stride})


def _axes(maps: Maps, index: int) -> str:
    """The axes of a map behind that of images: channels, rows and columns."""
    source = maps.trace.workload.program.steps[index].args[0].step
    rows = maps.trace.workload.program.rows[source]
    return {2: "c", 3: "cx", 4: "cyx"}.get(len(rows.sizes) if rows is not None else 0, "")


def _moved(
    maps: Maps, index: int, origin: Mapping[str, int], strides: Mapping[str, int] | None = None
) -> Stage | None:
    """Places from an origin on, by axis: before the first where it is below 0."""
    source = maps.trace.workload.program.steps[index].args[0].step
    held, result = maps.plane(source), maps.plane(index)
    if held is None or result is None or (strides or {}).get("c", 1) > 1:
        return None
    step = tuple((strides or {}).get(axis, 1) for axis in "yx")
    begin, first = tuple(origin.get(axis, 0) for axis in "yx"), origin.get("c", 0)
    extent, shift = result[1:], max(0, -first)
    channels = max(0, first), max(0, first) + result[0] - shift, shift

    def run(
        states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
    ) -> tuple[int, int]:
        given = states[0].arrays, step, begin, extent, channels, room.arrays
        used: tuple[int, int] = entry.move(*given)
        return used

    return Stage(index, index, (source,), result, (), same, run, held[0])


def flattened(maps: Maps, index: int) -> Stage | None:
    """A map as one position, whose channels are all its values."""
    source = maps.trace.workload.program.steps[index].args[0].step
    held, result = maps.plane(source), maps.plane(index)
    if held is None or result is None or result[1:] != (1, 1):
        return None
    columns, positions = held[2], held[1] * held[2]

    def run(
        states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
    ) -> tuple[int, int]:
        used: tuple[int, int] = entry.flatten(states[0].arrays, columns, positions, room.arrays)
        return used

    return Stage(index, index, (source,), result, (), same, run, held[0])


def joined(maps: Maps, index: int, done: Join) -> Stage | None:
    """Channels of several maps side by side."""
    step = maps.trace.workload.program.steps[index]
    sources = tuple(part.step for part in step.args[0] if isinstance(part, Ref))
    held, result = [maps.plane(source) for source in sources], maps.plane(index)
    rows = maps.trace.workload.program.rows[index]
    if rows is None or result is None or done.axis % len(rows.sizes) != 1:
        return None
    if len(sources) != len(step.args[0]):
        return None
    planes = [plane for plane in held if plane is not None]
    if len(planes) < len(held) or any(plane[1:] != result[1:] for plane in planes):
        return None
    shifts = np.cumsum([0, *(plane[0] for plane in planes)]).tolist()

    def run(
        states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
    ) -> tuple[int, int]:
        held = states[0]
        for state, shift in zip(states[1:], shifts[1:], strict=False):
            area = int((tiles[:, 2] * tiles[:, 3]).sum())
            entries = len(held.value) + len(state.value)
            more = State.room(len(image), area, entries, room.value.dtype)
            held = more.trimmed(entry.merge(held.arrays, state.arrays, shift, more.arrays))
        whole = (1, 1), (0, 0), result[1:], (0, result[0], 0)
        used: tuple[int, int] = entry.move(held.arrays, *whole, room.arrays)
        return used

    return Stage(index, index, sources, result, (), same, run, result[0])
