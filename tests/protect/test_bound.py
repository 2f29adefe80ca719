"""Bounds on activations: what they are learned to be, and what they do."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from radhard.engine.noisy import with_wrong_weights
from radhard.protect.bound import (
    Bounded,
    ClippedActivation,
    RangeRestriction,
    ValueThreshold,
    _area,
)
from radhard.protect.median import Median, MedianFeature
from radhard.protect.neuron import BoundedNeuron, SmoothlyBounded
from radhard.protect.protection import joined
from radhard.protect.tap import Tap, observed, tapped


@pytest.fixture
def work(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Workload:
    return rh.capture(residual, images, labels)


@pytest.mark.parametrize("outside", [0.0, 0.001, 0.05])
def test_bounds_leave_a_share_outside(work: rh.Workload, outside: float) -> None:
    """That of all values, sorted; batches of images make no difference."""
    many = work.with_(torch.randn(150, *work.images.shape[1:]), torch.zeros(150, dtype=torch.int64))
    learned = RangeRestriction().learned(many, outside).fitted.tensors
    clipped = ClippedActivation().learned(many, outside).thresholds.tensors
    steps = tapped(many, Tap.ACTIVATION, last=False)
    seen: dict[int, list[Tensor]] = {}
    for values, _ in observed(many, steps):
        for step, part in values.items():
            seen.setdefault(step, []).append(part.flatten())
    for step, parts in seen.items():
        ordered = torch.cat(parts).sort().values
        beyond = int(outside * len(ordered))
        low, high = learned[step]
        assert (float(low), float(high)) == (float(ordered[beyond]), float(ordered[-1 - beyond]))
        if step in clipped:
            assert clipped[step][0] == high
    for wrong in (-0.1, 0.5, float("nan")):
        with pytest.raises(ValueError, match="outside can't be: use one from 0 to"):
            ClippedActivation().learned(many, wrong)


def test_clamping_and_zeroing() -> None:
    values = torch.tensor([[[-3.0, 0.5, 7.0, torch.nan, torch.inf, -torch.inf]]])
    low, high = torch.tensor(-1.0), torch.tensor(2.0)
    clamped = Bounded(low, high)(values)
    assert clamped.flatten().tolist() == [-1.0, 0.5, 2.0, -1.0, 2.0, -1.0]
    assert Bounded(low, high, torch.zeros(()))(values).flatten().tolist() == [0, 0.5, 0, 0, 0, 0]


def test_bounds_are_carried_through_pooling_and_concatenation(work: rh.Workload) -> None:
    bounds = RangeRestriction().learned(work).fitted.tensors
    program = work.program
    seen = next(observed(work, bounds))[0]
    for step, (low, high) in bounds.items():
        assert bool((seen[step] >= low).all() & (seen[step] <= high).all())
    cats = [k for k, step in enumerate(program.steps) if "cat" in str(step.op)]
    assert cats
    for k in cats:
        sources = [bounds[s] for s in program.steps[k].inputs]
        assert bounds[k][0] == min(low for low, _ in sources)
        assert bounds[k][1] == max(high for _, high in sources)
    pools = [k for k, step in enumerate(program.steps) if "pool" in str(step.op)]
    assert pools
    for k in pools:
        assert bounds[k] == bounds[program.steps[k].inputs[0]]


@pytest.mark.parametrize(
    "protection",
    [RangeRestriction(), RangeRestriction(zero=True), ClippedActivation(), ValueThreshold(20, 20)],
    ids=repr,
)
def test_no_false_correction_on_what_was_learned_from(work, protection) -> None:
    trace = rh.record(work, joined([protection.learned(work)], work))
    bare = rh.record(work)
    if not isinstance(
        protection, ClippedActivation
    ):  # it also takes what a linear layer makes negative
        assert not trace.detected.any()
        assert torch.equal(trace.logits, bare.logits)


def test_fewer_corruptions_reach_the_answer(work: rh.Workload) -> None:
    campaign = rh.Campaign(work, rh.chips.Software(("activation",)))
    plain = campaign.run(until=4000)["sdc1"]
    for protection in (RangeRestriction(), ValueThreshold(), BoundedNeuron()):
        safe = campaign.with_(protections=[protection.learned(work)]).run(until=4000)["sdc1"]
        assert safe.high < plain.low, protection


def test_value_thresholds_are_mean_and_deviations(work: rh.Workload) -> None:
    fitted = ValueThreshold().learned(work).fitted.tensors
    step = next(iter(tapped(work, Tap.ACTIVATION, last=False)))
    values = next(observed(work, [step]))[0][step].double().numpy()
    mean, sd = fitted[step]
    np.testing.assert_allclose(mean.numpy(), values.mean(0), rtol=1e-5, atol=1e-6)
    live = values.std(0, ddof=1) > 0.2 * values.std()
    np.testing.assert_allclose(sd.numpy()[live], values.std(0, ddof=1)[live], rtol=1e-4)


def test_a_dead_neuron_keeps_a_threshold_above_zero(work: rh.Workload) -> None:
    for _, sd in ValueThreshold().learned(work).fitted.tensors.values():
        assert (sd > 0).all()


def test_smooth_bounds_are_learned_and_trained(work: rh.Workload) -> None:
    start = BoundedNeuron().learned(work)
    trained = start.trained(work, epochs=3, penalty=1.0)
    total = [
        sum(float(bound.sum()) for (bound,) in one.bounds.tensors.values())
        for one in (start, trained)
    ]
    assert total[1] < total[0]  # the penalty pulls bounds down
    assert start.cost(work, rh.chips.SOFTWARE).retraining
    part = SmoothlyBounded(torch.tensor([[2.0]]))
    found = part(torch.tensor([[[-1.0, 1.0, 50.0, torch.inf, torch.nan]]])).detach()
    torch.testing.assert_close(
        found, torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0]]]), atol=1e-6, rtol=0
    )


def test_medians_of_neighbours() -> None:
    values = torch.tensor([[[1.0, 9.0, 2.0, 3.0]]])
    assert Median(3, 2, 4)(values).flatten().tolist() == [1.0, 2.0, 3.0, 3.0]
    assert Median(3, 1, 4)(values.transpose(1, 2)).flatten().tolist() == [1.0, 2.0, 3.0, 3.0]
    with pytest.raises(ValueError, match="odd number"):
        MedianFeature(4)


def test_medians_can_be_trained_in(work: rh.Workload) -> None:
    """Training with medians in place fits the images better than medians alone."""
    bare = MedianFeature()
    trained = bare.trained(work, epochs=30, rate=0.02)

    def loss(protection: MedianFeature) -> float:
        network = protection.retune(work)
        logits = rh.record(network, joined([protection], network)).logits
        return float(nn.functional.cross_entropy(logits, work.labels))

    assert loss(trained) < loss(bare)
    assert rh.Campaign(work, protections=(trained,)).id != rh.Campaign(work, protections=(bare,)).id


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="cushion"):
        RangeRestriction(-1.0)
    with pytest.raises(ValueError, match="kappa"):
        ValueThreshold(0.0)


def test_thresholds_are_tuned_by_a_search_of_intervals(work: rh.Workload) -> None:
    """Under the errors that it was tuned for, no worse than where the search began."""
    start = ClippedActivation().learned(work)
    tuned = start.tuned(work, rates=(1e-3, 1e-2), repetitions=2, rounds=(1, 2))
    wrong = [
        with_wrong_weights(work, rh.WeightErrors(rate), (0, trial))
        for rate in (1e-3, 1e-2)
        for trial in range(2)
    ]
    assert _area(tuned, wrong, (1e-3, 1e-2)) >= _area(start, wrong, (1e-3, 1e-2)) - 0.05
    for step, (high,) in tuned.thresholds.tensors.items():
        assert 0 <= high <= start.thresholds.tensors[step][0]
    assert repr(tuned) != repr(start)


@pytest.fixture(scope="module")
def mixed():
    """A rectifier, tanh, a linear bottleneck, and padded average pooling; with its images."""
    parts = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()]
    parts += [nn.Conv2d(4, 3, 1), nn.Conv2d(3, 4, 1), nn.Sigmoid()]
    parts += [nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(64, 5)]
    images = torch.randn(60, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    model = seeded(nn.Sequential(*parts))
    return rh.capture(model, images, torch.zeros(60, dtype=torch.int64))


def test_clips_are_of_rectifiers_alone(mixed) -> None:
    """Behind tanh, and in a bottleneck, half of all values are below 0, and no fault."""
    steps = mixed.program.steps
    for kind in (ClippedActivation, BoundedNeuron):
        watched = kind().guard(mixed).steps
        assert [steps[step].op for step in watched] == [torch.ops.aten.relu.default]
    logits = rh.record(mixed, joined([ClippedActivation().learned(mixed)], mixed)).logits
    assert torch.equal(logits, rh.record(mixed).logits)
    smooth = seeded(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)))
    work = rh.capture(smooth, mixed.images, mixed.labels)
    for kind in (ClippedActivation, BoundedNeuron):
        with pytest.raises(ValueError, match=f"{kind.__name__} takes the place of rectifiers"):
            kind().learned(work)
        with pytest.raises(ValueError, match="Use RangeRestriction, which keeps both ends"):
            kind().cost(work, rh.chips.SOFTWARE)


@pytest.mark.parametrize("zero", [False, True])
def test_zeros_of_padding_are_within_bounds(mixed, zero: bool) -> None:
    """Behind a sigmoid the lower bound is above 0, and means of padded windows are below that."""
    clamp = RangeRestriction(zero=zero).learned(mixed)
    lows = [float(low) for low, _ in clamp.fitted.tensors.values()]
    assert max(lows) > 0
    trace = rh.record(mixed, joined([clamp], mixed))
    assert not trace.detected.any()
    assert torch.equal(trace.logits, rh.record(mixed).logits)
