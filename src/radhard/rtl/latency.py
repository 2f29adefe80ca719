"""How long a network takes on an array, and the energy that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from radhard.accel.clocked import ClockedArray
from radhard.network.layer import Layer
from radhard.network.workload import Workload
from radhard.rtl.design import ArrayDesign

#: Energies at 45 nm and 0.9 V in pJ (Horowitz, ISSCC'14): a product of 8 x 8 bits, a bit of an
#: addition, and a bit that a memory of 8 KiB gives or takes, 64 at a time.
_PRODUCT, _SUM_BIT, _MEMORY_BIT = 0.2, 0.03 / 8, 10 / 64


@dataclass(frozen=True, slots=True)
class Running:
    """One inference on an array.

    Attributes:
        cycles: clock edges, layer after layer and tile after tile without overlap.
        energy_nj: of products, additions and what crosses the array's edges, in nJ.
    """

    cycles: int
    energy_nj: float

    def latency_us(self, fmax_mhz: float) -> float:
        """Of an inference at a clock rate."""
        return self.cycles / fmax_mhz


def running(workload: Workload, design: ArrayDesign, relative: float = 1.0) -> Running:
    """What an inference takes on an array.

    Layers are matrix products of P x K by K x N, positions by fan-in by channels; groups come one
    after the other. Energy is a model, not a measurement: products cost as their widths multiplied,
    additions as the width of sums, every value that enters or leaves the array is read from or
    written to a memory of 8 KiB, and sums that go on in another tile are read again. Copies that
    vote cost additions and products anew in ``tmr``; registers, votes and the clock are left out.

    Args:
        workload: the network.
        design: the array.
        relative: energy of its multiplier over that of an exact one.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8))
    >>> work = rh.capture(model, torch.rand(2, 1, 4, 4), torch.tensor([0, 2]), rh.INT8)
    >>> running(work, ArrayDesign(8, 8)).cycles
    48
    """
    cycles, energy = 0, 0.0
    for layer in workload.layers:
        if layer.macs:
            more = _layer(layer, design, relative)
            cycles, energy = cycles + more.cycles, energy + more.energy_nj
    return Running(cycles, energy)


def _layer(layer: Layer, design: ArrayDesign, relative: float) -> Running:
    flow, widths = design.dataflow, design.widths
    shape = ClockedArray(design.rows, design.cols, flow).shape(layer)
    p, k, n = shape.positions, shape.terms, shape.channels
    product = _PRODUCT * widths["a"] * widths["w"] / 64 * relative
    copies = 3 if design.protect == "tmr" else 1
    computed = layer.macs * copies * (product + _SUM_BIT * widths["p"])
    up, across = shape.up, shape.across
    of_a, of_w = {"ws": (across, 1), "is": (1, across), "os": (across, up)}[flow]
    turns = 1 if flow == "os" else up
    moved = shape.groups * (
        p * k * of_a * widths["a"]
        + k * n * of_w * widths["w"]
        + p * n * (2 * turns - 1) * widths["p"]
    )
    return Running(shape.cycles, (computed + moved * _MEMORY_BIT) / 1000)
