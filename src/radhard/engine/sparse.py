"""Follow runs as lists of the values that differ, by compiled kernels, on a CPU.

A program is cut into **stages**: an operation that moves values between places, with the
elementwise operations behind it. Each stage knows how to turn what its inputs differ by into what
its result differs by. Where an operation has no stage, runs go on with whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radhard.engine import tile
from radhard.engine.maps import Maps, Plane, Read

Boxes = NDArray[np.int64]

#: Entries for which room is made at once, at most; results are usually much smaller.
_ROOM_ENTRIES = 1 << 25


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What n runs differ by in one value; see `radhard.engine.kernel`."""

    boxes: Boxes
    base: NDArray[np.int64]
    start: NDArray[np.int64]
    channel: NDArray[np.int32]
    value: NDArray[Any]

    @classmethod
    def room(cls, runs: int, rows: int, entries: int, real: Any) -> State:
        """Arrays that are yet to be filled, for values of a type."""
        return cls(
            np.empty((runs, 4), np.int64),
            np.empty(runs, np.int64),
            np.empty(rows + runs, np.int64),
            np.empty(entries + 1, np.int32),
            np.empty(entries + 1, real),
        )

    @classmethod
    def nothing(cls, runs: int, real: Any) -> State:
        """No differences."""
        state = cls.room(runs, 0, 0, real)
        state.boxes[:], state.base[:], state.start[:] = 0, np.arange(runs), 0
        return state

    @classmethod
    def single(cls, place: Boxes, channel: Boxes, value: NDArray[Any]) -> State:
        """One wrong value per run: its row and column (n, 2), its channel, and the value."""
        return cls.column(place, np.ones(len(value), np.int64), channel, value)

    @classmethod
    def column(cls, place: Boxes, count: Boxes, channel: Boxes, value: NDArray[Any]) -> State:
        """Wrong values of ``count`` channels at one place per run, run by run."""
        n, entries = len(place), len(value)
        state = cls.room(n, n, entries, value.dtype)
        state.boxes[:, :2], state.boxes[:, 2:] = place, 1
        state.boxes[count == 0] = 0
        state.base[:] = 2 * np.arange(n)
        ends = np.concatenate([[0], np.cumsum(count)])
        state.start[:] = np.repeat(ends, 2)[1 : 2 * n + 1]
        state.channel[:entries], state.value[:entries] = channel, value
        return state

    @property
    def arrays(self) -> tuple[Any, ...]:
        """As kernels take them."""
        return self.boxes, self.base, self.start, self.channel, self.value

    @property
    def differs(self) -> NDArray[np.bool_]:
        """(n,) whether a run differs at all."""
        return self.boxes[:, 2] > 0

    def of(self, runs: NDArray[Any] | slice) -> State:
        """Some of the runs; entries are shared."""
        return replace(self, boxes=self.boxes[runs], base=self.base[runs])

    def trimmed(self, used: tuple[int, int]) -> State:
        """Without the room that was not used."""
        rows, entries = used
        return replace(self, start=self.start[:rows], channel=self.channel[: entries + 1],
                       value=self.value[: entries + 1])  # fmt: skip

    @classmethod
    def joined(cls, first: State, second: State) -> State:
        """The runs of two states, one after the other."""
        if not len(first.boxes):
            return second
        if not len(second.boxes):
            return first
        entries = len(first.channel)
        return cls(
            np.concatenate([first.boxes, second.boxes]),
            np.concatenate([first.base, second.base + len(first.start)]),
            np.concatenate([first.start, second.start + entries]),
            np.concatenate([first.channel, second.channel]),
            np.concatenate([first.value, second.value]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Elementwise operations in a row: codes of `radhard.engine.tile` and their numbers."""

    codes: tuple[int, ...] = ()
    numbers: tuple[NDArray[Any], ...] = ()

    @property
    def adds(self) -> bool:
        """Whether another value is added."""
        return tile.ADD in self.codes

    def arrays(self, channels: int, real: Any) -> tuple[Any, ...]:
        """As kernels take them, for values of a type."""
        table = np.zeros((len(self.codes), 2 * max(channels, 1)), real)
        for row, numbers in zip(table, self.numbers, strict=True):
            row[: len(numbers)] = numbers
        return np.array(self.codes, np.int64), table, self.adds


#: (states of what is read, images, boxes of results, room, golden values) to rows and entries used.
Run = Callable[
    [Sequence[State], NDArray[np.int64], Boxes, State, Sequence[NDArray[Any]]], tuple[int, int]
]
#: (output channels, input channels, taps and changes of wrong weights, images, room, golden maps)
#: to the same.
Reweigh = Callable[[tuple[Any, ...], NDArray[np.int64], State, Maps], tuple[int, int]]
Reach = Callable[[Boxes], Boxes]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Some steps that are passed at once, whatever the golden values.

    Attributes:
        first: the first step.
        end: the step whose value is the result.
        sources: the steps that are read; the boxes of all but the first are the results' own.
        plane: of the result.
        reads: golden values that ``run`` is given; the last one is the result, which no guard has
            seen yet.
        reach: from boxes of the first source (n, 4) to boxes of results.
        run: computes the results.
        channels: values per position of a box that ``reach`` gives, at most.
    """

    first: int
    end: int
    sources: tuple[int, ...]
    plane: Plane
    reads: tuple[Read, ...]
    reach: Reach
    run: Run
    channels: int

    def passed(self, maps: Maps, states: Mapping[int, State], image: NDArray[np.int64]) -> State:
        """What n runs differ by in the result, given their states by step."""
        nothing = State.nothing(len(image), maps.real)
        given = [states.get(step, nothing) for step in self.sources]
        tiles = self.reach(given[0].boxes)
        for other in given[1:]:
            tiles = united(tiles, other.boxes)
        return self.computed(maps, given, image, tiles)

    def computed(
        self, maps: Maps, given: Sequence[State], image: NDArray[np.int64], tiles: Boxes
    ) -> State:
        """The results in boxes ``tiles`` (n, 4)."""
        areas = tiles[:, 2] * tiles[:, 3]
        ends = np.cumsum(areas * self.channels)
        if len(image) > 1 and ends[-1] > _ROOM_ENTRIES:
            cut = int(np.clip(np.searchsorted(ends, ends[-1] // 2), 1, len(image) - 1))
            halves = [np.arange(cut), np.arange(cut, len(image))]
            parts = [
                self.computed(maps, [state.of(half) for state in given], image[half], tiles[half])
                for half in halves
            ]
            return State.joined(*parts)
        *others, result = self.reads or (None,)
        reads = [*others, result._replace(unwatched=True)] if result is not None else []
        golden = [maps.values(read, image) for read in reads if read is not None]
        area = int(areas.sum())
        room = State.room(len(image), area, area * self.channels, maps.real)
        return room.trimmed(self.run(given, image, tiles, room, golden))

    def mismatches(self, maps: Maps, images: int) -> int:
        """How many golden results are computed otherwise than they are stored, bit for bit."""
        image = np.arange(images)
        nothing = [State.nothing(images, maps.real)] * len(self.sources)
        tiles = np.tile(np.array((0, 0, *self.plane[1:]), np.int64), (images, 1))
        return len(self.computed(maps, nothing, image, tiles).value) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Entrance:
    """A layer at whose outputs runs can begin.

    Attributes:
        stage: the layer with the chain behind it.
        alone: the layer without the chain.
        chain: the chain without the layer.
        reweigh: outputs of the layer under wrong weights; ``None`` where they are computed anew.
    """

    stage: Stage
    alone: Stage
    chain: Stage
    reweigh: Reweigh | None


def united(one: Boxes, other: Boxes) -> Boxes:
    """The smallest boxes that hold two each; boxes of no height are empty."""
    if not other[:, 2].any():
        return one
    end_one, end_other = one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:]
    first = np.minimum(one[:, :2], other[:, :2])
    both = np.concatenate([first, np.maximum(end_one, end_other) - first], 1)
    both = np.where(one[:, 2:3] == 0, other, both)
    found: Boxes = np.where(other[:, 2:3] == 0, one, both)
    return found


@dataclass(slots=True, eq=False)
class Front:
    """Runs on their way: number of the corruption and image, (n,), and their states by step."""

    fault: NDArray[np.int64]
    image: NDArray[np.int64]
    states: dict[int, State] = field(default_factory=dict)

    def of(self, runs: NDArray[Any]) -> Front:
        """Some of the runs."""
        states = {step: state.of(runs) for step, state in self.states.items()}
        return Front(self.fault[runs], self.image[runs], states)

    def differing(self, steps: Sequence[int]) -> NDArray[np.bool_]:
        """(n,) which runs differ in one of ``steps``."""
        found = np.zeros(len(self.fault), bool)
        for step in steps:
            if step in self.states:
                found |= self.states[step].differs
        return found

    def with_more(self, other: Front) -> Front:
        """These runs and others."""
        n, m = len(self.fault), len(other.fault)
        real = next((s.value.dtype for s in (*self.states.values(), *other.states.values())), None)
        none, nothing = State.nothing(n, real), State.nothing(m, real)
        states = {
            step: State.joined(self.states.get(step, none), other.states.get(step, nothing))
            for step in self.states.keys() | other.states.keys()
        }
        fault = np.concatenate([self.fault, other.fault])
        return Front(fault, np.concatenate([self.image, other.image]), states)
