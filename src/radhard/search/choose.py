"""Choosing protections: the best failure rate for what they take, on the same faults for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radhard.accel.chip import Chip
from radhard.campaign.campaign import SHARD, Campaign, shards_of
from radhard.campaign.collect import collect, outcomes
from radhard.campaign.result import Result
from radhard.campaign.sealed import keep_arrays, reusable_arrays
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, is_control
from radhard.network.workload import Workload
from radhard.protect.bound import ClippedActivation, RangeRestriction, ValueThreshold
from radhard.protect.checksum import Checksum
from radhard.protect.gradient import NeuronGradientSuppressor
from radhard.protect.hardening import HardenedLatches
from radhard.protect.protection import (
    Cost,
    Flags,
    Protection,
    Struck,
    hardened,
    stopped_by,
)
from radhard.protect.ranges import RangeDetector
from radhard.protect.redundancy import Redundancy
from radhard.protect.storage import SECDED, BitTriplication, Parity
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate

#: What a comparison or a vote on one value counts, in multiply-accumulates.
OPERATION = 0.1
#: Bits of a memory that are kept three times, the most harmful ones.
_TRIPLED = (1, 2, 4)
#: Reductions of the latches' rate that are offered.
_HARDENED = (3.0, 10.0, 100.0)
_METRICS = ("sdc1", "lost", "gained", "sdc1_undetected", "detected")
#: Called with what is being tried, how many are done, and how many there are.
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A protection that can be added, one per slot; what it does to the faults is known.

    Attributes:
        slot: what it protects; another option of the same slot replaces it.
        name: for tables.
        protection: the thing itself.
        passes: share of each fault that still strikes, (n,): 0 where it is stopped.
        cost: what it takes.
        repeats: whether it needs the inference to be run again.
    """

    slot: str
    name: str
    protection: Protection
    passes: NDArray[np.float64]
    cost: Cost
    repeats: bool


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """What watches the run: one guard or none, with what the common faults do under it.

    Attributes:
        name: for tables.
        protections: one or none.
        columns: outcomes by name, (n,); a fault that a detector sees counts as harmless.
        detected: the guard's alarms, (n,).
        golden_accuracy: fault-free, with the guard on.
        cost: what it takes.
    """

    name: str
    protections: tuple[Protection, ...]
    columns: dict[str, Flags]
    detected: Flags
    golden_accuracy: float
    cost: Cost


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A set of protections and what it reaches.

    Attributes:
        name: the parts.
        protections: the parts.
        rate: of SDC-1 in FIT, or its probability where the chip has no raw rates.
        accuracy: under a fault.
        area: added, as a share of the chip's storage.
        work: added, as a share of the network's multiply-accumulates.
        cost: the whole record.
        repeats: whether a part needs inferences to be run again.
    """

    name: str
    protections: tuple[Protection, ...]
    rate: Estimate
    accuracy: Estimate
    area: float
    work: float
    cost: Cost
    repeats: bool

    @property
    def overhead(self) -> float:
        """Area and work added, a percent of one counting as a percent of the other."""
        return self.area + self.work


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked for; at least one.

    Attributes:
        rate: at most, in FIT (or as a probability); the upper end of the interval must meet it.
        area: at most, added, as a share of the chip's storage.
        macs: at most, added, as a share of the network's.

    Raises:
        ValueError: for no goal, or one below 0 or not a number.
    """

    rate: float | None = None
    area: float | None = None
    macs: float | None = None

    def __post_init__(self) -> None:
        given = [goal for goal in (self.rate, self.area, self.macs) if goal is not None]
        if not given:
            raise ValueError("give a target rate, a budget of area, or a budget of work")
        if not all(goal >= 0 for goal in given):  # nor not-a-number, which nothing meets
            raise ValueError(f"goals {given} can't be: use numbers of 0 or more")

    def allows(self, design: Design) -> bool:
        """Whether a design keeps within the budgets."""
        fits = self.area is None or design.area <= self.area
        return fits and (self.macs is None or design.work <= self.macs)

    def best(self, designs: Sequence[Design]) -> Design | None:
        """Within budgets: the cheapest whose whole interval meets the rate, or the least rate."""
        allowed = [design for design in designs if self.allows(design)]
        if self.rate is None:
            return min(allowed, key=lambda d: (d.rate.value, d.overhead), default=None)
        met = [design for design in allowed if design.rate.high <= self.rate]
        return min(met, key=lambda d: (d.overhead, d.rate.value), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What `choose` found.

    Attributes:
        plain: without protections.
        front: designs of which none is as good in rate and overhead as another, cheapest first.
        winner: of the goal; ``None`` where no design meets it.
        fresh: the winner measured anew on other faults.
    """

    plain: Design
    front: tuple[Design, ...]
    winner: Design | None
    fresh: Result | None

    @property
    def fresh_rate(self) -> Estimate | None:
        """Rate of the winner on fresh faults."""
        if self.fresh is None or self.winner is None:
            return None
        return _rate(self.fresh, _failure(self.winner.protections))


def choose(
    campaign: Campaign,
    learning: Workload,
    goal: Goal,
    faults: int = 4000,
    repeat: bool = True,
    store: Path | None = None,
    watch: Watch | None = None,
    about: Mapping[str, Any] | None = None,
) -> Choice:
    """Search protections and their parameters, component by component and layer by layer.

    All designs meet the same faults. Guards of the run are tried by running the faults under them;
    what codes, copies and hardened latches do to a fault follows from where it struck. From each
    guard on, the option that lowers the rate most for its overhead is added, one after the other.

    Args:
        campaign: the plain question, without protections.
        learning: the network with training images, on which guards learn.
        goal: what is asked for.
        faults: how many all designs meet, and how many fresh ones measure the winner.
        repeat: whether an inference may be run again when a check raises an alarm.
        store: folder in which what was run is kept.
        watch: called before each guard is tried.
        about: more for the ``campaign.toml`` of the winner, as `radhard.collect` takes it.

    Raises:
        ValueError: for a campaign that has protections already.
    """
    if campaign.protections:
        raise ValueError("the campaign has protections already: ask about the plain chip")
    space = campaign.space()
    score = campaign.score(space, campaign.golden())
    drawn = Faults.joined([campaign.draw(space, *part, score) for part in shards_of(faults)])
    bases = []
    offers = _guards(learning, repeat)
    for done, (name, parts) in enumerate(offers):
        if watch:
            watch(name, done, len(offers))
        bases.append(_base(campaign, space, drawn, name, parts, store))
    options = _options(campaign, space, drawn, bases, repeat)
    found = [
        design
        for base in bases
        for design in _grown(_Measure(campaign, space, drawn), base, options)
    ]
    front = _front(found)
    winner = goal.best(found)
    fresh = None
    if winner is not None:
        if watch:
            watch("the winner on fresh faults", len(offers), len(offers))
        anew = campaign.with_(
            seed=campaign.seed + 1, protections=winner.protections, name=f"{campaign.name}-winner"
        )
        fresh = next(collect([anew], faults, store, about=about))
    return Choice(found[0], tuple(front), winner, fresh)


def _guards(learning: Workload, repeat: bool) -> list[tuple[str, tuple[Protection, ...]]]:
    """Nothing, and guards of the run with a few parameters each."""
    found: list[tuple[str, tuple[Protection, ...]]] = [("no guard", ())]
    for cushion in (0.0, 0.5):
        clamp = RangeRestriction(cushion).learned(learning)
        found.append((f"clamp, cushion {cushion:g}", (clamp,)))
        zero = replace(clamp, zero=True)
        found.append((f"clip to zero, cushion {cushion:g}", (zero,)))
    found.append(("clipped activation", (ClippedActivation().learned(learning),)))
    found.append(("value threshold, 8 deviations", (ValueThreshold(8.0, 8.0).learned(learning),)))
    gradients = NeuronGradientSuppressor(kappa=8.0, kappa_dense=8.0).best(learning)
    found.append(("neuron gradients", (gradients,)))
    if repeat:
        found.append(("range detector, repeat", (RangeDetector().learned(learning),)))
        found.append(("checksum, repeat", (Checksum().learned(learning),)))
    return found


def _failure(protections: Sequence[Protection]) -> str:
    """The outcome that counts as a failure: what a detector sees is repaired by repetition."""
    detects = any(isinstance(part, RangeDetector | Checksum) for part in protections)
    return "sdc1_undetected" if detects else "sdc1"


def _base(
    campaign: Campaign, space: SiteSpace, faults: Faults, name: str,
    protections: tuple[Protection, ...], store: Path | None,
) -> Base:  # fmt: skip
    guarded = campaign.with_(protections=protections, name=campaign.name)
    golden = guarded.golden()
    path = store / "tried" / f"{guarded.id}-{len(faults)}.npz" if store is not None else None
    columns = reusable_arrays(path) if path is not None else None
    if columns is None:
        parts = [
            outcomes(guarded, space, golden, faults[k : k + SHARD])
            for k in range(0, len(faults), SHARD)
        ]
        columns = {metric: np.concatenate([part[metric] for part in parts]) for metric in _METRICS}
        if path is not None:
            keep_arrays(path, columns)
    failure = _failure(protections)
    seen = columns["detected"] if failure != "sdc1" else np.zeros(len(faults), bool)
    kept = {
        "sdc1": columns[failure],
        "lost": columns["lost"] & ~seen,
        "gained": columns["gained"] & ~seen,
    }
    accuracy, cost = guarded.golden_accuracy(golden), guarded.cost
    return Base(name, protections, kept, columns["detected"], accuracy, cost)


def _options(
    campaign: Campaign, space: SiteSpace, faults: Faults, bases: Sequence[Base], repeat: bool
) -> list[Option]:
    """Codes and copies per component, hardened latches, checked and repeated layers."""
    work, chip = campaign.network, campaign.chip
    struck = Struck.of(space, faults, chip.corrupt(work, space, faults))
    failing = _per_stratum(space, faults, bases[0].columns["sdc1"])
    latches = _latches(campaign, space)
    names = list(dict.fromkeys(s.component for s in space.strata if not is_control(s.component)))
    found: list[Option] = []

    def offer(slot: str, name: str, protection: Protection, repeats: bool = False) -> None:
        stopped = stopped_by([protection], work, struck).harmless
        share = hardened([protection], space).exposure / np.maximum(space.exposure, 1e-300)
        passes = np.where(stopped, 0.0, share[faults.stratum])
        cost = protection.cost(work, chip)
        found.append(Option(slot, name, protection, passes, cost, repeats))

    for name in names:
        if name in latches:
            continue
        slot = f"component {name}"
        if repeat:
            offer(slot, f"parity on {name}", Parity((name,)), True)
        offer(slot, f"SECDED on {name}", SECDED((name,)))
        worst = _worst_bits(space, failing, name)
        for bits in _TRIPLED:
            if len(worst) >= bits:
                chosen = tuple(sorted(worst[:bits]))
                offer(slot, f"{bits} bit(s) of {name} tripled", BitTriplication(chosen, (name,)))
    if latches and any(failing[k] > 0 for k, s in enumerate(space.strata)
                       if s.component in latches):  # fmt: skip
        for target in _HARDENED:
            goal = HardenedLatches(target=target).learned(space, failing, latches)
            offer("latches", f"latches hardened for {target:g}x", goal)
    checks = next((b for b in bases if any(isinstance(p, Checksum) for p in b.protections)), None)
    for number, layer in enumerate(work.layers):
        if checks is not None and layer.has_windows:
            whole = next(p for p in checks.protections if isinstance(p, Checksum))
            own = replace(whole, layers=(layer.name,))
            seen = checks.detected & (struck.corruption.layer == number)
            passes, cost = np.where(seen, 0.0, 1.0), own.cost(work, chip)
            found.append(
                Option(f"layer {layer.name}", f"checksum of {layer.name}", own, passes, cost, True)
            )
        if repeat:
            twice = Redundancy(2, (layer.name,))
            offer(f"layer {layer.name}", f"{layer.name} twice", twice, True)
        else:
            thrice = Redundancy(3, (layer.name,))
            offer(f"layer {layer.name}", f"{layer.name} three times", thrice)
    return found


def _latches(campaign: Campaign, space: SiteSpace) -> set[str]:
    """The components that are latches of the datapath, where the chip tells."""
    chip = campaign.chip
    if isinstance(chip, Chip):
        return {part.name for part in chip.components if part.kind == "latch"}
    return {s.component for s in space.strata if "latch" in s.component}


def _per_stratum(space: SiteSpace, faults: Faults, hit: Flags) -> NDArray[np.float64]:
    """Share of failures per component and bit, at its strata."""
    places = [(s.component, s.bit) for s in space.strata]
    number = {place: k for k, place in enumerate(dict.fromkeys(places))}
    group = np.array([number[place] for place in places])
    own = group[faults.stratum]
    n = np.bincount(own, faults.weight, minlength=len(number))
    hits = np.bincount(own, faults.weight * hit, minlength=len(number))
    share: NDArray[np.float64] = (hits / np.maximum(n, 1e-300))[group]
    return share


def _worst_bits(space: SiteSpace, failing: NDArray[np.float64], component: str) -> list[int]:
    """Bits of a component by their share of its failures, worst first; harmless ones left out."""
    sums: dict[int, float] = {}
    for stratum, share in zip(space.strata, failing, strict=True):
        if stratum.component == component:
            sums[stratum.bit] = sums.get(stratum.bit, 0.0) + share * stratum.exposure
    return [bit for bit in sorted(sums, key=lambda b: (-sums[b], -b)) if sums[bit] > 0]


@dataclass(frozen=True, slots=True, eq=False)
class _Measure:
    """The common faults, and what a design makes of them."""

    campaign: Campaign
    space: SiteSpace
    faults: Faults

    def weight(self, base: Base, chosen: Sequence[Option]) -> float:
        """Weighted failures that are left; proportional to the rate."""
        left = base.columns["sdc1"] * self.faults.weight
        for option in chosen:
            left = left * option.passes
        return float(left.sum())

    def shares(self, base: Base, chosen: Sequence[Option]) -> tuple[float, float, Cost]:
        """Area, work, and the whole cost."""
        cost = sum((option.cost for option in chosen), base.cost)
        macs = sum(layer.macs for layer in self.campaign.network.layers)
        return cost.area, (cost.macs + OPERATION * cost.operations) / macs, cost

    def design(self, base: Base, chosen: Sequence[Option]) -> Design:
        """With its rate, accuracy and intervals."""
        parts = (*base.protections, *(option.protection for option in chosen))
        stopped = np.ones(len(self.faults), bool)
        for option in chosen:
            stopped &= option.passes > 0
        columns = {name: hits & stopped for name, hits in base.columns.items()}
        tally = Tally.of(self.faults, columns, len(self.space.strata))
        result = Result(
            self.campaign.id, self.campaign.name, self.space, self.campaign.sampler, tally,
            base.golden_accuracy, 0.95, False, 0.0,
        )  # fmt: skip
        after = hardened([option.protection for option in chosen], self.space)
        if not np.array_equal(after.exposure, self.space.exposure):
            result = result.under(after)
        area, work, cost = self.shares(base, chosen)
        names = [base.name, *(option.name for option in chosen)]
        repeats = _failure(parts) != "sdc1" or any(option.repeats for option in chosen)
        rate = _rate(result, "sdc1")
        accuracy = result.ra
        return Design(", ".join(names), parts, rate, accuracy, area, work, cost, repeats)


def _rate(result: Result, metric: str) -> Estimate:
    return result.fit(metric) if result.space.rate_fit is not None else result[metric]


def _grown(measure: _Measure, base: Base, options: Sequence[Option]) -> Iterator[Design]:
    """Designs that begin with a guard: the best option for its overhead is added each time."""
    corrects = bool(base.protections) and _failure(base.protections) == "sdc1"
    if corrects:  # its alarms say that it has corrected, not that a run must be repeated
        options = [one for one in options if not isinstance(one.protection, Checksum)]
    chosen: dict[str, Option] = {}
    yield measure.design(base, [])
    while True:
        now = list(chosen.values())
        rate, spent = measure.weight(base, now), sum(measure.shares(base, now)[:2])
        best: tuple[float, Option] | None = None
        for option in options:
            tried = [*({**chosen, option.slot: option}).values()]
            gain = rate - measure.weight(base, tried)
            price = sum(measure.shares(base, tried)[:2]) - spent
            if gain > 1e-12 * max(rate, 1e-300):
                worth = gain / max(price, 1e-9)
                if best is None or worth > best[0]:
                    best = worth, option
        if best is None:
            return
        chosen[best[1].slot] = best[1]
        yield measure.design(base, list(chosen.values()))


def _front(designs: Sequence[Design]) -> list[Design]:
    """Those that no other design beats in both rate and overhead, cheapest first."""
    front: list[Design] = []
    for design in sorted(designs, key=lambda d: (d.overhead, d.rate.value)):
        if not front or design.rate.value < front[-1].rate.value:
            front.append(design)
    return front
