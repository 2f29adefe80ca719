"""Systolic arrays: how long each value sits in which register, in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from radhard.accel.dataflow import (
    Reads,
    broadcast_input,
    corruption_of,
    layer_with_windows,
    one,
    weight_element,
    zeros,
)
from radhard.faults.corruption import Corruption, Operand, whole_box
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import Known, SiteSpace, Stratum
from radhard.network.layer import Layer
from radhard.network.workload import Workload

Stationary = Literal["os", "ws", "is"]
#: The value that each register of a processing element holds.
_OPERANDS: tuple[Operand, ...] = ("input", "weight", "psum")


@dataclass(frozen=True, slots=True)
class Occupancy:
    """A layer as the matrix product of P x Q inputs and Q x M weights on an array.

    Attributes:
        cycles: for all tiles, one after the other, filling and draining of the wave included.
        cells: cycles that one variable of each operand spends in registers.
        variables: of each operand; inputs of overlapping windows count once per window.
    """

    cycles: int
    cells: Mapping[str, int]
    variables: Mapping[str, int]

    def utilisation(self, operand: str, pes: int) -> float:
        """Share of the cycles of an operand's registers that hold a variable."""
        return self.cells[operand] * self.variables[operand] / (pes * self.cycles)


@dataclass(frozen=True, slots=True)
class Systolic:
    """An array of rows x cols processing elements, each with a register per operand.

    Operands move by one element per cycle across the whole array; tiles follow each other without
    overlap, and only their active rows and columns compute. Output stationary (``os``): a partial
    sum stays, inputs move along rows and weights along columns. Weight stationary (``ws``): a
    weight stays, inputs move along rows and partial sums down columns. Input stationary (``is``):
    inputs stay in its stead, and weights move. Layers take time by their cycles. The mix of
    flip-flops, and the accuracy that is left under control faults, are those that Tyagi et al.
    (arXiv 2212.02649) give for 32 x 32.

    Attributes:
        rows, cols: processing elements.
        dataflow: ``os``, ``ws`` or ``is``.
        mix: share of the flip-flops that hold inputs, weights, sums, and control.
        control_accuracy: share of the fault-free accuracy that is left under a control fault.

    Raises:
        ValueError: for fewer than 1 row or column, another dataflow, or shares that can't be.

    >>> from radhard import chips
    >>> chips.SYSTOLIC(4, 4).occupancy(8, 10, 8).cycles
    64
    """

    rows: int = 32
    cols: int = 32
    dataflow: Stationary = "os"
    mix: tuple[float, float, float, float] = (0.3056, 0.3056, 0.2187, 0.1701)
    control_accuracy: float = 0.35

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1 or self.dataflow not in ("os", "ws", "is"):
            raise ValueError(
                f"a systolic array of {self.rows} x {self.cols}, {self.dataflow!r} can't be: "
                "use at least 1 x 1, and os, ws or is"
            )
        if min(self.mix) < 0 or not sum(self.mix) > 0 or not 0 <= self.control_accuracy <= 1:
            raise ValueError(
                f"mix {self.mix} or control accuracy {self.control_accuracy} can't be: give shares"
            )

    @property
    def name(self) -> str:
        """Such as ``systolic-16x16-ws``; ``systolic`` alone is 32 x 32, output stationary."""
        plain = (self.rows, self.cols, self.dataflow) == (32, 32, "os")
        return "systolic" if plain else f"systolic-{self.rows}x{self.cols}-{self.dataflow}"

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return f"a {self.rows} x {self.cols} systolic array ({self.dataflow})"

    def occupancy(self, p: int, q: int, m: int) -> Occupancy:
        """Cycles, and cells per variable, of a product of p x q inputs and q x m weights."""
        fill, rows, cols = self.rows + self.cols - 2, self.rows, self.cols
        variables = {"input": p * q, "weight": q * m, "psum": p * m}
        up, across = {"os": (p, m), "ws": (q, m), "is": (q, p)}[self.dataflow]
        tiles = math.ceil(up / rows) * math.ceil(across / cols)
        stream = {"os": q, "ws": p, "is": m}[self.dataflow] + fill
        moving_across = cols * math.ceil(across / cols)
        moving_down = rows * math.ceil(up / rows)
        cells = {
            "os": {"input": moving_across, "weight": moving_down, "psum": q},
            "ws": {"input": moving_across, "weight": stream, "psum": moving_down},
            "is": {"input": stream, "weight": moving_across, "psum": moving_down},
        }[self.dataflow]
        return Occupancy(tiles * stream, cells, variables)

    def sites(self, workload: Workload) -> SiteSpace:
        """Strata of register, layer and bit; idle registers and control are known.

        Raises:
            ValueError: where the network has a layer without windows.
        """
        held = [self._of_layer(workload, number) for number in range(len(workload.layers))]
        cycles = [
            found.cycles * la.bounds["groups"]
            for found, la in zip(held, workload.layers, strict=True)
        ]
        strata, idle = [], 0.0
        for number, layer in enumerate(workload.layers):
            how = workload.arithmetic[number]
            formats = {"input": how.input, "weight": how.weight, "psum": how.latch}
            inputs = layer_with_windows(workload, number, self.name)[1]
            for operand, share in zip(_OPERANDS, self.mix, strict=False):
                time = share * cycles[number] / sum(cycles)
                used = held[number].utilisation(operand, self.rows * self.cols)
                idle += time * (1 - used)
                width = formats[operand].width
                size = held[number].cells[operand] * held[number].variables[operand]
                values = layer.variables(operand, inputs)
                strata += [
                    Stratum(f"{operand}-register", layer.name, bit, width,
                            size * layer.bounds["groups"], time * used / width, values)
                    for bit in range(width)
                ]  # fmt: skip
        width = workload.arithmetic[0].input.width
        control = round(self.rows * self.cols * width * self.mix[3] / self.mix[0])
        known = (
            Known("idle", idle, 1.0, idle=True),
            Known("control", self.mix[3], self.control_accuracy, bits=control, control=True),
        )
        return SiteSpace(tuple(strata), len(workload.images), known=known)

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck register is wrong for the reads that are still to come."""
        operands = {f"{name}-register": name for name in _OPERANDS}
        return corruption_of(
            workload,
            space,
            faults,
            operands,
            lambda name, layer, index: self.reads(operands[name], layer, index),
        )

    def reads(self, operand: str, layer: Layer, index: Integers) -> Reads:
        """What n cells of an operand's registers hold, and who reads it after the strike.

        A strike comes before the use in its cycle. Zeros of padding are held like other inputs.
        """
        groups = layer.bounds["groups"]
        p, q, m = layer.positions, layer.fan_in, layer.channels // groups
        cells = self.occupancy(p, q, m).cells[operand]
        extent = {"input": (p, q), "weight": (m, q), "psum": (m, p)}[operand]
        group, first, second, cell = np.unravel_index(index, (groups, *extent, cells))
        base = group * m
        if operand == "psum":
            channel, position = base + first, second
            end = cell + 1 if self.dataflow == "os" else self._summed(cell, q)
            terms = np.stack(
                [self._tile_start(cell) if self.dataflow != "os" else zeros(len(index)), end], 1
            )
            element = layer.output_element(channel, position)
            return Reads(element, one(channel), one(position), zeros(len(index)), terms)
        if operand == "weight":
            channel, k = base + first, second
            positions = self._left(operand, cell, p, k, first)
            element = weight_element(layer, channel, k)
            return Reads(element, one(channel), positions, zeros(len(index)), whole_box(len(index)))
        position, k = first, second
        channels = base[:, None] + self._left(operand, cell, m, k, position)
        return broadcast_input(layer, channels, position, k)

    def _left(
        self, operand: str, cell: Integers, count: int, k: Integers, other: Integers
    ) -> Integers:
        """Which of the ``count`` users of an operand still come, half open: (n, 2)."""
        stays = {"os": "psum", "ws": "weight", "is": "input"}[self.dataflow]
        if operand == stays:
            start = (cell - k % self.rows - other % self.cols).clip(0, count)
            return np.stack([start, np.full(len(cell), count)], 1)
        length = self.rows if (self.dataflow, operand) == ("os", "weight") else self.cols
        end = np.minimum((cell // length + 1) * length, count)
        return np.stack([np.minimum(cell, end), end], 1)

    def _tile_start(self, cell: Integers) -> Integers:
        return cell // self.rows * self.rows

    def _summed(self, cell: Integers, q: int) -> Integers:
        """The end of the terms that a sum on its way down holds after this row."""
        return np.minimum(cell + 1, q)

    def _of_layer(self, workload: Workload, number: int) -> Occupancy:
        layer, _ = layer_with_windows(workload, number, self.name)
        return self.occupancy(
            layer.positions, layer.fan_in, layer.channels // layer.bounds["groups"]
        )
