"""Memories around a systolic array: what a struck value of them is still read by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from radhard.accel.dataflow import Reads, broadcast_input, one, weight_element, zeros
from radhard.faults.corruption import Operand, whole_box
from radhard.faults.model import Integers
from radhard.network.layer import Layer


class Kept(StrEnum):
    """What a buffer holds, and for how long.

    The array fetches an input or weight from its buffers for one tile after the other. In a buffer
    of the ``layer`` a value stays for all of these fetches, in one of a ``tile`` for one. Partial
    sums wait in a buffer between the tiles that they are added up from, for one use.
    """

    inputs_of_layer = "inputs-of-layer"
    inputs_of_tile = "inputs-of-tile"
    weights_of_layer = "weights-of-layer"
    weights_of_tile = "weights-of-tile"
    sums_of_tile = "sums-of-tile"

    @property
    def operand(self) -> Operand:
        """The value of the layer that is wrong."""
        if self in (Kept.inputs_of_layer, Kept.inputs_of_tile):
            return "input"
        return "psum" if self is Kept.sums_of_tile else "weight"


@dataclass(frozen=True, slots=True)
class Buffer:
    """A memory around the array, taken to be full of live values of the layer that runs.

    Attributes:
        name: for tables and fault lists; without blanks.
        holds: see `Kept`.
        kib: of one instance, in units of 1,024 bytes.
        rate_fit_per_mbit: raw rate of upsets in FIT per 2^20 bits; ``None`` where not known.
        instances: how many there are.

    Raises:
        ValueError: for a name with blanks, no size, or a negative rate.
    """

    name: str
    holds: Kept
    kib: float
    rate_fit_per_mbit: float | None = None
    instances: int = 1

    def __post_init__(self) -> None:
        if not self.name or self.name != "".join(self.name.split()):
            raise ValueError(f"buffer name {self.name!r} can't be: use one without blanks")
        if not (self.kib > 0 and self.instances >= 1):
            raise ValueError(
                f"{self.name}: {self.instances} instances of {self.kib} KiB can't be: a buffer "
                "needs at least one, of more than 0"
            )
        if self.rate_fit_per_mbit is not None and not self.rate_fit_per_mbit >= 0:
            raise ValueError(
                f"{self.name}: {self.rate_fit_per_mbit!r} FIT/Mbit can't be: use 0 or more, or "
                "leave the rates of the whole chip out"
            )

    @property
    def bits(self) -> float:
        """Of all instances."""
        return self.instances * self.kib * 8192


@dataclass(frozen=True, slots=True)
class Tiles:
    """How an array cuts a layer, as far as its buffers see it; sizes are those of one group.

    An operand that stays in the array, or whose tiles are not cut along the other one, is fetched
    once. Tiles of other output channels come last, so that inputs are fetched anew for each.

    Attributes:
        channels: output channels of a tile; more than there are where these stream.
        positions: output positions of a tile.
        terms: products of a sum in a tile.
    """

    channels: int
    positions: int
    terms: int

    def sites(self, held: Kept, layer: Layer, inputs: int) -> int:
        """How many sites (value and fetch) a layer of ``inputs`` input elements has."""
        outputs, weights = layer.channels * layer.positions, layer.channels * layer.fan_in
        match held:
            case Kept.inputs_of_layer:
                return inputs * self._passes(layer)
            case Kept.inputs_of_tile:
                windows = layer.bounds["groups"] * layer.positions * layer.fan_in
                return windows * self._passes(layer)
            case Kept.weights_of_layer | Kept.weights_of_tile:
                return weights * math.ceil(layer.positions / self.positions)
            case Kept.sums_of_tile:
                return outputs * math.ceil(layer.fan_in / self.terms)

    def reads(self, held: Kept, layer: Layer, index: Integers) -> Reads:
        """What n sites hold, and who reads it after the strike, which comes before a fetch."""
        match held:
            case Kept.inputs_of_layer:
                return self._input_from(layer, index)
            case Kept.inputs_of_tile:
                return self._input_once(layer, index)
            case Kept.weights_of_layer | Kept.weights_of_tile:
                return self._weight(layer, index, once=held is Kept.weights_of_tile)
            case Kept.sums_of_tile:
                return self._sum(layer, index)

    def _input_from(self, layer: Layer, index: Integers) -> Reads:
        """An input, wrong for the tiles of output channels that are still to come."""
        element, fetch = np.divmod(index, self._passes(layer))
        group, own = zeros(len(index)), _own(layer)
        if layer.geometry is not None:
            group = element // (layer.bounds["c"] * layer.plane[0] * layer.plane[1])
        start = group * own + fetch * self.channels
        channels = np.stack([start, (group + 1) * own], 1)
        everything, always = whole_box(len(index)), np.ones(len(index), np.bool_)
        return Reads(element, channels, everything, zeros(len(index)), everything, always)

    def _input_once(self, layer: Layer, index: Integers) -> Reads:
        """An input of one window, wrong for one tile."""
        sizes = layer.bounds["groups"], layer.positions, layer.fan_in, self._passes(layer)
        group, p, k, fetch = np.unravel_index(index, sizes)
        start = group * _own(layer) + fetch * self.channels
        end = np.minimum(start + self.channels, (group + 1) * _own(layer))
        last = (group + 1) * _own(layer)
        return broadcast_input(layer, np.stack([start, end], 1), p, k, start + self.channels > last)

    def _weight(self, layer: Layer, index: Integers, once: bool) -> Reads:
        """A weight, wrong for the positions of one tile, or of it and those to come."""
        fetches = math.ceil(layer.positions / self.positions)
        m, k, fetch = np.unravel_index(index, (layer.channels, layer.fan_in, fetches))
        start = fetch * self.positions
        end = np.minimum(start + self.positions, layer.positions) if once else layer.positions
        positions = np.stack([start, np.broadcast_to(end, start.shape)], 1)
        element, everything = weight_element(layer, m, k), whole_box(len(index))
        return Reads(element, one(m), positions, zeros(len(index)), everything)

    def _sum(self, layer: Layer, index: Integers) -> Reads:
        """A sum of the products of its first tiles."""
        tiles = math.ceil(layer.fan_in / self.terms)
        m, p, tile = np.unravel_index(index, (layer.channels, layer.positions, tiles))
        end = np.minimum((tile + 1) * self.terms, layer.fan_in)
        terms = np.stack([zeros(len(index)), end], 1)
        return Reads(layer.output_element(m, p), one(m), one(p), zeros(len(index)), terms)

    def _passes(self, layer: Layer) -> int:
        return math.ceil(_own(layer) / self.channels)


def _own(layer: Layer) -> int:
    """Output channels of a group."""
    return layer.channels // layer.bounds["groups"]
