"""Choosing protections: found on some faults, and judged on others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import begin
from radhard.campaign.store import Folder
from radhard.faults.space import SiteSpace
from radhard.metrics.resiliency import known_outcome
from radhard.network.workload import Workload
from radhard.protect.learn import apart_from, parted
from radhard.search.apart import Member, members
from radhard.search.clean import Cleans
from radhard.search.common import Common
from radhard.search.design import Design
from radhard.search.find import Finder
from radhard.search.offer import Offer, guards
from radhard.search.trial import Goal, Trial, Trials, Watch


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What `choose` found.

    Attributes:
        trials: the designs that were judged on fresh faults, cheapest first; the first one has no
            protections.
        winner: the one that was chosen; ``None`` where none meets the goal.
        guards: how many guards were tried.
        options: how many options could be added to one, at most.
        common: how many faults designs were found on.
        searched: whether more were tried, as no other met the goal.
        members: the parts of the winner, each alone on faults that no design has met.
        closed: the cheapest design that leaves nothing open, whatever the budgets, if one does.
        floor: rate of failures by faults of known effect, which no design stops.
    """

    trials: tuple[Trial, ...]
    winner: Trial | None
    guards: int
    options: int
    common: int
    searched: bool
    members: tuple[Member, ...]
    closed: Design | None
    floor: float

    @property
    def plain(self) -> Trial:
        """Without protections."""
        return self.trials[0]

    @property
    def front(self) -> tuple[Trial, ...]:
        """Those that no cheaper one beats on fresh faults, cheapest first."""
        found: list[Trial] = []
        for trial in self.trials:
            if not found or trial.rate.value < found[-1].rate.value:
                found.append(trial)
        return tuple(found)

    @property
    def cheaper(self) -> tuple[Trial, ...]:
        """Those that take less than the winner; all others where there is none."""
        most = self.winner.overhead if self.winner is not None else float("inf")
        others = (trial for trial in self.trials if trial is not self.winner)
        return tuple(trial for trial in others if trial.overhead <= most)

    def nearest(self, goal: Goal) -> Trial:
        """Of those within the budgets, that with the least upper end."""
        allowed = [trial for trial in self.trials if not goal.exceeded(trial.design)]
        return min(allowed, key=lambda trial: trial.rate.high)


def choose(
    campaign: Campaign,
    learning: Workload,
    goal: Goal,
    faults: int = 4000,
    most: int = 32_000,
    repeat: bool = True,
    store: Path | None = None,
    watch: Watch | None = None,
    about: Mapping[str, Any] | None = None,
    workers: int = 1,
) -> Choice:
    """Search protections and their parameters, component by component and layer by layer.

    All designs meet the same faults. Guards of the run are tried by running the faults under them;
    what codes, copies and hardened latches do to a fault follows from where it struck, and what
    checks of single layers see from one run of all of them. For each guard that keeps to the
    budgets an integer programme finds the best of all sets of options: the one that leaves the
    fewest failures, or the cheapest that leaves so few. See `Finder` for which are asked for.

    These designs go on trial, on fresh faults: the rate on the faults that a design was chosen for
    flatters it. The cheapest whose fresh interval meets the target wins. Where none does, those go
    on trial too that leave less of the chip open, down to nothing: few faults may have shown
    nothing of what a design lacks. See `Trials` for what intervals are worth.

    Three kinds of images are kept apart: guards learn on some, on others it is looked at which of
    them keep to the limits of accuracy and false alarms, and those of the campaign measure both.

    Args:
        campaign: the plain question, without protections.
        learning: the network with training images. Those that are images of the campaign are left
            out; of the others a quarter chooses, and guards learn on the rest.
        goal: what is asked for.
        faults: on which designs are found; a trial begins with as many fresh ones.
        most: fresh faults of a trial at most; they double while the target is within the interval
            of a design that may be chosen.
        repeat: whether an inference may be run again when a check raises an alarm.
        store: folder in which what was run is kept, and the questions of winners.
        watch: called before each guard is run.
        about: more for the ``campaign.toml`` of the winner, as `radhard.collect` takes it.
        workers: processes that share guards; with 1 all is done in this one.

    Raises:
        ValueError: for a campaign that has protections already, numbers of faults that can't be, or
            fewer than four images to learn from that are not those of the campaign.
    """
    if campaign.protections:
        raise ValueError("the campaign has protections already: ask about the plain chip")
    if not 1 <= faults <= most:
        raise ValueError(f"{faults} faults and {most} fresh ones at most can't be: use 1 or more, "
                         "and as many fresh ones or more")  # fmt: skip
    taught, choosing = parted(apart_from(campaign.workload, learning))
    tried = store / "tried" if store is not None else None
    space = campaign.space()
    common = Common.drawn(campaign, space, space, faults, tried, proofs=False)
    cleans = Cleans(campaign, tried)
    struck = min(campaign.images or len(choosing.images), len(choosing.images))
    unseen = campaign.with_(workload=choosing, name=campaign.name, images=struck)
    floor, offer = _floor(campaign, space), Offer(common, taught, repeat)
    finder = Finder(common, Cleans(unseen, tried), cleans, offer, goal, floor)
    offered = guards(campaign, taught)
    finder.add(offered, workers, watch)
    finder.ready()
    first = finder.first()
    others = finder.more(first)
    judge = Trials(campaign, space, goal, faults, most, tried, watch, workers)
    trials, *late = judge.judged([first, others] if others else [first], common)
    every = _sorted([*trials[1:], *(late[0] if late else [])])
    winner = next((trial for trial in [trials[0], *every] if trial.verdict == "chosen"), None)
    parts = () if winner is None else members(winner.design, judge.fresh(faults), cleans)
    if winner is not None and store is not None:
        _keep(campaign, winner.design, store, about or {})
    return Choice(
        (trials[0], *every), winner, len(offered), finder.offered, faults, bool(late),
        parts, finder.closed(), floor,
    )  # fmt: skip


def _floor(campaign: Campaign, space: SiteSpace) -> float:
    """Rate of failures by faults that are known, rather than tried."""
    accuracy = campaign.golden_accuracy() if space.known else 0.0
    share = sum(space.known_share(p) * known_outcome(p, "sdc1", accuracy) for p in space.known)
    return share * (1.0 if space.rate_fit is None else space.rate_fit)


def _sorted(trials: Iterable[Trial]) -> Sequence[Trial]:
    return sorted(trials, key=lambda trial: (trial.overhead, trial.rate.high))


def _keep(campaign: Campaign, design: Design, store: Path, about: Mapping[str, Any]) -> None:
    """Write the question of the winner as a campaign of its own, to be asked again.

    Each winner has a folder by its id, so that another goal leaves it alone.
    """
    name = f"{campaign.name}-winner"
    own = campaign.with_(protections=design.protections, name=name)
    folder = Folder(store / "winner" / own.id[:16], own.id)
    begin(folder, own, own.job(own.golden()).nothing, about)
