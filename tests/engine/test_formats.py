"""Formats of a few bits, also those of users, run by compiled kernels like whole runs."""

import pytest
import torch
from examples.own_format import Posit8
from torch import Tensor, nn

import radhard as rh
from engine.test_oracle import random_corruptions, relative, strike
from oracles.forward import plain_logits
from radhard.engine.passage import enterable
from radhard.faults.corruption import OPERANDS
from radhard.formats.floating import FloatFormat
from radhard.formats.number import NumberFormat

FORMATS = (
    rh.FLOAT8_E4M3,
    rh.FLOAT8_E5M2,
    Posit8(),
    rh.BFLOAT16,
    FloatFormat("fp16-saturating", 5, 10, saturate=True),
)
#: Faults of 40 at most whose sums, added up in two orders, are rounded to either side.
APART = 2


def both_roads(work: rh.Workload, operand: str) -> tuple[rh.Corruption, Tensor, Tensor]:
    """Forty faults of an operand, and the logits of fast and of whole runs."""
    corruption = random_corruptions(work, operand, 40, seed=work.formats.weight.width)
    trace = rh.record(work)
    assert enterable(trace) == {layer.step for layer in work.layers}
    fast, whole = (rh.resume(trace, corruption, patches=p).logits for p in (None, False))
    return corruption, fast, whole


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_fast_runs_are_whole_runs_and_plain_forward_passes(
    residual: nn.Module, images: Tensor, labels: Tensor, fmt: NumberFormat, operand: str
) -> None:
    work = rh.capture(residual, images, labels, format=fmt)
    corruption, fast, whole = both_roads(work, operand)
    apart = 0
    for k in range(len(corruption)):
        struck = strike(corruption, k)
        plain = plain_logits(residual, work, int(corruption.image[k]), struck)[0]
        apart += not torch.equal(fast[k].nan_to_num(), whole[k].nan_to_num())
        step = 2.0**-fmt.significant  # one rounding that went the other way, carried on
        assert min(relative(fast[k], other) for other in (plain, whole[k])) <= 4 * step, struck
    assert apart <= APART * (1 if fmt.width == 8 else 10)


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("fmt", [rh.FIXED32_10, rh.FIXED32_26, rh.FLOAT64], ids=lambda f: f.name)
def test_wide_formats_have_kernels_too(
    residual: nn.Module, images: Tensor, labels: Tensor, fmt: NumberFormat, operand: str
) -> None:
    """Fixed point bit for bit, float64 to within the order of sums."""
    work = rh.capture(residual, images, labels, format=fmt)
    _, fast, whole = both_roads(work, operand)
    if fmt == rh.FLOAT64:
        assert max(map(relative, fast, whole)) <= 1e-12
    else:
        assert torch.equal(fast, whole)


@pytest.mark.parametrize("groups", [1, 4])
def test_sums_of_64_bits_saturate_alike(groups: int) -> None:
    """Weights and inputs at the ends of 32-bit fixed point, in faults and around them."""
    torch.manual_seed(0)
    parts = nn.Conv2d(4, 8, 3, groups=groups), nn.Conv2d(8, 8, 3, groups=groups)
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 3)).eval()
    images = 20 * torch.randn(4, 4, 6, 6)
    work = rh.capture(model, images, torch.zeros(4, dtype=torch.int64), format=rh.FIXED32_26)
    trace = rh.record(work)
    for operand in OPERANDS:
        corruption = random_corruptions(work, operand, 300, seed=5)
        found = [rh.resume(trace, corruption, patches=way).logits for way in (True, False)]
        assert torch.equal(*found), operand
