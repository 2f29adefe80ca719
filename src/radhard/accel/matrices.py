"""A layer of integers as the matrix products of an array, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from radhard.arith.array import Stationary
from radhard.faults.model import Integers
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.terms import taps_of


class Array(Protocol):
    """What tiles are cut for."""

    @property
    def rows(self) -> int:
        """Processing elements, from above."""
        ...

    @property
    def cols(self) -> int:
        """From the left."""
        ...

    @property
    def dataflow(self) -> Stationary:
        """What stays."""
        ...


class Tile(NamedTuple):
    """What an array multiplies at once: A [M, K] by W [K, N], filled up with zeros.

    Attributes:
        a, w: the matrices.
        positions, channels: of the layer, those of its rows and columns that are not filling.
    """

    a: Integers
    w: Integers
    positions: Integers
    channels: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Matrices:
    """A layer of integers as matrix products, for one image.

    Attributes:
        how, given: its arithmetic and parameters.
        a: inputs of each group, (groups, positions, terms).
        w: its weights, (groups, terms, channels of a group).
        bias: as it is added to sums, (channels of the layer or 1, 1).
        sums: with the bias, (channels of the layer, positions).
    """

    how: Arithmetic
    given: Parameters
    a: Integers
    w: Integers
    bias: Integers
    sums: Integers

    @classmethod
    def of(cls, layer: Layer, how: Arithmetic, given: Parameters, x: Tensor) -> Matrices:
        """Of a layer with windows, and its inputs ``x`` (elements,) as real values."""
        held = np.append(_integers(how.operand(x)), 0)  # the last is what padding reads
        a = held[taps_of(layer, x.device).numpy()].swapaxes(0, 1)
        rows = _integers(layer.weight_rows(given.weight))
        w = rows.reshape(len(a), -1, layer.fan_in).swapaxes(1, 2)
        sums = (a.astype(np.float64) @ w).swapaxes(1, 2).reshape(layer.channels, -1)
        added = how.bias(given)
        bias = np.zeros((1, 1), np.int64) if added is None else _integers(added.reshape(-1, 1))
        return cls(how, given, a, w, bias, sums.astype(np.int64) + bias)

    def tile(self, array: Array, group: int, up: int, across: int) -> Tile:
        """One of a group, by its place along rows and columns of the array."""
        a, w = self.a[group], self.w[group]
        rows = slice(up * array.rows, (up + 1) * array.rows)
        cols = slice(across * array.cols, (across + 1) * array.cols)
        every = slice(None)
        p, q, m = {
            "ws": (every, rows, cols), "is": (cols, rows, every), "os": (rows, every, cols),
        }[array.dataflow]  # fmt: skip
        free = {"ws": a.shape[0], "os": a.shape[1], "is": w.shape[1]}[array.dataflow]
        size = sizes(array, free)
        positions, channels = np.arange(len(a))[p], np.arange(w.shape[1])[m] + group * w.shape[1]
        return Tile(_grown(a[p, q], size[:2]), _grown(w[q, m], size[1:]), positions, channels)

    def before(self, array: Array, group: int, up: int, across: int) -> Tile:
        """The tile that runs before one: its neighbour along columns, then rows, then groups.

        Zeros, before the first.
        """
        ups, lanes = self._tiles(array)
        number = (group * ups + up) * lanes + across - 1
        if number < 0:
            first = self.tile(array, 0, 0, 0)
            return Tile(0 * first.a, 0 * first.w, first.positions, first.channels)
        group, place = divmod(number, ups * lanes)
        return self.tile(array, group, *divmod(place, lanes))

    def _tiles(self, array: Array) -> tuple[int, int]:
        (_, p, q), m = self.a.shape, self.w.shape[2]
        up, across = {"ws": (q, m), "is": (q, p), "os": (p, m)}[array.dataflow]
        return -(-up // array.rows), -(-across // array.cols)

    def finished(self, sums: Integers, channel: Integers) -> Tensor:
        """Outputs (k,) from sums of these channels."""
        scale = self.given.scale.reshape(-1)
        scale = scale[torch.from_numpy(channel)] if len(scale) > 1 else scale
        own = Parameters(self.given.weight, None, scale)
        return self.how.finished(torch.from_numpy(sums).to(torch.float64), own)

    def put(self, outputs: Tensor, layer: Layer, tile: Tile, wrong: Integers) -> None:
        """Into outputs (elements,) of the layer, what changes of a tile's sums make of them.

        Args:
            outputs: the golden ones, which are written over.
            layer: whose.
            tile: of it.
            wrong: what is added to its sums, (M, N).
        """
        inside = wrong[: tile.positions.size, : tile.channels.size]
        p, m = np.nonzero(inside)
        channel, position = tile.channels[m], tile.positions[p]
        sums = wrapped(self.sums[channel, position] + inside[p, m], self.how.latch.width)
        element = torch.from_numpy(layer.output_element(channel, position))
        outputs[element] = self.finished(sums, channel).to(outputs.dtype)


def sizes(array: Array, free: int) -> tuple[int, int, int]:
    """M, K and N of a tile along whose free axis so many values stream.

    >>> from radhard.rtl.design import ArrayDesign
    >>> sizes(ArrayDesign(2, 3, dataflow="is"), 5)
    (3, 2, 5)
    """
    rows, cols = array.rows, array.cols
    return {"ws": (free, rows, cols), "os": (rows, free, cols), "is": (cols, rows, free)}[
        array.dataflow
    ]


def streams(dataflow: Stationary, a: Integers, w: Integers) -> tuple[Integers, Integers]:
    """What enters the rows of an array, (free, rows), and its columns, from A [M, K] and W [K, N].

    The second is (rows, cols) where it stays, and (free, cols) where sums do.
    """
    return {"ws": (a, w), "is": (w.T, a.T), "os": (a.T, w)}[dataflow]


def wrapped(value: Integers, width: int) -> Integers:
    """Integers modulo the range of so many bits, as registers hold them.

    >>> int(wrapped(np.int64(200), 8))
    -56
    """
    half = 1 << (width - 1)
    return np.asarray((value & (2 * half - 1) ^ half) - half, np.int64)


def check_multiplied(layer: Layer, how: Arithmetic, where: str) -> None:
    """Refuse arithmetic that no emitted array does.

    Raises:
        ValueError: unless it is of integers in two's complement that wrap, without a zero point.
    """
    affine = any(getattr(fmt, "affine", False) for fmt in (how.input, how.weight))
    if not how.wraps or how.own is not None or affine:
        raise ValueError(
            f"layer {layer.name} is computed in {how.input.name} by {how.weight.name}, which the "
            f"array of {where} does not multiply: use integers of two's complement without a zero "
            "point, such as --format int8"
        )


def _integers(held: Tensor) -> Integers:
    return np.asarray(held.detach().numpy(), np.int64)


def _grown(matrix: Integers, size: tuple[int, ...]) -> Integers:
    """With zeros up to the size of a tile."""
    found = np.zeros(size, np.int64)
    found[: matrix.shape[0], : matrix.shape[1]] = matrix
    return found
