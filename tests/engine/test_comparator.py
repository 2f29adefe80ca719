"""Not-a-number in rectifiers and pooling: all roads against a forward pass by comparators."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from engine.test_differences import BLOCKS, Block, Made, near_a_carry
from engine.test_oracle import TOLERANCE, random_corruptions, relative, strike
from oracles.comparator import Comparators
from oracles.forward import plain_logits
from radhard.faults.corruption import Corruption
from radhard.network.comparator import Comparator, plain

#: Codes of not-a-number and of infinity.
ODD = {"fp32": (0x7FC00000, 0x7F800000), "fp64": (0x7FF8 << 48, 0x7FF0 << 48)}


def with_odd_values(corruption: Corruption, codes: tuple[int, int]) -> Corruption:
    """The first third of struck values becomes not-a-number, the second infinite."""
    third = len(corruption) // 3
    for k, code in enumerate(codes):
        part = slice(k * third, (k + 1) * third)
        corruption.keep[part], corruption.flip[part] = 0, code
    return corruption


@pytest.mark.parametrize("nan", ["zero", "propagate"])
@pytest.mark.parametrize("name", ["fp32", "fp64"])
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # each example captures a network: shrinking takes minutes
)
@given(
    blocks=st.lists(BLOCKS, min_size=1, max_size=2),
    side=st.integers(5, 9),
    seed=st.integers(0, 99),
)
def test_made_up_networks(name: str, nan: str, blocks: list[Block], side: int, seed: int) -> None:
    """Compiled kernels in fp32, patches in fp64, and whole tensors."""
    model = seeded(Made(blocks, side), seed)
    images = torch.randn(2, 2, side, side, generator=torch.Generator().manual_seed(seed))
    work = rh.capture(model, images, torch.tensor([0, 1]), format=rh.format_named(name), nan=nan)
    corruption = with_odd_values(random_corruptions(work, "output", 18, seed), ODD[name])
    trace = rh.record(work, rows=8)
    runs = [rh.resume(trace, corruption, patches=patches).logits for patches in (True, False)]
    for k in range(len(corruption)):
        with Comparators() if nan == "zero" else nullcontext():
            hit = strike(corruption, k)
            expected = plain_logits(model, work, int(corruption.image[k]), hit)[0]
        if name == "fp32" and near_a_carry(trace, corruption[k : k + 1]):
            continue
        for found in runs:
            assert relative(found[k], expected) <= TOLERANCE[name], (k, hit)


class Compared(nn.Module):
    """One operation of each kind that compares, on a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.parts = nn.ModuleList(
            [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Hardsigmoid(), nn.Threshold(0.5, 0.25)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for part in self.parts:
            x = part(x)
        x = x.clamp(0.0, 2.0).clamp(min=-1.0).clamp_min(-2.0).clamp(max=9.0)
        x = torch.maximum(x, torch.zeros(()))
        return self.last(nn.functional.silu(x) + x.amax(1, keepdim=True))


def test_which_operations_compare() -> None:
    """What not-a-number becomes in each: the bound, the other value, or itself."""
    labels = torch.zeros(3, dtype=torch.int64)
    work = rh.capture(Compared(), torch.randn(3, 3), labels, nan="zero")
    nan = torch.full((1, 4), torch.nan)
    found = {
        str(plain(step.op)): step.run(lambda s: nan if work.program.rows[s] else torch.zeros(()))
        for step in work.program.steps
        if step.op is not None and "linear" not in str(step.op) and "add" not in str(step.op)
    }
    values = {name: float(value.flatten()[0]) for name, value in found.items()}
    kept = {name: values.pop(name) for name in ("aten.silu.default",)}
    assert np.isnan(list(kept.values())).all()
    assert values == {
        "aten.relu.default": 0.0,
        "aten.hardtanh.default": -1.0,  # the last of two
        "aten.hardsigmoid.default": 0.0,
        "aten.threshold.default": 0.25,
        "aten.clamp.default": pytest.approx(np.nan, nan_ok=True),  # the last has no lower bound
        "aten.clamp_min.default": -2.0,
        "aten.maximum.default": 0.0,
        "aten.amax.default": -np.inf,
    }


def test_chips_compare_and_software_does_not(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels)
    rules = {chip.name: rh.Campaign(work, chip).network.nan for chip in rh.chips.chips()}
    assert rules.pop("software") == "propagate"
    assert set(rules.values()) == {"zero"}
    stated = {nan: work.with_(nan=nan) for nan in ("zero", "propagate")}
    for nan, asked in stated.items():
        assert rh.Campaign(asked).network.nan == nan
        assert asked.with_(format=rh.FLOAT16).with_(images[:2], labels[:2]).nan == nan
        ops = [isinstance(step.op, Comparator) for step in asked.program.steps]
        assert any(ops) == (nan == "zero")
    assert work.fingerprint() == stated["propagate"].fingerprint()
    assert work.fingerprint() != stated["zero"].fingerprint()
    assert stated["zero"].with_(nan="propagate").fingerprint() == work.fingerprint()
    with pytest.raises(ValueError, match="use propagate or zero"):
        rh.capture(residual, images, labels, nan="one")  # type: ignore[arg-type]
