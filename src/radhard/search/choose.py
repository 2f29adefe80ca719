"""Choosing protections: found on some faults, and judged on others."""

from __future__ import annotations

import math
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
from radhard.protect.learn import apart_from
from radhard.search.common import Common, Option, Watched
from radhard.search.design import Design, added, front, grown, still_open
from radhard.search.offer import guards, options
from radhard.search.trial import Goal, Trial, Trials, Watch


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What `choose` found.

    Attributes:
        trials: the designs that were judged on fresh faults, cheapest first; the first one has no
            protections.
        winner: the one that was chosen; ``None`` where none meets the goal.
        beaten: how many more designs were found that another one beat, in rate and in overhead.
        common: how many faults they were found on.
        searched: whether those within the budgets were tried too, as no other met the goal.
        over: those of all designs that exceed a budget, cheapest first.
        floor: rate of failures by faults of known effect, which no design stops.
    """

    trials: tuple[Trial, ...]
    winner: Trial | None
    beaten: int
    common: int
    searched: bool
    over: tuple[Design, ...]
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
) -> Choice:
    """Search protections and their parameters, component by component and layer by layer.

    All designs meet the same faults. Guards of the run are tried by running the faults under them;
    what codes, copies and hardened latches do to a fault follows from where it struck. From each
    guard on, the option that lowers the rate most for its overhead is added, one after the other.

    Designs that none of the others beats go on trial, on fresh faults: the rate on the faults that
    a design was chosen for flatters it. The cheapest whose fresh interval meets the target wins.
    Where none does, those that were beaten go on trial too, down to what closes all that codes and
    hardening can: few faults may have shown nothing of what a beaten design is good for. See
    `Trials` for what intervals are worth.

    Args:
        campaign: the plain question, without protections.
        learning: the network with training images, on which guards learn. Those that are images
            of the campaign are left out.
        goal: what is asked for.
        faults: on which designs are found; a trial begins with as many fresh ones.
        most: fresh faults of a trial at most; they double while the target is within the interval
            of a design that may be chosen.
        repeat: whether an inference may be run again when a check raises an alarm.
        store: folder in which what was run is kept, and the winner's question.
        watch: called before each guard is run.
        about: more for the ``campaign.toml`` of the winner, as `radhard.collect` takes it.

    Raises:
        ValueError: for a campaign that has protections already, numbers of faults that can't be, or
            fewer than two images to learn from that are not those of the campaign.
    """
    if campaign.protections:
        raise ValueError("the campaign has protections already: ask about the plain chip")
    if not 1 <= faults <= most:
        raise ValueError(f"{faults} faults and {most} fresh ones at most can't be: use 1 or more, "
                         "and as many fresh ones or more")  # fmt: skip
    learning = apart_from(campaign.workload, learning)
    tried = store / "tried" if store is not None else None
    space = campaign.space()
    common = Common.drawn(campaign, space, space, faults, tried, proofs=False)
    offered = guards(campaign, learning, repeat)
    for done, guard in enumerate(offered):
        if watch:
            watch(guard.name, done, len(offered))
        common.under(guard)
    found = _found(common, offered, options(common, offered, repeat))
    first = _candidates(found, goal)
    others = _rest(found, first, goal)
    judge = Trials(campaign, space, goal, faults, most, tried, watch)
    trials, *late = judge.judged([first, others] if others else [first], common)
    trials = _with(trials, late[0], goal) if late else trials
    winner = next((trial for trial in trials if trial.verdict == "chosen"), None)
    if winner is not None and store is not None:
        _keep(campaign, winner.design, store, about or {})
    over = tuple(_sorted(design for design in found if goal.exceeded(design)))
    beaten, floor = len(found) - len(trials), _floor(campaign, space)
    return Choice(tuple(trials), winner, beaten, faults, bool(late), over, floor)


def _floor(campaign: Campaign, space: SiteSpace) -> float:
    """Rate of failures by faults that are known, rather than tried."""
    accuracy = campaign.golden_accuracy() if space.known else 0.0
    share = sum(space.known_share(p) * known_outcome(p, "sdc1", accuracy) for p in space.known)
    return share * (1.0 if space.rate_fit is None else space.rate_fit)


def _found(common: Common, offered: Sequence[Watched], offers: Sequence[Option]) -> list[Design]:
    """Designs that begin with each guard, and those that close the most for what they take."""
    grew = [design for guard in offered for design in grown(common, guard, offers)]
    every = [*grew, *added(common, grew[0], offers, still_open)]
    once = {(design.guard, frozenset(design.options)): design for design in reversed(every)}
    return list(once.values())[::-1]


def _candidates(found: list[Design], goal: Goal) -> list[Design]:
    """No protections, the front, and the front of what the budgets allow, cheapest first."""
    allowed = [design for design in found if not goal.exceeded(design)]
    chosen = dict.fromkeys([*front(found), *front(allowed)])
    return [found[0], *_sorted(design for design in chosen if design is not found[0])]


def _rest(found: list[Design], first: list[Design], goal: Goal) -> list[Design]:
    """The others that may meet a target rate, cheapest first."""
    if goal.rate is None:
        return []
    return _sorted(d for d in found if d not in first and not goal.exceeded(d))


def _sorted(designs: Iterable[Design]) -> list[Design]:
    return sorted(designs, key=lambda design: (design.overhead, -design.weight))


def _with(trials: list[Trial], late: list[Trial], goal: Goal) -> list[Trial]:
    """With those tried late whose upper end no cheaper one reaches."""
    plain, *others = trials
    found, least = [plain], math.inf
    for trial in sorted([*others, *late], key=lambda t: (t.overhead, t.rate.high)):
        better = not goal.exceeded(trial.design) and trial.rate.high < least
        if better or trial in others:
            found.append(trial)
        if better:
            least = trial.rate.high
    return found


def _keep(campaign: Campaign, design: Design, store: Path, about: Mapping[str, Any]) -> None:
    """Write the question of the winner as a campaign of its own, to be asked again."""
    name = f"{campaign.name}-winner"
    own = campaign.with_(protections=design.protections, name=name)
    folder = Folder(store / "winner" / name, own.id)
    begin(folder, own, own.job(own.golden()).nothing, about)
