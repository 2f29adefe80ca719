"""Chips as a mix of storage: published probabilities, and reuse against a simulated machine."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.accel.chips import NVDLA_SMALL, PUBLISHED_MIX, StorageClass, StorageMix
from radhard.accel.dataflow import input_element
from radhard.network.layer import Layer
from radhard.network.source import subject


def convolution(m: int, groups: int = 1) -> rh.Workload:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, m, 3, padding=1, groups=groups), nn.Flatten())
    return rh.capture(model, torch.randn(2, 4, 5, 4), torch.tensor([0, 1]), format=rh.FIXED16_10)


def simulated(layer: Layer, holds: str, reuse: int, whole: bool) -> Counter:
    """What a broadcast array of ``reuse`` multipliers holds in each cycle, and who still reads it.

    A weight is loaded for a run of positions; an input is broadcast to a run of channels.
    """
    found: Counter = Counter()
    own = layer.channels // layer.bounds["groups"]
    for k in range(layer.fan_in):
        if holds == "weight":
            for m, start in product(range(layer.channels), range(0, layer.positions, reuse)):
                run = list(range(start, min(start + reuse, layer.positions)))
                for p in run:
                    late = run if whole else [q for q in run if q >= p]
                    found[m * layer.fan_in + k, frozenset((m, q) for q in late)] += 1
            continue
        for p, group in product(range(layer.positions), range(layer.bounds["groups"])):
            for start in range(group * own, (group + 1) * own, reuse):
                run = range(start, min(start + reuse, (group + 1) * own))
                element = int(input_element(layer, *(np.array([i]) for i in (start, p, k)))[0])
                found[element, frozenset((m, p) for m in run)] += 1
    return found


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("holds", "reuse"), [("weight", 16), ("weight", 7), ("input", 4)])
@pytest.mark.parametrize(("m", "groups"), [(6, 1), (6, 2), (9, 1)])
def test_reuse_is_that_of_the_machine(m, groups, holds, reuse, whole) -> None:
    part = StorageClass("x", holds, 1.0, reuse=reuse)
    chip = StorageMix("own", "", (part,), whole=whole)
    work = convolution(m, groups)
    layer, space = work.layers[0], chip.sites(work)
    reads = chip.reads(part, layer, np.arange(space.strata[0].size))
    ours: Counter = Counter()
    columns = zip(reads.element, reads.channels, reads.positions, strict=True)
    for element, channels, positions in columns:
        reached = product(range(*channels), range(positions[0], min(positions[1], layer.positions)))
        ours[int(element), frozenset(reached)] += 1
    assert ours == simulated(layer, holds, reuse, whole)


def test_local_control_leaves_any_pattern_in_one_output() -> None:
    part = StorageClass("local-control", "local-control", 1.0)
    chip = StorageMix("own", "", (part, StorageClass("x", "input", 1e-12)))
    work = convolution(3).with_(format=rh.INT4)
    space = chip.sites(work)
    faults = rh.Importance().draw(space, 20_000, np.random.default_rng(0))
    found = chip.corrupt(work, space, faults)
    assert set(found.operand) == {"output"}
    assert (found.keep == 0).all()
    counts = np.bincount(found.flip, minlength=16)
    assert len(counts) == 16
    assert counts.min() > 1250 - 6 * 1250**0.5
    assert np.bincount(found.element, minlength=60).min() > 333 - 6 * 333**0.5


class Hogwild(nn.Sequential):
    """The MNIST network of PyTorch's examples."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(320, 50), nn.ReLU(), nn.Linear(50, 10),
        )  # fmt: skip


class LeNet(nn.Sequential):
    """LeNet-5 on images padded to 32 x 32."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip


#: Tyagi et al., arXiv 2212.02649, first figure, to about 0.003: input, weight, output, control.
PUBLISHED = {
    Hogwild: [
        (0.0560, 0.0790, 0.1135, 0.0508), (0.1244, 0.1757, 0.2523, 0.1132),
        (0.0076, 0.0100, 0.0138, 0.0069), (0.0001, 0.0002, 0.0002, 0.0001),
    ],
    LeNet: [
        (0.0539, 0.0763, 0.1095, 0.0491), (0.1067, 0.1508, 0.2164, 0.0971),
        (0.0223, 0.0310, 0.0441, 0.0204), (0.0043, 0.0063, 0.0090, 0.0039),
        (0.0003, 0.0005, 0.0006, 0.0002),
    ],
}  # fmt: skip


@pytest.mark.parametrize("network", [Hogwild, LeNet])
def test_probabilities_are_those_published(network) -> None:
    images, labels = torch.rand(1, 1, 28, 28), torch.zeros(1, dtype=torch.long)
    work = rh.capture(network(), images, labels, format=rh.FLOAT16)
    space = NVDLA_SMALL.sites(work)
    assert space.tried + sum(map(space.known_share, space.known)) == pytest.approx(1, abs=1e-12)
    share = dict.fromkeys(((la.name, kind) for la in work.layers for kind in "iwoc"), 0.0)
    for stratum, probability in zip(space.strata, space.probability, strict=True):
        kind = "c" if stratum.component == "local-control" else stratum.component[0]
        share[stratum.layer, kind] += probability * space.tried
    macs = sum(layer.macs for layer in work.layers)
    for layer, row in zip(work.layers, PUBLISHED[network], strict=True):
        share[layer.name, "c"] += space.known_share(space.known[0]) * layer.macs / macs
        for kind, published in zip("iwoc", row, strict=True):
            assert share[layer.name, kind] == pytest.approx(published, abs=0.003)


def block(c: int, m: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c, m, size, stride, size // 2, bias=False), nn.LeakyReLU(0.1))


class Residual(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(block(c, c // 2, 1), block(c // 2, c, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class YoloV3(nn.Module):
    """All 75 convolutions of YOLOv3 (Redmon and Farhadi, arXiv 1804.02767)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 32, 3)
        self.stages = nn.ModuleList()
        for c, repeats in ((32, 1), (64, 2), (128, 8), (256, 8), (512, 4)):
            body = [Residual(2 * c) for _ in range(repeats)]
            self.stages.append(nn.Sequential(block(c, 2 * c, 3, 2), *body))
        self.necks, self.heads, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for c, into in ((512, 1024), (256, 768), (128, 384)):
            parts = [block(into, c, 1)]
            for _ in range(2):
                parts += [block(c, 2 * c, 3), block(2 * c, c, 1)]
            self.necks.append(nn.Sequential(*parts))
            self.heads.append(nn.Sequential(block(c, 2 * c, 3), nn.Conv2d(2 * c, 255, 1)))
        for c in (512, 256):
            self.up.append(nn.Sequential(block(c, c // 2, 1), nn.Upsample(scale_factor=2)))

    def forward(self, x: Tensor) -> Tensor:
        x, seen = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        found = []
        for k in range(3):
            if k:
                x = torch.cat([self.up[k - 1](x), seen[-1 - k]], 1)
            x = self.necks[k](x)
            found.append(self.heads[k](x).flatten(1))
        return torch.cat(found, 1)


def test_first_convolution_of_yolov3() -> None:
    """1.61e-4 % per weight as printed for the array; 1.394e-4 % on NVDLA follows from its mix.

    The share does not depend on the size of the image, so a small one stands for 416 x 416.
    """
    images, labels = torch.rand(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)
    work = rh.capture(YoloV3().eval(), images, labels)
    assert len(work.layers) == 75
    assert sum(layer.macs for layer in work.layers) * 13**2 == pytest.approx(32.932e9, rel=1e-3)
    names = ("input", "weight", "output", "global-control")
    classes = [
        StorageClass(name, name, share)  # type: ignore[arg-type]
        for name, share in zip(names, PUBLISHED_MIX, strict=True)
    ]
    array = StorageMix("array", "", tuple(classes))
    for chip, published in ((array, 1.606e-6), (NVDLA_SMALL, 1.394e-6)):
        space, first = chip.sites(work), work.layers[0].name
        weights = 3 * 3 * 3 * 32
        share = sum(
            probability * space.tried
            for stratum, probability in zip(space.strata, space.probability, strict=True)
            if stratum.layer == first and stratum.component.startswith("weight")
        )
        assert share / weights == pytest.approx(published, rel=2e-3)


def test_rate_and_knobs() -> None:
    work = convolution(6)
    space = NVDLA_SMALL.sites(work)
    assert space.rate_fit == pytest.approx(0.72 * 600)
    known = {part.name: space.known_share(part) for part in space.known}
    assert known == {"global-control": pytest.approx(0.1125, abs=1e-4)}
    half = replace(NVDLA_SMALL, utilisation=0.5, crash=0.25).sites(work)
    known = {part.name: half.known_share(part) for part in half.known}
    assert known["idle"] == pytest.approx((1 - 0.1694) / 2, abs=1e-4)
    assert known["global-control"] == pytest.approx(0.1125 / 4, abs=1e-4)
    assert half.rate_fit == space.rate_fit
    hard = NVDLA_SMALL.with_rates(global_control=1 / 3).sites(work)
    spared = {part.name: part for part in hard.against(space).known}["spared"]
    assert hard.against(space).known_share(spared) == pytest.approx(0.075, abs=1e-4)
    with pytest.raises(ValueError, match="no class"):
        NVDLA_SMALL.with_rates(control=1 / 3)
    with pytest.raises(ValueError, match="2 numbers of cycles, the network 1 layers"):
        replace(NVDLA_SMALL, layer_cycles=(1, 2)).sites(work)
    with pytest.raises(ValueError, match="utilisation 0"):
        replace(NVDLA_SMALL, utilisation=0)
    with pytest.raises(ValueError, match="holds 'inputs' can't be"):
        StorageClass("x", "inputs", 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reuse is 1 or more"):
        StorageClass("x", "input", 1.0, reuse=0)


def test_hardening_control_helps_most() -> None:
    """Rates of one kind from 600 to 200 FIT/MiB, as in Tyagi et al.; none else gains as much."""
    whole, chip = subject("digits-cnn"), NVDLA_SMALL
    work = rh.capture(whole.model, whole.images[:32], whole.labels[:32], format=rh.FLOAT16)
    space = chip.sites(work)
    found = rh.Campaign(work, chip).run(until=4000)
    kinds = {
        "weight": {"weight_fetch": 1 / 3, "weight_latch": 1 / 3},
        "input": {"input_fetch": 1 / 3, "input_latch": 1 / 3},
        "output": {"output_latch": 1 / 3},
        "control": {"local_control": 1 / 3, "global_control": 1 / 3},
    }
    gain = {
        kind: found.under(chip.with_rates(**rates).sites(work).against(space)).ra.value
        - found.ra.value
        for kind, rates in kinds.items()
    }
    assert max(gain, key=gain.__getitem__) == "control"
    assert min(gain.values()) >= 0
    with pytest.raises(ValueError, match="other strata"):
        found.under(rh.chips.SOFTWARE.sites(work))
