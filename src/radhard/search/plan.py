"""The grid of an exploration, and how each design is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from radhard.arith.array import Stationary
from radhard.rtl.design import ArrayDesign, Protect
from radhard.rtl.multiply import circuit_named
from radhard.search.point import EXACT, OBJECTIVES

#: Where faults strike: codes of layer outputs, or the registers of the array.
Where = Literal["array", "activations"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The grid, and how each design is asked.

    Attributes:
        bits: of weights and activations, each as `radhard.quantise` reads it.
        arrays: (rows, columns).
        protect: what arrays have against upsets; the plain one is run in any case.
        multipliers: by name; ``exact`` among others.
        objectives: what the front is about, of `OBJECTIVES`.
        dataflow: of the arrays.
        where: what faults strike: registers of the ``array``, or codes of ``activations``.
        faults: for each network on an array.
        images: struck at a time; all where ``None``.
        seeds: of place and route, for arrays that were not measured before.
        seed: of the draws.

    Raises:
        ValueError: for an empty axis, a name that is none or twice, or numbers that can't be.
    """

    bits: tuple[str, ...] = ("8", "6", "4", "3")
    arrays: tuple[tuple[int, int], ...] = ((4, 4), (8, 8))
    protect: tuple[Protect, ...] = ("none", "clamp", "msb", "psum")
    multipliers: tuple[str, ...] = (EXACT,)
    objectives: tuple[str, ...] = ("accuracy", "sdc1", "area", "delay")
    dataflow: Stationary = "ws"
    where: Where = "array"
    faults: int = 2000
    images: int | None = 64
    seeds: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("bits", "arrays", "protect", "multipliers", "objectives"):
            held = getattr(self, name)
            if not held or len(set(held)) < len(held):
                raise ValueError(f"{name} {held} can't be: name at least one, and each once")
        known: Mapping[str, Sequence[str]] = {
            "protect": get_args(Protect), "objectives": OBJECTIVES,
        }  # fmt: skip
        for name, kinds in known.items():
            for one in getattr(self, name):
                if one not in kinds:
                    raise ValueError(f"{name} {one!r} can't be: use {', '.join(kinds)}")
        if self.where not in get_args(Where):
            raise ValueError(f"faults in {self.where!r} can't be: use {', '.join(get_args(Where))}")
        if self.where == "activations" and "fit" in self.objectives:
            raise ValueError("activations of software have no raw rate, so no FIT: leave fit out")
        for name in self.multipliers:
            circuit_named("" if name == EXACT else name)  # refuses what can't be
        for rows, cols in self.arrays:
            ArrayDesign(rows, cols)  # refuses what can't be
        if self.faults < 1 or (self.images is not None and self.images < 1):
            raise ValueError(
                f"{self.faults} faults on {self.images} images can't be: use 1 or more"
            )
