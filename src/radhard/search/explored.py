"""A quantised network on arrays: what is asked of it, and the points that come of that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from radhard.accel.chip import Accelerator, Software
from radhard.accel.clocked import ClockedArray
from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import collect
from radhard.campaign.masking import Masking, masking
from radhard.campaign.progress import Watcher
from radhard.campaign.result import Result
from radhard.faults.space import Stratum
from radhard.metrics.fit import fit
from radhard.network.fit import bits_of
from radhard.network.workload import Workload
from radhard.protect.bound import RangeRestriction
from radhard.protect.column import ColumnClamp
from radhard.protect.instead import Instead
from radhard.protect.protection import Protection
from radhard.rtl.design import ArrayDesign, Protect, Value
from radhard.rtl.energy import relative_energy
from radhard.rtl.hardware import Hardware
from radhard.rtl.latency import running
from radhard.rtl.multiply import circuit_named
from radhard.search.measured import ports
from radhard.search.plan import Plan
from radhard.search.point import EXACT, Point
from radhard.search.voting import Voting, lost
from radhard.stats.estimate import opposite

#: Faults at most of which it is asked where they were masked.
_MASKED = 1000


def _summing(work: Workload, bits: int) -> Workload:
    """With an accumulator of so many bits."""
    return work.with_(format=replace(work.formats, sum_bits=bits))


class Asked(NamedTuple):
    """What campaigns found of a network on an array, by the protection that changes the run.

    Attributes:
        results: of all faults.
        masked: where some of them were masked.
    """

    results: Mapping[Protect, Result]
    masked: Mapping[Protect, Masking]


class Explored:
    """A quantised network with one multiplier, on arrays of any size and protection."""

    def __init__(
        self, plan: Plan, bits: str, multiplier: str, work: Workload, learning: Workload
    ) -> None:
        self.plan, self.bits, self.multiplier = plan, bits, multiplier
        self.circuit = circuit_named("" if multiplier == EXACT else multiplier)
        inputs, weights = map(max, ports(work))
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
        self._found: dict[str, Asked] = {}

    def design(self, size: tuple[int, int], protect: Protect) -> ArrayDesign:
        """An array that runs it."""
        name = "" if self.circuit is None else self.multiplier
        return ArrayDesign(*size, *self.widths, self.plan.dataflow, protect, name)

    def results(self, size: tuple[int, int], store: Path, watch: Watcher | None) -> Asked:
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
                if kind in ("clamp", "zero", "mean"):
                    guard = self._guard(kind)
                    asked[kind] = plain.with_(protections=[guard], name=f"{name}-{kind}")
            found = collect(list(asked.values()), self.plan.faults, store / "runs", watch)
            count, place = min(self.plan.faults, _MASKED), store / "masked"
            masked = {kind: masking(one, count, place) for kind, one in asked.items()}
            self._found[name] = Asked(dict(zip(asked, found, strict=True)), masked)
        return self._found[name]

    def _chip(self, size: tuple[int, int]) -> Accelerator:
        """What is struck."""
        if self.plan.where == "activations":
            return Software(("activation",))
        return ClockedArray(*size, self.plan.dataflow)

    def _guard(self, kind: Protect) -> Protection:
        """Learned once for arrays of all sizes."""
        if kind not in self._guards:
            zero: bool = kind == "zero"
            instead: Instead | None = "mean" if kind == "mean" else None
            at_codes = self.plan.where == "activations"
            guard = RangeRestriction(0.0, zero) if at_codes else ColumnClamp(zero)
            guard = replace(guard, instead=instead)
            self._guards[kind] = guard.learned(self.learning)
        return self._guards[kind]

    def point(self, design: ArrayDesign, found: Asked, hardware: Hardware) -> Point:
        """The design with one of the protections."""
        kind: Protect = design.protect if design.protect in found.results else "none"
        result, votes = found.results[kind], self._votes(design)
        kept = Voting(result, votes)
        ra, plain = kept["correct"], found.results["none"]
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
            energy_known=energy is not None, stages=found.masked[kind].shares(votes),
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
