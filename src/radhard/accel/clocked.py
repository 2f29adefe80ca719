"""The registers of an array as `radhard rtl` emits it, clock edge by clock edge, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from radhard.accel.component import FLIP_FLOP
from radhard.accel.dataflow import (
    Reads,
    broadcast_input,
    corruption_of,
    layer_with_windows,
    one,
    weight_element,
    zeros,
)
from radhard.accel.tiling import Flags, Held, Place, Shape, tile_edges
from radhard.arith.array import Stationary
from radhard.faults.corruption import Corruption, Operand, whole_box
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import Known, SiteSpace, Stratum, each_bit
from radhard.network.arithmetic import Arithmetic
from radhard.network.layer import Layer
from radhard.network.workload import Workload

#: The value that each register of an element holds; a product is a sum of one.
REGISTERS: dict[str, Operand] = {
    "input-register": "input", "weight-register": "weight", "psum-register": "psum",
    "product-register": "psum",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClockedArray:
    """A systolic array, struck right after any clock edge, in any register.

    What `Published` counts by formulas is here as `radhard.rtl` emits and simulates it:
    held operands are loaded through the rows, an element multiplies what comes in rather than what
    it holds, and tiles follow each other without overlap. Every flip has the effect that it has in
    the emitted text, bit for bit (`radhard validate rtl`). Its control lies outside and is not
    struck. A stratum's exposure is its rate in FIT.

    Arrays that are not radhard's may keep other conventions, where operands stay in them (``ws``,
    ``is``): each of the two makes sums an edge later.

    Attributes:
        rows, cols: processing elements.
        dataflow: ``ws``, ``os`` or ``is``.
        rate_fit_per_mbit: raw rate of flip-flops in FIT per 2^20 bits.
        own: whether an element multiplies what its own register holds of the operand that moves.
        pipelined: whether a product is held in a register of its own before it is added.
        latency: edges by which results leave after their sums are made; none where ``None``.

    Raises:
        ValueError: for fewer than 1 row or column, another dataflow, a negative rate or latency, or
            conventions where sums stay.

    >>> ClockedArray(8, 8).name
    'clocked-8x8-ws'
    """

    rows: int = 8
    cols: int = 8
    dataflow: Stationary = "ws"
    rate_fit_per_mbit: float = FLIP_FLOP
    own: bool = False
    pipelined: bool = False
    latency: int | None = None

    def __post_init__(self) -> None:
        if self.dataflow == "os" and (self.own or self.pipelined or self.latency):
            raise ValueError(
                "an array in which sums stay can't keep other conventions: use ws or is, or "
                "neither own, pipelined nor latency"
            )
        if self.latency is not None and self.latency < 1:
            raise ValueError(f"a latency of {self.latency} can't be: use 1 edge or more, or None")
        if self.rows < 1 or self.cols < 1 or self.dataflow not in ("os", "ws", "is"):
            raise ValueError(
                f"a clocked array of {self.rows} x {self.cols}, {self.dataflow!r} can't be: use at "
                "least 1 x 1, and os, ws or is"
            )
        if not self.rate_fit_per_mbit >= 0:
            raise ValueError(
                f"a rate of {self.rate_fit_per_mbit!r} FIT/Mbit can't be: use 0 or more"
            )

    @property
    def name(self) -> str:
        """Such as ``clocked-8x8-ws``."""
        parts = [f"clocked-{self.rows}x{self.cols}-{self.dataflow}"]
        parts += [name for name in ("own", "pipelined") if getattr(self, name)]
        parts += [f"{self.latency}-later"] if self.latency else []
        return "-".join(parts)

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return f"a {self.rows} x {self.cols} systolic array ({self.dataflow}), edge by edge"

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers of an element."""
        return tuple(REGISTERS)[: 4 if self.pipelined else 3]

    @property
    def late(self) -> int:
        """Edges by which sums are made later than in an array that keeps no convention."""
        return self.own + self.pipelined

    def shape(self, layer: Layer) -> Shape:
        """A layer on the array."""
        groups = layer.bounds["groups"]
        p, q, m = layer.positions, layer.fan_in, layer.channels // groups
        up, across, free = {"ws": (q, m, p), "is": (q, p, m), "os": (p, m, q)}[self.dataflow]
        later = self.late + (self.latency or 0)
        edges = tile_edges(self.dataflow, self.rows, self.cols, free) + later
        tiles = ceil(up / self.rows), ceil(across / self.cols)
        return Shape(p, q, m, groups, self.rows, self.cols, *tiles, edges)

    def sites(self, workload: Workload) -> SiteSpace:
        """Strata of register, layer and bit; sums that no result comes of are known to do nothing.

        Raises:
            ValueError: where the network has a layer without windows.
        """
        shapes = [
            self.shape(layer_with_windows(workload, number, self.name)[0])
            for number in range(len(workload.layers))
        ]
        cycles = sum(shape.cycles for shape in shapes)
        strata: list[Stratum] = []
        idle, pes = 0.0, self.rows * self.cols
        for number, shape in enumerate(shapes):
            layer, inputs = layer_with_windows(workload, number, self.name)
            how = workload.arithmetic[number]
            for name in self.registers:
                operand, width = REGISTERS[name], _width(name, how)
                size = self._size(shape, operand)
                rate = self.rate_fit_per_mbit * pes * width / 2**20 * shape.cycles / cycles
                live = rate * size / (shape.cycles * pes)
                idle += rate - live
                values = layer.variables(operand, inputs)
                strata += each_bit(
                    Stratum(name, layer.name, 0, width, size, live / width, values, storage="latch")
                )
        total = sum(stratum.exposure for stratum in strata) + idle
        known = (Known("idle", idle, 1.0, idle=True),)
        return SiteSpace(tuple(strata), len(workload.images), rate_fit=total, known=known)

    def cycles(self, workload: Workload) -> tuple[int, ...]:
        """Clock edges per layer and image."""
        return tuple(
            self.shape(layer_with_windows(workload, number, self.name)[0]).cycles
            for number in range(len(workload.layers))
        )

    def storage_bits(self, workload: Workload) -> dict[str, float]:
        """Bits of each kind of register, on average over time."""
        cycles, found = self.cycles(workload), dict.fromkeys(self.registers, 0.0)
        for time, how in zip(cycles, workload.arithmetic, strict=True):
            for name in found:
                bits = self.rows * self.cols * _width(name, how)
                found[name] += bits * time / sum(cycles)
        return found

    def _size(self, shape: Shape, operand: Operand) -> int:
        """Elements times edges of a layer that may matter."""
        if operand != "psum":
            return shape.cycles * self.rows * self.cols
        if self.dataflow == "os":
            return shape.groups * shape.channels * int(self._held(shape).sum())
        return shape.groups * shape.up * self.rows * shape.channels * shape.positions

    def _held(self, shape: Shape) -> Integers:
        """Edges at which each position's sum is held in an output-stationary array."""
        row = np.arange(shape.positions) % self.rows
        found: Integers = shape.edges - row
        return found

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck register is wrong from its edge on, until it is written again."""
        found = corruption_of(workload, space, faults, REGISTERS, self.reads)
        return replace(found, flip=self._extended(space, faults)) if self.pipelined else found

    def _extended(self, space: SiteSpace, faults: Faults) -> Integers:
        """What flips in a sum: of the sign of a product all bits above, too."""
        flip = faults.flip.copy()
        for number in np.unique(faults.stratum).tolist():
            stratum = space.strata[number]
            if stratum.component == "product-register":
                which, sign = np.flatnonzero(faults.stratum == number), 1 << (stratum.width - 1)
                flip[which] |= np.where(flip[which] & sign, -sign, 0)
        return flip

    def places(self, register: str, layer: Layer, index: Integers) -> Place:
        """Where n registers are, and when they are struck."""
        shape, (rows, cols) = self.shape(layer), (self.rows, self.cols)
        if REGISTERS[register] != "psum":
            sizes = (shape.groups, shape.up, shape.across, shape.edges, rows, cols)
            return Place(*np.unravel_index(index, sizes))
        if self.dataflow == "os":
            channel, position, edge = self._summed(shape, index)
            group, own = np.divmod(channel, shape.channels)
            row = position % rows
            row = row + (edge - (shape.edges - rows)).clip(0)  # sums are finished, and move down
            return Place(group, position // rows, own // cols, edge, row, own % cols)
        group, up, row, channel, position = self._passing(shape, index)
        own, step = (channel, position) if self.dataflow == "ws" else (position, channel)
        across, col = np.divmod(own, cols)
        late = int(self.own) if register == "product-register" else self.late
        return Place(group, up, across, step + rows + row + col + late, row, col)

    def reads(self, register: str, layer: Layer, index: Integers) -> Reads:
        """What n registers hold at an edge, and who reads it after the strike."""
        shape, operand = self.shape(layer), REGISTERS[register]
        if operand == "psum":
            return self._sums(shape, layer, index, register == "product-register")
        place = self.places(register, layer, index)
        if self.dataflow == "os":
            return self._moving(operand, shape, layer, place)
        moves = (operand == "input") == (self.dataflow == "ws")
        return (self._wave if moves else self._stays)(operand, shape, layer, place)

    def _wave(self, operand: Operand, shape: Shape, layer: Layer, at: Place) -> Reads:
        """What moves right through an array that holds the other operand: read further on."""
        step = at.edge - self.rows - at.row - at.col
        term = at.up * self.rows + at.row
        free, whole = _free(operand, shape)
        there = (step >= 0) & (step < free) & (term < shape.terms)
        first = at.across * self.cols + at.col + 1 - self.own
        end = (at.across + 1) * self.cols
        readers = _run(first, np.minimum(end, whole), there)
        beyond = there & (first <= whole) & (whole < end)
        return self._read(operand, shape, layer, Held(at.group, step, readers, term, there, beyond))

    def _stays(self, operand: Operand, shape: Shape, layer: Layer, at: Place) -> Reads:
        """What is loaded through the rows above, and stays: read by the rest of the wave."""
        loading = at.edge < self.rows - 1
        row = np.where(loading, at.row + self.rows - 1 - at.edge, at.row)
        term = at.up * self.rows + row
        own = at.across * self.cols + at.col
        whole, free = _free(operand, shape)
        there = (row < self.rows) & (term < shape.terms) & (own < whole)
        passed = at.edge - self.rows + 1 - at.row - at.col - self.own
        first = np.where(loading, 0, passed).clip(0)
        readers = _run(first, np.full(len(first), free), there)
        beyond = there & (first <= free)
        return self._read(operand, shape, layer, Held(at.group, own, readers, term, there, beyond))

    def _moving(self, operand: Operand, shape: Shape, layer: Layer, at: Place) -> Reads:
        """What moves through an array that holds sums: inputs to the right, weights down."""
        term = at.edge - 1 - at.row - at.col
        there = (term >= 0) & (term < shape.terms) & (at.edge <= shape.edges - self.rows)
        position, channel = at.up * self.rows + at.row, at.across * self.cols + at.col
        end = (at.across + 1) * self.cols
        if operand == "input":
            there &= position < shape.positions
            own, readers = position, _run(channel + 1, np.minimum(end, shape.channels), there)
        else:
            there &= channel < shape.channels
            last = np.minimum((at.up + 1) * self.rows, shape.positions)
            own, readers = channel, _run(position + 1, last, there)
        beyond = there & (channel < shape.channels) & (shape.channels < end)
        return self._read(operand, shape, layer, Held(at.group, own, readers, term, there, beyond))

    def _read(self, operand: Operand, shape: Shape, layer: Layer, held: Held) -> Reads:
        """An input by a run of channels, or a weight by a run of positions."""
        group, own, readers, term, there, beyond = held
        own, term = np.where(there, own, 0), np.where(there, term, 0)
        base = group * shape.channels
        if operand == "input":
            alone = beyond & (readers[:, 1] == 0)  # read by what would be the next channel only
            readers = np.where(alone[:, None], shape.channels, readers)
            found = broadcast_input(layer, (base[:, None] + readers).clip(1), own, term, beyond)
            return replace(found, channels=base[:, None] + readers)
        element = weight_element(layer, base + own, term)
        n = len(own)
        return Reads(element, one(base + own), readers, zeros(n), whole_box(n))

    def _summed(self, shape: Shape, index: Integers) -> tuple[Integers, Integers, Integers]:
        """Of sums that stay: channel of the layer, position, and edge of the tile."""
        lengths = self._held(shape)
        ends = np.cumsum(lengths)
        channel, within = np.divmod(index, ends[-1])
        position = np.searchsorted(ends, within, side="right")
        return channel, position, within - (ends - lengths)[position]

    def _passing(self, shape: Shape, index: Integers) -> tuple[Integers, ...]:
        """Of sums on their way down: group, tile, row, channel of the group, and position."""
        sizes = (shape.groups, shape.up, self.rows, shape.channels, shape.positions)
        return np.unravel_index(index, sizes)

    def _sums(self, shape: Shape, layer: Layer, index: Integers, alone: bool) -> Reads:
        """Partial sums, on their way down or where they stay; or products, each alone."""
        if self.dataflow == "os":
            channel, position, edge = self._summed(shape, index)
            across = channel % shape.channels % self.cols
            last = edge - 1 - position % self.rows - across
            moved = edge > shape.edges - self.rows  # sums are finished, and leave
            terms = np.where(moved, shape.terms, (last + 1).clip(0, shape.terms))
            start = np.zeros_like(terms)
        else:
            group, up, row, channel, position = self._passing(shape, index)
            channel = group * shape.channels + channel
            start = up * self.rows
            terms = np.minimum(start + row + 1, shape.terms)
            start = np.minimum(start + row, shape.terms) if alone else start
        element, n = layer.output_element(channel, position), len(index)
        return Reads(element, one(channel), one(position), zeros(n), np.stack([start, terms], 1))


def _width(register: str, how: Arithmetic) -> int:
    """Bits of a register; a product has those of both factors."""
    widths = {"input-register": how.input.width, "weight-register": how.weight.width}
    if register == "product-register":
        return min(how.latch.width, sum(widths.values()))
    return widths.get(register, how.latch.width)


def _free(operand: Operand, shape: Shape) -> tuple[int, int]:
    """Of an array that holds weights: how many inputs stream, and channels; else the reverse."""
    if operand == "input":
        return shape.positions, shape.channels
    return shape.channels, shape.positions


def _run(first: Integers, end: Integers, there: Flags) -> Integers:
    """A half open run (n, 2), an empty one where nothing is there."""
    some = there & (end > first)
    return np.stack([np.where(some, first, 0), np.where(some, end, 0)], 1)
