"""Sets of protections, with what they cost and leave on the faults on which they were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radhard.campaign.campaign import Campaign
from radhard.campaign.result import Result
from radhard.faults.space import SiteSpace
from radhard.network.workload import Workload
from radhard.protect.area import cycles_of
from radhard.protect.protection import Cost, Protection
from radhard.search.clean import Cleans
from radhard.search.common import Common, Reals, left_open
from radhard.search.part import PLAIN, Option, Watched, named
from radhard.stats.estimate import Estimate

#: What a comparison or a vote on one value counts, in multiply-accumulates.
OPERATION = 0.1


def work_of(cost: Cost, work: Workload) -> float:
    """Work that is added, as a share of the network's multiply-accumulates."""
    return (cost.macs + OPERATION * cost.operations) / sum(layer.macs for layer in work.layers)


def longer_by(cost: Cost, campaign: Campaign) -> float:
    """Latency that is added without an alarm, as a share of an inference's."""
    base = cycles_of(campaign.chip, campaign.network)
    macs = sum(layer.macs for layer in campaign.network.layers)
    return cost.cycles / base if base else cost.macs / macs


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
        accuracy: without a fault, on images that neither taught nor chose anything.
        loss: of that, against no protections.
        changed: share of these images that its guard changes, or that raise an alarm.
        reruns: share of these images for which the inference is run again.
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
    accuracy: float
    loss: float
    changed: float
    reruns: float
    latency: float

    @classmethod
    def of(
        cls, common: Common, cleans: Cleans, guard: Watched, options: Sequence[Option]
    ) -> Design:
        """With what it costs and leaves."""
        cost = sum((option.cost for option in options), guard.cost)
        clean, plain, reruns = (
            cleans.under(guard), cleans.under(PLAIN).accuracy, cleans.false_alarms(options),
        )  # fmt: skip
        longer = longer_by(cost, common.campaign)
        return cls(
            guard, tuple(options), cost.area, work_of(cost, common.campaign.network), cost,
            common.weight(guard, options), common.open_share(options), clean.accuracy,
            plain - clean.accuracy, max(float(clean.changed.mean()), reruns), reruns,
            longer + reruns * (1 + longer),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The parts."""
        return named(self.guard, self.options)

    @property
    def protections(self) -> tuple[Protection, ...]:
        """The parts; checks see values before a guard corrects them."""
        return (*(option.protection for option in self.options), *self.guard.protections)

    @property
    def repeats(self) -> bool:
        """Whether a part needs inferences to be run again."""
        return any(option.repeats for option in self.options)

    @property
    def overhead(self) -> float:
        """Area and work added, a percent of one counting as a percent of the other."""
        return self.area + self.work

    def measured(self, batches: Sequence[Common], confidence: float = 0.95) -> Result:
        """Its answer from faults of one population; failures are its ``sdc1``."""
        tally = batches[0].tally(self.guard, self.options)
        for more in batches[1:]:
            tally = tally + more.tally(self.guard, self.options)
        return batches[0].result(tally, self.accuracy, confidence)

    def open_strata(self, campaign: Campaign, space: SiteSpace) -> Reals:
        """Which share of each stratum's strikes can still do something, (strata,)."""
        return left_open(self.protections, campaign, space)


def rate_of(found: Result) -> Estimate:
    """Rate of failures in FIT, or their probability where the chip has no raw rates."""
    return found.fit("sdc1") if found.space.rate_fit is not None else found["sdc1"]
