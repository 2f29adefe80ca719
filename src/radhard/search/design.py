"""Sets of protections: found one after the other, on the same faults for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from radhard.campaign.campaign import Campaign
from radhard.campaign.result import Result
from radhard.faults.space import SiteSpace
from radhard.protect.area import cycles_of
from radhard.protect.checksum import Checksum
from radhard.protect.protection import Cost, Protection
from radhard.search.common import PLAIN, Clean, Common, Option, Reals, Watched, left_open
from radhard.stats.estimate import Estimate

#: What a comparison or a vote on one value counts, in multiply-accumulates.
OPERATION = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A set of protections.

    Attributes:
        guard: what watches the run.
        options: what is added to it.
        area: added, as a share of the chip's storage.
        work: added, as a share of the network's multiply-accumulates.
        cost: the whole record.
        weight: of the failures that it leaves of the faults on which it was found.
        open: share of all strikes that its options don't stop, whatever these do.
        clean: what it does without a fault, on images that nothing was learned from.
        loss: of accuracy without a fault, against no protections.
        latency: added without a fault, as a share of an inference's: what is computed more, and
            inferences that are run again for false alarms.
    """

    guard: Watched
    options: tuple[Option, ...]
    area: float
    work: float
    cost: Cost
    weight: float
    open: float
    clean: Clean
    loss: float
    latency: float

    @classmethod
    def of(cls, common: Common, guard: Watched, options: Sequence[Option]) -> Design:
        """With what it costs and leaves."""
        cost = sum((option.cost for option in options), guard.cost)
        macs = sum(layer.macs for layer in common.campaign.network.layers)
        work = (cost.macs + OPERATION * cost.operations) / macs
        weight = common.weight(guard, options)
        left = common.open_share(options)
        clean, plain = common.clean(guard), common.clean(PLAIN)
        alarms = max([clean.alarms if guard.failure != "sdc1" else 0.0,
                      *(common.clean(one.by).alarms for one in options if one.by)])  # fmt: skip
        again = alarms * cost.rerun
        base = cycles_of(common.campaign.chip, common.campaign.network)
        longer = cost.cycles / base if base else cost.macs / macs
        return cls(
            guard, tuple(options), cost.area, work, cost, weight, left,
            Clean(clean.accuracy, max(clean.alarms, alarms)), plain.accuracy - clean.accuracy,
            longer + again * (1 + longer),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The parts."""
        return ", ".join([self.guard.name, *(option.name for option in self.options)])

    @property
    def protections(self) -> tuple[Protection, ...]:
        """The parts."""
        return (*self.guard.protections, *(option.protection for option in self.options))

    @property
    def repeats(self) -> bool:
        """Whether a part needs inferences to be run again."""
        return self.guard.failure != "sdc1" or any(option.repeats for option in self.options)

    @property
    def false_reruns(self) -> float:
        """Share of images without a fault for which the inference is run again, at most."""
        return self.clean.alarms if self.repeats and not self.guard.corrects else 0.0

    @property
    def overhead(self) -> float:
        """Area and work added, a percent of one counting as a percent of the other."""
        return self.area + self.work

    def measured(self, batches: Sequence[Common], confidence: float = 0.95) -> Result:
        """Its answer from faults of one population; failures are its ``sdc1``."""
        tally = batches[0].tally(self.guard, self.options)
        for more in batches[1:]:
            tally = tally + more.tally(self.guard, self.options)
        return batches[0].result(self.guard, tally, confidence)

    def open_strata(self, campaign: Campaign, space: SiteSpace) -> Reals:
        """Which share of each stratum's strikes can still do something, (strata,)."""
        return left_open(self.protections, campaign, space)


def rate_of(found: Result) -> Estimate:
    """Rate of failures in FIT, or their probability where the chip has no raw rates."""
    return found.fit("sdc1") if found.space.rate_fit is not None else found["sdc1"]


def grown(common: Common, guard: Watched, options: Sequence[Option]) -> Iterator[Design]:
    """Designs that begin with a guard: the best option for its overhead is added each time.

    That is what lowers the failures most; where none does, what closes most of the chip: faults
    that few of the common ones are like do harm too.
    """
    if guard.corrects:
        # its alarms say that it has corrected, not that a run must be repeated
        options = [one for one in options if not isinstance(one.protection, Checksum)]
    last = Design.of(common, guard, [])
    yield last
    for left in (failing, still_open):
        for design in added(common, last, options, left):
            yield design
            last = design


def failing(design: Design) -> float:
    """What a design leaves of the failures on common faults."""
    return design.weight


def still_open(design: Design) -> float:
    """What a design leaves open, whatever the common faults have shown."""
    return design.open


def added(
    common: Common, now: Design, options: Sequence[Option], left: Callable[[Design], float]
) -> Iterator[Design]:
    """More and more added to a design, as long as it lowers what is ``left``, cheapest gain first.

    Args:
        common: the faults on which designs are found.
        now: where to begin.
        options: what can be added, one per slot.
        left: what each addition should lower most for its overhead.
    """
    while True:
        best: tuple[float, Design] | None = None
        chosen = {option.slot: option for option in now.options}
        for option in options:
            tried = Design.of(common, now.guard, [*({**chosen, option.slot: option}).values()])
            gain = left(now) - left(tried)
            if gain > 1e-12 * max(left(now), 1e-300):
                worth = gain / max(tried.overhead - now.overhead, 1e-9)
                if best is None or worth > best[0]:
                    best = worth, tried
        if best is None:
            return
        now = best[1]
        yield now


def front(designs: Sequence[Design]) -> list[Design]:
    """Those that no other beats in both weight and overhead, cheapest first."""
    found: list[Design] = []
    for design in sorted(designs, key=lambda d: (d.overhead, d.weight)):
        if not found or design.weight < found[-1].weight:
            found.append(design)
    return found
