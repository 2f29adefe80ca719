"""Chips known by the mix of their storage: fault probabilities by transfer from hardware."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

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
from radhard.faults.space import Known, SiteSpace, Stratum, each_bit
from radhard.network.layer import Layer
from radhard.network.workload import Workload

Content = Literal["input", "weight", "output", "local-control", "global-control"]
#: Random patterns that a local control fault can leave, at most: 2 to this.
_PATTERN_BITS = 32


@dataclass(frozen=True, slots=True)
class StorageClass:
    """Flip-flops, or memory, of one use.

    Attributes:
        name: for tables.
        holds: ``input``, ``weight`` or ``output`` values, or control. A fault in local control
            replaces one output by a random pattern; one in global control crashes the run.
        mib: size in 2^20 bytes; only ratios count for probabilities.
        rate_fit_per_mib: raw rate of upsets in FIT per 2^20 bytes.
        reuse: uses that follow a fetch: of an input this many output channels at one position, of
            a weight this many positions of one output channel, of an output one. ``None`` for all
            the uses that a value has in its layer.
        latch: whether it lies beside the arithmetic, where `HardenedLatches` can replace it.

    Raises:
        ValueError: for other contents, numbers below 0, or a reuse below 1.
    """

    name: str
    holds: Content
    mib: float
    rate_fit_per_mib: float = 600.0
    reuse: int | None = 1
    latch: bool = False

    def __post_init__(self) -> None:
        if self.holds not in get_args(Content) or (self.latch and self.control):
            raise ValueError(f"{self.name}: holds {self.holds!r} can't be, or not in a latch")
        if min(self.mib, self.rate_fit_per_mib) < 0 or (self.reuse is not None and self.reuse < 1):
            raise ValueError(f"{self}: sizes and rates are 0 or more, reuse is 1 or more or None")

    @property
    def control(self) -> bool:
        """Whether it holds no values."""
        return self.holds in {"local-control", "global-control"}

    @property
    def operand(self) -> Operand:
        """What software sees wrong."""
        return "weight" if self.holds == "weight" else self._activation

    @property
    def _activation(self) -> Operand:
        return "input" if self.holds == "input" else "output"


@dataclass(frozen=True, slots=True)
class StorageMix:
    """A chip as classes of storage, each with its share of the faults and its rule of reuse.

    A fault strikes a class by size and raw rate, a layer by its share of the time, a variable of
    the class's type and a bit evenly: equations 4 to 9 of Tyagi et al. (arXiv 2212.02649). What is
    wrong then follows FIdelity (He et al., MICRO 2020). Each strike comes at a random cycle of the
    time that a value is held, so a weight held for several positions is wrong for the rest of them.

    Attributes:
        name, about: for lists and tables.
        classes: the storage; names differ.
        layer_cycles: per layer, where measured; the multiply-accumulates stand for them otherwise.
        utilisation: share of the cycles of the datapath's storage that hold live values.
        crash: probability that a fault in global control ends the run; otherwise it does nothing.
        whole: whether a value is wrong for all the uses that follow its fetch, whenever it was
            struck, as FIdelity has it.

    Raises:
        ValueError: for no classes or equal names, or probabilities outside [0, 1].

    >>> from radhard import chips
    >>> [c.reuse for c in chips.NVDLA_SMALL.classes]
    [None, None, 16, 16, 1, 1, 1]
    """

    name: str
    about: str
    classes: tuple[StorageClass, ...]
    layer_cycles: tuple[int, ...] = ()
    utilisation: float = 1.0
    crash: float = 1.0
    whole: bool = False

    def __post_init__(self) -> None:
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names) or all(c.holds == "global-control" for c in self.classes):
            raise ValueError(f"chip {self.name}: classes {names} can't be: give each its name")
        if not (0 < self.utilisation <= 1 and 0 <= self.crash <= 1):
            raise ValueError(
                f"chip {self.name}: utilisation {self.utilisation} or crash {self.crash} can't "
                "be: use probabilities, and a utilisation above 0"
            )

    def sites(self, workload: Workload) -> SiteSpace:
        """Strata of class, layer and bit, with their rates in FIT as exposure.

        Raises:
            ValueError: where a layer has no windows, or there are not as many cycles as layers.
        """
        layers = workload.layers
        time = self.layer_cycles or tuple(layer.macs for layer in layers)
        if len(time) != len(layers):
            raise ValueError(
                f"chip {self.name} has {len(time)} numbers of cycles, the network "
                f"{len(layers)} layers: give one for each"
            )
        strata: list[Stratum] = []
        for part in self.classes:
            if part.holds == "global-control":
                continue
            used = 1.0 if part.holds == "local-control" else self.utilisation
            for number in range(len(layers)):
                rate = used * part.mib * part.rate_fit_per_mib * time[number] / sum(time)
                strata += self._strata(part, workload, number, rate)
        return SiteSpace(
            tuple(strata),
            len(workload.images),
            rate_fit=sum(c.mib * c.rate_fit_per_mib for c in self.classes),
            known=self._known(),
        )

    def _strata(
        self, part: StorageClass, workload: Workload, number: int, rate: float
    ) -> list[Stratum]:
        layer, inputs = layer_with_windows(workload, number, self.name)
        how = workload.arithmetic[number]
        formats = {"weight": how.weight, "input": how.input, "output": how.output}
        width = formats[part.operand].width
        size = self._cells(part, layer, inputs)
        if part.holds == "local-control":
            flip_flops = round(part.mib * 2**23)
            patterns = 2 ** min(width, _PATTERN_BITS)
            share = flip_flops * layer.macs // sum(la.macs for la in workload.layers)
            sites = size * patterns
            return [Stratum(part.name, layer.name, 0, width, sites, rate, share, storage="control")]
        values = layer.variables("psum" if part.holds == "output" else part.holds, inputs)
        lowest = Stratum(part.name, layer.name, 0, width, size, rate / width, values)
        return each_bit(replace(lowest, storage="latch" if part.latch else "memory"))

    def _cells(self, part: StorageClass, layer: Layer, inputs: int) -> int:
        weights, outputs = layer.channels * layer.fan_in, layer.channels * layer.positions
        if part.operand == "output":
            return outputs
        if part.reuse is None:
            return inputs if part.holds == "input" else weights
        if part.holds == "weight":
            return weights * layer.positions
        groups = layer.bounds["groups"]
        blocks = -(-(layer.channels // groups) // part.reuse)
        return groups * blocks * layer.positions * layer.fan_in

    def _known(self) -> tuple[Known, ...]:
        found: list[Known] = []
        idle = sum(
            c.mib * c.rate_fit_per_mib * (1 - self.utilisation)
            for c in self.classes
            if not c.control
        )
        if idle:
            found.append(Known("idle", idle, 1.0, idle=True))
        for part in self.classes:
            if part.holds == "global-control":
                rate, bits = part.mib * part.rate_fit_per_mib, round(part.mib * 2**23)
                crash = Known(part.name, rate * self.crash, 0.0, True, bits, control=True)
                found.append(crash)
                if self.crash < 1:
                    harmless = f"harmless {part.name}"
                    found.append(Known(harmless, rate * (1 - self.crash), 1.0, control=True))
        return tuple(found)

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck value is wrong for its uses in reach; local control leaves random outputs."""
        classes = {part.name: part for part in self.classes}
        operands = {name: part.operand for name, part in classes.items()}
        found = corruption_of(
            workload,
            space,
            faults,
            operands,
            lambda name, layer, index: self.reads(classes[name], layer, index),
        )
        strata = space.strata
        local = np.array([classes[s.component].holds == "local-control" for s in strata])
        size = [s.size // 2 ** min(s.width, _PATTERN_BITS) for s in strata]
        chosen = local[faults.stratum]
        pattern = faults.index // np.array(size)[faults.stratum].clip(1)
        return replace(
            found,
            keep=np.where(chosen, 0, faults.keep),
            flip=np.where(chosen, pattern, faults.flip),
        )

    def reads(self, part: StorageClass, layer: Layer, index: Integers) -> Reads:
        """What n cells of a class hold, and who reads it after the strike."""
        n, everything = len(index), whole_box(len(index))
        nothing = zeros(n)
        if part.operand == "output":
            m, p = np.divmod(index % (layer.channels * layer.positions), layer.positions)
            return Reads(layer.output_element(m, p), everything, everything, nothing, everything)
        if part.reuse is None:
            always = np.full(n, part.holds == "input")
            return Reads(index, everything, everything, nothing, everything, always)
        if part.holds == "weight":
            m, k, p = np.unravel_index(index, (layer.channels, layer.fan_in, layer.positions))
            block = p // part.reuse * part.reuse
            positions = np.stack([block if self.whole else p, block + part.reuse], 1)
            element = weight_element(layer, m, k)
            return Reads(element, one(m), positions, nothing, everything)
        groups = layer.bounds["groups"]
        own = layer.channels // groups
        blocks = -(-own // part.reuse)
        group, block, p, k = np.unravel_index(
            index, (groups, blocks, layer.positions, layer.fan_in)
        )
        start = group * own + block * part.reuse
        last = (group + 1) * own
        channels = np.stack([start, np.minimum(start + part.reuse, last)], 1)
        return broadcast_input(layer, channels, p, k, start + part.reuse > last)

    def storage_bits(self, workload: Workload) -> dict[str, float]:
        """Bits of each class."""
        return {part.name: part.mib * 2**23 for part in self.classes}

    def with_rates(self, **factors: float) -> StorageMix:
        """The same chip with raw rates of some classes times a factor; ``_`` stands for ``-``.

        Raises:
            ValueError: for a class that the chip has not.
        """
        named = {name.replace("_", "-"): factor for name, factor in factors.items()}
        unknown = named.keys() - {part.name for part in self.classes}
        if unknown:
            raise ValueError(f"chip {self.name} has no class {sorted(unknown)}")
        classes = tuple(
            replace(c, rate_fit_per_mib=c.rate_fit_per_mib * named.get(c.name, 1.0))
            for c in self.classes
        )
        return replace(self, classes=classes)
