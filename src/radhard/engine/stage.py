"""Cut a program into the stages that compiled kernels run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.engine import entry, kernel, moving, pooling, tile
from radhard.engine.layerstage import LayerStage, finish_of, numbers_of, reach_of
from radhard.engine.maps import Maps, Plane, Read
from radhard.engine.moving import same
from radhard.engine.probe import probed
from radhard.engine.recompute import Recomputed
from radhard.engine.rounding import rounding_of
from radhard.engine.sparse import Boxes, Chain, Entrance, Stage, State
from radhard.engine.trace import Trace
from radhard.network.comparator import Comparator
from radhard.network.operation import (
    Elementwise,
    Geometry,
    Join,
    Pad,
    Reshape,
    Slice,
    Takes,
    Verb,
    Window,
    affine_of,
    operation_of,
)  # fmt: skip
from radhard.network.program import Ref

#: Images on which a stage must reproduce the golden run, at most.
_PROBED = 4


@dataclass(frozen=True, slots=True)
class Barrier:
    """A step that no kernel knows: runs that differ in what it reads leave before it."""

    first: int
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How compiled kernels pass a program, whatever the images.

    Attributes:
        stages: in run order.
        entrances: the layers, by step, at whose outputs runs can begin.
    """

    stages: tuple[Stage | Barrier, ...]
    entrances: Mapping[int, Entrance]


def planned(trace: Trace) -> Plan:
    """The stages of a program, each checked against the golden run bit for bit."""
    program = trace.workload.program
    planner = _Planner(trace, Maps(trace), program.users())
    found: list[Stage | Barrier] = []
    entrances: dict[int, Entrance] = {}
    position = 0
    for index in range(1, len(program.steps)):
        sources = [s for s in program.steps[index].inputs if program.rows[s] is not None]
        if program.rows[index] is None or index <= position or not sources:
            continue
        stage, entrance = planner.checked(index)
        if stage is None:
            found = _with_barrier(trace, found, Barrier(index, tuple(sources)))
        else:
            found.append(stage)
        if entrance is not None:
            entrances[index] = entrance
        position = stage.end if stage is not None else index
    kept = {stage.first for stage in found if isinstance(stage, Stage)}
    return Plan(tuple(found), {step: one for step, one in entrances.items() if step in kept})


def _with_barrier(
    trace: Trace, found: list[Stage | Barrier], barrier: Barrier
) -> list[Stage | Barrier]:
    """Runs leave where the golden values of all that they carry are stored, or earlier.

    Where the barrier takes the place of what stood before it, it reads what that read, and of what
    it read itself all that is there by then. Before the first stage there are no runs to leave.
    """
    while found and not set(trace.live_after(barrier.first - 1)) <= trace.values.keys():
        last = found.pop()
        still = (step for step in barrier.sources if step < last.first)
        barrier = Barrier(last.first, tuple(dict.fromkeys((*last.sources, *still))))
    return [*found, barrier] if found else []


@dataclass(frozen=True, slots=True)
class _Planner:
    trace: Trace
    maps: Maps
    users: tuple[tuple[int, ...], ...]

    def checked(self, index: int) -> tuple[Stage | None, Entrance | None]:
        """The stage that begins with step ``index``, and how runs enter it, where there are any."""
        images = min(_PROBED, len(self.trace.logits))
        for fused in (True, False):
            if index in self.trace.workload.numbers:
                entrance = self._layer(index, fused)
                if entrance is None:
                    return None, None
                parts = (entrance.stage, entrance.alone, entrance.chain)
                if any(part.mismatches(self.maps, images) for part in parts):
                    continue
                return (
                    (entrance.stage, entrance)
                    if probed(self.trace, index, entrance)
                    else (None, None)
                )
            stage = self._made(index, fused)
            if stage is None or not stage.mismatches(self.maps, images):
                return stage, None
        return None, None

    def _made(self, index: int, fused: bool) -> Stage | None:
        done = operation_of(self.trace.workload.program.steps[index])
        if isinstance(done, Elementwise):
            return self._elementwise(index, fused) or self._by_torch(index)
        if isinstance(done, Window):
            return self._windows(index, done, fused)
        if isinstance(done, Pad):
            return moving.padded(self.maps, index, done)
        if isinstance(done, Slice):
            return moving.sliced(self.maps, index, done)
        if isinstance(done, Join):
            return moving.joined(self.maps, index, done)
        return moving.flattened(self.maps, index) if isinstance(done, Reshape) else None

    def _chain(
        self, first: int, begin: int, fused: bool
    ) -> Iterator[tuple[int, int | None, Chain]]:
        """The chains of elementwise steps behind step ``begin``: last step, what is added, chain.

        Only what ``first``, where the stage begins, already finds computed can be added.
        """
        program = self.trace.workload.program
        step, added, chain = begin, None, Chain()
        yield step, added, chain
        while len(self.users[step]) == 1 and step not in {program.output, *self.trace.watched}:
            after = self.users[step][0]
            if any(program.rows[k] is not None for k in range(step + 1, after)):
                return
            link = self._link(after, step, fused)
            if link is None or (link[0] == tile.ADD and added is not None):
                return
            code, numbers, other = link
            if other is not None and (other >= first or self.maps.plane(other) is None):
                return
            step, added = after, other if other is not None else added
            chain = Chain((*chain.codes, code), (*chain.numbers, numbers))
            yield step, added, chain

    def _link(
        self, index: int, source: int, fused: bool
    ) -> tuple[int, NDArray[Any], int | None] | None:
        """Code and numbers of an elementwise step, and what else it reads."""
        step = self.trace.workload.program.steps[index]
        empty, done = np.zeros(0), operation_of(step)
        verb = done.verb if isinstance(done, Elementwise) else Verb.OTHER
        if isinstance(done, Elementwise) and verb is Verb.BETWEEN:
            ends, drops = np.array(done.numbers), isinstance(step.op, Comparator)
            if not drops and done.numbers == (0.0, np.inf):
                return tile.RELU, empty, None
            return tile.BETWEEN if drops else tile.CLAMP, ends, None
        if verb is Verb.NORMALISE:
            code = tile.AFFINE_FUSED if fused else tile.AFFINE
            slope, offset = affine_of(self.trace.workload.program.steps, index)
            return code, torch.cat([slope, offset]).numpy(), None
        if verb is Verb.ADD:
            others = [arg.step for arg in step.args if isinstance(arg, Ref) and arg.step != source]
            if len(step.inputs) == 2 and len(others) == 1 and self._alike(index, others[0]):
                return tile.ADD, empty, others[0]
        return None

    def _alike(self, step: int, other: int) -> bool:
        rows = self.trace.workload.program.rows
        one, two = rows[step], rows[other]
        return one is not None and two is not None and one.sizes == two.sizes

    def _longest(
        self, first: int, begin: int, fused: bool
    ) -> tuple[int, int | None, Chain, Plane] | None:
        """The longest chain behind ``begin`` whose result is stored."""
        for end, added, chain in reversed(list(self._chain(first, begin, fused))):
            result = self.maps.plane(end)
            if result is not None:
                return end, added, chain, result
        return None

    def _layer(self, index: int, fused: bool) -> Entrance | None:
        workload = self.trace.workload
        number = workload.numbers[index]
        layer, how, given = (
            workload.layers[number], workload.arithmetic[number], workload.parameters[number],
        )  # fmt: skip
        source, own = self.maps.plane(layer.operands[0]), self.maps.plane(index)
        operand = rounding_of(how.input, self.maps.real)
        plain = how.accumulator is None or how.accumulator == how.output
        dense = layer.kind != "conv"
        if (
            given is None or source is None or own is None or not layer.has_windows
            or (dense and (source[1:] != (1, 1) or layer.positions > 1))
        ):  # fmt: skip
            return None
        if not how.linear:
            alone = Recomputed.of(layer, how, given, source, own).stage()
            behind = _passing(index, index, (index, None), Chain(), own, self.maps.real)
            return Entrance(alone, alone, behind, None)
        if operand is None or not plain:
            return None
        found = self._longest(index, index, fused)
        sums = Read(index, not how.sums_are_outputs)
        kind = self.maps.values(sums, np.arange(1)).dtype
        finish = finish_of(layer, how, given, (kind, self.maps.real))
        if found is None or finish is None:
            return None
        parts = LayerStage(index, layer, source, own, sums, operand, finish)
        weights = parts.packed(given.weight, how.exact, kind)
        end, added, chain, result = found
        stage = parts.stage(weights, end, added, chain, result)
        alone = parts.stage(weights, index, None, Chain(), own)
        behind = _passing(index, end, (index, added), chain, result, parts.real)
        return Entrance(stage, alone, behind, parts.reweigh)

    def _elementwise(self, index: int, fused: bool) -> Stage | None:
        step = self.trace.workload.program.steps[index]
        source = step.args[0].step if step.args and isinstance(step.args[0], Ref) else None
        link = self._link(index, source, fused) if source is not None else None
        held = self.maps.plane(source) if source is not None else None
        if source is None or link is None or held is None:
            return None
        code, numbers, other = link
        options = [
            (end, other if other is not None else added, rest)
            for end, added, rest in self._chain(index, index, fused)
            if other is None or added is None  # one sum per stage
        ]
        for end, added, rest in reversed(options):
            result, side = (
                self.maps.plane(end),
                self.maps.plane(added) if added is not None else None,
            )
            if result is not None and result == held and (added is None or side):
                chain = Chain((code, *rest.codes), (numbers, *rest.numbers))
                return _passing(index, end, (source, added), chain, result, self.maps.real)
        return None

    def _by_torch(self, index: int) -> Stage | None:
        """An elementwise step that no kernel knows, on the entries alone."""
        step = self.trace.workload.program.steps[index]
        sources = [s for s in step.inputs if self.trace.workload.program.rows[s] is not None]
        held, result = self.maps.plane(sources[0]), self.maps.plane(index)
        if held is None or result is None or len(step.inputs) > 1 or held != result:
            return None

        def run(
            states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
        ) -> tuple[int, int]:
            (state,) = states
            clean = np.zeros_like(state.value)
            entry.golden_entries(state.arrays, image, golden[0], held[2], clean)
            before, after = (
                step.run({sources[0]: torch.from_numpy(part)}.__getitem__).numpy()
                for part in (clean, state.value)
            )
            used: tuple[int, int] = entry.select(state.arrays, after, before != after, room.arrays)
            return used

        reads = (Read(sources[0]), Read(index))
        return Stage(index, index, (sources[0],), result, reads, same, run, held[0])

    def _windows(self, index: int, done: Window, fused: bool) -> Stage | None:
        step, geometry = self.trace.workload.program.steps[index], done.geometry
        if done.takes is Takes.LARGEST:
            kind = pooling.LARGEST_NUMBER if isinstance(step.op, Comparator) else pooling.LARGEST
            return self._pool(index, geometry, kind, fused)
        padded = geometry.padding != (0, 0)
        return None if padded or not done.even else self._pool(index, geometry, pooling.MEAN, fused)

    def _pool(self, index: int, geometry: Geometry, kind: int, fused: bool) -> Stage | None:
        source = self.trace.workload.program.steps[index].args[0].step
        held, found = self.maps.plane(source), self._longest(index, index, fused)
        if held is None or found is None or found[1] is not None:
            return None
        end, _, chain, result = found
        sizes = (*held[1:], result[2])
        numbers, links = numbers_of(geometry), chain.arrays(held[0], self.maps.real)

        def run(
            states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
        ) -> tuple[int, int]:
            maps = (*golden, *sizes)
            given = (states[0].arrays, image, tiles, maps, numbers, kind, links, room.arrays)
            used: tuple[int, int] = pooling.pool(*given)
            return used

        reach, reads = reach_of(geometry, result), (Read(source), Read(end))
        return Stage(index, end, (source,), result, reads, reach, run, result[0])


def _passing(
    first: int, end: int, sources: tuple[int, int | None], chain: Chain, result: Plane, real: Any
) -> Stage:
    """A chain alone, on values of a type."""
    own, added = sources
    links = chain.arrays(result[0], real)

    def run(
        states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
    ) -> tuple[int, int]:
        read, other, maps = states[0].arrays, states[-1].arrays, (*golden, result[2])
        used: tuple[int, int] = kernel.pass_on(read, other, image, tiles, maps, links, room.arrays)
        return used

    read = tuple(source for source in sources if source is not None)
    reads = (Read(own), Read(own if added is None else added), Read(end))
    return Stage(first, end, read, result, reads, same, run, result[0])
