"""Choosing protections: found on common faults, judged on fresh ones, and every verdict said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.campaign.ask import asked
from radhard.campaign.strike import Strike
from radhard.network.source import subject
from radhard.protect.learn import apart_from, halves
from radhard.search.choose import Choice, choose
from radhard.search.clean import Cleans
from radhard.search.common import Common
from radhard.search.design import Design, rate_of
from radhard.search.part import PLAIN, Option, Watched, check_before
from radhard.search.trial import Goal, Trial, Trials
from radhard.stats.estimate import Estimate
from radhard.view.choice import beaten_words, choice_page, missed_words
from radhard.view.table import show_choice

TARGET = 2.0


def learning(campaign: rh.Campaign) -> rh.Workload:
    """The network with other images than those of the campaign."""
    if campaign.workload.name == "tiny":
        others = torch.randn(40, 1, 3, 3, generator=torch.Generator().manual_seed(6))
        return campaign.workload.with_(others, torch.zeros(40, dtype=torch.int64))
    whole = subject("digits-cnn")
    return campaign.workload.with_(whole.images[40:140], whole.labels[40:140])


@pytest.fixture(scope="module")
def campaign() -> rh.Campaign:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images[:32], whole.labels[:32], format=rh.FLOAT16)
    return rh.Campaign(work, rh.chips.EYERISS, sampler=rh.GradientImportance())


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("protect")


@pytest.fixture(scope="module")
def found(campaign: rh.Campaign, store: Path) -> Choice:
    return choose(campaign, learning(campaign), Goal(rate=TARGET), 400, 3200, store=store)


def test_the_front_is_a_front(found: Choice) -> None:
    assert len(found.trials) >= 3
    assert found.plain is found.trials[0]
    assert not found.plain.design.protections
    overheads = [trial.overhead for trial in found.trials]
    assert overheads == sorted(overheads)
    for one in found.front:
        for other in found.trials:
            beats = other.rate.value <= one.rate.value and other.overhead <= one.overhead
            assert not beats or other.overhead == one.overhead
    assert found.front[-1].rate.value < 0.1 * found.plain.rate.value
    assert found.guards > 3
    assert found.options > 20


def test_the_cheapest_that_meets_the_target_wins_and_the_others_say_why_not(found: Choice) -> None:
    assert found.winner is not None
    assert found.winner.rate.high <= TARGET
    assert [t.verdict for t in found.trials].count("chosen") == 1
    for trial in found.trials:
        if exceeded := Goal(rate=TARGET).exceeded(trial.design):
            assert trial.verdict == exceeded  # on images that did not choose it
        elif trial.overhead < found.winner.overhead:
            assert trial.rate.high > TARGET
            end = "lower" if trial.rate.low > TARGET else "upper"
            assert f"fresh {end} end" in trial.verdict
            assert f"after {trial.faults:,} faults" in trial.verdict
            assert trial.faults == 3200 or trial.rate.low > TARGET
        elif trial is not found.winner:
            assert trial.verdict == "takes more than the chosen one"


def test_intervals_share_the_error_that_is_allowed(found: Choice) -> None:
    looks = 4  # 400, 800, 1,600 and 3,200 faults
    for trial in found.trials:
        assert trial.rate.confidence == pytest.approx(1 - 0.05 / 2 / looks / len(found.trials))


def test_the_winner_can_be_asked_again(found: Choice, store: Path) -> None:
    (path,) = store.glob("winner/*/campaign.toml")
    held = asked(path, "digits-cnn")
    assert len(held.protections) == len(found.winner.design.protections)


def test_designs_are_what_campaigns_find(campaign: rh.Campaign) -> None:
    """Each rate that was worked out from the fresh faults is that of a campaign of its own."""
    simple = campaign.with_(sampler=rh.Importance())
    trials = choose(simple, learning(campaign), Goal(area=1.0), 1500, 1500).trials
    for trial in trials[:: max(1, len(trials) // 3)]:
        design = trial.design
        own = simple.with_(seed=77, protections=design.protections).run(until=3000)
        rate = own.fit("sdc1_undetected" if design.repeats else "sdc1")
        assert rate.low <= trial.rate.high
        assert trial.rate.low <= rate.high
        assert own.cost.area == pytest.approx(design.area)


def test_without_repetition_nothing_repeats(campaign: rh.Campaign) -> None:
    chosen = choose(campaign, learning(campaign), Goal(area=0.2), 300, 300, repeat=False)
    assert not any(trial.design.repeats for trial in chosen.trials)
    assert chosen.winner is not None
    assert chosen.winner.design.area <= 0.2
    allowed = [t for t in chosen.trials if t.design.area <= 0.2]
    assert chosen.winner.rate.value == min(trial.rate.value for trial in allowed)
    for trial in chosen.trials:
        assert trial.design.area <= 0.2
        if trial is not chosen.winner:
            assert "the chosen one has" in trial.verdict


def test_what_was_tried_is_kept(campaign, tmp_path: Path, monkeypatch) -> None:
    """The same goal again runs nothing; another one leaves what was found, and has its own."""
    goal = Goal(macs=0.01)
    first = choose(campaign, learning(campaign), goal, 200, 200, store=tmp_path)
    held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr(Strike, "outcomes", lambda *_: pytest.fail("run again"))
        second = choose(campaign, learning(campaign), goal, 200, 200, store=tmp_path)
    assert [t.design.name for t in first.trials] == [t.design.name for t in second.trials]
    assert [t.rate for t in first.trials] == [t.rate for t in second.trials]
    assert first.winner.design.work <= 0.01
    other = choose(campaign, learning(campaign), Goal(macs=0.0001), 200, 200, store=tmp_path)
    assert other.winner.design.name != first.winner.design.name
    assert all(path.read_bytes() == content for path, content in held.items())
    assert len(list(tmp_path.glob("winner/*/campaign.toml"))) == 2


def test_chips_without_rates_have_probabilities(campaign: rh.Campaign) -> None:
    soft = campaign.with_(chip=rh.chips.SOFTWARE)
    goal = Goal(rate=1e-9, area=0.05)
    chosen = choose(soft, learning(soft), goal, 300, 600)
    assert chosen.plain.rate.unit == ""
    assert chosen.winner is None
    assert chosen.searched
    assert np.isfinite(chosen.plain.rate.value)
    near = chosen.nearest(goal)
    allowed = [trial for trial in chosen.trials if not goal.exceeded(trial.design)]
    assert near.rate.high == min(trial.rate.high for trial in allowed)
    assert "1e-09 after" in near.verdict
    said = missed_words(chosen, goal, repeat=True)
    assert "for parity on " in said
    assert "which leaves nothing open" in said
    assert "(--repeat)" not in said


def test_page_terminal_and_json_say_why(
    campaign, found: Choice, tmp_path, capsys, at_the_command_line
) -> None:
    goal = Goal(rate=TARGET)
    page = choice_page(found, goal, "it", tmp_path).read_text()
    show_choice(found, goal, "it")
    shown = " ".join(capsys.readouterr().out.split())
    for trial in found.trials:
        assert trial.verdict in page
        assert trial.verdict in shown
    assert f"on {found.winner.faults:,} fresh faults: {found.winner.rate}" in shown
    code, out, said = at_the_command_line(
        "protect", "digits-cnn", "--images", "16", "--target-fit", "1e-9", "--budget-area", "0.01",
        "--faults", "20",
        "--most", "20", "--json", "--out", str(tmp_path / "store"),
    )  # fmt: skip
    assert code in {1, 2}
    assert '"verdict": "fresh ' in out
    assert "no design meets the goal: the nearest is " in said
    assert "20 fresh faults for" in said


def test_wrong_goals_are_refused(campaign: rh.Campaign) -> None:
    with pytest.raises(ValueError, match="target rate"):
        Goal()
    with pytest.raises(ValueError, match="0 or more"):
        Goal(rate=-1.0)
    guarded = campaign.with_(protections=[rh.RangeDetector()])
    with pytest.raises(ValueError, match="protections already"):
        choose(guarded, learning(campaign), Goal(rate=1.0))
    with pytest.raises(ValueError, match="400 faults and 300 fresh ones"):
        choose(campaign, learning(campaign), Goal(rate=1.0), 400, 300)


def test_checks_are_run_on_what_does_harm_and_see_layer_by_layer(campaign: rh.Campaign) -> None:
    """What a check of one layer sees, alone and beside a guard, is what its own campaign says."""
    taught = learning(campaign)
    ranges, names = rh.RangeDetector(0.0).learned(taught), [x.name for x in campaign.network.layers]
    tight = rh.ClippedActivation().learned(taught, outside=0.05)
    space = campaign.space()
    common, met = Common.drawn(campaign, space, space, 1000), set()
    for guard in (PLAIN, Watched("tight", (tight,), rh.Cost())):
        by = check_before(guard, "range check of {}", ranges, tuple(names))
        harm, seen = common.under(guard).columns, common.under(by)
        telling = harm["sdc1"] | harm["lost"] | harm["gained"]
        assert (common._telling(by) == telling).all()
        assert 0 < telling.sum() < 500
        for name in ("sdc1", "lost", "gained"):
            assert (seen.columns[name] == harm[name]).all()
        seen_by_some = np.zeros(1000, bool)
        for name in names:
            own = campaign.with_(protections=[replace(ranges, layers=(name,)), *guard.protections])
            alarms = own.outcomes(space, own.golden(), common.faults)["detected"]
            assert (seen.alarms[name] == alarms & telling).all()
            seen_by_some |= seen.alarms[name]
        assert 0 < seen_by_some.sum() <= telling.sum()
        met |= {int(seen.alarms[name].sum()) for name in names}
    assert len(met) > 1  # layers differ in what they see


def test_alarms_beside_a_guard_that_corrects_are_those_of_the_check(campaign: rh.Campaign) -> None:
    """A tight guard changes something on every image; what it corrects is not run again."""
    taught = learning(campaign)
    check, tight = rh.RangeDetector().learned(taught), rh.ClippedActivation().learned(taught, 0.05)
    alone = campaign.with_(protections=[tight])
    assert alone.clean()[1] == 1.0
    for both in ([check, tight], [tight, check]):
        joined = campaign.with_(protections=both)
        assert joined.clean() == (alone.clean()[0], 0.0)


@pytest.fixture(scope="module")
def tiny() -> rh.Campaign:
    random = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    for part in model.parameters():
        part.data = torch.randn(part.shape, generator=random)
    images = torch.randn(6, 1, 3, 3, generator=random)
    work = rh.capture(model, images, torch.tensor([0, 1, 2, 0, 1, 2]), format=rh.INT8, name="tiny")
    return rh.Campaign(work, rh.chips.Software(rate_fit_per_mbit=1e6))


def option(protection: rh.Protection, name: str) -> Option:
    return Option(name, "{}", name, protection, rh.Cost(area=0.1), False)


def test_a_part_that_is_closed_is_struck_no_more(tiny: rh.Campaign) -> None:
    """Designs that leave little open are judged on faults of that little: the same rate, surer."""
    space = tiny.space()
    codes = [option(rh.Parity(("activation",)), "parity"),
             option(rh.BitTriplication((7, 6, 5, 4), ("weight",)), "tripled")]  # fmt: skip
    whole = Common.drawn(tiny, space, space, 4000, None)
    design = Design.of(whole, Cleans(tiny), PLAIN, codes)
    left = design.open_strata(tiny, space)
    assert (left == [s.component == "weight" and s.bit < 4 for s in space.strata]).all()
    trials = Trials(tiny, space, Goal(rate=0.0), 4000, 4000)
    ((judged,),) = trials.judged([[design]], whole)
    assert judged.faults == 4000
    assert trials._left.exposure.sum() == pytest.approx((left * space.exposure).sum())
    full = rate_of(design.measured([whole], judged.rate.confidence))
    assert judged.rate.half_width < 0.8 * full.half_width
    assert judged.rate.low <= full.high
    assert full.low <= judged.rate.high


def test_what_is_closed_altogether_has_no_rate(tiny: rh.Campaign) -> None:
    space = tiny.space()
    whole = Common.drawn(tiny, space, space, 200, None)
    design = Design.of(whole, Cleans(tiny), PLAIN, [option(rh.Parity(), "parity")])
    ((judged,),) = Trials(tiny, space, Goal(rate=0.0), 200, 800).judged([[design]], whole)
    assert (judged.rate.value, judged.rate.high, judged.rate.method) == (0.0, 0.0, "exact")
    assert judged.verdict == "chosen"


def test_hardened_storage_leaves_its_share(tiny: rh.Campaign) -> None:
    """Strikes are dropped by chance; the rate is that of the hardened chip's own campaign."""
    space = tiny.space()
    hard = rh.HardenedLatches(target=6.3, reductions=tuple(
        (s.component, s.bit, 6.3) for s in space.strata))  # fmt: skip
    whole = Common.drawn(tiny, space, space, 20_000, None)
    design = Design.of(whole, Cleans(tiny), PLAIN, [option(hard, "hard")])
    own = tiny.with_(protections=[hard], seed=9).run(until=20_000).fit("sdc1")
    found = rate_of(design.measured([whole]))
    apart = np.hypot(own.half_width, found.half_width)
    assert abs(found.value - own.value) < 1.5 * apart
    assert (
        found.value
        < 0.3 * rate_of(Design.of(whole, Cleans(tiny), PLAIN, []).measured([whole])).value
    )


def trial(rate: tuple[float, float, float], area: float) -> Trial:
    estimate = Estimate(*rate, 0.99, 100, "made up", "FIT")
    made = rh.Cost(area=area), 1.0, 1.0, 0.9, 0.0, 0.0, 0.0, 0.0
    design = Design(PLAIN, (), area, 0.0, *made)
    return Trial(design, estimate, estimate, estimate, 100, estimate, estimate)


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("rate", [0.0, 1e-6])
def test_what_few_faults_call_beaten_is_tried_where_nothing_else_will_do(
    tiny: rh.Campaign, rate: float, repeat: bool
) -> None:
    """With 10 faults a cheaper design shows no failure either; closing all memories has none."""
    soft = tiny.with_(chip=rh.chips.SOFTWARE)
    chosen = choose(soft, learning(soft), Goal(rate=rate), 10, 20, repeat=repeat)
    assert chosen.searched
    winner = chosen.winner
    assert winner is not None
    assert (winner.rate.value, winner.rate.high, winner.rate.method) == (0.0, 0.0, "exact")
    codes = rh.Parity if repeat else rh.SECDED
    assert all(isinstance(part, codes) for part in winner.design.protections)
    own = soft.with_(protections=winner.design.protections, sampler=rh.Uniform()).run(2000)
    assert own["sdc1"].value == 0
    cheaper = [trial for trial in chosen.trials if trial.overhead < winner.overhead]
    assert all(trial.rate.high > rate and trial.verdict != "chosen" for trial in cheaper)
    assert "were tried on fresh faults too" in beaten_words(chosen)
    assert "On the 10 common faults" in beaten_words(chosen)


def test_sets_share_the_error_that_is_allowed(tiny: rh.Campaign) -> None:
    """Half of 5 % for the first set and half for the second, each over designs and looks."""
    space = tiny.space()
    whole = Common.drawn(tiny, space, space, 20, None)
    open_, closed = (
        Design.of(whole, Cleans(tiny), PLAIN, codes) for codes in ([], [option(rh.Parity(), "p")])
    )
    sets = Trials(tiny, space, Goal(rate=0.1), 20, 40).judged([[open_], [open_, closed]], whole)
    assert [[t.rate.confidence for t in part] for part in sets] == [
        [pytest.approx(1 - 0.05 / 2 / 2)], [pytest.approx(1 - 0.05 / 2 / 4)] * 2,
    ]  # fmt: skip
    assert [t.verdict for part in sets for t in part].count("chosen") == 1
    first = Trials(tiny, space, Goal(rate=0.1), 20, 40).judged([[closed], [open_]], whole)
    assert [[t.verdict for t in part] for part in first] == [["chosen"]]


def missed(trials: list[Trial], closed: Design | None = None, floor: float = 0.0) -> Choice:
    return Choice(tuple(trials), None, 3, 9, 100, True, (), closed, floor)


def test_what_would_help_is_said_where_it_would() -> None:
    goal = Goal(rate=1.0)
    above = missed([trial((4, 2, 6), 0.0), trial((2, 1.5, 3), 0.1)])
    said = missed_words(above, goal, repeat=True)
    assert "ask for a rate of 3" in said
    assert "more than 100 faults (--faults)" in said
    assert not any(word in said for word in ("--most", "overhead", "--repeat"))
    close = missed([trial((4, 2, 6), 0.0), trial((0.5, 0.2, 2), 0.1), trial((0, 0, 2), 0.2)])
    assert "--most 200, which may do for" in missed_words(close, goal, repeat=True)
    assert "--most" not in missed_words(close, Goal(rate=0.0), repeat=True)
    assert "(--repeat)" in missed_words(above, goal, repeat=False)
    over = missed_words(above, Goal(rate=1.0, area=0.5), repeat=True)
    assert "allow more overhead" in over
    none = missed_words(above, Goal(rate=0.0, area=0.5), repeat=True)
    assert not any(word in none for word in ("overhead", "--faults"))
    closed = missed(list(above.trials), replace(trial((0, 0, 0), 0.7).design, open=0.0))
    assert "allow 70.00 % of area and 0.00 % of work for no guard, which leaves nothing open" in (
        missed_words(closed, Goal(rate=0.0, area=0.5), repeat=True)
    )
    known = missed_words(missed(list(above.trials), floor=1.5), goal, repeat=False)
    assert "faults of known effect" in known
    assert "--" not in known


def test_goals_pick_and_contest() -> None:
    lost, close, met = trial((4, 2, 6), 0.0), trial((0.9, 0.5, 1.5), 0.1), trial((0, 0, 0.5), 0.2)
    dear, wide = trial((0, 0, 0.4), 0.3), trial((0.1, 0, 3), 0.25)
    every = [lost, close, met, wide, dear]
    assert Goal(rate=1.0).best(every) is met
    assert Goal(rate=1.0).contested(every) == [close]
    assert Goal(rate=1.0).contested([lost, close, wide]) == [close, wide]
    assert Goal(rate=1.0, area=0.15).best(every) is None
    assert Goal(rate=1.0, area=0.15).contested(every) == [close]
    assert Goal(area=0.15).best(every) is close
    assert Goal(area=0.15).contested(every) == []
    assert Goal(area=0.15).exceeded(met.design) == "over the area budget: 20 % for 15 %"


def test_a_network_without_faults_is_part_of_the_goal(campaign: rh.Campaign) -> None:
    """Ranges of nothing raise an alarm on every image; thresholds of nothing leave no answer."""
    work, space = campaign.workload, campaign.space()
    nothing = rh.RangeDetector(0.0, tuple((0.0, 0.0) for _ in work.layers))
    learned = rh.ClippedActivation().learned(learning(campaign))
    dead = learned
    for step in learned.thresholds.tensors:
        dead = dead.with_threshold(step, 0.0)
    whole = Common.drawn(campaign, space, space, 100)
    cleans, cost = Cleans(campaign), rh.Cost(rerun=1.0)
    silent, fine = (
        Design.of(whole, cleans, Watched(name, (part,), rh.Cost()), [])
        for name, part in (("dead", dead), ("learned", learned))
    )
    layers = tuple(layer.name for layer in work.layers)
    by = check_before(PLAIN, "range check of {}", nothing, layers)
    own = replace(nothing, layers=layers[:1])
    check = Option("range", "range check of {}", layers[0], own, cost, True, by)
    alarming = Design.of(whole, cleans, PLAIN, [check])
    goal = Goal(rate=1.0)
    assert goal.exceeded(alarming) == (
        "false alarms for 100 % of images without a fault, 1 % may have one"
    )
    assert alarming.latency >= 1  # each inference is run again
    assert Goal(rate=1.0, false_alarms=1.0).exceeded(alarming) == ""
    golden = campaign.golden_accuracy()
    own = campaign.with_(protections=[dead]).golden_accuracy()
    assert silent.loss == pytest.approx(golden - own)
    assert silent.loss > 0.5
    assert "points of accuracy without a fault, 0.5 may be lost" in goal.exceeded(silent)
    assert Goal(rate=1.0, accuracy_loss=1.0).exceeded(silent) == ""
    assert goal.exceeded(fine) == ""
    for wrong in (float("nan"), float("inf"), -0.1):
        for name in ("rate", "area", "macs", "latency", "accuracy_loss", "false_alarms"):
            with pytest.raises(ValueError, match="can't be: use a number of 0 or more"):
                Goal(**{"rate": 1.0, name: wrong})


def test_trials_say_what_is_without_a_fault(found: Choice, campaign: rh.Campaign) -> None:
    for trial in found.trials:
        own = campaign.with_(protections=trial.design.guard.protections)
        golden = own.golden()
        assert trial.golden.value == pytest.approx(own.golden_accuracy(golden))
        assert trial.golden.low <= trial.golden.value <= trial.golden.high
        whole = campaign.with_(protections=trial.design.protections)
        assert trial.design.repeats or not trial.design.reruns
        if trial.design.repeats:
            assert trial.design.reruns == pytest.approx(whole.clean()[1])
        changed = float(golden.answers()[1].any(1).double().mean())
        assert trial.alarms.value >= max(changed, trial.design.reruns) - 1e-12


def test_images_to_learn_from_are_others_than_those_that_are_judged(campaign) -> None:
    work = campaign.workload
    with pytest.raises(ValueError, match="0 of 32 images to learn from are not among those"):
        choose(campaign, work, Goal(rate=1.0), 100, 100)
    with pytest.raises(ValueError, match="1 of 1 images to learn from"):
        choose(campaign, learning(campaign).with_(*one(learning(campaign))), Goal(rate=1.0))
    own = learning(campaign)
    mixed = work.with_(torch.cat([work.images, own.images]), torch.cat([work.labels, own.labels]))
    assert torch.equal(apart_from(work, mixed).images, own.images)
    judged, learns = halves(work)
    assert len(judged.images) == len(learns.images) == 16
    assert torch.equal(torch.stack([judged.images, learns.images], 1).flatten(0, 1), work.images)
    with pytest.raises(ValueError, match="give at least 4"):
        halves(work.with_(work.images[:3], work.labels[:3]))


def one(work: rh.Workload) -> tuple[torch.Tensor, torch.Tensor]:
    return work.images[:1], work.labels[:1]


@pytest.mark.parametrize("seed", range(1))
def test_the_interval_of_the_winner_holds(tiny: rh.Campaign, seed: int) -> None:
    """A share of what `benchmarks/choose.py` does: the printed interval against 20,000 faults."""
    chosen = choose(tiny.with_(seed=seed), learning(tiny), Goal(rate=12.0), 500, 4000)
    winner = chosen.winner
    assert winner is not None
    space = tiny.space()
    many = Common.drawn(tiny.with_(seed=1000), space, space, 20_000, None)
    truth = rate_of(winner.design.measured([many])).value
    assert winner.rate.low <= truth <= winner.rate.high


@pytest.mark.exhaustive
def test_choices_do_not_depend_on_processes(tiny: rh.Campaign, tmp_path: Path) -> None:
    learn = tiny.workload.with_(torch.randn(12, 1, 3, 3), torch.arange(12) % 3)
    plain = tiny.run(until=200).fit("sdc1").value
    asked = tiny, learn, Goal(rate=plain / 3), 200, 400
    told: list[str] = []
    alone = choose(*asked)
    found = choose(*asked, store=tmp_path, watch=lambda name, *_: told.append(name), workers=2)
    shown = [
        [(t.design.name, t.rate, t.accuracy, t.faults, t.verdict) for t in choice.trials]
        for choice in (alone, found)
    ]
    assert shown[0] == shown[1]
    assert len(told) > 2
    assert choose(*asked, store=tmp_path, workers=2).guards == alone.guards
