"""Formats of a few bits, also those of users, run by compiled kernels like whole runs."""

import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from engine.test_oracle import random_corruptions, relative, strike
from examples.own_format import Posit8
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
#: Faults of 100 at most whose sums, added up in two orders, are rounded to either side.
APART = 2


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_fast_runs_are_whole_runs_and_plain_forward_passes(
    residual: nn.Module, images: Tensor, labels: Tensor, fmt: NumberFormat, operand: str
) -> None:
    work = rh.capture(residual, images, labels, format=fmt)
    corruption = random_corruptions(work, operand, 100, seed=fmt.width)
    trace = rh.record(work)
    assert enterable(trace) == {layer.step for layer in work.layers}
    fast = rh.resume(trace, corruption).logits
    whole = rh.resume(trace, corruption, patches=False).logits
    apart = 0
    for k in range(len(corruption)):
        struck = strike(corruption, k)
        plain = plain_logits(residual, work, int(corruption.image[k]), struck)[0]
        apart += not torch.equal(fast[k].nan_to_num(), whole[k].nan_to_num())
        step = 2.0**-fmt.significant  # one rounding that went the other way, carried on
        assert min(relative(fast[k], other) for other in (plain, whole[k])) <= 4 * step, struck
    assert apart <= APART * (1 if fmt.width == 8 else 10)
