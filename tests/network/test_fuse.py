"""Integers as runtimes deploy them, against a network of QLinearConv in loops."""

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from conftest import seeded
from oracles.qlinear import Quantised
from radhard.faults.corruption import Corruption, whole_box


@pytest.fixture(scope="module")
def chain() -> nn.Sequential:
    return seeded(
        nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 1),
            nn.Flatten(),
            nn.Linear(16, 12),
            nn.ReLU(),
            nn.Linear(12, 5),
        ),
        seed=4,
    )


@pytest.fixture(scope="module")
def work(chain, images, labels) -> rh.Workload:
    return rh.capture(chain, images, labels, format=rh.format_named("int8-onnx"))


def codes_apart(work: rh.Workload, found: torch.Tensor, expected: np.ndarray) -> np.ndarray:
    """Differences of logits in units of their code."""
    (unit,) = work.arithmetic[-1].output.scale
    return np.abs(found.double().numpy() - expected) / unit


def test_golden_codes_are_those_of_the_runtime(work, chain, images) -> None:
    """Sums are scaled by one rounded factor there, by two here: a tie may fall the other way."""
    trace, apart = rh.record(work), []
    for image in range(len(images)):
        oracle = Quantised(chain, images)
        apart.append(codes_apart(work, trace.logits[image], oracle.logits(images[image])))
        for layer, how, codes in zip(work.layers, work.arithmetic, oracle.stored, strict=True):
            held = trace.values.get(layer.step)
            if held is not None:
                apart.append(np.abs(how.output.encode(held[image]).numpy() - codes.reshape(-1)))
    apart = np.concatenate(apart)
    assert len(apart) > 2000
    assert apart.max() <= 1.01
    assert (apart > 0.01).mean() < 2e-3


def test_struck_codes_are_those_behind_the_rectifier(work, chain, images) -> None:
    rng, n = np.random.default_rng(5), 150
    layer = rng.integers(0, len(work.layers), n)
    sizes = np.array([work.program.rows[part.step].elements for part in work.layers])
    element, image, bit = (
        rng.integers(0, sizes[layer]),
        rng.integers(0, 6, n),
        rng.integers(0, 8, n),
    )
    box = whole_box(n)
    corruption = Corruption(
        layer, np.full(n, "output"), element, image, np.full(n, -1), np.left_shift(1, bit),
        box, box, np.zeros(n, np.int64), box,
    )  # fmt: skip
    runs = [rh.resume(rh.record(work), corruption, patches=fast).logits for fast in (True, False)]
    assert torch.equal(*runs)
    apart = np.array([
        codes_apart(work, runs[0][k], Quantised(
            chain, images, (int(layer[k]), int(element[k]), int(bit[k]))
        ).logits(images[image[k]])).max()
        for k in range(n)
    ])  # fmt: skip
    assert (apart > 0.01).mean() < 0.03
    assert apart.max() < 2.1
    changed = (runs[0] != rh.record(work).logits[torch.from_numpy(image)]).any(1)
    assert changed.float().mean() > 0.3


def test_software_strikes_what_is_stored(work) -> None:
    space = rh.chips.SOFTWARE.sites(work)
    strata = [part for part in space.strata if part.component == "activation"]
    assert {part.width for part in strata} == {8}
    assert work.formats.name == "int8-onnx"
    assert [how.output.name for how in work.arithmetic] == ["uint8"] * 5
    rectified = [0, 1, 3]
    assert [work.arithmetic[k].output.zero for k in rectified] == [(0,)] * 3
    assert work.arithmetic[2].output.zero != (0,)  # nothing behind it cuts off
    assert work.arithmetic[2].input == work.arithmetic[1].output  # pooled codes are codes
    assert all(len(how.weight.scale) == layer.channels
               for how, layer in zip(work.arithmetic, work.layers, strict=True))  # fmt: skip
    result = rh.Campaign(work, rh.chips.EYERISS).run(until=200)
    assert result["sdc1"].n == 200


def test_formats_lead_there_and_back(chain, residual, images, labels) -> None:
    plain = rh.capture(residual, images, labels)
    there = plain.with_(format=rh.INT8_ONNX)
    direct = rh.capture(residual, images, labels, format=rh.INT8_ONNX)
    assert there.fingerprint() == direct.fingerprint()
    assert there.with_(format=rh.FLOAT32).fingerprint() == plain.fingerprint()
    assert there.with_(images[:3], labels[:3]).formats.fused
    gap = (there.logits(images) - plain.logits(images)).abs().max() / plain.logits(images).std()
    assert float(gap) < 0.15
    real = torch.stack([there.source.values(images)[there.source.output], plain.logits(images)])
    assert torch.allclose(real[0], real[1], atol=1e-4)
    changed = there.with_constants({there.layers[0].operands[1]: there.weight(0) * 0.5})
    with pytest.raises(ValueError, match="choose the format first"):
        changed.with_(format=rh.FLOAT32)
    with pytest.raises(ValueError, match="can't be coded behind a rectifier"):
        rh.Formats(rh.INT8, rh.INT8, None, fused=True)
