"""A layer as compiled kernels run it: weights packed, formats as numbers, boxes of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine import kernel
from radhard.engine.maps import Maps, Plane, Read
from radhard.engine.rounding import Rounding, cut_of, rounding_of
from radhard.engine.sparse import Boxes, Chain, Reach, Stage, State
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.operation import Geometry

#: The geometry of a dense layer, which has one position.
ONE_TO_ONE = Geometry((1, 1), (1, 1), (0, 0))
#: What sums of 64 bits may change by without a look at whether they overflow.
_LARGEST_CHANGE = 2.0**60


@dataclass(frozen=True, slots=True, eq=False)
class LayerStage:
    """What the stages of one layer share."""

    step: int
    layer: Layer
    source: Plane
    own: Plane
    sums: Read
    operand: Rounding
    finish: tuple[Rounding, NDArray[Any]]

    @property
    def geometry(self) -> Geometry:
        """Of a dense layer, that of one position."""
        return self.layer.geometry or ONE_TO_ONE

    @property
    def real(self) -> np.dtype[Any]:
        """The type of values."""
        return self.operand.numbers.dtype

    def packed(self, weight: Tensor, exact: bool, sums: np.dtype[Any]) -> tuple[Any, ...]:
        """Weights (blocks, taps, input channels, lanes), as `kernel.convolve` takes them."""
        rows = self.layer.weight_rows(weight)
        groups, channels = self.layer.bounds["groups"], len(rows)
        own = channels // groups
        taps = rows.reshape(groups, own, self.source[0] // groups, -1)
        lanes = next((size for size in (16, 32) if own <= size), kernel.LANES)
        lanes = own if groups > 1 else lanes
        blocks = -(-own // lanes)
        whole = taps.new_zeros(groups, blocks * lanes, *taps.shape[2:])
        whole[:, :own] = taps
        turned = whole.view(groups, blocks, lanes, *taps.shape[2:]).permute(1, 4, 0, 3, 2)
        turned = turned.reshape(blocks, taps.shape[3], -1, lanes).contiguous()
        narrow = turned.numpy().astype(sums if sums == np.int64 else self.real)
        if not exact or narrow.dtype == np.float64:
            return narrow, np.zeros((0, 0, 0, 0), np.float64), np.inf
        limit = (_LARGEST_CHANGE if sums == np.int64 else 2**24) / max(
            float(weight.abs().max()), 1.0
        )
        return narrow, turned.to(torch.float64).numpy(), limit

    def stage(
        self, weights: tuple[Any, ...], end: int, added: int | None, chain: Chain, result: Plane
    ) -> Stage:
        """The layer with a chain behind it."""
        groups = self.layer.bounds["groups"]
        lanes = self.layer.channels if groups > 1 else weights[0].shape[3]
        read = Read(self.layer.operands[0])
        reads = (read, self.sums, Read(end if added is None else added), Read(end))
        columns = self.source[2], result[2]
        shape, finish = (self.source[0], lanes, groups), (self.finish[0].parts, self.finish[1])
        described = numbers_of(self.geometry), shape, self.operand.parts
        links, narrow = chain.arrays(result[0], self.real), weights[0]
        flat = narrow.reshape(-1) if narrow.dtype == np.int64 else None

        def run(
            states: Sequence[State], image: Any, tiles: Boxes, room: State, golden: Any
        ) -> tuple[int, int]:
            read, other, maps = states[0].arrays, states[-1].arrays, (*golden, *columns)
            given = (read, other, image, tiles, maps, described, (*weights, flat), finish, links)
            used: tuple[int, int] = kernel.convolve(*given, room.arrays)
            return used

        sources = tuple(s for s in (self.layer.operands[0], added) if s is not None)
        reach = reach_of(self.geometry, result)
        return Stage(self.step, end, sources, result, reads, reach, run, result[0])

    def reweigh(
        self, wrong: tuple[Any, ...], image: NDArray[np.int64], room: State, maps: Maps
    ) -> tuple[int, int]:
        """Outputs under wrong weights; see `radhard.engine.kernel.reweigh`."""
        reads = (Read(self.layer.operands[0]), self.sums, Read(self.step))
        golden = (*(maps.values(read, image) for read in reads), *self.source[1:], self.own[2])
        given = (wrong, image, golden, numbers_of(self.geometry), self.operand, self.finish)
        used: tuple[int, int] = kernel.reweigh(*given, room.arrays)
        return used


def numbers_of(geometry: Geometry) -> tuple[int, ...]:
    """Kernel, stride, padding and dilation, as kernels take them."""
    return (*geometry.kernel, *geometry.stride, *geometry.padding, *geometry.dilation)


def reach_of(geometry: Geometry, result: Plane) -> Reach:
    """The boxes of results that read boxes of operands, on the map."""

    def reach(boxes: Boxes) -> Boxes:
        found = np.zeros_like(boxes)
        for k in range(2):
            span = geometry.dilation[k] * (geometry.kernel[k] - 1)
            first = boxes[:, k] + geometry.padding[k] - span
            last = boxes[:, k] + boxes[:, k + 2] - 1 + geometry.padding[k]
            low = np.maximum(-(-first // geometry.stride[k]), 0)
            high = np.minimum(last // geometry.stride[k], result[k + 1] - 1)
            found[:, k], found[:, k + 2] = low, np.maximum(high - low + 1, 0)
        found[(boxes[:, 2] == 0) | (found[:, 2:] == 0).any(1)] = 0
        return found

    return reach


def finish_of(
    layer: Layer, how: Arithmetic, given: Parameters, kinds: tuple[np.dtype[Any], np.dtype[Any]]
) -> tuple[Rounding, NDArray[Any]] | None:
    """How sums become outputs, and what 1 of them is worth in each channel.

    Args:
        layer: the layer.
        how: its arithmetic.
        given: its parameters.
        kinds: the types of sums and of outputs.
    """
    kind, real = kinds
    whole = kind == np.int64
    unit = np.ones(layer.channels, np.float64 if whole or how.exact else kind)
    if how.exact:
        unit[:] = how.unit(given).to(torch.float64).reshape(-1).numpy()
    if whole:
        cut = cut_of(how.output, float(unit[0]))
        return (cut, unit) if cut is not None else None
    finish = rounding_of(how.output, real)
    if finish is None:
        return None
    return finish.on(np.float64 if how.exact else kind), unit
