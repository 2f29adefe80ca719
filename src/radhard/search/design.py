"""Sets of protections: found one after the other, on the same faults for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from radhard.accel.chip import Chip, Software
from radhard.campaign.campaign import Campaign
from radhard.campaign.result import Result
from radhard.faults.model import BitFlip
from radhard.faults.space import SiteSpace
from radhard.protect.checksum import Checksum
from radhard.protect.protection import Cost, Protection
from radhard.protect.storage import SECDED, Parity
from radhard.search.common import Common, Option, Reals, Watched, share_left
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
    """

    guard: Watched
    options: tuple[Option, ...]
    area: float
    work: float
    cost: Cost
    weight: float

    @classmethod
    def of(cls, common: Common, guard: Watched, options: Sequence[Option]) -> Design:
        """With what it costs and leaves."""
        cost = sum((option.cost for option in options), guard.cost)
        macs = sum(layer.macs for layer in common.campaign.network.layers)
        work = (cost.macs + OPERATION * cost.operations) / macs
        weight = common.weight(guard, options)
        return cls(guard, tuple(options), cost.area, work, cost, weight)

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
        """Which share of each stratum's strikes can still do something, (strata,).

        A code stops every fault of its component where each is one wrong bit.
        """
        left = share_left(self.protections, space)
        if isinstance(space.model, BitFlip) and isinstance(campaign.chip, Chip | Software):
            for part in self.protections:
                if isinstance(part, Parity | SECDED):
                    for number, stratum in enumerate(space.strata):
                        if not part.components or stratum.component in part.components:
                            left[number] = 0.0
        return left


def rate_of(found: Result) -> Estimate:
    """Rate of failures in FIT, or their probability where the chip has no raw rates."""
    return found.fit("sdc1") if found.space.rate_fit is not None else found["sdc1"]


def grown(common: Common, guard: Watched, options: Sequence[Option]) -> Iterator[Design]:
    """Designs that begin with a guard: the best option for its overhead is added each time."""
    if guard.corrects:
        # its alarms say that it has corrected, not that a run must be repeated
        options = [one for one in options if not isinstance(one.protection, Checksum)]
    now, chosen = Design.of(common, guard, []), dict[str, Option]()
    while True:
        yield now
        best: tuple[float, Option, Design] | None = None
        for option in options:
            tried = Design.of(common, guard, [*({**chosen, option.slot: option}).values()])
            gain = now.weight - tried.weight
            if gain > 1e-12 * max(now.weight, 1e-300):
                worth = gain / max(tried.overhead - now.overhead, 1e-9)
                if best is None or worth > best[0]:
                    best = worth, option, tried
        if best is None:
            return
        chosen[best[1].slot], now = best[1], best[2]


def front(designs: Sequence[Design]) -> list[Design]:
    """Those that no other beats in both weight and overhead, cheapest first."""
    found: list[Design] = []
    for design in sorted(designs, key=lambda d: (d.overhead, d.weight)):
        if not found or design.weight < found[-1].weight:
            found.append(design)
    return found
