"""Vulnerability of neurons, against each flip of their codes in plain torch."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.foresight.vigor import rank_correlation, vulnerability


@pytest.fixture(scope="module")
def work() -> rh.Workload:
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 3)
    ).eval()
    images = torch.randn(5, 1, 4, 4)
    return rh.capture(model, images, model(images).argmax(1), rh.INT8, "tiny")


def plain(work: rh.Workload, number: int, element: int) -> float:
    """Share of images and bits whose flip changes the answer, by whole runs."""
    step, fmt = work.layers[number].step, work.arithmetic[number].output
    golden = work.logits(work.images).argmax(1)
    wrong = 0
    for bit in range(fmt.width):

        def struck(index: int, values: object, bit: int = bit) -> torch.Tensor:
            value = work.evaluate(index, values)  # type: ignore[arg-type]
            if index == step:
                flat = value.flatten(1)
                flat[:, element] = fmt.flip(flat[:, element], torch.full((5,), 1 << bit))
                value = flat.view_as(value)
            return value

        logits = work.program.output_of(work.images, evaluate=struck)
        wrong += int((logits.argmax(1) != golden).sum())
    return wrong / (5 * fmt.width)


def test_each_flip_is_that_of_a_whole_run(work: rh.Workload) -> None:
    found = vulnerability(work, 0.5, every=True)
    assert found.runs == found.flips == len(found.factor) * 5 * 8
    for number, element, factor in zip(found.layer, found.element, found.factor, strict=True):
        assert factor == pytest.approx(plain(work, int(number), int(element)))
    assert found.factor.max() > 0


def test_halving_finds_the_same_in_fewer_runs(work: rh.Workload) -> None:
    halved, every = (vulnerability(work, 1.0, every=one) for one in (False, True))
    assert (halved.element == every.element).all()
    assert halved.runs < 0.6 * every.runs
    assert np.abs(halved.factor - every.factor).mean() < 0.005
    assert rank_correlation(halved.factor, every.factor).value > 0.95
    layers = every.by_layer()
    assert list(layers) == ["0", "3", "5"]
    for name, factor in halved.by_layer().items():
        assert factor.low <= layers[name].value <= factor.high
    ranked = list(halved.by_channel().values())
    assert ranked == sorted(ranked, reverse=True)
    assert len(ranked) == 4 + 6 + 3


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="a share of 0 of the channels"):
        vulnerability(None, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 and 3 values have no rank correlation"):
        rank_correlation([1, 2, 3], [1, 2, 3])
    assert np.isnan(rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]).value)


def test_intervals_of_rank_correlations_hold_the_truth() -> None:
    rng, rho = np.random.default_rng(1), 0.7
    truth = 6 / np.pi * np.arcsin(rho / 2)  # of a normal pair
    held = 0
    for _ in range(400):
        x = rng.normal(size=40)
        found = rank_correlation(x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=40))
        held += found.low <= truth <= found.high
    assert held >= 0.92 * 400


def test_the_verb(at_the_command_line) -> None:
    given = ("rank", "digits-cnn", "--format", "int8", "--images", "8", "--channels", "0.3")
    code, out, said = at_the_command_line(*given, "--check", "--json")
    assert code == 0, said
    found = json.loads(out)
    assert set(found["layers"]) == {"0", "2", "6", "8"}
    factors = [one["factor"] for one in found["channels"]]
    assert factors == sorted(factors, reverse=True)
    assert found["runs"] < found["check"]["runs"] == found["flips"]
    assert found["check"]["same_images"]["value"] > 0.9
    code, out, said = at_the_command_line(*given, "--check")
    assert code == 0
    assert "rank correlation" in out
    code, _, said = at_the_command_line(*given[:3], "int8", "--images", "400", "--check")
    assert code == 2
    assert "800 images asked for" in said
