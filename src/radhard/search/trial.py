"""Designs on trial: faults that had no part in finding them say whether they meet the goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from radhard.campaign.campaign import Campaign
from radhard.faults.space import SiteSpace
from radhard.protect.protection import spared
from radhard.search.common import Common
from radhard.search.design import Design, rate_of
from radhard.search.part import Watched
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson

#: All intervals of a choice together hold with this probability.
JOINT = 0.95
#: Called with what is being tried, how many are done, and how many there are.
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked for; at least one.

    Attributes:
        rate: at most, in FIT (or as a probability); the upper end of the interval must meet it.
        area: at most, added, as a share of the chip's storage.
        macs: at most, added, as a share of the network's.
        latency: at most, added without a fault, as a share of an inference's.
        accuracy_loss: of the network without a fault at most, as a share of images.
        false_alarms: share of images without a fault at most for which an inference is run again.

    Raises:
        ValueError: for no goal, or one that is no number, infinite, or below 0.
    """

    rate: float | None = None
    area: float | None = None
    macs: float | None = None
    accuracy_loss: float = 0.005
    false_alarms: float = 0.01
    latency: float | None = None

    def __post_init__(self) -> None:
        given = {
            "target rate": self.rate, "budget of area": self.area, "budget of work": self.macs,
            "budget of latency": self.latency,
        }  # fmt: skip
        if all(goal is None for goal in given.values()):
            raise ValueError("give a target rate, or a budget of area, work or latency")
        limits = {"accuracy loss": self.accuracy_loss, "share of false alarms": self.false_alarms}
        for name, goal in {**given, **limits}.items():
            if goal is not None and not 0 <= goal < inf:
                raise ValueError(f"the {name} {goal!r} can't be: use a number of 0 or more")

    def exceeded(self, design: Design) -> str:
        """Which limit a design does not keep to, in words; empty where it keeps to all."""
        for budget, taken, what in (
            (self.area, design.area, "area"), (self.macs, design.work, "work"),
            (self.latency, design.latency, "latency"),
        ):  # fmt: skip
            if budget is not None and taken > budget * (1 + 1e-9):
                return f"over the {what} budget: {100 * taken:.3g} % for {100 * budget:.3g} %"
        if design.loss > self.accuracy_loss + 1e-12:
            return (
                f"loses {100 * design.loss:.3g} points of accuracy without a fault, "
                f"{100 * self.accuracy_loss:.3g} may be lost"
            )
        if design.reruns > self.false_alarms + 1e-12:
            return (
                f"false alarms for {100 * design.reruns:.3g} % of images without a fault, "
                f"{100 * self.false_alarms:.3g} % may have one"
            )
        return ""

    def met(self, trial: Trial) -> bool:
        """Whether a design keeps to the budgets, and its whole interval to the rate."""
        fits = not self.exceeded(trial.design)
        return fits and (self.rate is None or trial.rate.high <= self.rate)

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """Of those that meet the goal the cheapest, or with budgets alone the least rate."""
        met = [trial for trial in trials if self.met(trial)]
        if self.rate is None:
            return min(met, key=lambda t: (t.rate.value, t.rate.high, t.overhead), default=None)
        return min(met, key=lambda t: (t.overhead, t.rate.value), default=None)

    def contested(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those of which more faults can tell something: cheaper than the best, and undecided.

        No number of faults shows a rate to be 0; it is where nothing is left open.
        """
        if not self.rate:
            return []
        best = self.best(trials)
        return [
            trial
            for trial in trials
            if not self.exceeded(trial.design)
            and trial.rate.low <= self.rate < trial.rate.high
            and (best is None or trial.overhead < best.overhead)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A design with what fresh faults say of it.

    Attributes:
        design: the set of protections.
        found: its rate on the faults on which it was found, which flatter it.
        rate: of failures on fresh faults, in FIT, or as a probability where the chip has no raw
            rates. The intervals of all trials of a choice hold together with `JOINT` probability.
        accuracy: under a fault, on the same faults.
        golden: accuracy without a fault, over images that nothing was learned from.
        alarms: share of images without a fault that raise an alarm, or that its guard changes.
        faults: fresh ones that it met.
        verdict: ``chosen``, or why not.
    """

    design: Design
    found: Estimate
    rate: Estimate
    accuracy: Estimate
    faults: int
    golden: Estimate
    alarms: Estimate
    verdict: str = ""

    @property
    def overhead(self) -> float:
        """Of the design."""
        return self.design.overhead


class Trials:
    """Designs on the same fresh faults, of which there are more while some are contested.

    Sets of designs follow each other until one holds a design that meets the goal. A verdict that
    may pick the luckiest of many is worth no 95 %, so each interval has its share of the error that
    is allowed (Bonferroni): 5 % over the number of sets, of designs in the set, and of looks at
    them. All of them then hold together, whichever is chosen, and whenever.

    Args:
        campaign: the plain question; its seed is that of the faults that designs were found on.
        space: its population.
        goal: what is asked for.
        first, most: fresh faults at the first look and at the last; each look doubles them.
        store: folder in which outcomes are kept.
        watch: called before each guard is run.
        workers: processes that share guards.
    """

    def __init__(
        self, campaign: Campaign, space: SiteSpace, goal: Goal, first: int, most: int,
        store: Path | None = None, watch: Watch | None = None, workers: int = 1,
    ) -> None:  # fmt: skip
        self.campaign, self.space, self.goal = campaign, space, goal
        doubled = [first]
        while goal.rate is not None and doubled[-1] < most:
            doubled.append(min(2 * doubled[-1], most))
        self.sizes, self.store, self.watch, self.workers = doubled, store, watch, workers
        self._left, self._batches, self._drawn, self._proofs = space, list[Common](), 0, False

    def judged(self, sets: Sequence[Sequence[Design]], common: Common) -> list[list[Trial]]:
        """Trials with verdicts, set by set; none after the set in which one meets the goal.

        Args:
            sets: of designs that do not depend on what fresh faults say.
            common: the faults on which they were found.
        """
        done: list[list[Trial]] = []
        best: Trial | None = None
        for designs in sets:
            done.append(self._of_set(designs, common, (1 - JOINT) / len(sets)))
            best = self.goal.best(done[-1])
            if best is not None:
                break
        return [
            [replace(trial, verdict=self._verdict(trial, best)) for trial in part] for part in done
        ]

    def fresh(self, count: int) -> Common:
        """Faults of the whole population that no design has met yet."""
        self._drawn += 1
        own = self.campaign.with_(seed=self.campaign.seed + self._drawn, name=self.campaign.name)
        return Common.drawn(own, self.space, self.space, count, self.store)

    def _of_set(self, designs: Sequence[Design], common: Common, error: float) -> list[Trial]:
        """A trial of each design; each interval has its part of the ``error`` of all of them."""
        share = error / max(len(designs) * len(self.sizes), 1)
        found = [rate_of(design.measured([common])) for design in designs]
        trials: dict[Design, Trial] = {}
        open_: Sequence[Design] = designs
        self._left, self._batches = self.space, []
        for total in self.sizes if designs else ():
            self._grow(open_, total)
            for design in open_:
                rate = found[designs.index(design)]
                trials[design] = self._tried(design, rate, 1 - share)
            open_ = [trial.design for trial in self.goal.contested(list(trials.values()))]
            if not open_:
                break
        return [trials[design] for design in designs]

    def _tried(self, design: Design, found: Estimate, confidence: float) -> Trial:
        result = design.measured(self._batches, confidence)
        rate = rate_of(result)
        if not design.open_strata(self.campaign, self.space).any():
            rate = replace(rate, value=0.0, low=0.0, high=0.0, method="exact")
        images = len(self.campaign.workload.images)
        shares = design.accuracy, design.changed
        golden, alarms = (wilson(round(share * images), images) for share in shares)
        return Trial(design, found, rate, result.ra, result.n, golden, alarms)

    def _grow(self, designs: Sequence[Design], total: int) -> None:
        """Draw, and run, as many faults as are lacking.

        Where the designs close half of what was struck so far, faults are drawn anew from what
        some of them leave open; also where none of them corrects any more, so that proofs hold.
        """
        share = np.max([d.open_strata(self.campaign, self.space) for d in designs], axis=0)
        proofs = not any(design.guard.corrects for design in designs)
        if 0 < (share * self.space.exposure).sum() <= self._left.exposure.sum() / 2:
            self._left, self._batches = spared(self.space, share), []
        elif proofs != self._proofs:
            self._batches = []
        self._proofs = proofs
        lacking = total - sum(len(batch.faults) for batch in self._batches)
        self._drawn += 1
        fresh = self.campaign.with_(seed=self.campaign.seed + self._drawn, name=self.campaign.name)
        batch = Common.drawn(fresh, self.space, self._left, lacking, self.store, proofs)
        self._batches.append(batch)
        guards = list(dict.fromkeys(
            guard for d in designs for guard in (d.guard, *(o.by for o in d.options)) if guard
        ))  # fmt: skip

        def watch(guard: Watched, done: int) -> None:
            if self.watch:
                words = f"{total:,} fresh faults for {len(designs)} designs, {guard.name}"
                self.watch(words, done, len(guards))

        batch.under_all(guards, self.workers, watch)

    def _verdict(self, trial: Trial, best: Trial | None) -> str:
        if trial is best:
            return "chosen"
        exceeded = self.goal.exceeded(trial.design)
        if exceeded:
            return exceeded
        if self.goal.rate is None:
            assert best is not None
            unit = f" {trial.rate.unit}" if trial.rate.unit else ""
            return (
                f"fresh rate {trial.rate.value:.3g}{unit} after {trial.faults:,} faults, "
                f"the chosen one has {best.rate.value:.3g}"
            )
        if best is not None and trial.overhead >= best.overhead:
            return "takes more than the chosen one"
        return self._missed(trial, self.goal.rate)

    @staticmethod
    def _missed(trial: Trial, goal: float) -> str:
        """Why a design does not meet a target rate."""
        if goal == 0 and trial.rate.low == 0:
            share = 100 * trial.design.open
            return f"leaves {share:.3g} % of all strikes open: no faults show a rate of 0"
        above = trial.rate.low > goal
        end, rate = ("lower", trial.rate.low) if above else ("upper", trial.rate.high)
        unit = f" {trial.rate.unit}" if trial.rate.unit else ""
        what = "is above" if above else "misses"
        return f"fresh {end} end {rate:.3g}{unit} {what} {goal:g} after {trial.faults:,} faults"
