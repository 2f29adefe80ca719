"""Many errors in one inference, against the same errors put in by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import radhard as rh
from radhard.engine.noisy import _drawn, run_noisy, with_wrong_weights
from radhard.faults.rate import hits
from radhard.protect.tap import Tap, tapped


@settings(max_examples=25)
@given(rate=st.floats(0, 1), places=st.integers(0, 300), seed=st.integers(0, 99))
def test_hits_are_places(rate: float, places: int, seed: int) -> None:
    found = hits(rate, places, np.random.default_rng(seed))
    assert (np.diff(found) > 0).all()
    assert len(found) == 0 or (found[0] >= 0 and found[-1] < places)


def test_every_place_is_hit_at_the_rate() -> None:
    """4,000 draws of 50 places: each count is binomial, 6 standard deviations allowed."""
    rng = np.random.default_rng(0)
    counts = np.zeros(50)
    for _ in range(4000):
        counts[hits(0.1, 50, rng)] += 1
    assert np.abs(counts - 400).max() < 6 * (4000 * 0.09) ** 0.5


@pytest.mark.parametrize("fmt", [rh.FLOAT32, rh.INT8, rh.FIXED16_10], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("per_bit", [False, True])
@pytest.mark.parametrize("tap", Tap)
def test_errors_are_those_put_in_by_hand(
    residual: nn.Module, images: Tensor, labels: Tensor, fmt, per_bit, tap
) -> None:
    work = rh.capture(residual, images, labels, format=fmt)
    errors = rh.NeuronErrors(0.002 if per_bit else 0.02, per_bit, tap == Tap.ACTIVATION)
    targets = tapped(work, tap)
    run = run_noisy(work, errors, targets, (5, 7))
    for image in range(len(images)):
        drawn = _drawn(work, errors, targets, (5, 7, image))

        def evaluate(step: int, values, drawn=drawn):  # type: ignore[no-untyped-def]
            value = work.evaluate(step, values)
            if step in targets:
                own = work.arithmetic[targets[step]].output
                flat = value.clone().reshape(-1)
                for element, mask in zip(*drawn[step], strict=True):
                    one = torch.tensor([int(mask)])
                    flat[element] = own.flip(flat[element].reshape(1), one)[0]
                value = flat.reshape(value.shape)
            return value

        one = work.images[image : image + 1]
        plain = work.program.output_of(one, evaluate=evaluate)[0]
        torch.testing.assert_close(run.logits[image], plain, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_errors_of_an_image_do_not_depend_on_the_others(
    residual: nn.Module, images: Tensor, labels: Tensor
) -> None:
    work = rh.capture(residual, images, labels, format=rh.INT8)
    targets = tapped(work, Tap.OUTPUT)
    all_of_them = run_noisy(work, rh.NeuronErrors(0.02), targets, (1, 2)).logits
    some = run_noisy(work.with_(images[:3], labels[:3]), rh.NeuronErrors(0.02), targets, (1, 2))
    assert torch.equal(some.logits, all_of_them[:3])


@pytest.mark.parametrize("fmt", [rh.FLOAT32, rh.INT8, rh.FIXED16_10], ids=lambda fmt: fmt.name)
def test_wrong_weights_differ_in_so_many_bits(
    residual: nn.Module, images: Tensor, labels: Tensor, fmt
) -> None:
    work = rh.capture(residual, images, labels, format=fmt)
    wrong = with_wrong_weights(work, rh.WeightErrors(0.02), (0, 0))
    flipped = bits = 0
    for number in range(len(work.layers)):
        own = work.arithmetic[number].weight
        before, after = (own.encode(w.weight(number)).numpy() for w in (work, wrong))
        flipped += int(np.bitwise_count(before ^ after).sum())
        bits += before.size * own.width
    assert abs(flipped - 0.02 * bits) < 6 * (0.02 * bits) ** 0.5
    logits = wrong.logits(images.to(work.images))
    assert not torch.equal(logits, work.logits(work.images))
    same = with_wrong_weights(work, rh.WeightErrors(0.0), (0, 0))
    torch.testing.assert_close(same.logits(work.images), work.logits(work.images))


def test_rates_are_probabilities() -> None:
    for errors in (rh.NeuronErrors, rh.WeightErrors):
        with pytest.raises(ValueError, match="error rate"):
            errors(1.5)
