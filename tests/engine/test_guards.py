"""Guards that judge every value by itself or by a window, on differences as on whole tensors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from engine.test_oracle import random_corruptions, relative
from radhard.engine.passage import enterable, followed
from radhard.faults.corruption import OPERANDS
from radhard.network.workload import Workload
from radhard.protect.bound import ClippedActivation, RangeRestriction, ValueThreshold
from radhard.protect.differences import Replacement
from radhard.protect.gradient import (
    Axis,
    Granularity,
    Neighbours,
    NeuronGradientSuppressor,
    Ordering,
)
from radhard.protect.median import MedianFeature
from radhard.protect.neuron import BoundedNeuron
from radhard.protect.protection import Protection, joined
from radhard.protect.ranges import RangeDetector

#: Each learns from some of the images that it guards, so that golden values of the others are
#: corrected, or raise an alarm, too.
LOCAL: dict[str, Callable[[Workload], list[Protection]]] = {
    "restriction": lambda work: [RangeRestriction().learned(work)],
    "zeroing": lambda work: [RangeRestriction(0.1, zero=True).learned(work)],
    "detector": lambda work: [RangeDetector().learned(work)],
    "clipped": lambda work: [ClippedActivation().learned(work)],
    "neuron": lambda work: [BoundedNeuron().learned(work)],
    "threshold": lambda work: [ValueThreshold(4.0, 4.0).learned(work)],
    "narrow": lambda work: [ValueThreshold(2.5, 2.5).learned(work)],
    "two": lambda work: [RangeDetector().learned(work), ClippedActivation().learned(work)],
}
#: Formats whose sums are exact; by how much others may differ, and by which share of faults more: a
#: golden value may be the threshold itself, and a last bit decides on which side of it a sum lies.
EXACT, TOLERANCE, APART = {"int8", "fixed16_10"}, 1e-4, 0.01


class Net(nn.Module):
    """Branches that meet, pooling, groups, a gate that no kernel knows, and dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv, self.deep = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=4)
        self.one, self.two = nn.Linear(32, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.conv(x) + x)
        x = nn.functional.max_pool2d(x, 2)
        x = torch.relu(self.deep(x)) * 0.5
        x = torch.relu(self.one(x.flatten(1)))
        return self.two(x * torch.sigmoid(x.mean(1, keepdim=True)))


def works(fmt: str) -> tuple[Workload, Workload]:
    """To learn from, and to guard."""
    model, images = (
        seeded(Net(), 3),
        torch.randn(12, 2, 8, 8, generator=torch.Generator().manual_seed(1)),
    )
    labels = torch.zeros(12, dtype=torch.int64)
    held = rh.capture(model, images, labels, format=rh.format_named(fmt))
    return held.with_(images[:9], labels[:9]), held


@pytest.mark.parametrize("fmt", ["int8", "fixed16_10", "fp32", "fp64"])
@pytest.mark.parametrize("name", LOCAL)
def test_local_guards_end_runs_alike(name: str, fmt: str) -> None:
    training, work = works(fmt)
    guard = joined(LOCAL[name](training), work)
    trace = rh.record(work, guard)
    assert followed(trace)
    assert enterable(trace)
    alarms, apart, faults = 0, 0, 0
    for operand in OPERANDS:
        corruption = random_corruptions(work, operand, 150, seed=len(name))
        fast = rh.resume(trace, corruption)
        whole = rh.resume(trace, corruption, patches=False)
        faults += len(corruption)
        far = [relative(*pair) > TOLERANCE for pair in zip(fast.logits, whole.logits, strict=True)]
        apart += int((torch.tensor(far) | (fast.detected != whole.detected)).sum())
        if fmt in EXACT and name != "neuron":
            assert torch.equal(fast.logits, whole.logits)
            assert torch.equal(fast.alarms, whole.alarms)
        alarms += int((whole.detected & ~trace.detected[torch.from_numpy(corruption.image)]).sum())
    assert apart <= (0 if fmt in EXACT else APART * faults)
    assert fmt == "fp64" or (alarms > 0) == (name not in ("neuron", "narrow"))
    assert name != "narrow" or trace.detected.all()


def test_golden_values_are_corrected_too() -> None:
    """Or the guards above would not try what they are there for."""
    training, work = works("fp32")
    trace = rh.record(work, joined([BoundedNeuron().learned(training)], work))
    assert trace.unwatched
    assert rh.record(work, joined([RangeDetector().learned(training)], work)).unwatched == {}


#: Guards that look at windows, along both axes, in rings, with edges, and in each way of replacing.
WINDOWED: dict[str, Callable[[Workload], list[Protection]]] = {
    "channels": lambda work: [NeuronGradientSuppressor(kappa=3, kappa_dense=3).learned(work)],
    "positions": lambda work: [
        NeuronGradientSuppressor(
            Neighbours(Axis.SPATIAL),
            kappa=2,
            granularity=Granularity.CHANNEL,
            replacement=Replacement.LOCAL_MEAN,
        ).learned(work)
    ],
    "positions of layers": lambda work: [
        NeuronGradientSuppressor(
            Neighbours(Axis.SPATIAL), kappa=1.5, granularity=Granularity.LAYER
        ).learned(work)
    ],
    "means": lambda work: [
        NeuronGradientSuppressor(
            Neighbours(lag=3, ordering=Ordering.CHAIN),
            kappa=1,
            kappa_dense=1,
            granularity=Granularity.LAYER,
            both_sides=False,
            replacement=Replacement.LOCAL_MEAN,
        ).learned(work)
    ],
    "medians": lambda work: [MedianFeature()],
    "wide medians": lambda work: [MedianFeature(5, Axis.CHANNEL)],
    "beside a detector": lambda work: [
        RangeDetector().learned(work),
        NeuronGradientSuppressor(kappa=3).learned(work),
    ],
}


@pytest.mark.parametrize("fmt", ["int8", "fixed16_10", "fp32", "fp64"])
@pytest.mark.parametrize("name", WINDOWED)
def test_windows_are_judged_as_in_whole_runs(name: str, fmt: str) -> None:
    training, work = works(fmt)
    guard = joined(WINDOWED[name](training), work)
    trace = rh.record(work, guard)
    assert followed(trace)
    assert trace.unwatched  # golden values are changed, too
    plain, acted = rh.record(work), 0
    for operand in OPERANDS:
        corruption = random_corruptions(work, operand, 150, seed=len(name))
        fast = rh.resume(trace, corruption)
        whole = rh.resume(trace, corruption, patches=False)
        free = rh.resume(plain, corruption)
        acted += int(((whole.logits != free.logits) & (whole.logits != whole.golden)).any(1).sum())
        far = [relative(*pair) > TOLERANCE for pair in zip(fast.logits, whole.logits, strict=True)]
        apart = torch.tensor(far) | (fast.detected != whole.detected)
        if fmt in EXACT:
            assert torch.equal(fast.logits, whole.logits)
        assert int(apart.sum()) <= (0 if fmt in EXACT else APART * len(corruption))
    assert acted > 0


def test_a_window_and_another_guard_at_one_step_see_whole_tensors() -> None:
    """What the first makes of golden neighbours is not kept."""
    training, work = works("fp32")
    both = [RangeRestriction().learned(training), MedianFeature()]
    assert not followed(rh.record(work, joined(both, work)))
