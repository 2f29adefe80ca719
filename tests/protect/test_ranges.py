"""The range detector: what it flags, and the rates that follow."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import radhard as rh
from radhard.cli.app import app
from radhard.view.units import percent
from radhard.view.wording import notes_of


@pytest.fixture(scope="module")
def work(residual, images, labels):
    return rh.capture(residual, images, labels, format=rh.FLOAT16)


def test_ends_move_outwards_whatever_their_sign(work) -> None:
    ranges = ((-2.0, 4.0), (1.0, 4.0), (-4.0, -1.0), (-2.0, 4.0))[: len(work.layers)]
    guard = rh.RangeDetector(0.25, ranges).guard(work)
    inside = [(-2.5, 5.0), (0.8, 5.0), (-5.0, -0.8), (-2.5, 5.0)]
    for layer, (low, high) in enumerate(inside[: len(work.layers)]):
        edge = torch.tensor([[[low]], [[high]], [[low - 0.01]], [[high + 0.01]], [[torch.nan]]])
        output, alarm = guard.inspect(layer, edge)
        assert output is edge
        assert alarm.tolist() == [False, False, True, True, True]


def test_it_detects_large_faults_only_and_counts_them(work) -> None:
    guards = (rh.RangeDetector(),)
    campaign = rh.Campaign(work, sampler=rh.Importance(), protections=guards)
    result = campaign.run(until=3000)
    trace = rh.record(work, rh.RangeDetector().guard(work))
    assert not trace.detected.any()  # no false alarm on what it was learned from
    events = {name: int(hits.sum()) for name, hits in result.tally.events.items()}
    caught = events["sdc1"] - events["sdc1_undetected"]
    assert result.recall.value == pytest.approx(caught / events["sdc1"])
    assert result.recall.low > 0.3
    assert result.precision.value == pytest.approx(caught / events["detected"])
    false = events["detected"] - caught
    assert result.precision_of_injected.value == pytest.approx(1 - false / 3000)
    assert result["sdc1_undetected"].value < result["sdc1"].value
    assert campaign.id != campaign.with_(protections=()).id


@pytest.mark.parametrize("patches", [True, False])
def test_flags_are_those_of_the_values_themselves(work, patches: bool) -> None:
    detector = rh.RangeDetector().learned(work)
    space = rh.software_space(work, ("activation",))
    faults = rh.Uniform().draw(space, 300, np.random.default_rng(0))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    run = rh.resume(rh.record(work, detector.guard(work)), corruption, patches=patches)
    plain = rh.resume(rh.record(work), corruption, patches=patches)
    assert torch.equal(run.logits.nan_to_num(), plain.logits.nan_to_num())
    final = len(work.layers) - 1
    low, high = detector.ranges[final]
    outside = ~((plain.logits >= low * 1.1) & (plain.logits <= high * 1.1)).all(1)
    assert low < 0 < high
    assert run.detected[outside].all()
    assert not run.detected.all()


def test_ranges_are_learned_part_by_part_as_on_all_images(work) -> None:
    several = work.with_(torch.cat([work.images] * 11), torch.cat([work.labels] * 11))
    several = several.with_(
        several.images * torch.linspace(0.1, 3, len(several.images))[:, None, None, None]
    )
    assert len(several.images) > 64
    assert rh.RangeDetector().learned(several).ranges == rh.record(several).ranges


def test_some_layers_are_watched_at_their_own_cost(work) -> None:
    """What all watch is what each does: alarms are a union, and costs a sum."""
    whole = rh.RangeDetector(0.0).learned(work)
    names = [layer.name for layer in work.layers]
    scale = torch.linspace(0.8, 1.3, len(work.images))[:, None, None, None]
    wrong = work.with_(scale * work.images, work.labels)
    parts = [replace(whole, layers=(name,)) for name in names]
    alarms = [rh.record(wrong, part.guard(wrong)).detected for part in parts]
    assert torch.equal(torch.stack(alarms).any(0), rh.record(wrong, whole.guard(wrong)).detected)
    assert not all(torch.equal(alarms[0], own) for own in alarms[1:])
    costs = [part.cost(work, rh.chips.EYERISS) for part in parts]
    together = whole.cost(work, rh.chips.EYERISS)
    assert sum(cost.operations for cost in costs) == together.operations
    assert sum(cost.memory_bits for cost in costs) == together.memory_bits
    for use in (lambda d: d.guard(work), lambda d: d.cost(work, rh.chips.EYERISS)):
        with pytest.raises(ValueError, match="RangeDetector: no layer 'nowhere'"):
            use(replace(whole, layers=("nowhere",)))


def test_ranges_of_another_network_are_refused(work) -> None:
    with pytest.raises(ValueError, match="learn them on the same network"):
        rh.RangeDetector(0.1, ((0.0, 1.0),)).guard(work)
    with pytest.raises(ValueError, match="cushion -1"):
        rh.RangeDetector(-1)


@pytest.mark.parametrize("name", ["recall", "precision", "precision_of_injected"])
def test_nothing_is_recalled_where_nothing_watches(work, name: str) -> None:
    result = rh.Campaign(work).run(until=100)
    with pytest.raises(ValueError, match=f"no {name} without a detector"):
        getattr(result, name)


def test_what_was_not_seen_is_said(work) -> None:
    """Of a single fault, which does nothing, under a detector that flags next to nothing."""
    blind = replace(rh.RangeDetector().learned(work), ranges=((-1e30, 1e30),) * len(work.layers))
    result = rh.Campaign(work, sampler=rh.Uniform(), seed=1, protections=[blind]).run(until=1)
    assert not result.tally.events["sdc1"].any()
    assert not result.tally.events["detected"].any()
    assert str(result.recall) == "no SDC-1 faults seen"
    assert str(result.precision) == "no alarms seen"
    assert (result.recall.low, result.recall.high) == (0.0, 1.0)


def test_notes_tell_what_guards_mean_for_proofs_and_control(work) -> None:
    """Wide intervals where a guard corrects and proofs were wanted; control where it is known."""
    wide, left = "proof that a fault is harmless holds", "known, not sampled"
    clamp, detector = rh.RangeRestriction().learned(work), rh.RangeDetector().learned(work)
    array, soft = rh.chips.Published(rows=4, cols=4), rh.chips.SOFTWARE
    unproving = rh.GradientImportance(proofs=False)
    for chip, sampler, guard, expected in (
        (soft, rh.GradientImportance(), clamp, [wide]),
        (soft, rh.GradientImportance(), detector, []),
        (soft, rh.GradientImportance(), rh.Parity(), []),
        (soft, unproving, clamp, []),
        (soft, rh.Importance(), clamp, []),
        (array, rh.Importance(), detector, [left]),
        (array, rh.GradientImportance(), clamp, [wide, left]),
    ):
        notes = notes_of(rh.Campaign(work, chip, sampler, protections=[guard]).run(until=200))
        assert len(notes) == len(expected), (guard, notes)
        assert all(words in note for words, note in zip(expected, notes, strict=True))


def test_recall_does_not_depend_on_how_faults_were_drawn(work) -> None:
    guards = (rh.RangeDetector(),)
    plain = rh.Campaign(work, sampler=rh.Importance(), protections=guards, seed=1)
    told = plain.with_(sampler=rh.GradientImportance(candidates=50))
    runs = (campaign.run(until=6000) for campaign in (plain, told))
    one, other = (replace(run, confidence=0.999) for run in runs)  # of the right, 1 in 1,000 fails
    for name in ("recall", "precision", "precision_of_injected"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.low < b.high
        assert b.low < a.high
    assert other["sdc1"].half_width < one["sdc1"].half_width


def test_the_command_line_tells_what_alarms_are_worth(tmp_path, monkeypatch, work) -> None:
    monkeypatch.chdir(tmp_path)
    network = "assess digits-cnn --chip software --format fp16 --images 20"
    goal = "--protect RangeDetector --metric recall --until 0.2 --out d"
    asked = [*network.split(), *goal.split()]
    shown = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    recall = shown["metrics"]["recall"]
    assert recall["low"] <= recall["value"] <= recall["high"] < recall["low"] + 0.4
    assert {"precision", "detected", "sdc1_undetected"} <= set(shown["metrics"])
    table, page = CliRunner().invoke(app, asked).stdout, (tmp_path / "d/report.html").read_text()
    for text in (table, page):
        assert "undetected SDC-1" in text
        assert percent(recall["value"]) in text
    plain = [*asked[:8], "--faults", "20", "--json"]
    assert "recall" not in json.loads(CliRunner().invoke(app, plain).stdout)["metrics"]
    refused = CliRunner().invoke(app, [*asked[:8], "--metric", "precision", "--until", "0.2"])
    assert "no precision without a detector" in str(refused.exception)
    with pytest.raises(ValueError, match=r"use one of ra, sdc1.* recall, precision"):
        rh.Campaign(work).run(until=rh.Precision(0.1, metric="correctness"))


@pytest.mark.parametrize("patches", [True, False])
def test_alarms_are_those_of_the_faulty_run_alone(work, patches: bool) -> None:
    """As in a run without a fault of a network that has the wrong weight, false alarms or not."""
    learned = rh.RangeDetector(0.0).learned(work)
    narrow = replace(
        learned, ranges=tuple((0.97 * low, 0.97 * high) for low, high in learned.ranges)
    )
    trace = rh.record(work, narrow.guard(work))
    assert trace.alarms.any(0).sum() > 1
    space = rh.software_space(work, ("weight",))
    faults = rh.Uniform().draw(space, 400, np.random.default_rng(5))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    run, silenced = rh.resume(trace, corruption, patches=patches), 0
    for k, (layer, image) in enumerate(zip(corruption.layer, corruption.image, strict=True)):
        step = work.layers[layer].operands[1]
        weight = work.weight(layer).flatten().clone()
        place = int(corruption.element[k])
        weight[place] = flipped(weight[place], int(corruption.flip[k]))
        wrong = work.with_constants({step: weight.view_as(work.weight(layer))})
        alarm = rh.record(wrong, narrow.guard(wrong)).detected[image]
        assert bool(run.detected[k]) == bool(alarm)
        silenced += int(trace.detected[image] and not alarm)
    assert silenced > 0


def flipped(value: torch.Tensor, flip: int) -> torch.Tensor:
    wrong = np.array(float(value), np.float16).view(np.uint16) ^ np.uint16(flip & 0xFFFF)
    return torch.tensor(float(wrong.view(np.float16)), dtype=value.dtype)
