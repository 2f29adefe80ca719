"""Integer programmes against trying every set of options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tests.oracles.combinations import alarmed_by, combinations, left_by

import radhard as rh
from radhard.network.source import subject
from radhard.sampling.tally import Tally
from radhard.search import choose as choosing
from radhard.search import find
from radhard.search.apart import members
from radhard.search.clean import Clean, Cleans
from radhard.search.common import Common
from radhard.search.design import Design, longer_by, work_of
from radhard.search.integer import Model
from radhard.search.left import Left
from radhard.search.offer import Offer
from radhard.search.part import PLAIN, Option, Watched, check_before
from radhard.search.programme import Programme, allowed
from radhard.search.trial import Goal


def made_up(seed: int) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Amounts, what options of some slots let through (those of one slot thin), and costs."""
    rng = np.random.default_rng(seed)
    slots = ["a", "a", "thin", "thin", "b", "c", "c", "d", "e"]
    amounts = rng.exponential(size=40) * (rng.random(40) < 0.8) * 10.0 ** -rng.integers(0, 5, 40)
    passes = np.where(rng.random((40, len(slots))) < 0.3, 0.0, 1.0)
    thin = np.array([name == "thin" for name in slots])
    passes[:, thin] = np.where(passes[:, thin] == 0, [0.3, 0.01], 1.0)
    return amounts, passes, slots, rng.exponential(size=len(slots))


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_is_least_where_every_set_is_tried(seed: int) -> None:
    amounts, passes, slots, costs = made_up(seed)
    sets = list(combinations(slots))
    assert len(sets) == 3 * 3 * 2 * 3 * 2 * 2
    left = {chosen: left_by(chosen, amounts, passes) for chosen in sets}
    model = Model(len(slots))
    for slot in set(slots):
        model.row({k: 1.0 for k, name in enumerate(slots) if name == slot}, 1.0)
    sums = Left(model, amounts, passes, slots)
    for budget in (0.0, 0.5, 2.0, 5.0, 100.0):
        limited = model.copy()
        limited.at_most(dict(enumerate(costs)), budget)
        found = tuple(limited.least(sums.costs))
        best = min(w for chosen, w in left.items() if costs[list(chosen)].sum() <= budget)
        assert costs[list(found)].sum() <= budget
        assert left[found] == pytest.approx(best, rel=1e-9, abs=1e-9 * amounts.sum())
    for most in np.quantile(list(left.values()), [0.0, 0.05, 0.3, 0.9]):
        limited = model.copy()
        sums.limit(limited, float(most) * (1 + 1e-9))
        found = tuple(limited.least(dict(enumerate(costs))))
        best = min(costs[list(chosen)].sum() for chosen, w in left.items() if w <= most)
        assert left[found] <= most * (1 + 1e-6)
        assert costs[list(found)].sum() == pytest.approx(best)
    none = model.copy()
    sums.limit(none, 0.5 * min(left.values()))
    assert min(left.values()) == 0 or none.least(dict(enumerate(costs))) is None


def test_two_slots_that_let_shares_through_are_refused() -> None:
    with pytest.raises(ValueError, match="a, b let shares of the same through"):
        Left(Model(2), np.ones(1), np.array([[0.5, 0.2]]), ["a", "b"])


@pytest.fixture(scope="module")
def campaign() -> rh.Campaign:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images[:48], whole.labels[:48], format=rh.FLOAT16)
    return rh.Campaign(work, rh.chips.EYERISS, sampler=rh.GradientImportance())


@pytest.fixture(scope="module")
def taught(campaign: rh.Campaign) -> rh.Workload:
    whole = subject("digits-cnn")
    return campaign.workload.with_(whole.images[60:160], whole.labels[60:160])


@pytest.fixture(scope="module")
def common(campaign: rh.Campaign) -> Common:
    space = campaign.space()
    return Common.drawn(campaign, space, space, 1500)


def few(common: Common, guard: Watched, options: list[Option]) -> list[Option]:
    """Those that fail least for what they take, of each kind some: few enough to try every set."""
    kinds: dict[str, list[Option]] = {}
    for option in options:
        kinds.setdefault(option.what, []).append(option)
    found = []
    for own in kinds.values():
        own.sort(key=lambda one: common.weight(guard, [one]))
        found += own[:2]
    return sorted(found, key=lambda one: common.weight(guard, [one]))[:11]


@dataclass(frozen=True)
class Alarming:
    """Images that choose, with made-up false alarms of checks."""

    cleans: Cleans
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(4))
    held: dict[Option, np.ndarray] = field(default_factory=dict)

    @property
    def campaign(self) -> rh.Campaign:
        return self.cleans.campaign

    def under(self, guard: Watched) -> Clean:
        return self.cleans.under(guard)

    def of_option(self, option: Option) -> np.ndarray | None:
        if option.by is None:
            return None
        size = len(self.campaign.workload.images)
        return self.held.setdefault(option, self.rng.random(size) < 0.02)

    def false_alarms(self, options: list[Option]) -> float:
        held = [a for one in options if (a := self.of_option(one)) is not None]
        return float(np.any(held, 0).mean()) if held else 0.0


GOALS = (
    Goal(macs=0.002, area=0.05), Goal(area=0.01), Goal(macs=0.0), Goal(macs=0.05, latency=0.02),
    Goal(area=0.5, false_alarms=0.03), Goal(macs=0.05, area=0.2, false_alarms=0.2, latency=0.08),
)  # fmt: skip


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_no_set_of_options_beats_the_one_that_is_found(
    campaign: rh.Campaign, common: Common, taught: rh.Workload, goal: Goal
) -> None:
    """Every set of some of its own options, under two guards, on the faults that choose."""
    images = Alarming(Cleans(campaign))
    clipped = rh.ClippedActivation().learned(taught)
    cost = clipped.cost(campaign.workload, campaign.chip)
    offer = Offer(common, taught, repeat=True)
    for guard in (PLAIN, Watched("clipped", (clipped,), cost)):
        options = few(common, guard, offer.to(guard))
        if not allowed(campaign, images, guard, goal):
            assert cost.operations > 0
            continue
        programme = Programme(common, images, guard, options, goal)
        weights, slots = common.failing(guard), [one.slot for one in options]
        passes = np.stack([common.passes(one) for one in options], 1)
        here = weights > 0
        none = np.zeros(len(campaign.workload.images), bool)
        alarms = [images.of_option(one) for one in options]
        table = np.stack([none if a is None else a for a in alarms], 1)
        sets = {}
        for chosen in combinations(slots):
            whole = sum((options[k].cost for k in chosen), guard.cost)
            again = alarmed_by(chosen, table)
            longer = longer_by(whole, campaign)
            late = longer + again * (1 + longer)
            work = work_of(whole, campaign.network)
            most = (goal.area, whole.area), (goal.macs, work), (goal.latency, late)
            if all(m is None or own <= m for m, own in most) and again <= goal.false_alarms:
                sets[chosen] = left_by(chosen, weights[here], passes[here]), whole.area + work
        best = min(left for left, _ in sets.values())
        cheap = min(taken for left, taken in sets.values() if left <= best * (1 + 1e-9))
        found = tuple(sorted(options.index(one) for one in programme.least("failing")))
        assert sets[found][0] == pytest.approx(best, rel=1e-9)
        assert sets[found][1] == pytest.approx(cheap)
        for number in found:  # and all of it does something
            less = tuple(k for k in found if k != number)
            assert left_by(less, weights[here], passes[here]) > best
        for share in (0.5, 0.1, 0.02):
            most = share * weights.sum()
            within = [taken for left, taken in sets.values() if left <= most]
            chosen = programme.least("overhead", failing=most)
            assert (chosen is None) == (not within)
            if chosen is not None:
                own = tuple(sorted(options.index(one) for one in chosen))
                assert sets[own][0] <= most * (1 + 1e-6)
                assert sets[own][1] == pytest.approx(min(within))


def test_what_is_chosen_is_the_best_of_all_combinations(
    campaign: rh.Campaign, taught: rh.Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The designs on trial leave on the faults that choose what the best of all sets leaves."""
    whole = Offer.to
    kept: list[tuple[Common, Watched, list[Option]]] = []

    def reduced(self: Offer, guard: Watched) -> list[Option]:
        found = few(self.common, guard, whole(self, guard))[:8]
        kept.append((self.common, guard, found))
        return found

    monkeypatch.setattr(find.Offer, "to", reduced)
    goal = Goal(macs=0.002, area=0.05, accuracy_loss=1.0, false_alarms=1.0)
    chosen = choosing.choose(campaign, taught, goal, 600, 600)
    best = np.inf
    for faults, guard, options in kept:
        for numbers in combinations([one.slot for one in options]):
            own = [options[k] for k in numbers]
            cost = sum((one.cost for one in own), guard.cost)
            if cost.area <= goal.area and work_of(cost, campaign.network) <= goal.macs:
                best = min(best, faults.weight(guard, own))
    assert len(kept) > 1
    assert min(trial.design.weight for trial in chosen.trials) == pytest.approx(best)
    assert all(not goal.exceeded(trial.design) or trial.design.reruns or trial.design.loss > 0
               for trial in chosen.trials)  # fmt: skip


def test_a_check_is_joined_to_a_guard_and_told_apart(
    campaign: rh.Campaign, common: Common, taught: rh.Workload
) -> None:
    clipped = rh.ClippedActivation().learned(taught)
    guard = Watched("clipped", (clipped,), rh.Cost())
    ranges, last = rh.RangeDetector().learned(taught), campaign.network.layers[-1].name
    by = check_before(
        guard, "range check of {}", ranges, tuple(x.name for x in campaign.network.layers)
    )
    own = replace(ranges, layers=(last,))
    check = Option("last", "range check of {}", last, own, rh.Cost(rerun=1.0), True, by)
    cleans = Cleans(campaign)
    both = Design.of(common, cleans, guard, [check])
    corrects, detects = members(both, common, cleans)
    assert (corrects.does, detects.does) == ("corrects", "detects")
    assert both.name == f"clipped + range check of {last}"
    for part, protections, outcome in (
        (corrects, [clipped], "sdc1"), (detects, [own], "sdc1_undetected"),
    ):  # fmt: skip
        guarded = campaign.with_(protections=protections)
        hits = guarded.outcomes(common.plain, guarded.golden(), common.faults)[outcome]
        given = common.faults, {"sdc1": hits}, len(common.plain.strata)
        tally = Tally.of(*given, part is detects)  # what is proved holds where nothing corrects
        assert part.rate.value == pytest.approx(common.result(tally, 0.9).fit("sdc1").value)
    plain = Design.of(common, cleans, PLAIN, []).measured([common]).fit("sdc1").value
    assert max(corrects.rate.value, detects.rate.value) < plain / 5
    # behind a guard that corrects a check may see less than alone
    assert both.measured([common]).fit("sdc1").value <= corrects.rate.value
