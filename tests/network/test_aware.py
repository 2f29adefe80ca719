"""Training with codes in the loop: its slopes, what it starts from, and what it is worth."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import radhard as rh
from radhard.network.aware import _Scale
from radhard.network.source import subject


@pytest.mark.parametrize("powers", [False, True])
def test_slopes_are_those_of_learned_step_size(powers: bool) -> None:
    """Esser et al., equations 1 to 3, times what the scale's logarithm adds."""
    scale = _Scale(rh.IntegerFormat("int3", 3, scale=(0.5,), zero=(0,)), powers)
    x = torch.tensor([-3.0, -0.8, 0.1, 0.3, 0.9, 2.0], requires_grad=True)
    found = scale.coded(x)
    assert found.tolist() == [-2.0, -1.0, 0.0, 0.5, 1.0, 1.5]
    found.sum().backward()
    steps = x.detach() / 0.5
    inside = (steps > -4) & (steps < 3)
    slope = torch.where(inside, steps.round() - steps, steps.clamp(-4, 3))
    assert x.grad.tolist() == inside.float().tolist()
    assert float(scale.leaf.grad) == pytest.approx(
        float(slope.sum() * 0.5 * torch.log(torch.tensor(2.0)))
    )


def test_a_power_of_two_stays_one() -> None:
    scale = _Scale(rh.IntegerFormat("int8", 8, scale=(2.0**-7,), zero=(0,)), True)
    for moved, expected in ((0.0, 2.0**-7), (0.3, 2.0**-7), (0.6, 2.0**-6), (-0.6, 2.0**-8)):
        with torch.no_grad():
            scale.leaf.copy_(torch.tensor([moved - 0.5]))
        assert scale.format().scale == (expected,)


@pytest.fixture(scope="module")
def digits() -> tuple[rh.Workload, Tensor, Tensor]:
    test, learn = subject("digits-cnn"), subject("digits-cnn", train=True)
    return rh.capture(test.model, test.images, test.labels), learn.images, learn.labels


def right(work: rh.Workload) -> int:
    return int(work.task.right(work.logits(work.images), work.labels).sum())


def test_training_wins_back_what_few_bits_lose(digits) -> None:
    real, images, labels = digits
    plan = replace(rh.Quantisation.parse("2,0=4"), clip=rh.LeastSquares())
    before = rh.quantise(real, plan, images)
    done: list[tuple[int, int]] = []
    after = rh.quantise(
        real, plan, images, labels, rh.LearnedSteps(8), lambda *told: done.append(told)
    )
    assert right(before) < 0.6 * len(real.images)
    assert right(after) > right(before) + 0.2 * len(real.images)
    assert done == [(k, 8 * 17) for k in range(1, 8 * 17 + 1)]
    assert after.formats.name == before.formats.name == "w2-4a2-4"
    assert after.arithmetic[0].weight.scale != before.arithmetic[0].weight.scale


def test_the_same_seed_trains_the_same_network(digits) -> None:
    real, images, labels = digits
    plan, found = rh.Quantisation.parse("3"), []
    for seed in (0, 0, 1):
        work = rh.quantise(real, plan, images[:300], labels[:300], rh.LearnedSteps(2, seed=seed))
        found.append(work.logits(real.images))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_start_is_kept_where_training_does_worse(digits) -> None:
    real, images, labels = digits
    plan = rh.Quantisation.parse("8")
    start = rh.quantise(real, plan, images)
    wild = rh.quantise(real, plan, images, labels, rh.LearnedSteps(rate=0.9))
    assert torch.equal(wild.logits(real.images), start.logits(real.images))


def test_scales_with_headroom_stay(digits) -> None:
    real, images, labels = digits
    plan = rh.Quantisation(rh.Bits(3, 6), headroom=2)
    start = rh.quantise(real, plan, images)
    after = rh.quantise(real, plan, images, labels, rh.LearnedSteps(2, 2e-3))
    for one, other in zip(start.arithmetic, after.arithmetic, strict=True):
        assert one.input == other.input
        assert one.weight != other.weight


@pytest.mark.parametrize("powers", [False, True])
def test_residual_networks_and_attention_train(residual, attention, images, powers: bool) -> None:
    random = torch.Generator().manual_seed(3)
    more = torch.randn(60, 2, 8, 8, generator=random)
    for model in (residual, attention):
        with torch.no_grad():
            labels = model(more).argmax(1)
        real = rh.capture(model, more[:20], labels[:20])
        plan = rh.Quantisation(rh.Bits(3, 4), power_of_two=powers, per_channel=True, signed=False)
        rows = more[20:], labels[20:]
        before = rh.quantise(real, plan, rows[0])
        after = rh.quantise(real, plan, *rows, rh.LearnedSteps(4, 5e-3, batch=8))

        assert right(after.with_(*rows)) >= right(before.with_(*rows))
        if powers:
            scales = {s for how in after.arithmetic for s in (*how.weight.scale, *how.input.scale)}
            assert all(float(torch.log2(torch.tensor(s, dtype=torch.float64))).is_integer()
                       for s in scales)  # fmt: skip


def test_the_network_that_is_trained_is_the_one_that_runs(digits) -> None:
    """Logits in training, at the start, are those in integers but for their 16 bits."""
    from radhard.network.aware import Start, _Trained
    from radhard.network.calibrate import stored_by
    from radhard.network.fuse import Captured
    from radhard.network.quantise import _calibrated

    real, images, _ = digits
    plan = rh.Quantisation.parse("w3a5")
    whole = Captured(real.source, real.layers, real.extremes, real.covered)
    stored = stored_by(whole.source, whole.layers, plan)
    codes = _calibrated(whole, stored, plan, images[:512])
    work = real.with_(format=codes.formats)
    trained = _Trained(Start(whole, stored, plan, codes)).logits(real.images).detach()
    found = work.logits(real.images)
    (unit,) = work.arithmetic[-1].output.scale
    off = (trained - found).abs() > 0.51 * unit  # a tie in float32 may fall the other way
    assert float(off.float().mean()) < 0.02


def test_what_can_not_be_is_said(digits) -> None:
    real, images, labels = digits
    with pytest.raises(ValueError, match="training needs the labels of its images"):
        rh.quantise(real, rh.Quantisation(), images, None, rh.LearnedSteps())
    with pytest.raises(ValueError, match="9 images are too few to train on"):
        rh.quantise(real, rh.Quantisation(), images[:9], labels[:9], rh.LearnedSteps())
    with pytest.raises(ValueError, match="0 epochs of batches of 64"):
        rh.LearnedSteps(epochs=0)
