"""Chips: which faults they have, and what software sees of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from radhard.accel.component import Component
from radhard.accel.dataflow import Dataflow, corruption_of, layer_with_windows
from radhard.faults.corruption import Corruption, whole_box
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, Storage, Stratum, each_bit, software_space
from radhard.network.workload import Workload


@runtime_checkable
class Accelerator(Protocol):
    """What runs the network and is struck by faults."""

    @property
    def name(self) -> str:
        """The name under which the chip is listed."""
        ...

    @property
    def about(self) -> str:
        """What it is, in a line."""
        ...

    def sites(self, workload: Workload) -> SiteSpace:
        """The population of faults while one image is processed."""
        ...

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """What software sees of ``faults`` of ``space``, one corruption each."""
        ...


@dataclass(frozen=True, slots=True)
class Software:
    """No chip: any bit of any weight and layer output is wrong for all its uses.

    The assumption of injectors that know no hardware; here to reproduce them and to show the gap.

    Attributes:
        kinds: ``weight``, ``activation`` or both.
        rate_fit_per_mbit: raw rate in FIT per 2^20 bits, where all these values are taken to lie
            in memory all the time; without it there are probabilities, but no FIT.

    Raises:
        ValueError: for a negative rate.
    """

    kinds: tuple[str, ...] = ("weight", "activation")
    rate_fit_per_mbit: float | None = None

    def __post_init__(self) -> None:
        if self.rate_fit_per_mbit is not None and not self.rate_fit_per_mbit >= 0:
            raise ValueError(f"a rate of {self.rate_fit_per_mbit!r} FIT/Mbit can't be")

    @property
    def name(self) -> str:
        """``software``."""
        return "software"

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return "no chip: any bit of any weight and layer output, wrong for all its uses"

    def sites(self, workload: Workload) -> SiteSpace:
        """`software_space` of the workload."""
        space = software_space(workload, self.kinds)
        if self.rate_fit_per_mbit is None:
            return space
        bits = float(space.exposure.sum())
        return replace(space, rate_fit=self.rate_fit_per_mbit * bits / 2**20)

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck value is wrong from the start of the layer, or from its end, on.

        A weight that several layers read is wrong for all of them.
        """
        numbers = {layer.name: number for number, layer in enumerate(workload.layers)}
        operands = {"weight": "weight", "activation": "output"}
        layer = np.array([numbers[s.layer] for s in space.strata], dtype=np.int64)
        operand = np.array([operands[s.component] for s in space.strata])
        element = faults.index.copy()
        for number in workload.shared.keys() | {k for m in workload.shared.values() for k in m}:
            here = (layer == number)[faults.stratum] & (operand == "weight")[faults.stratum]
            element[here] = workload.first_read(number).numpy()[element[here]]
        box = whole_box(len(faults))
        return Corruption(
            layer[faults.stratum],
            operand[faults.stratum],
            element,
            faults.image,
            faults.keep,
            faults.flip,
            box,
            box,
            np.zeros(len(faults), dtype=np.int64),
            box,
            operand[faults.stratum] == "weight",
        )


@dataclass(frozen=True, slots=True)
class Chip:
    """Processing elements with latches, memories around them, and the order in which they work.

    A layer takes a share of the time that is its share of the multiply-accumulates, and all storage
    is taken to hold live values of the layer that runs: the assumptions of Li et al., SC'17. A
    stratum's exposure is its rate in FIT.

    Attributes:
        name, about: for lists and tables.
        pes: processing elements, one multiply-accumulate per cycle each.
        latches_per_pe: datapath latches of a processing element; the kinds of latches among the
            components share them equally.
        components: what can be struck.
        dataflow: who reads what, and when.

    Raises:
        ValueError: for no components or equal names, or numbers below 1.

    >>> from radhard import chips
    >>> chips.EYERISS.pes, len(chips.EYERISS.components)
    (1344, 10)
    """

    name: str
    about: str
    pes: int
    latches_per_pe: float
    components: tuple[Component, ...]
    dataflow: Dataflow

    def __post_init__(self) -> None:
        names = [component.name for component in self.components]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"chip {self.name}: components {names} can't be: give each its name")
        if self.pes < 1 or not self.latches_per_pe > 0:
            raise ValueError(
                f"chip {self.name}: {self.pes} processing elements of {self.latches_per_pe} "
                "latches can't be"
            )

    def bits(self, component: Component, width: int) -> float:
        """Bits of all instances of a component, where values have ``width`` bits."""
        if component.kind == "sram":
            return component.instances * component.kib * 8192
        kinds = sum(other.kind == "latch" for other in self.components)
        return self.pes * self.latches_per_pe / kinds * width

    def storage_bits(self, workload: Workload) -> dict[str, float]:
        """Bits of each component, on average over the layers."""
        macs, found = sum(layer.macs for layer in workload.layers), dict[str, float]()
        for component in self.components:
            bits = 0.0
            for layer, how in zip(workload.layers, workload.arithmetic, strict=True):
                held = {"weight": how.weight, "input": how.input}
                width = held.get(component.holds.operand, how.latch).width
                bits += self.bits(component, width) * layer.macs / macs
            found[component.name] = bits
        return found

    def cycles(self, workload: Workload) -> tuple[int, ...]:
        """Cycles per layer and image, all processing elements busy."""
        return tuple(-(-layer.macs // self.pes) for layer in workload.layers)

    def sites(self, workload: Workload) -> SiteSpace:
        """Strata of component, layer and bit, with their rates in FIT as exposure.

        Raises:
            ValueError: where the network has a layer that the dataflow does not know.
        """
        macs = sum(layer.macs for layer in workload.layers)
        strata: list[Stratum] = []
        for component in self.components:
            for number in range(len(workload.layers)):
                layer, inputs = layer_with_windows(workload, number, self.name)
                size = self.dataflow.sites(component.holds, layer, inputs)
                how = workload.arithmetic[number]
                held = {"weight": how.weight, "input": how.input}
                width = held.get(component.holds.operand, how.latch).width
                bits = self.bits(component, width) * layer.macs / macs
                rate = component.rate_fit_per_mbit * bits / 2**20
                values = layer.variables(component.holds.operand, inputs)
                lowest = Stratum(component.name, layer.name, 0, width, size, rate / width, values)
                kind: Storage = "latch" if component.kind == "latch" else "memory"
                strata += each_bit(replace(lowest, storage=kind))
        total = sum(stratum.exposure for stratum in strata)
        return SiteSpace(tuple(strata), len(workload.images), rate_fit=total)

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck value is wrong for the reads that follow the strike."""
        kinds = {component.name: component.holds for component in self.components}
        return corruption_of(
            workload,
            space,
            faults,
            {name: holds.operand for name, holds in kinds.items()},
            lambda name, layer, index: self.dataflow.reads(kinds[name], layer, index),
        )
