"""Systolic arrays by published formulas: how long each value sits in which register."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radhard.accel.buffer import Buffer, Tiles
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
from radhard.arith.array import Stationary
from radhard.faults.corruption import Corruption, Operand, whole_box
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import Known, SiteSpace, Storage, Stratum, each_bit
from radhard.network.arithmetic import Arithmetic
from radhard.network.layer import Layer
from radhard.network.workload import Workload

#: The value that each register of a processing element holds.
_OPERANDS: tuple[Operand, ...] = ("input", "weight", "psum")
#: Shares of the flip-flops of a 32 x 32 array that hold inputs, weights, sums, and control, as
#: Tyagi et al. (arXiv 2212.02649) give them.
PUBLISHED_MIX = (0.3056, 0.3056, 0.2187, 0.1701)


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
class Published:
    """An array of rows x cols processing elements, each with a register per operand.

    Operands move by one element per cycle across the whole array; tiles follow each other without
    overlap, and only their active rows and columns compute. Output stationary (``os``): a partial
    sum stays, inputs move along rows and weights along columns. Weight stationary (``ws``): a
    weight stays, inputs move along rows and partial sums down columns. Input stationary (``is``):
    inputs stay in its stead, and weights move. Layers take time by their cycles.

    A register has as many bits as its value; flip-flops of control come on top, with the share that
    Tyagi et al. (arXiv 2212.02649) give for 32 x 32. A stratum's exposure is its rate in FIT.

    Attributes:
        rows, cols: processing elements.
        dataflow: ``os``, ``ws`` or ``is``.
        rate_fit_per_mbit: raw rate of flip-flops in FIT per 2^20 bits; without one there are
            probabilities, of storage that all fails alike, but no FIT.
        buffers: memories around the array; of none, they are taken to be protected.
        control_share: share of the array's flip-flops that are control.
        control_accuracy: share of the fault-free accuracy that is left under a control fault.
        mix: shares of the flip-flops that hold inputs, weights, sums, and control, in place of what
            follows from the widths; then inputs have registers of their width. `PUBLISHED_MIX` is
            one.
        title, line: name and description for lists; made from the parts where empty.

    Raises:
        ValueError: for fewer than 1 row or column, another dataflow, shares or a rate that can't
            be, buffers of equal names, or rates of some parts alone.

    >>> from radhard import chips
    >>> chips.PUBLISHED(4, 4).occupancy(8, 10, 8).cycles
    64
    """

    rows: int = 32
    cols: int = 32
    dataflow: Stationary = "os"
    rate_fit_per_mbit: float | None = FLIP_FLOP
    buffers: tuple[Buffer, ...] = ()
    control_share: float = PUBLISHED_MIX[3]
    control_accuracy: float = 0.35
    mix: tuple[float, float, float, float] | None = None
    title: str = ""
    line: str = ""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1 or self.dataflow not in ("os", "ws", "is"):
            raise ValueError(
                f"a systolic array of {self.rows} x {self.cols}, {self.dataflow!r} can't be: "
                "use at least 1 x 1, and os, ws or is"
            )
        mixed = self.mix or (1.0,)
        if min(mixed) < 0 or not mixed[0] > 0:
            raise ValueError(f"mix {self.mix} can't be: give shares, above 0 of inputs")
        if not (0 <= self.control_share < 1 and 0 <= self.control_accuracy <= 1):
            raise ValueError(
                f"control share {self.control_share} or control accuracy {self.control_accuracy} "
                "can't be: give shares, less than 1 of control"
            )
        _check_rates(self.rate_fit_per_mbit, self.buffers)

    @property
    def name(self) -> str:
        """Such as ``published-16x16-ws``; ``published`` alone is 32 x 32, output stationary."""
        plain = (self.rows, self.cols, self.dataflow) == (32, 32, "os")
        made = "published" if plain else f"published-{self.rows}x{self.cols}-{self.dataflow}"
        return self.title or made

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (
            self.line
            or f"{self.rows} x {self.cols} systolic array, control assumed ({self.dataflow})"
        )

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
        """Strata of register or buffer, layer and bit; idle registers and control are known.

        Raises:
            ValueError: where the network has a layer without windows.
        """
        cycles = np.array(self.cycles(workload))
        strata: list[Stratum] = []
        idle = control = control_bits = 0.0
        for number, time in enumerate((cycles / cycles.sum()).tolist()):
            bits = self.bits(workload.arithmetic[number])
            control_bits += time * bits["control"]
            control += time * self._rate(self.rate_fit_per_mbit, bits["control"])
            for operand in _OPERANDS:
                rate = time * self._rate(self.rate_fit_per_mbit, bits[operand])
                used = self._of_layer(workload, number).utilisation(operand, self.rows * self.cols)
                idle += rate * (1 - used)
                strata += self._of_registers(workload, number, operand, rate * used)
            for part in self.buffers:
                rate = time * self._rate(part.rate_fit_per_mbit, part.bits)
                strata += self._of_buffer(workload, number, part, rate)
        known = (
            Known("idle", idle, 1.0, idle=True),
            Known(
                "control", control, self.control_accuracy, bits=round(control_bits), control=True
            ),
        )
        total = sum(stratum.exposure for stratum in strata) + idle + control
        rated = None if self.rate_fit_per_mbit is None else total
        return SiteSpace(tuple(strata), len(workload.images), rate_fit=rated, known=known)

    def cycles(self, workload: Workload) -> tuple[int, ...]:
        """Cycles per layer and image."""
        return tuple(
            self._of_layer(workload, number).cycles * layer.bounds["groups"]
            for number, layer in enumerate(workload.layers)
        )

    def storage_bits(self, workload: Workload) -> dict[str, float]:
        """Bits of each kind of register, on average over time, of control, and of each buffer."""
        cycles = self.cycles(workload)
        found = {part.name: part.bits for part in self.buffers}
        for time, how in zip(cycles, workload.arithmetic, strict=True):
            for name, bits in self.bits(how).items():
                own = name if name == "control" else f"{name}-register"
                found[own] = found.get(own, 0.0) + bits * time / sum(cycles)
        return found

    def bits(self, how: Arithmetic) -> dict[str, float]:
        """Flip-flops that hold each operand of a layer, and of control."""
        pes = self.rows * self.cols
        if self.mix is not None:
            whole = pes * how.input.width / self.mix[0]
            names = (*_OPERANDS, "control")
            return {name: share * whole for name, share in zip(names, self.mix, strict=True)}
        held = {"input": how.input, "weight": how.weight, "psum": how.latch}
        found = {name: float(pes * fmt.width) for name, fmt in held.items()}
        share = self.control_share / (1 - self.control_share)
        return {**found, "control": share * sum(found.values())}

    @staticmethod
    def _rate(rate_fit_per_mbit: float | None, bits: float) -> float:
        """In FIT; where there are no raw rates, of storage that all fails alike."""
        return (1.0 if rate_fit_per_mbit is None else rate_fit_per_mbit) * bits / 2**20

    def _of_registers(
        self, workload: Workload, number: int, operand: Operand, rate: float
    ) -> list[Stratum]:
        held = self._of_layer(workload, number)
        size = held.cells[operand] * held.variables[operand]
        size *= workload.layers[number].bounds["groups"]
        name = f"{operand}-register"
        return self._strata(workload, number, name, operand, size, rate, "latch")

    def _of_buffer(
        self, workload: Workload, number: int, part: Buffer, rate: float
    ) -> list[Stratum]:
        layer, inputs = layer_with_windows(workload, number, self.name)
        size = self._tiles(layer).sites(part.holds, layer, inputs)
        return self._strata(workload, number, part.name, part.holds.operand, size, rate, "memory")

    def _strata(
        self, workload: Workload, number: int, name: str, operand: Operand, size: int, rate: float,
        storage: Storage,
    ) -> list[Stratum]:  # fmt: skip
        layer, inputs = layer_with_windows(workload, number, self.name)
        how = workload.arithmetic[number]
        width = {"input": how.input, "weight": how.weight}.get(operand, how.latch).width
        values = layer.variables(operand, inputs)
        return each_bit(
            Stratum(name, layer.name, 0, width, size, rate / width, values, storage=storage)
        )

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck register, or buffer, is wrong for the reads that are still to come."""
        registers = {f"{name}-register": name for name in _OPERANDS}
        buffers = {part.name: part.holds for part in self.buffers}

        def reads(name: str, layer: Layer, index: Integers) -> Reads:
            if name in buffers:
                return self._tiles(layer).reads(buffers[name], layer, index)
            return self.reads(registers[name], layer, index)

        operands = {**registers, **{name: held.operand for name, held in buffers.items()}}
        return corruption_of(workload, space, faults, operands, reads)

    def _tiles(self, layer: Layer) -> Tiles:
        """How the array cuts a layer."""
        p, q, m = layer.positions, layer.fan_in, layer.channels
        return {
            "os": Tiles(self.cols, self.rows, q),
            "ws": Tiles(self.cols, p, self.rows),
            "is": Tiles(m + 1, self.cols, self.rows),
        }[self.dataflow]

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
        beyond = self._left(operand, cell, m + 1, k, position)
        read_on = (beyond[:, 0] <= m) & (beyond[:, 1] > m)
        return broadcast_input(layer, channels, position, k, read_on)

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


def _check_rates(rate_fit_per_mbit: float | None, buffers: tuple[Buffer, ...]) -> None:
    """Raise ValueError for names that are taken, and rates that can't be or are some alone."""
    names = [part.name for part in buffers]
    taken = {f"{name}-register" for name in _OPERANDS} | {"idle", "control"}
    if len(set(names)) < len(names) or taken & set(names):
        raise ValueError(
            f"buffers {names} can't be: give each a name of its own, none of {sorted(taken)}"
        )
    if rate_fit_per_mbit is not None and not rate_fit_per_mbit >= 0:
        raise ValueError(f"a rate of {rate_fit_per_mbit!r} FIT/Mbit can't be: use 0 or more")
    rates = {"registers": rate_fit_per_mbit, **{p.name: p.rate_fit_per_mbit for p in buffers}}
    lacking = [name for name, rate in rates.items() if rate is None]
    if lacking and len(lacking) < len(rates):
        raise ValueError(
            f"{', '.join(lacking)}: no rate_fit_per_mbit, but other parts of the array have one: "
            "give it for all, or for none, which gives probabilities without FIT"
        )
