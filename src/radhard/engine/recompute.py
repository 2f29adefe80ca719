"""A layer whose sums are not linear in its operands: what a run touches is computed anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine import gather
from radhard.engine.layerstage import ONE_TO_ONE, numbers_of, reach_of
from radhard.engine.maps import Plane, Read
from radhard.engine.sparse import Boxes, Stage, State
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.sums import some

#: Operands that are gathered at once, about.
_GATHERED = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class Recomputed:
    """A layer with windows, at all positions that read a value that differs, in all channels.

    Sums of floats are added up in another order than in the golden run: there outputs are computed
    without a fault, too, and what comes out alike has not changed.

    Attributes:
        layer: the layer.
        how: its arithmetic.
        given: weights (m, fan-in), bias and scale (m,).
        source, own: the maps of its input and of its output.
    """

    layer: Layer
    how: Arithmetic
    given: Parameters
    source: Plane
    own: Plane

    @classmethod
    def of(
        cls, layer: Layer, how: Arithmetic, given: Parameters, source: Plane, own: Plane
    ) -> Recomputed:
        """From a layer's parameters as whole runs take them."""
        bias = given.bias.reshape(-1) if given.bias is not None else None
        scale = given.scale.reshape(-1) if given.scale.dim() else given.scale
        rows = layer.weight_rows(given.weight).contiguous()
        return cls(layer, how, Parameters(rows, bias, scale), source, own)

    def stage(self) -> Stage:
        """As a stage without a chain."""
        reads = Read(self.layer.operands[0]), Read(self.layer.step)
        geometry = self.layer.geometry or ONE_TO_ONE
        step, reach = self.layer.step, reach_of(geometry, self.own)
        sources = self.layer.operands[:1]
        return Stage(step, step, sources, self.own, reads, reach, self._run, self.own[0])

    def outputs(self, operands: Tensor, position: Tensor) -> Tensor:
        """Outputs (t, m) at some positions of operands (t, channels * taps)."""
        how, windows = self.how, operands.view(-1, self._groups, self.layer.fan_in)
        sums = how.sums(some(self.layer, how, position), how.operand(windows), self.given)
        return how.finished(sums, self.given).to(operands.dtype)

    def _run(
        self, states: Sequence[State], image: NDArray[np.int64], tiles: Boxes, room: State,
        golden: Sequence[NDArray[Any]],
    ) -> tuple[int, int]:  # fmt: skip
        used = (0, 0)
        for runs in self._parts(tiles):
            state, own, boxes = states[0].of(runs), image[runs], tiles[runs]
            marked = np.zeros(int((boxes[:, 2] * boxes[:, 3]).sum()), np.bool_)
            gather.reached(state.arrays, boxes, self._geometry, marked)
            value, free = self._touched(state, own, boxes, marked, golden[0])
            out = (room.boxes[runs], room.base[runs], *room.arrays[2:])
            given = (own, boxes, golden[1], self.own[2], marked, out, used)
            used = gather.settled(value, free, *given)
        return used

    def _touched(
        self, state: State, image: NDArray[np.int64], tiles: Boxes, marked: NDArray[np.bool_],
        golden: NDArray[Any],
    ) -> tuple[NDArray[Any], NDArray[Any]]:  # fmt: skip
        """Outputs at marked positions, (marked, m), and what they are without a fault."""
        fan, count = self.source[0] * self._taps, int(marked.sum())
        maps = (golden, *self.source[1:], self.own[2])
        found = []
        exact = self.how.exact
        for held in (state,) if exact else (state, State.nothing(len(image), golden.dtype)):
            operands, position = np.zeros((count, fan), golden.dtype), np.zeros(count, np.int64)
            given = (image, tiles, maps, self._geometry, marked, operands, position)
            gather.gathered(held.arrays, *given)
            place = torch.from_numpy(position)
            found.append(self.outputs(torch.from_numpy(operands), place).numpy())
        return found[0], found[0][:0] if exact else found[1]

    def _parts(self, tiles: Boxes) -> Iterator[slice]:
        """Runs that are taken together, so that their operands have room."""
        most = _GATHERED // (self.source[0] * self._taps)
        part = np.cumsum(tiles[:, 2] * tiles[:, 3]) // max(1, most)
        edges = np.flatnonzero(np.diff(part, prepend=-1))
        for start, end in zip(edges, [*edges[1:], len(tiles)], strict=True):
            yield slice(int(start), int(end))

    @property
    def _groups(self) -> int:
        return self.layer.bounds["groups"]

    @property
    def _taps(self) -> int:
        return self.layer.bounds["r"] * self.layer.bounds["s"]

    @property
    def _geometry(self) -> tuple[int, ...]:
        return numbers_of(self.layer.geometry or ONE_TO_ONE)
