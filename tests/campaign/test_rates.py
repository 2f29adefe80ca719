"""Accuracy under errors at a rate: intervals, pairs, and the store."""

from pathlib import Path

import numpy as np
import pytest
import torch

import radhard as rh
from radhard.campaign import rates
from radhard.network.source import subject


@pytest.fixture(scope="module")
def work() -> rh.Workload:
    whole = subject("digits-cnn")
    return rh.capture(whole.model, whole.images[:100], whole.labels[:100])


def test_accuracy_falls_with_the_rate_and_protections_hold_it(work: rh.Workload) -> None:
    found = [rh.under_errors(work, rh.NeuronErrors(rate)).accuracy for rate in (0.0, 1e-3, 1e-1)]
    assert found[0].value > 0.9 > found[2].high
    clamp = rh.RangeRestriction(zero=True).learned(work)
    safe = rh.under_errors(work, rh.NeuronErrors(1e-1), [clamp])
    bare = rh.under_errors(work, rh.NeuronErrors(1e-1))
    lead = safe.lead(bare)
    assert lead.low > 0
    assert lead.value == pytest.approx(safe.accuracy.value - bare.accuracy.value)
    assert bare.lead(safe).high < 0


def test_pairs_meet_the_same_errors(work: rh.Workload) -> None:
    """A protection that does nothing leads by exactly nothing."""
    bare = rh.under_errors(work, rh.NeuronErrors(1e-2))
    idle = rh.under_errors(work, rh.NeuronErrors(1e-2), [rh.RangeDetector().learned(work)])
    assert idle.lead(bare).value == 0
    again = rh.under_errors(work, rh.NeuronErrors(1e-2))
    assert np.array_equal(bare.correct, again.correct)
    with pytest.raises(ValueError, match="same errors"):
        bare.lead(rh.under_errors(work, rh.NeuronErrors(1e-3)))


def test_weight_errors_last_for_a_repetition(work: rh.Workload) -> None:
    found = rh.under_errors(work, rh.WeightErrors(1e-3), repetitions=8)
    assert found.correct.shape == (8, 100)
    assert found.accuracy.method.startswith("student")
    assert 0 <= found.accuracy.low <= found.accuracy.value <= found.accuracy.high <= 1
    with pytest.raises(ValueError, match="repetitions"):
        rh.under_errors(work, rh.WeightErrors(1e-3), repetitions=1)


def test_the_interval_covers_the_mean_of_many(work: rh.Workload) -> None:
    """40 campaigns of 100 inferences against the mean of all: at most 6 intervals miss it."""
    some = work.with_(work.images[:50], work.labels[:50])
    found = [rh.under_errors(some, rh.NeuronErrors(0.01), seed=seed) for seed in range(40)]
    truth = np.mean([one.correct.mean() for one in found])
    missed = sum(not one.accuracy.low <= truth <= one.accuracy.high for one in found)
    assert missed <= 6


def test_what_is_stored_is_not_run_again(work, tmp_path: Path, monkeypatch) -> None:
    errors = rh.NeuronErrors(1e-3)
    first = rh.under_errors(work, errors, store=tmp_path)
    monkeypatch.setattr(rates, "_run", lambda *_: pytest.fail("run again"))
    second = rh.under_errors(work, errors, store=tmp_path)
    assert np.array_equal(first.correct, second.correct)
    assert torch.is_tensor(work.labels)
