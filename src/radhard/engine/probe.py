"""Whether a stage of a layer is right where values differ: tried when it is planned.

Arithmetic of a user's own may say that its sums are linear and be wrong, or give other sums for
some of its outputs than for all of them. Golden values show neither.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine import entry, gather
from radhard.engine.maps import Maps, Plane, Read
from radhard.engine.reweigh import one_channel, tapped
from radhard.engine.sparse import Entrance, State
from radhard.engine.trace import Trace
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.sums import whole

#: Images whose inputs are changed, rows and columns of the box of changes, and wrong weights.
_IMAGES, _BOX, _WEIGHTS = 2, 4, 8


def probed(trace: Trace, step: int, entrance: Entrance) -> bool:
    """Whether a layer's arithmetic is what it says, and alike for some outputs and for all.

    Outputs under wrong inputs, and wrong weights, must be those of whole runs: exactly, where sums
    are integers, else to within the rounding of sums in any order. Warns where they are not.
    Arithmetic that is nobody's own is not tried here.
    """
    work, number = trace.workload, trace.workload.numbers[step]
    how = work.arithmetic[number]
    if how.plain:
        return True
    probe = _Probe.of(trace, number, entrance)
    if probe.inputs() and probe.weights():
        return True
    says = "is not linear, though it says so" if how.linear else "gives some outputs otherwise"
    warnings.warn(
        f"{work.name}: the arithmetic of layer {work.layers[number].name} {says}: outputs under "
        "wrong operands are not those of whole runs. That layer is run whole now, which is right "
        "but slower; radhard.testing.check_arithmetic says more",
        RuntimeWarning,
        stacklevel=8,
    )
    return False


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """A layer on a few images, by number."""

    trace: Trace
    entrance: Entrance
    number: int
    layer: Layer
    how: Arithmetic
    given: Parameters
    image: NDArray[np.int64]

    @classmethod
    def of(cls, trace: Trace, number: int, entrance: Entrance) -> _Probe:
        """Of a layer by number."""
        work, image = trace.workload, np.arange(min(_IMAGES, len(trace.logits)))
        given = work.parameters[number]
        assert given is not None
        return cls(trace, entrance, number, work.layers[number], work.arithmetic[number], given,
                   image)  # fmt: skip

    def inputs(self) -> bool:
        """Wrong in a box of all channels, in which values stand in another order."""
        source = self.layer.operands[0]
        before = self.trace.golden(source, torch.from_numpy(self.image))
        after = before.clone()
        box = after.view(len(after), *self._plane(source))[:, :, :_BOX, :_BOX]
        box.copy_(box.flip(1, 2, 3))
        state = {source: _differing(box.contiguous())}
        found = self.entrance.alone.passed(Maps(self.trace), state, self.image)
        return self._agrees(self._written(found, self.image), after, self.given)

    def weights(self) -> bool:
        """One wrong in each of some channels, where it has the value of another one."""
        layer, how = self.layer, self.how
        weight = self.trace.workload.weight(self.number)
        count, random = min(_WEIGHTS, layer.channels), torch.Generator().manual_seed(0)
        channel = torch.randperm(layer.channels, generator=random)[:count]
        term = torch.randint(layer.fan_in, (count,), generator=random)
        place = layer.weight_rows(torch.arange(weight.numel()).view_as(weight))[channel, term]
        after = weight.flatten().clone()
        after[place] = after.flip(0)[place]
        after = how.weight.round(after.view_as(weight))
        wrong = replace(self.given, weight=how.integer_weight(after) if how.exact else after)
        before, held = (
            layer.weight_rows(part)[channel, term].double()
            for part in (self.given.weight, wrong.weight)
        )
        image, golden = self.image[:1], self.trace.golden(layer.operands[0], torch.zeros(1).long())
        room = State.room(
            count, count * layer.positions, count * layer.positions, golden.numpy().dtype
        )
        maps, runs = Maps(self.trace), image.repeat(count)
        if self.entrance.reweigh is not None:
            moved = (*tapped(layer, channel, term), (held - before).numpy())
            used = self.entrance.reweigh(moved, runs, room, maps)
        else:
            rows = layer.weight_rows(after)[channel]
            own = one_channel(self.trace, self.number, golden.expand(count, -1), rows, channel)
            outputs = maps.values(Read(layer.step), image)
            columns = self._plane(layer.step)[2]
            given = (own.numpy(), channel.numpy(), runs, outputs, columns)
            used = gather.column(*given, room.arrays)
        rows = self._written(room.trimmed(used), runs)
        each = torch.arange(layer.positions)
        place, clean = layer.output_element(channel[:, None], each), self._written(None, image)
        clean[0, place] = rows.gather(1, place)
        return self._agrees(clean, golden, wrong)

    def _agrees(self, found: Tensor, inputs: Tensor, given: Parameters) -> bool:
        """Whether outputs (n, elements) are what whole runs make of inputs and parameters."""
        layer, how = self.layer, self.how
        layout = self.trace.workload.program.rows[layer.operands[0]]
        assert layout is not None
        sums = how.sums(whole(layer, how), how.operand(layout.join(inputs)), given)
        room: Tensor | float = 0.0
        if not how.exact:
            golden = self.trace.golden(
                layer.operands[0], torch.from_numpy(self.image[: len(found)])
            )
            sizes = how.operand(layout.join(inputs.abs() + golden.abs()))
            weights = given.weight.abs() + self.given.weight.abs()
            bias = given.bias.abs() if given.bias is not None else None
            unit = 2 * (layer.fan_in + 4) * torch.finfo(sums.dtype).eps
            room = unit * layer.product(sizes, weights, bias)
        ends = (how.finished(sums + side * room, given) for side in (-1, 1))
        low, high = (end.flatten(1).to(found.dtype) for end in ends)
        return bool(((low <= found) & (found <= high)).all())

    def _written(self, state: State | None, image: NDArray[np.int64]) -> Tensor:
        """Outputs (n, elements) of runs that differ by ``state`` from golden ones."""
        rows = self.trace.golden(self.layer.step, torch.from_numpy(image)).clone()
        if state is not None:
            _, height, width = self._plane(self.layer.step)
            entry.write(state.arrays, width, height * width, rows.numpy())
        return rows

    def _plane(self, step: int) -> Plane:
        plane = Maps(self.trace).plane(step)
        assert plane is not None
        return plane


def _differing(values: Tensor) -> State:
    """Runs that differ in all of a box at the top left, (n, c, h, w)."""
    n, c, h, w = values.shape
    state = State.room(n, n * h * w, values.numel(), values.numpy().dtype)
    state.boxes[:], state.base[:] = (0, 0, h, w), np.arange(n) * (h * w + 1)
    state.start[:] = (c * (np.arange(n)[:, None] * h * w + np.arange(h * w + 1))).reshape(-1)
    state.channel[:-1] = np.tile(np.arange(c), n * h * w)
    state.value[:-1] = values.permute(0, 2, 3, 1).reshape(-1).numpy()
    return state
