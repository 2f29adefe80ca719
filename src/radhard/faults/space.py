"""The population of fault sites, as strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import BitFlip, FaultModel, Integers
from radhard.formats.number import NumberFormat
from radhard.network.workload import Workload

#: What is struck: a value of software, wherever it lies, a latch beside the arithmetic, any other
#: memory, or control, whose faults are no bits of a value.
Storage = Literal["value", "latch", "memory", "control"]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Sites that share component, layer and bit.

    Attributes:
        component: what holds the value, such as ``weight`` or ``activation``.
        layer: name of the layer that uses it.
        bit: position in the value's code, 0 the least significant.
        width: bits of that code.
        size: values in the stratum; a site is one of them.
        exposure: bits x cycles x raw rate; only ratios count.
        variables: values of the network among them, which a value is as often as it is held.
        also: names of the other layers that read the same stored values.
        storage: the kind of component.
    """

    component: str
    layer: str
    bit: int
    width: int
    size: int
    exposure: float
    variables: int
    also: tuple[str, ...] = ()
    storage: Storage = "memory"


def each_bit(lowest: Stratum) -> list[Stratum]:
    """The strata of all bits of a code, alike but for the bit."""
    return [replace(lowest, bit=bit) for bit in range(lowest.width)]


@dataclass(frozen=True, slots=True)
class Known:
    """Sites whose outcome is known or assumed, so that none of them is tried.

    Attributes:
        name: such as ``idle`` or ``control``.
        exposure: in the unit of `Stratum.exposure`.
        accuracy: share of the fault-free accuracy that is left: 1 where nothing happens.
        crash: whether the run ends without an answer; then nothing is silent.
        bits: flip-flops of control that these are; they count as variables of one bit each.
        control: whether they are control.
        idle: whether they are storage that holds nothing of use.
    """

    name: str
    exposure: float
    accuracy: float
    crash: bool = False
    bits: int = 0
    control: bool = False
    idle: bool = False


@dataclass(frozen=True, eq=False)
class SiteSpace:
    """Who can be hit, how likely, and by what: strata with a size and an exposure each.

    A fault strikes stratum h with probability exposure_h / total, then a site of it and an input
    image, each uniformly. The sites themselves are never listed.

    Attributes:
        strata: see `Stratum`.
        images: number of input images.
        model: what the event does to the bits.
        rate_fit: faults in 10^9 device hours, where raw rates are known.
        known: sites beside the strata; `probability` is that given none of them is struck.
    """

    strata: tuple[Stratum, ...]
    images: int
    model: FaultModel = BitFlip()  # noqa: RUF009 - frozen, so it can be shared
    rate_fit: float | None = None
    known: tuple[Known, ...] = ()

    def __post_init__(self) -> None:
        if not self.strata or not sum(stratum.exposure for stratum in self.strata) > 0:
            raise ValueError("the space holds no site that can be hit: check the kinds and layers")

    def stratum(self, index: int) -> Stratum:
        """The stratum of this number."""
        return self.strata[index]

    @cached_property
    def exposure(self) -> NDArray[np.float64]:
        """Exposure of each stratum."""
        return np.array([stratum.exposure for stratum in self.strata])

    @cached_property
    def probability(self) -> NDArray[np.float64]:
        """Probability of each stratum; they sum to 1."""
        exposure = self.exposure
        shares: NDArray[np.float64] = exposure / exposure.sum()
        return shares

    @property
    def tried(self) -> float:
        """Probability that a fault strikes one of the strata, not a known site."""
        return float(self.exposure.sum()) / self._total

    def known_share(self, part: Known) -> float:
        """Probability that a fault strikes these known sites."""
        return part.exposure / self._total

    @property
    def uniform(self) -> SiteSpace:
        """The same sites, each bit of each variable and of control alike; none is idle."""
        strata = tuple(replace(s, exposure=float(s.variables)) for s in self.strata)
        known = tuple(replace(k, exposure=float(k.bits)) for k in self.known if k.bits)
        return replace(self, strata=strata, known=known, rate_fit=None)

    def against(self, reference: SiteSpace) -> SiteSpace:
        """With the exposure that it lacks against a reference as faults that do nothing.

        A chip whose raw rates are halved then has half the faults of the reference, and nothing
        in the other half; without, probabilities would be given that a fault strikes.
        """
        lacking = reference._total - self._total
        if lacking < 0:
            raise ValueError("the population has more exposure than its reference, not less")
        return replace(self, known=(*self.known, Known("spared", lacking, 1.0)))

    @property
    def _total(self) -> float:
        return float(self.exposure.sum()) + sum(part.exposure for part in self.known)

    @cached_property
    def sizes(self) -> Integers:
        """Number of sites in each stratum."""
        return np.array([stratum.size for stratum in self.strata], dtype=np.int64)

    @cached_property
    def bits(self) -> Integers:
        """Position in the code of each stratum, and the width of the code, (2, strata)."""
        return np.array([[s.bit for s in self.strata], [s.width for s in self.strata]], np.int64)

    @property
    def population(self) -> int:
        """Number of different (site, image) pairs."""
        return int(self.sizes.sum()) * self.images

    def with_model(self, model: FaultModel) -> SiteSpace:
        """The same sites under another fault model."""
        return replace(self, model=model)

    def only(self, keep: NDArray[np.bool_]) -> SiteSpace:
        """The space of some of the strata."""
        strata = tuple(s for s, kept in zip(self.strata, keep, strict=True) if kept)
        return replace(self, strata=strata)

    def of_layer(self, name: str | None) -> SiteSpace:
        """The strata of one layer, or all of them where ``None``.

        Raises:
            ValueError: for a layer that is never struck.
        """
        if name is None:
            return self
        names = sorted({stratum.layer for stratum in self.strata})
        if name not in names:
            raise ValueError(f"no layer {name!r} is struck: use one of {names}")
        return self.only(np.array([stratum.layer == name for stratum in self.strata]))


def software_space(
    workload: Workload, kinds: Sequence[str] = ("weight", "activation")
) -> SiteSpace:
    """Every bit of every weight and of every layer output equally likely, whatever the hardware.

    This is what injectors without a hardware model assume. Biases are not included. A weight that
    several layers read is one stored value, struck as one of the first of them, wrong for all.

    Args:
        workload: the network.
        kinds: ``weight`` (constants of layers) and ``activation`` (their outputs).

    Raises:
        ValueError: for another kind, or where no layer has a site of these kinds.
    """
    unknown = set(kinds) - {"weight", "activation"}
    if unknown or not kinds:
        raise ValueError(f"kinds {tuple(kinds)} can't be: use weight, activation or both")
    strata: list[Stratum] = []
    for number, layer in enumerate(workload.layers):
        how = workload.arithmetic[number]
        if "weight" in kinds and workload.parameters[number] is not None:
            size = len(workload.first_read(number))
            also = tuple(workload.layers[k].name for k in workload.shared.get(number, ()))
            strata += _bits("weight", layer.name, how.weight, size, also)
        if "activation" in kinds:
            rows = workload.program.rows[layer.step]
            assert rows is not None
            strata += _bits("activation", layer.name, how.output, rows.elements)
    return SiteSpace(tuple(strata), len(workload.images))


def _bits(
    component: str, layer: str, fmt: NumberFormat, size: int, also: tuple[str, ...] = ()
) -> list[Stratum]:
    lowest = Stratum(component, layer, 0, fmt.width, size, float(size), size, also, "value")
    return each_bit(lowest) if size else []
