"""Quantisation by array by protection: accuracy, reliability and hardware of each design.

The automated exploration of Taheri et al. (ISQED'24, "DeepXcel"), with intervals: a network in
several widths, faults in its activations or in the registers of the array that runs it, protections
that the array can have, and what each design costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, get_args

from radhard.accel.chip import Accelerator, Software
from radhard.accel.clocked import ClockedArray
from radhard.arith.array import Stationary
from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import collect
from radhard.campaign.job import Watcher
from radhard.campaign.result import Result
from radhard.faults.space import Stratum
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.metrics.fit import fit
from radhard.network.fit import bits_of
from radhard.network.workload import Workload
from radhard.protect.bound import RangeRestriction
from radhard.protect.column import ColumnClamp
from radhard.protect.protection import Protection
from radhard.rtl.design import ArrayDesign, Protect, Value
from radhard.rtl.energy import relative_energy
from radhard.rtl.hardware import Hardware, hardware_of
from radhard.rtl.latency import running
from radhard.rtl.multiply import circuit_named
from radhard.search.point import EXACT, OBJECTIVES, Point
from radhard.search.voting import Voting, lost
from radhard.stats.estimate import opposite

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


def explore(
    plan: Plan,
    quantised: Callable[[str], tuple[Workload, Workload]],
    store: Path,
    watch: Watcher | None = None,
    tell: Callable[[str], None] = lambda said: None,
) -> Iterator[Point]:
    """Evaluate the grid, design by design; what ``store`` holds is not run again.

    All protections of a network on an array meet the same faults.

    Args:
        plan: the grid.
        quantised: makes the network of one of its ``bits``, with test images and with others, from
            which ranges are learned.
        store: folder of campaigns and of what tools make.
        watch: called after each shard of a campaign.
        tell: what is being synthesised.

    Raises:
        ValueError: where a network can't be had or can't run on such an array; nothing else has
            run then.
    """
    ready = {bits: quantised(bits) for bits in plan.bits}
    for bits, name in product(plan.bits, plan.multipliers):
        own = _Network(plan, bits, name, *ready[bits])
        for size, protect in product(plan.arrays, plan.protect):
            found = own.results(size, store / "runs", watch)
            design = own.design(size, protect)
            hardware = hardware_of(design, store / "hardware", plan.seeds, tell)
            yield own.point(design, found, hardware)


def _summing(work: Workload, bits: int) -> Workload:
    """With an accumulator of so many bits."""
    return work.with_(format=replace(work.formats, sum_bits=bits))


class _Network:
    """A quantised network with one multiplier, on arrays of any size and protection."""

    def __init__(
        self, plan: Plan, bits: str, multiplier: str, work: Workload, learning: Workload
    ) -> None:
        self.plan, self.bits, self.multiplier = plan, bits, multiplier
        self.circuit = circuit_named("" if multiplier == EXACT else multiplier)
        inputs, weights = map(max, _ports(work))
        sums = max(bits_of(how.bound) for how in work.arithmetic if how.exact)
        held = max(sums, inputs + weights + 8)
        if self.circuit is not None:  # whose products may be larger than exact ones
            held = max(sums + 1, 2 * self.circuit.width + 8)
        self.widths = inputs, weights, held
        self.work, self.learning = (_summing(one, held) for one in (work, learning))
        if self.circuit is not None:
            self.work, self.learning = (
                one.with_(multiplier=self.circuit) for one in (self.work, self.learning)
            )
        self._guards: dict[Protect, Protection] = {}
        self._found: dict[str, dict[Protect, Result]] = {}

    def design(self, size: tuple[int, int], protect: Protect) -> ArrayDesign:
        """An array that runs it."""
        name = "" if self.circuit is None else self.multiplier
        return ArrayDesign(*size, *self.widths, self.plan.dataflow, protect, name)

    def results(
        self, size: tuple[int, int], store: Path, watch: Watcher | None
    ) -> dict[Protect, Result]:
        """What campaigns find: without protection, and with each that changes the run."""
        parts, chip = [self.work.name, self.bits, self.multiplier], self._chip(size)
        if self.plan.where == "array":
            parts.append("x".join(map(str, size)))
        name = re.sub(r"[^\w.-]", "_", "-".join(parts))
        if name not in self._found:
            struck = min(self.plan.images or len(self.work.images), len(self.work.images))
            plain = Campaign(self.work, chip, seed=self.plan.seed, images=struck, name=name)
            asked: dict[Protect, Campaign] = {"none": plain}
            for kind in self.plan.protect:
                if kind in ("clamp", "zero"):
                    guard = self._guard(kind)
                    asked[kind] = plain.with_(protections=[guard], name=f"{name}-{kind}")
            found = collect(list(asked.values()), self.plan.faults, store, watch)
            self._found[name] = dict(zip(asked, found, strict=True))
        return self._found[name]

    def _chip(self, size: tuple[int, int]) -> Accelerator:
        """What is struck."""
        if self.plan.where == "activations":
            return Software(("activation",))
        return ClockedArray(*size, self.plan.dataflow)

    def _guard(self, kind: Protect) -> Protection:
        """Learned once for arrays of all sizes."""
        if kind not in self._guards:
            zero = kind == "zero"
            at_codes = self.plan.where == "activations"
            guard = RangeRestriction(zero=zero) if at_codes else ColumnClamp(zero)
            self._guards[kind] = guard.learned(self.learning)
        return self._guards[kind]

    def point(
        self, design: ArrayDesign, found: Mapping[Protect, Result], hardware: Hardware
    ) -> Point:
        """The design with one of the protections."""
        result = found.get(design.protect, found["none"])
        kept = Voting(result, self._votes(design))
        ra, plain = kept["correct"], found["none"]
        cost = lost(ra, result.golden_accuracy)
        energy = relative_energy(self.work, self.circuit) if self.circuit else 1.0
        rate, gain = result.space.rate_fit, None
        if design.protect != "none":
            gain = kept.gain if result is plain else (result - plain).ra
        return Point(
            model=self.work.name, bits=self.bits, multiplier=self.multiplier, design=design,
            accuracy=result.golden,
            sdc1=kept["sdc1"], ra=ra, fit=None if rate is None else fit(kept["sdc1"], rate),
            drop=cost, worst=kept.worst, improvement=gain,
            improved=None if gain is None else kept.share(gain, plain),
            unread=opposite(kept["activated"]), masked=kept["masked"], hardware=hardware,
            running=running(self.work, design, energy or 1.0), campaign=result.name,
            energy_known=energy is not None,
        )  # fmt: skip

    def _votes(self, design: ArrayDesign) -> Callable[[Stratum], bool]:
        """Whether a struck bit is one of three that vote."""
        if self.plan.where == "activations":
            whole = design.voted("a") == design.widths["a"]
            return lambda s: whole or s.bit >= s.width - design.voted("a")
        held: Mapping[str, Value] = {
            "input-register": "a", "weight-register": "w", "psum-register": "p",
        }  # fmt: skip
        lowest = {name: design.widths[one] - design.voted(one) for name, one in held.items()}
        return lambda s: s.bit >= lowest[s.component]


def _ports(work: Workload) -> tuple[list[int], list[int]]:
    """Bits that codes of activations and of weights need in two's complement."""
    hows = [how for layer, how in zip(work.layers, work.arithmetic, strict=True) if layer.macs]
    return [_width(how.input) for how in hows], [_width(how.weight) for how in hows]


def _width(fmt: NumberFormat) -> int:
    """Bits of a code less its zero point."""
    if not isinstance(fmt, IntegerFormat):
        raise ValueError(f"{fmt.name} is no format of integers: an array here multiplies integers")
    return fmt.width + fmt.affine
