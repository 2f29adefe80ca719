"""The engine against a plain forward pass in which the same value was overwritten."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from oracles.forward import Strike, plain_logits
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.network.layer import Layer
from radhard.network.workload import Workload

MODELS = (
    rh.BitFlip(),
    rh.MultiBitFlip(3),
    rh.Burst(4),
    rh.StuckAt(0),
    rh.StuckAt(1),
    rh.RandomValue(),
)
FORMATS = {
    "fp32": rh.FLOAT32,
    "fp16": rh.FLOAT16,
    "fixed16_10": rh.FIXED16_10,
    "int8": rh.INT8,
    "int8-channel": rh.INT8_CHANNEL,
    "uint8": rh.UINT8,
    "fp64": rh.FLOAT64,
    "fixed8": rh.FIXED8,
}
#: Largest relative difference allowed where sums are floats; see `relative`. Measured: 3e-6 for
#: fp32 and 5e-3 (one rounding step that went the other way) for fp16.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "fp64": 1e-12}


def random_corruptions(
    work: Workload, operand: str, n: int, seed: int, layers: Sequence[int] = ()
) -> Corruption:
    """Corruptions of one operand of some or all layers, by all fault models, with random boxes."""
    rng = np.random.default_rng(seed)
    layer = rng.choice(layers or np.arange(len(work.layers)), n)
    sizes, widths, boxes = [], [], []
    for number in layer:
        place, how = work.layers[number], work.arithmetic[number]
        rows = [work.program.rows[step].elements for step in (place.operands[0], place.step)]
        size, fmt = {
            "weight": lambda p=number, h=how: (work.weight(p).numel(), h.weight),
            "input": lambda r=rows, h=how: (r[0], h.input),
            "psum": lambda r=rows, h=how: (r[1], h.latch),
            "output": lambda r=rows, h=how: (r[1], h.output),
        }[operand]()
        sizes.append(size)
        widths.append(fmt.width)
        boxes.append(random_box(place, rng))
    width = np.array(widths)
    masks = [
        MODELS[k % len(MODELS)].masks(rng.integers(0, width[k : k + 1]), width[k : k + 1], rng)
        for k in range(n)
    ]
    keep, flip = (np.concatenate(part) for part in zip(*masks, strict=True))
    channels, positions, first, terms = (np.array([box[k] for box in boxes]) for k in range(4))
    image = rng.integers(0, len(work.images), n)
    element = rng.integers(0, np.array(sizes))
    operands = np.full(n, operand)
    return Corruption(
        layer, operands, element, image, keep, flip, channels, positions, first, terms
    )


def random_box(layer: Layer, rng: np.random.Generator) -> tuple:
    """Channels, positions, first output and terms: all, a few outputs, one, or the late ones."""
    m, p = (int(rng.integers(0, limit)) for limit in (layer.channels, layer.positions))
    terms = sorted(rng.choice(layer.fan_in + 1, 2, replace=False).tolist())
    everything = (0, 2**62)
    late = int(rng.integers(0, layer.channels * layer.positions))
    boxes = (
        (everything, everything, 0),
        ((m, m + 3), (p, p + 3), 0),
        ((m, m + 1), (p, p + 1), 0),
        (everything, everything, late),
    )
    return (*boxes[int(rng.integers(0, 4))], terms)


def strike(corruption: Corruption, k: int) -> Strike:
    return Strike(
        int(corruption.layer[k]),
        str(corruption.operand[k]),
        int(corruption.element[k]),
        int(corruption.keep[k]),
        int(corruption.flip[k]),
        tuple(min(int(end), 10**6) for end in corruption.channels[k]),
        tuple(min(int(end), 10**6) for end in corruption.positions[k]),
        int(corruption.first[k]),
        tuple(int(end) for end in corruption.terms[k]),
    )


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference in units of the row's largest finite value; nan and inf must agree."""
    finite = torch.isfinite(expected)
    assert torch.equal(torch.isnan(found), torch.isnan(expected))
    assert torch.equal(found[~finite & ~found.isnan()], expected[~finite & ~expected.isnan()])
    scale = expected[finite].abs().max().clamp(min=1.0) if finite.any() else torch.tensor(1.0)
    gap = (found[finite] - expected[finite]).abs() / scale
    return float(gap.max()) if finite.any() else 0.0


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("name", FORMATS)
def test_faulty_logits_are_those_of_a_plain_forward_pass(
    residual: nn.Module, images: Tensor, labels: Tensor, name: str, operand: str
) -> None:
    work = rh.capture(residual, images, labels, format=FORMATS[name])
    n = 500 if name in {"fp32", "fp16", "fixed16_10", "int8"} else 100
    corruption = random_corruptions(work, operand, n, seed=len(name))
    run = rh.resume(rh.record(work), corruption)
    exact = name not in TOLERANCE
    for k in range(n):
        plain = plain_logits(residual, work, int(corruption.image[k]), strike(corruption, k))[0]
        if exact:
            assert torch.equal(run.logits[k], plain), (k, strike(corruption, k))
        else:
            assert relative(run.logits[k], plain) <= TOLERANCE[name], (k, strike(corruption, k))


@pytest.mark.parametrize("name", FORMATS)
def test_golden_logits_are_those_of_a_plain_forward_pass(
    residual: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    work = rh.capture(residual, images, labels, format=FORMATS[name])
    trace = rh.record(work)
    for image in range(len(images)):
        plain = plain_logits(residual, work, image, None)[0]
        assert relative(trace.logits[image], plain) <= TOLERANCE.get(name, 0.0)
