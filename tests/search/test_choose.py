"""Choosing protections: measures are those of campaigns, fronts are fronts, goals are met."""

from pathlib import Path

import numpy as np
import pytest

import radhard as rh
from radhard.network.source import subject
from radhard.search import choose as module
from radhard.search.choose import Choice, Goal, choose


@pytest.fixture(scope="module")
def campaign() -> rh.Campaign:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images[:32], whole.labels[:32], format=rh.FLOAT16)
    return rh.Campaign(work, rh.chips.EYERISS, sampler=rh.GradientImportance())


@pytest.fixture(scope="module")
def found(campaign: rh.Campaign, tmp_path_factory) -> Choice:
    store = tmp_path_factory.mktemp("protect")
    return choose(campaign, campaign.workload, Goal(rate=2.0), 2000, store=store)


def test_the_front_is_a_front(found: Choice) -> None:
    assert len(found.front) >= 6
    for one in found.front:
        for other in found.front:
            beats = other.rate.value <= one.rate.value and other.overhead <= one.overhead
            assert not beats or other is one
    assert found.front[0].overhead == 0
    assert found.front[-1].rate.value < 0.1 * found.plain.rate.value


def test_the_winner_holds_on_fresh_faults(found: Choice) -> None:
    assert found.winner is not None
    assert found.winner.rate.high <= 2.0
    assert found.fresh_rate is not None
    assert found.fresh_rate.low <= 2.0
    assert found.winner.overhead <= min(
        design.overhead for design in found.front if design.rate.high <= 2.0
    )


def test_designs_are_what_campaigns_find(campaign: rh.Campaign) -> None:
    """Each rate that was worked out from the common faults is that of a campaign of its own."""
    simple = campaign.with_(sampler=rh.Importance())
    front = choose(simple, campaign.workload, Goal(area=1.0), 6000).front
    for design in front[:: max(1, len(front) // 4)]:
        own = simple.with_(seed=77, protections=design.protections).run(until=6000)
        metric = module._failure(design.protections)
        rate = own.fit(metric)
        assert rate.low <= design.rate.high
        assert design.rate.low <= rate.high
        assert own.cost.area == pytest.approx(design.area)


def test_without_repetition_nothing_repeats(campaign: rh.Campaign) -> None:
    chosen = choose(campaign, campaign.workload, Goal(area=0.2), 1000, repeat=False)
    assert not any(design.repeats for design in chosen.front)
    assert chosen.winner is not None
    assert chosen.winner.area <= 0.2


def test_what_was_tried_is_kept(campaign, tmp_path: Path, monkeypatch) -> None:
    goal = Goal(macs=0.01)
    first = choose(campaign, campaign.workload, goal, 500, store=tmp_path)
    monkeypatch.setattr(module, "outcomes", lambda *_: pytest.fail("run again"))
    second = choose(campaign, campaign.workload, goal, 500, store=tmp_path)
    assert [d.name for d in first.front] == [d.name for d in second.front]
    assert first.winner.work <= 0.01


def test_chips_without_rates_have_probabilities(campaign: rh.Campaign) -> None:
    soft = campaign.with_(chip=rh.chips.SOFTWARE)
    chosen = choose(soft, soft.workload, Goal(rate=1e-9), 500)
    assert chosen.plain.rate.unit == ""
    assert chosen.winner is None
    assert np.isfinite(chosen.plain.rate.value)


def test_wrong_goals_are_refused(campaign: rh.Campaign) -> None:
    with pytest.raises(ValueError, match="target rate"):
        Goal()
    with pytest.raises(ValueError, match="0 or more"):
        Goal(rate=-1.0)
    guarded = campaign.with_(protections=[rh.RangeDetector()])
    with pytest.raises(ValueError, match="protections already"):
        choose(guarded, campaign.workload, Goal(rate=1.0))
