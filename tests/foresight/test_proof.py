"""What is proved of faults, against what they do: by the engine, both ways, and by an oracle."""

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import Attention, Residual, seeded
from engine.test_oracle import random_corruptions, strike
from oracles.forward import plain_logits
from radhard.accel.chip import Accelerator
from radhard.engine.strike import single, struck_values
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.foresight.proof import Proofs, _as_torch
from radhard.metrics.outcome import classify
from radhard.network.source import subject
from radhard.network.workload import Workload

HARMS = ("sdc1", "sdc5", "lost", "gained")
FORMATS = {
    "fp32": rh.FLOAT32,
    "fp16": rh.FLOAT16,
    "bf16": rh.BFLOAT16,
    "int8": rh.INT8,
    "int8-channel": rh.INT8_CHANNEL,
    "uint8": rh.UINT8,
    "16b_rb10": rh.FIXED16_10,
    "int8-onnx": rh.format_named("int8-onnx"),
    "fp64": rh.FLOAT64,
    "each-step": rh.Formats(rh.FIXED16_10, rh.FIXED16_10, rh.FIXED16_10, rounding="each-step"),
}
CHIPS = {
    "software": rh.chips.SOFTWARE,
    "array": rh.chips.PUBLISHED(4, 4),
    "weights-stay": rh.chips.PUBLISHED(4, 4, "ws"),
    "eyeriss": rh.chips.EYERISS,
    "nvdla": rh.chips.NVDLA_SMALL,
}


class FourBits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.round(x.clamp(0, 6) * (15 / 6)) * (6 / 15)


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


class Normalised(nn.Module):
    """Responses normalised across channels: nothing is certain ahead of that."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.LocalResponseNorm(5, 0.01)
        self.conv, self.head = nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.Linear(96, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.relu(self.stem(x)))
        return self.head(torch.relu(self.conv(x)).flatten(1))


class Twice(nn.Module):
    """A dense layer that runs twice, and one whose weights another one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.own = nn.Linear(128, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x.flatten(1)))
        x = torch.relu(self.own(torch.relu(self.own(x))))
        return self.head(x) - 0.5 * torch.nn.functional.linear(x, self.own.weight[:5])


class Inverse(nn.Module):
    """Zeros of either sign lead to infinities of either sign."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(128, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.round(self.stem(x.flatten(1)) * 0.3)
        return self.head(torch.tanh(1 / (x + 0.0 * x)) + 2)


def chain(act: Callable[[], nn.Module], groups: int = 1, norm: bool = True) -> nn.Module:
    normal = [nn.BatchNorm2d(6)] if norm else []
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), *normal, act(), nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1, groups=groups), act(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(24, 12), act(), nn.Linear(12, 5),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "attention": Attention,
    "normalised": Normalised,
    "twice": Twice,
    "inverse": Inverse,
    "relu": lambda: chain(nn.ReLU),
    "no-norm": lambda: chain(nn.ReLU, norm=False),
    "hardtanh": lambda: chain(nn.Hardtanh),
    "relu6": lambda: chain(nn.ReLU6, groups=2),
    "depthwise": lambda: chain(nn.ReLU, groups=6),
    "four-bits": lambda: chain(FourBits),
    "sign": lambda: chain(Sign, norm=False),
    "gelu": lambda: chain(nn.GELU),
    "dense": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5)
    ),
    "dilated": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(6, 6, 1),
        nn.Hardtanh(-0.5, 2.0), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5),
    ),
}  # fmt: skip


def captured(name: str, images: Tensor, labels: Tensor) -> Workload:
    """A network in float32, whose images have dark rows."""
    images = images.clone()
    images[:3, :, :3] = 0
    return rh.capture(seeded(NETWORKS[name](), len(name)), images, labels)


def drawn(work: Workload, chip: Accelerator, n: int, seed: int = 0) -> Corruption:
    space = rh.Campaign(work, chip).space()
    return chip.corrupt(work, space, rh.Importance().draw(space, n, np.random.default_rng(seed)))


def joined(parts: Sequence[Corruption]) -> Corruption:
    columns = (
        np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Corruption)
    )
    return Corruption(*columns)


def exceptions(work: Workload, corruption: Corruption) -> tuple[np.ndarray, np.ndarray]:
    """Levels, and which of the proofs are wrong, run with differences and as whole tensors."""
    trace = rh.record(work)
    level = Proofs.of(work).level(trace, corruption)
    wrong = np.zeros(len(level), np.bool_)
    labels = work.labels[torch.from_numpy(corruption.image)]
    for patches in (True, False):
        run = rh.resume(trace, corruption, patches=patches)
        found = classify(work.task, run.logits, run.golden, labels, run.detected)
        harm = torch.stack([found[name] for name in HARMS]).any(0).numpy()
        wrong |= ((level == 2) & ~found["masked"].numpy()) | ((level > 0) & harm)
    return level, wrong


@pytest.mark.parametrize("name", NETWORKS)
def test_no_proof_is_wrong(name: str, images: Tensor, labels: Tensor) -> None:
    """All fault models, boxes of all kinds, every operand, both rules for not-a-number."""
    base, names = captured(name, images, labels), list(FORMATS)
    windows = all(layer.has_windows for layer in base.layers)
    first = list(NETWORKS).index(name)
    for seed in (first, first + 3):
        format = names[seed % len(names)]
        if format == "each-step" and not windows:
            continue
        work = base.with_(format=FORMATS[format]).with_(nan=("zero", "propagate")[seed % 2])
        parts = [
            random_corruptions(work, operand, 60, seed)
            for operand in (OPERANDS if windows else ("output",))
        ]
        level, wrong = exceptions(work, joined(parts))
        assert not wrong.any(), f"{format}: {np.flatnonzero(wrong)}, {level[wrong]}"


@pytest.mark.parametrize("chip", CHIPS)
def test_no_proof_of_a_chips_faults_is_wrong(chip: str, images: Tensor, labels: Tensor) -> None:
    for name, format in (("residual", "int8"), ("no-norm", "fp32")):
        work = captured(name, images, labels).with_(format=FORMATS[format])
        network = rh.Campaign(work, CHIPS[chip]).network
        level, wrong = exceptions(network, drawn(network, CHIPS[chip], 400))
        assert not wrong.any(), f"{name} {format}: {np.flatnonzero(wrong)}, {level[wrong]}"
        assert (level == 2).mean() > 0.1


@pytest.mark.parametrize("format", ["fp32", "int8", "16b_rb10"])
def test_proofs_hold_in_plain_forward_passes(format: str, residual, images, labels) -> None:
    """An oracle that knows no engine: integers to the last bit, floats the class on top."""
    work = rh.capture(residual, images, labels, format=FORMATS[format])
    trace, proved = rh.record(work), 0
    for operand in OPERANDS:
        corruption = random_corruptions(work, operand, 60, seed=3)
        level = Proofs.of(work).level(trace, corruption)
        for k in np.flatnonzero(level > 0):
            image = int(corruption.image[k])
            found = plain_logits(residual, work, image, strike(corruption, k))
            assert int(found.argmax()) == int(trace.logits[image].argmax())
            if level[k] == 2 and format != "fp32":
                assert torch.equal(found[0], trace.logits[image])
            proved += 1
    assert proved > 60


@pytest.mark.parametrize("format", ["fp32", "fp16", "16b_rb10", "int8"])
def test_sums_are_those_of_the_engine(format: str, residual, images, labels) -> None:
    """What bounds say of outputs that change alone holds the value that the engine gives them."""
    assert _as_torch()
    work = rh.capture(residual, images, labels, format=FORMATS[format])
    trace, same = rh.record(work), 0
    for operand in ("psum", "product"):
        corruption = random_corruptions(work, operand, 600, seed=5)
        level = Proofs.of(work).level(trace, corruption)
        for number in range(len(work.layers)):
            part = np.flatnonzero((corruption.layer == number) & (level == 2))
            _, golden, faulty, _ = struck_values(trace, number, corruption[part])
            same += int((golden == faulty).sum())
        assert single(trace, 0, corruption[corruption.layer == 0]).all()
    assert same > 100


def test_what_is_certain_is_proved() -> None:
    """Zeros are multiplied, dead rectifiers stay dead, reads lie outside, codes stay the same."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.full((3, 4), 0.5))
        model[1].bias.copy_(torch.tensor([-9.0, 1.0, 1.0]))
        model[3].weight.copy_(torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
        model[3].bias.zero_()
    images = torch.tensor([[0.0, 1.0, 1.0, 1.0]]).view(1, 1, 2, 2)
    work = rh.capture(model, images, torch.tensor([0]))

    def level(operand: str, layer: int, element: int, bit: int, channels=(0, 9)) -> int:
        columns = [layer], [operand], [element], [0], [-1], [1 << bit]
        box = [channels], [(0, 9)], [0], [(0, 4)]
        corruption = Corruption(*map(np.array, (*columns, *box)))
        return int(Proofs.of(work).level(rh.record(work), corruption)[0])

    assert level("weight", 0, 4, 30) == 2  # multiplies a zero
    assert level("weight", 0, 1, 22) == 2  # of a rectifier that stays dead
    assert level("weight", 0, 5, 22) == 1  # of one that is not, but the lead is 7.5
    assert level("weight", 0, 5, 30) == 0
    assert level("weight", 0, 5, 30, channels=(2, 3)) == 2  # which nothing reads
    assert level("output", 0, 0, 30) == 2  # below zero still
    assert level("output", 0, 1, 22) == 1
    assert level("output", 1, 0, 31) == 0  # the other class wins
    assert level("output", 1, 1, 31) == 2  # minus zero
    assert level("psum", 0, 1, 3) >= 1
    assert level("input", 0, 1, 0) == 1


def test_infinite_weights_make_zeros_of_padding_no_numbers() -> None:
    """Also where the only position that reads the wrong weight reads padding."""
    conv = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        conv.weight.fill_(1.0)
    work = rh.capture(nn.Sequential(conv, nn.Flatten()), torch.ones(1, 1, 2, 2), torch.tensor([0]))
    for operand, bit, expected in (("weight", 30, 0), ("weight", 29, 2), ("input", 30, 0)):
        columns = [0], [operand], [0 if operand == "weight" else -1], [0], [-1], [1 << bit]
        one = Corruption(*map(np.array, (*columns, [(0, 1)], [(0, 1)], [0], [(0, 1)])))
        level, wrong = exceptions(work, one)
        assert level[0] == expected or operand == "input"
        assert not wrong.any()


def test_weights_that_are_read_again_are_not_proved(images: Tensor, labels: Tensor) -> None:
    work = captured("twice", images, labels)
    corruption = drawn(work, rh.chips.Software(("weight",)), 3000)
    again = corruption.stored & np.isin(corruption.layer, list(work.shared))
    level, wrong = exceptions(work, corruption)
    assert again.sum() > 100
    assert (level[again] == 0).all()
    assert (level[~again] > 0).mean() > 0.5
    assert not wrong.any()


@pytest.mark.parametrize(
    ("chip", "open_share"), [("software", 0.06), ("array", 0.04), ("nvdla", 0.07)]
)
def test_most_of_what_strikes_a_small_network_is_proved(chip: str, open_share: float) -> None:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images[:16], whole.labels[:16])
    level = Proofs.of(work).level(rh.record(work), drawn(work, CHIPS[chip], 20_000))
    assert (level == 0).mean() < open_share
