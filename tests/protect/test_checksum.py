"""Checksums: identities, detection, location, correction, false alarms."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from radhard.protect.checksum import Checksum, checked_layers
from radhard.protect.protection import joined
from radhard.protect.sums import Sums


@pytest.mark.parametrize(
    ("stride", "padding", "bias", "groups"),
    list(itertools.product((1, 2, 4), (0, 1, 3), (False, True), (1, 2))),
)
def test_identities(stride: int, padding: int, bias: bool, groups: int) -> None:
    """In float64, what sums of weights and windows say is what sums of outputs are."""
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride, padding, bias=bias, groups=groups),
        nn.Flatten(),
        nn.LazyLinear(3),
    )
    images = torch.randn(5, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    model(images)
    work = rh.capture(seeded(model), images, torch.zeros(5, dtype=torch.int64), format=rh.FLOAT64)
    layer = work.layers[0]
    held = work.program.steps[layer.bias].constant if layer.bias is not None else None
    sums = Sums(layer, work.weight(0), held)
    inputs = work.images
    output = model.double()[0](inputs).detach().flatten(2)
    assert (output.sum(1) - sums.at_positions(inputs)).abs().max() < 1e-12
    assert (output.sum(2) - sums.of_channels(inputs)).abs().max() < 1e-12


@pytest.fixture
def work_of(residual: nn.Module, images: Tensor, labels: Tensor):
    return lambda fmt: rh.capture(residual, images, labels, format=fmt)


@pytest.mark.parametrize("fmt", [rh.INT8, rh.FIXED16_10], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("kinds", [(True, False), (False, True), (True, True)])
def test_every_change_of_an_integer_output_is_detected(work_of, fmt, kinds) -> None:
    """10,000 single flips of outputs, as long as they change the value."""
    work = work_of(fmt)
    guard = joined([Checksum(*kinds)], work)
    space = rh.software_space(work, ("activation",))
    faults = rh.Uniform().draw(space, 10_000, np.random.default_rng(0))
    run = rh.resume(rh.record(work, guard), rh.chips.SOFTWARE.corrupt(work, space, faults))
    changed = run.struck.before != run.struck.after
    assert changed.sum() > 9000
    assert torch.equal(run.detected, changed)


@pytest.mark.parametrize("fmt", [rh.FLOAT32, rh.FLOAT16], ids=lambda fmt: fmt.name)
def test_one_wrong_output_is_located_and_restored(work_of, fmt) -> None:
    work = work_of(fmt)
    guard = joined([Checksum(channels=True, correct=True)], work)
    space = rh.software_space(work, ("activation",)).only(
        np.array([s.bit == fmt.width - 2 for s in rh.software_space(work, ("activation",)).strata])
    )
    faults = rh.Uniform().draw(space, 500, np.random.default_rng(0))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    plain, run = (
        rh.resume(rh.record(work), corruption),
        rh.resume(rh.record(work, guard), corruption),
    )
    assert run.detected.float().mean() > 0.95  # a top exponent bit of a tiny value may stay small
    gap = (run.logits - run.golden).abs().amax(1)
    bare = (plain.logits - plain.golden).abs().nan_to_num(1e30).amax(1)
    assert gap.median() < 1e-3
    assert (gap <= bare + 0.05).all()


@pytest.mark.parametrize("fmt", [rh.FLOAT32, rh.FLOAT16, rh.INT8], ids=lambda fmt: fmt.name)
def test_no_false_alarm_on_other_images(residual: nn.Module, images, labels, fmt) -> None:
    work = rh.capture(residual, images, labels, format=fmt)
    others = torch.randn(2000, *images.shape[1:], generator=torch.Generator().manual_seed(9))
    learn = work.with_(others[:500], torch.zeros(500, dtype=torch.int64))
    check = Checksum(channels=True).learned(learn)
    fresh = work.with_(others[500:], torch.zeros(1500, dtype=torch.int64))
    assert not rh.record(fresh, joined([check], fresh)).detected.any()


def test_wrong_weights_are_detected(work_of) -> None:
    """Sums of weights are formed before, so a wrong weight in memory does not hide itself."""
    work = work_of(rh.INT8)
    space = rh.software_space(work, ("weight",))
    faults = rh.Uniform().draw(space, 1000, np.random.default_rng(1))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    run = rh.resume(rh.record(work, joined([Checksum()], work)), corruption)
    masked = (run.logits == run.golden).all(1)
    assert run.detected[~masked].all()


def test_an_absolute_tolerance_would_not_do() -> None:
    """Residuals of a float32 product grow with its depth; the notes' figures are 2.4e-4 to 2e-3."""
    random = torch.Generator().manual_seed(0)
    largest = []
    for depth in (256, 1024, 4096):
        a, b = (torch.randn(256, depth, generator=random) for _ in range(2))
        gap = (a @ b.T).sum(1) - a @ b.sum(0)
        largest.append(float(gap.abs().max()))
    assert 1e-4 < largest[0] < largest[1] < largest[2] < 1e-2


def test_costs_are_one_more_filter_and_one_more_position(work_of) -> None:
    work = work_of(rh.FLOAT32)
    cost = Checksum().cost(work, rh.chips.EYERISS)
    groups = [layer.bounds["groups"] for layer in work.layers]  # each has a filter of its own
    alone = [layer.macs / layer.channels for layer in work.layers]
    assert cost.macs == sum(own * count for own, count in zip(alone, groups, strict=True))
    assert cost.cycles > 0
    both = Checksum(channels=True).cost(work, rh.chips.EYERISS)
    assert both.macs > cost.macs


def test_wrong_settings_are_refused(work_of) -> None:
    with pytest.raises(ValueError, match="positions, channels or both"):
        Checksum(positions=False)
    with pytest.raises(ValueError, match="correction needs both"):
        Checksum(correct=True)
    assert len(checked_layers(work_of(rh.FLOAT32))) == 4
