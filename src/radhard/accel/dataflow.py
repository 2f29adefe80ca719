"""Dataflows: where a value sits, from when until when, and who still reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.faults.corruption import Corruption, Operand, whole_box
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace
from radhard.network.layer import Layer
from radhard.network.workload import Workload


class Held(StrEnum):
    """What a component holds, and for how many uses."""

    weight_once = "weight-once"
    input_once = "input-once"
    product = "product"
    window_sum = "window-sum"
    sum_before = "sum-before"
    sum_after = "sum-after"
    inputs_of_layer = "inputs-of-layer"
    weights_of_plane = "weights-of-plane"
    weights_of_row = "weights-of-row"
    inputs_of_row = "inputs-of-row"
    stored_sum = "stored-sum"

    @property
    def operand(self) -> Operand:
        """The value of the layer that is wrong."""
        match self:
            case Held.product:
                return "product"
            case Held.weight_once | Held.weights_of_plane | Held.weights_of_row:
                return "weight"
            case Held.input_once | Held.inputs_of_layer | Held.inputs_of_row:
                return "input"
        return "psum"


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """Which values n sites are, and who still reads them: columns of `Corruption`."""

    element: Integers
    channels: Integers
    positions: Integers
    first: Integers
    terms: Integers
    beyond: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if len(self.beyond) != len(self.element):
            object.__setattr__(self, "beyond", np.zeros(len(self.element), np.bool_))

    def put(self, rows: Integers, found: Reads) -> None:
        """Overwrite some rows."""
        for column in fields(self):
            getattr(self, column.name)[rows] = getattr(found, column.name)


class Dataflow(Protocol):
    """The order in which a chip computes a layer, as far as faults see it."""

    def sites(self, held: Held, layer: Layer, inputs: int) -> int:
        """How many sites (value and time) a layer of ``inputs`` input elements has."""
        ...

    def reads(self, held: Held, layer: Layer, index: Integers) -> Reads:
        """What n sites hold, and who reads it after the strike."""
        ...


@dataclass(frozen=True, slots=True)
class RowStationary:
    """The dataflow of Eyeriss, as Li et al., SC'17, inject into it.

    A layer is computed output channel by output channel, then input channel by input channel, then
    position by position; a strike falls between two windows of that order. A value in a datapath
    latch is used once. An input in the global buffer stays wrong until the layer ends, a weight in
    a filter memory until its output plane (or row) ends, an input in an image register until the
    last window of one output row that reads it by one kernel row, in the filters that share it, a
    stored partial sum for one use.

    Attributes:
        resident_filters: output channels that share an image register.
    """

    resident_filters: int = 16

    def sites(self, held: Held, layer: Layer, inputs: int) -> int:
        """See `Dataflow`."""
        outputs = layer.channels * layer.positions
        match held:
            case Held.weight_once | Held.input_once | Held.product | Held.window_sum:
                return outputs * layer.fan_in
            case Held.sum_before | Held.sum_after | Held.stored_sum:
                return outputs * layer.bounds["c"]
            case Held.inputs_of_layer:
                return inputs * outputs * layer.bounds["c"]
            case Held.weights_of_plane | Held.weights_of_row:
                return layer.channels * layer.fan_in * layer.positions
            case Held.inputs_of_row:
                cells = len(_rows(layer)[0]) * int(_stays(layer)[1].sum())
                return layer.channels * layer.bounds["c"] * cells

    def reads(self, held: Held, layer: Layer, index: Integers) -> Reads:
        """See `Dataflow`."""
        match held:
            case Held.inputs_of_layer:
                return _rest_of_layer(layer, index)
            case Held.weights_of_plane:
                return _rest_of_plane(layer, index, layer.positions)
            case Held.weights_of_row:
                return _rest_of_plane(layer, index, layer.bounds["f"])
            case Held.inputs_of_row:
                return self._rest_of_row(layer, index)
            case Held.sum_before | Held.sum_after | Held.stored_sum:
                return _sum_over_channels(layer, index, before=held is Held.sum_before)
        return _one_product(held, layer, index)

    def _rest_of_row(self, layer: Layer, index: Integers) -> Reads:
        """An input, wrong for the windows that are still to come before it is shifted out."""
        (rows, lines), (first, stays) = _rows(layer), _stays(layer)
        sizes = (layer.channels, layer.bounds["c"], len(rows), int(stays.sum()))
        m, c, row, cell = np.unravel_index(index, sizes)
        own = layer.channels // layer.bounds["groups"]
        c = m // own * layer.bounds["c"] + c
        block = m % own // self.resident_filters * self.resident_filters
        shared = np.stack([block, np.minimum(block + self.resident_filters, own)], 1)
        start = rows[row] * layer.bounds["f"]
        ends = np.cumsum(stays)
        column = np.searchsorted(ends, cell, side="right")
        window = first[column] + cell - (ends - stays)[column]
        element = lines[row] * layer.fan_in + c
        if layer.geometry is not None:
            element = (c * layer.plane[0] + lines[row]) * layer.plane[1] + column
        return Reads(
            element, (m // own * own)[:, None] + shared,
            np.stack([start + window, start + layer.bounds["f"]], 1),
            zeros(len(index)), whole_box(len(index)), block + self.resident_filters > own,
        )  # fmt: skip


def _rows(layer: Layer) -> tuple[Integers, Integers]:
    """Output rows, and the input row that each is made of by one kernel row; without padding."""
    if layer.geometry is None:
        rows = np.arange(layer.bounds["e"])
        return rows, rows
    return _taps(layer, 0)


def _stays(layer: Layer) -> tuple[Integers, Integers]:
    """Of each column of inputs: the first window of a row that reads it, and how many hold it.

    It is held until the last window that reads it; with dilation, not all in between do.
    """
    if layer.geometry is None:
        return zeros(1), zeros(1) + 1
    windows, columns = _taps(layer, 1)
    first, last = np.full(layer.plane[1], layer.bounds["f"]), np.full(layer.plane[1], -1)
    np.minimum.at(first, columns, windows)
    np.maximum.at(last, columns, windows)
    return first, (last - first + 1).clip(0)


def _taps(layer: Layer, axis: int) -> tuple[Integers, Integers]:
    """Places of outputs along an axis, ascending, and those of the inputs that they read."""
    g, count = layer.geometry, layer.bounds["ef"[axis]]
    assert g is not None
    output, tap = np.divmod(np.arange(count * g.kernel[axis]), g.kernel[axis])
    place = output * g.stride[axis] - g.padding[axis] + tap * g.dilation[axis]
    inside = (place >= 0) & (place < layer.plane[axis])
    return output[inside], place[inside]


def _one_product(held: Held, layer: Layer, index: Integers) -> Reads:
    """Latches that are read by one multiply-accumulate."""
    m, p, k = np.unravel_index(index, (layer.channels, layer.positions, layer.fan_in))
    channels, positions = one(m), one(p)
    first = zeros(len(index))
    if held is Held.weight_once:
        element = weight_element(layer, m, k)
    elif held is Held.input_once:
        element = input_element(layer, m, p, k)
    else:
        element = layer.output_element(m, p)
        taps = layer.bounds["r"] * layer.bounds["s"]
        if held is Held.window_sum:
            start = k // taps * taps if layer.geometry is not None else np.zeros_like(k)
            return Reads(element, channels, positions, first, np.stack([start, k + 1], 1))
    return Reads(element, channels, positions, first, one(k))


def _sum_over_channels(layer: Layer, index: Integers, before: bool) -> Reads:
    """The sum over the input channels so far, without or with the current one."""
    m, p, c = np.unravel_index(index, (layer.channels, layer.positions, layer.bounds["c"]))
    taps = layer.bounds["r"] * layer.bounds["s"]
    end = (c if before else c + 1) * taps
    terms = np.stack([np.zeros_like(end), end], 1)
    return Reads(layer.output_element(m, p), one(m), one(p), zeros(len(index)), terms)


def _rest_of_layer(layer: Layer, index: Integers) -> Reads:
    """An input, wrong for all windows after the strike."""
    outputs, c = layer.channels * layer.positions, layer.bounds["c"]
    element, time = np.divmod(index, outputs * c)
    m, now, p = np.unravel_index(time, (layer.channels, c, layer.positions))
    if layer.geometry is not None:
        own = element // (layer.plane[0] * layer.plane[1]) % c
    else:
        own = element % c
    late = np.where(own > now, 0, np.where(own == now, p, layer.positions))
    first = m * layer.positions + late
    everything, always = whole_box(len(index)), np.ones(len(index), np.bool_)
    return Reads(element, everything, everything, first, everything, always)


def _rest_of_plane(layer: Layer, index: Integers, length: int) -> Reads:
    """A weight, wrong until the run of ``length`` positions that it is struck in ends."""
    m, k, p = np.unravel_index(index, (layer.channels, layer.fan_in, layer.positions))
    positions = np.stack([p, (p // length + 1) * length], 1)
    element = weight_element(layer, m, k)
    return Reads(element, one(m), positions, zeros(len(index)), whole_box(len(index)))


def broadcast_input(
    layer: Layer, channels: Integers, p: Integers, k: Integers, beyond: NDArray[np.bool_]
) -> Reads:
    """The input of product ``k`` at position ``p``, read by a run of output channels (n, 2)."""
    element = input_element(layer, channels[:, 1] - 1, p, k)
    return Reads(element, channels, one(p), zeros(len(p)), one(k), beyond)


def corruption_of(
    workload: Workload,
    space: SiteSpace,
    faults: Faults,
    operands: Mapping[str, Operand],
    reads: Callable[[str, Layer, Integers], Reads],
) -> Corruption:
    """The corruptions of faults, from what n sites of a component in a layer hold.

    Args:
        workload: the network.
        space: from which the faults are.
        faults: n.
        operands: what software sees wrong, per component.
        reads: of a component, a layer and sites (their ``index``).
    """
    numbers = {layer.name: number for number, layer in enumerate(workload.layers)}
    place = [(s.component, numbers[s.layer]) for s in space.strata]
    order = {part: k for k, part in enumerate(dict.fromkeys(place))}
    struck = np.array([order[part] for part in place])[faults.stratum]
    n = len(faults)
    columns = Reads(zeros(n), whole_box(n), whole_box(n), zeros(n), whole_box(n))
    for (component, number), k in order.items():
        chosen = np.flatnonzero(struck == k)
        if len(chosen):
            index = faults.index[chosen]
            columns.put(chosen, reads(component, workload.layers[number], index))
    layers = np.array([number for _, number in order])[struck]
    kinds = np.array([operands[component] for component, _ in order])[struck]
    return Corruption(
        layers, kinds, columns.element, faults.image, faults.keep, faults.flip, columns.channels,
        columns.positions, columns.first, columns.terms, beyond=columns.beyond,
    )  # fmt: skip


def layer_with_windows(workload: Workload, number: int, chip: str) -> tuple[Layer, int]:
    """A layer and the number of its inputs.

    Raises:
        ValueError: for a layer that is neither linear nor a convolution of one or two dimensions,
            and where the network multiplies outside its layers, so that rates would leave that out.
    """
    missing = workload.covered.missing
    if missing:
        raise ValueError(
            f"{', '.join(missing)}: {1 - workload.covered.macs:.1%} of the multiply-accumulates of "
            f"{workload.name} are done by operations that radhard can't strike, so rates of "
            f"{chip} would leave them out: use the chip software, which says what it covers"
        )
    layer = workload.layers[number]
    source = workload.program.rows[layer.operands[0]]
    if source is None or not layer.has_windows or workload.parameters[number] is None:
        raise ValueError(
            f"layer {layer.name} ({layer.kind}) is neither linear nor a convolution of one or two "
            f"dimensions of one map per image, which is all that {chip} runs: use the chip software"
        )
    return layer, source.elements


def input_element(layer: Layer, m: Integers, p: Integers, k: Integers) -> Integers:
    """The input that product ``k`` of output channel ``m`` at position ``p`` reads; -1: padding."""
    parts = (torch.from_numpy(np.ascontiguousarray(part)) for part in (m, p, k))
    return layer.tap(*parts).numpy()


def weight_element(layer: Layer, m: Integers, k: Integers) -> Integers:
    """Weight ``k`` of output channel ``m``."""
    return m * layer.fan_in + k if layer.weight_first else k * layer.channels + m


def one(place: Integers) -> Integers:
    """Boxes that hold one place each, (n, 2)."""
    return np.stack([place, place + 1], 1)


def zeros(n: int) -> Integers:
    """A column of zeros, (n,)."""
    return np.zeros(n, dtype=np.int64)
