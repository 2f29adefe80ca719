"""A layer as the matrix products of an array, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from radhard.accel.edgewise import CUT, TABLE
from radhard.accel.sequencer import Elements, Numbers
from radhard.arith.array import Stationary
from radhard.arith.multiplier import WIDEST_TABLE
from radhard.faults.model import Integers
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.multiplied import Multiplied
from radhard.network.stepwise import Latched
from radhard.network.sums import whole
from radhard.network.terms import taps_of
from radhard.network.workload import Workload


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

    a: Numbers
    w: Numbers
    positions: Integers
    channels: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Matrices:
    """A layer as matrix products, for one image: of integers where these are exact, else of reals.

    Attributes:
        layer, how, given: the layer, its arithmetic and parameters.
        a: inputs of each group, (groups, positions, terms).
        w: its weights, (groups, terms, channels of a group).
        sums: as its arithmetic makes them, with the bias, (elements,).
    """

    layer: Layer
    how: Arithmetic
    given: Parameters
    a: Numbers
    w: Numbers
    sums: Numbers

    @classmethod
    def of(cls, work: Workload, number: int, x: Tensor) -> Matrices:
        """Of a layer with windows, by its number, and its inputs ``x`` (elements,), real values."""
        layer, how, given = work.layers[number], work.arithmetic[number], work.parameters[number]
        enters, leaves = (work.program.rows[step] for step in (layer.operands[0], layer.step))
        assert given is not None
        assert enters is not None
        assert leaves is not None
        kind = np.int64 if how.exact else np.float64
        held = np.append(_numbers(how.operand(x), kind), 0)  # the last is what padding reads
        a = held[taps_of(layer, x.device).numpy()].swapaxes(0, 1)
        rows = _numbers(layer.weight_rows(given.weight), kind)
        w = rows.reshape(len(a), -1, layer.fan_in).swapaxes(1, 2)
        sums = how.sums(whole(layer, how), how.operand(enters.join(x[None])), given)
        return cls(layer, how, given, a, w, _numbers(leaves.split(sums)[0], kind))

    @property
    def elements(self) -> Elements:
        """What processing elements make of operands.

        Raises:
            ValueError: for arithmetic of which no single product is known.
        """
        return elements_of(self.layer, self.how)

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

    def put(self, outputs: Tensor, tile: Tile, wrong: Numbers) -> None:
        """Into outputs (elements,) of the layer, what changes of a tile's sums make of them.

        Args:
            outputs: the golden ones, which are written over.
            tile: of it.
            wrong: what is added to its sums, (M, N).
        """
        inside = wrong[: tile.positions.size, : tile.channels.size]
        p, m = np.nonzero(inside)
        channel, position = tile.channels[m], tile.positions[p]
        element = self.layer.output_element(channel, position)
        sums = self.how.wrapped(torch.from_numpy(self.sums[element] + inside[p, m]))
        scale = self.given.scale.reshape(-1)
        scale = scale[torch.from_numpy(channel)] if len(scale) > 1 else scale
        own = Parameters(self.given.weight, None, scale)
        found = self.how.finished(sums.to(torch.float64), own)
        outputs[torch.from_numpy(element)] = found.to(outputs.dtype)


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


def streams(dataflow: Stationary, a: Numbers, w: Numbers) -> tuple[Numbers, Numbers]:
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


def elements_of(layer: Layer, how: Arithmetic) -> Elements:
    """What processing elements make of a layer's operands, as its arithmetic has them.

    Sums of formats that round are made in float64, and rounded when all tiles are added up.

    Raises:
        ValueError: for arithmetic of which no single product is known.
    """
    if how.own is not None and not how.own.linear:
        own = how.own
        if not (isinstance(own, Multiplied) and own.alike and own.multiplier.width <= WIDEST_TABLE):
            raise ValueError(
                f"layer {layer.name}: what single elements make of two operands is not known of "
                f"{own.name}: use --chip clocked:ROWSxCOLS:FLOW, an array without control"
            )
        return Elements(TABLE, False, *own.table(how))
    if how.each_step:
        return Elements(CUT, False, cut=Latched.of(layer, how).cut)
    return Elements(exactly=how.exact)


def _numbers(held: Tensor, kind: type[np.int64] | type[np.float64]) -> Numbers:
    found: Numbers = held.detach().cpu().numpy().astype(kind)
    return found


def _grown(matrix: Numbers, size: tuple[int, ...]) -> Numbers:
    """With zeros up to the size of a tile."""
    found = np.zeros(size, matrix.dtype)
    found[: matrix.shape[0], : matrix.shape[1]] = matrix
    return found
