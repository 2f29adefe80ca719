"""Chips: which faults they have, and what software sees of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from radhard.faults.corruption import Corruption, whole_box
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, SoftwareSpace
from radhard.network.workload import Workload


class Accelerator(Protocol):
    """What runs the network and is struck by faults."""

    @property
    def name(self) -> str:
        """The name under which the chip is listed."""
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

    def sites(self, workload: Workload) -> SiteSpace:
        """`SoftwareSpace` of the workload."""
        space = SoftwareSpace(workload, self.kinds)
        if self.rate_fit_per_mbit is None:
            return space
        bits = float(space.exposure.sum())
        return replace(space, rate_fit=self.rate_fit_per_mbit * bits / 2**20)

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck value is wrong from the start of the layer, or from its end, on."""
        numbers = {layer.name: number for number, layer in enumerate(workload.layers)}
        operands = {"weight": "weight", "activation": "output"}
        layer = np.array([numbers[s.layer] for s in space.strata], dtype=np.int64)
        operand = np.array([operands[s.component] for s in space.strata])
        box = whole_box(len(faults))
        return Corruption(
            layer[faults.stratum],
            operand[faults.stratum],
            faults.index,
            faults.image,
            faults.keep,
            faults.flip,
            box,
            box,
            np.zeros(len(faults), dtype=np.int64),
            box,
        )
