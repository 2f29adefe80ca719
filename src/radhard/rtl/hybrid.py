"""Campaigns by hardware: struck tiles on the emitted array, the rest in software."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.accel.clocked import ClockedArray
from radhard.accel.matrices import Matrices, check_multiplied, wrapped
from radhard.accel.systolic import Systolic
from radhard.accel.tiling import Place
from radhard.engine.trace import Trace
from radhard.faults.fault import Faults
from radhard.faults.model import BitFlip, FaultModel
from radhard.faults.space import SiteSpace
from radhard.network.arithmetic import Arithmetic
from radhard.network.workload import Workload
from radhard.rtl.bench import Bench, Sequenced
from radhard.rtl.compiled import built, missing
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Integers, Operands

#: The register of the design that holds what a register of the chip does.
_NAMES = {"input-register": "a", "weight-register": "w", "psum-register": "p"}


@dataclass(frozen=True, slots=True)
class OnArray:
    """`Campaign(..., engine=OnArray())`: struck tiles run in RTL, everything else in software.

    The faults are those of `radhard.chips.SYSTOLIC`, control included, which needs Verilator, or of
    `radhard.chips.CLOCKED`. The tile that a fault strikes runs on the
    emitted array, register by register and edge by edge; its results take their place among the
    layer's sums, which wrap round, and later layers run as whole tensors. The fault model has no
    part in it, so that both can be compared, fault by fault (`radhard validate rtl --model`).

    Attributes:
        simulator: ``verilator``, the numpy ``twin``, or ``auto`` for what is there.

    Raises:
        ValueError: for another simulator.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8, "tiny")
    >>> campaign = rh.Campaign(work, rh.chips.CLOCKED(2, 2))
    >>> by_rtl = campaign.with_(engine=OnArray("twin"))
    >>> str(by_rtl.run(until=50)["sdc1"]) == str(campaign.run(until=50)["sdc1"])
    True
    """

    simulator: Literal["auto", "verilator", "twin"] = "auto"

    def __post_init__(self) -> None:
        if self.simulator not in ("auto", "verilator", "twin"):
            raise ValueError(
                f"simulator {self.simulator!r} can't be: use verilator, twin, or auto for what is "
                "there"
            )

    @property
    def name(self) -> str:
        """``rtl``."""
        return "rtl"

    @property
    def used(self) -> str:
        """Which simulator it is here."""
        if self.simulator == "auto":
            return "twin" if missing() else "verilator"
        return self.simulator

    def check(self, network: Workload, chip: Accelerator, model: FaultModel) -> None:
        """See `radhard.campaign.strike.Engine`."""
        if not isinstance(chip, Systolic | ClockedArray):
            raise ValueError(
                f"engine rtl runs arrays that radhard emits, not {chip.name}: use --chip "
                "systolic:8x8:ws (rows x columns, and what stays: ws, os or is), or "
                "clocked:8x8:ws, without control"
            )
        if isinstance(chip, Systolic) and self.used == "twin":
            told = missing() or "the twin was asked for"
            raise ValueError(
                f"control of {chip.name} runs in Verilator alone, but {told}: use "
                f"clocked:{chip.rows}x{chip.cols}:{chip.dataflow}, without control"
            )
        if array_of(chip).late:
            raise ValueError(
                f"engine rtl runs arrays that radhard emits, which {chip.name} is not: validate "
                "one of your own with radhard validate rtl --design"
            )
        if model != BitFlip():
            raise ValueError(f"engine rtl flips single bits, not {model.name}: use bit-flip")
        for layer, how in zip(network.layers, network.arithmetic, strict=True):
            check_multiplied(layer, how, "engine rtl")
            design_of(array_of(chip), how)

    def outputs(
        self, trace: Trace, chip: Accelerator, space: SiteSpace, faults: Faults, number: int
    ) -> Tensor:
        """See `radhard.campaign.strike.Engine`."""
        if isinstance(chip, Systolic):
            control = chip.replayed(space)[faults.stratum]
            if control.any():
                step = trace.workload.layers[number].step
                rows = trace.golden(step, torch.from_numpy(faults.image))
                given = trace, chip, space
                rows[control] = self._sequenced(*given, faults[np.flatnonzero(control)], number)
                if not control.all():
                    rest = faults[np.flatnonzero(~control)]
                    rows[~control] = self.outputs(*given, rest, number)
                return rows
        chip = array_of(chip)
        layer, how = trace.workload.layers[number], trace.workload.arithmetic[number]
        design, place = design_of(chip, how), np.zeros((len(Place._fields), len(faults)), np.int64)
        register = np.zeros(len(faults), np.int64)
        for stratum in np.unique(faults.stratum).tolist():
            which = np.flatnonzero(faults.stratum == stratum)
            name, names = space.strata[stratum].component, [one.name for one in design.registers]
            place[:, which] = chip.places(name, layer, faults.index[which])
            register[which] = names.index(_NAMES[name])
        at, bit = Place(*place), np.log2(faults.flip).astype(np.int64)
        flips = Flips(register, at.row, at.col, bit, at.edge)
        return self._layer(trace, number, faults.image, design, at, flips)

    def _layer(
        self, trace: Trace, number: int, image: Integers, design: ArrayDesign, at: Place,
        flips: Flips,
    ) -> Tensor:  # fmt: skip
        """Outputs of a layer under a flip each in the tiles of these places, (n, elements)."""
        layer = trace.workload.layers[number]
        rows, width = trace.golden(layer.step, torch.from_numpy(image)), design.widths["p"]
        for own in np.unique(image).tolist():
            which = np.flatnonzero(image == own)
            x = trace.golden(layer.operands[0], torch.tensor([own]))
            matrices = Matrices.of(trace.workload, number, x[0])
            tiles = [matrices.tile(design, *(int(part[k]) for part in at[:3])) for k in which]
            operands = Operands(np.stack([t.a for t in tiles]), np.stack([t.w for t in tiles]))
            found = self._run(design, operands, flips[which])
            wrong = found - wrapped(operands.a @ operands.w, width)
            for k, tile, change in zip(which.tolist(), tiles, wrong, strict=True):
                matrices.put(rows[k], tile, change)
        return rows

    def _sequenced(
        self, trace: Trace, chip: Systolic, space: SiteSpace, faults: Faults, number: int
    ) -> Tensor:
        """Outputs of a layer under faults in control of its tiles, (n, elements)."""
        work = trace.workload
        rows = trace.golden(work.layers[number].step, torch.from_numpy(faults.image))
        bench, (at, strikes) = (
            bench_of(chip, work, number),
            chip.struck(work, space, faults, number),
        )
        first, width = len(bench.design.registers), bench.design.widths["p"]
        bits = np.log2(strikes.flip).astype(np.int64)
        layers = dict[int, Matrices]()
        for k, image in enumerate(faults.image.tolist()):
            if image not in layers:
                x = trace.golden(work.layers[number].operands[0], torch.tensor([image]))
                layers[image] = Matrices.of(work, number, x[0])
            matrices, place = layers[image], tuple(int(one[k]) for one in at[:3])
            tiles = matrices.before(chip, *place), matrices.tile(chip, *place)
            operands = Operands(np.stack([t.a for t in tiles]), np.stack([t.w for t in tiles]))
            struck = first + strikes.bank[k], 0, strikes.place[k], bits[k], strikes.edge[k]
            found = bench.strike(operands, Flips(*(np.array([int(one)]) for one in struck)))
            matrices.put(rows[k], tiles[1], found[0] - wrapped(tiles[1].a @ tiles[1].w, width))
        return rows

    def _run(self, design: ArrayDesign, operands: Operands, flips: Flips) -> Integers:
        if self.used == "twin":
            return Twin(design, operands).each(flips)
        return built(design).each(operands, flips)


def array_of(chip: Accelerator) -> ClockedArray:
    """The registers of data of a chip that is emitted."""
    if isinstance(chip, Systolic):
        return chip.array
    assert isinstance(chip, ClockedArray)
    return chip


def bench_of(chip: Systolic, work: Workload, number: int) -> Bench:
    """The compiled array with what sequences a layer."""
    plan, design = chip.sequencer(work, number), design_of(chip.array, work.arithmetic[number])
    return Bench.kept(Sequenced(design, plan.free, plan.bits))


def design_of(chip: ClockedArray, how: Arithmetic) -> ArrayDesign:
    """The array that is emitted for a layer's arithmetic on a chip.

    Raises:
        ValueError: for registers of a width that no array has.
    """
    widths = how.input.width, how.weight.width, how.latch.width
    return ArrayDesign(chip.rows, chip.cols, *widths, chip.dataflow)


def compile_for(network: Workload, chip: Accelerator) -> None:
    """Make all programs that faults in a network need."""
    for design in dict.fromkeys(design_of(array_of(chip), how) for how in network.arithmetic):
        built(design)
    if isinstance(chip, Systolic):
        for number in range(len(network.layers)):
            bench_of(chip, network, number)
