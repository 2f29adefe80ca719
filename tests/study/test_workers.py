"""Studies by several processes: what one process finds, number by number."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import radhard as rh
from radhard.accel.chips import EYERISS
from radhard.campaign.ask import Ask
from radhard.faults.rate import NeuronErrors
from radhard.study import propagation, suppression
from radhard.study.approximate import EXACT, Plan, approximate_study
from radhard.study.comparison import compare
from radhard.study.suppression import Contender


def test_error_propagation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "_FOLLOWED", 200)
    monkeypatch.setattr(propagation, "_FOLLOWED_FIRST", 100)
    monkeypatch.setattr(propagation, "FORMATS", ("fp16", "fixed16_10"))
    told: list[tuple[int, int]] = []
    asked = EYERISS, [Ask(model="digits-cnn", images=8)], 300
    alone = list(propagation.study(*asked, tmp_path / "one"))
    found = list(
        propagation.study(
            *asked, tmp_path / "two", lambda step: told.append((step.done, step.goal)), workers=2
        )
    )
    assert told == [(1, 2), (2, 2)]
    for one, other in zip(alone, found, strict=True):
        assert (one.model, one.format, one.ranges) == (other.model, other.format, other.ranges)
        pairs = [(one.datapath, other.datapath), (one.guarded, other.guarded)]
        pairs += [(one.buffers[name], other.buffers[name]) for name in one.buffers]
        for mine, theirs in pairs:
            assert (mine["sdc1"], mine.ra, mine.id) == (theirs["sdc1"], theirs.ra, theirs.id)
        assert np.array_equal(one.spread.distance, other.spread.distance)
        assert np.array_equal(one.first.faults.index, other.first.faults.index)


@pytest.mark.exhaustive
def test_neuron_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(*_: object) -> tuple[tuple[Contender, ...], object]:
        guard = rh.ValueThreshold(8.0, 8.0)
        own = [("none", ()), (suppression.REFERENCE, (guard,))]
        return tuple(Contender(name, parts, rh.Cost(), 1.0) for name, parts in own), None

    monkeypatch.setattr(suppression, "_contenders", two)
    monkeypatch.setattr(suppression, "_by_layer", lambda *_: {})
    asked = [Ask(model="digits-cnn", images=20)], [NeuronErrors(1e-2), NeuronErrors(1e-1)], 2
    (alone,) = suppression.suppression_study(*asked, tmp_path / "one")
    (found,) = suppression.suppression_study(*asked, tmp_path / "two", workers=2)
    assert list(alone.cells) == list(found.cells)
    for place, cell in alone.cells.items():
        assert np.array_equal(cell.correct, found.cells[place].correct)
    assert 0 < alone.cells["none", 1e-1].accuracy.value < 1


@pytest.mark.exhaustive
def test_approximate_faults(tmp_path: Path) -> None:
    plan = Plan((EXACT,), (15,), 0.02, (0.02,), maps=2, learning=20)
    ask = Ask(model="digits-cnn", images=20, format="int8", chip="systolic:16x16:ws", seed=3)
    (alone,) = approximate_study([ask], plan, tmp_path / "one")
    (found,) = approximate_study([ask], plan, tmp_path / "two", workers=2)
    assert list(alone.cells) == list(found.cells)
    for case, cell in alone.cells.items():
        other = found.cells[case]
        assert cell.chips.id == other.chips.id
        for part in fields(cell)[1:]:
            assert np.array_equal(getattr(cell, part.name), getattr(other, part.name))


@pytest.mark.exhaustive
def test_seeds_of_samplers() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3)).eval()
    work = rh.capture(model, torch.randn(8, 1, 3, 3), torch.arange(8) % 3, name="tiny")
    asked = rh.Campaign(work), "sdc1", 0.05, (rh.Importance(), rh.GradientImportance()), 3, 300
    first = compare(*asked)
    for alone, found in zip(first, compare(*asked, None, first[0].truth, 2), strict=True):
        assert (alone.estimates, alone.truth) == (found.estimates, found.truth)
        assert np.array_equal(alone.needed, found.needed)
