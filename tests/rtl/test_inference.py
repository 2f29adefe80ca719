"""Networks on simulated arrays, and how long they take there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.accel.matrices import sizes
from radhard.formats.integer import IntegerFormat
from radhard.network import architectures
from radhard.rtl import inference
from radhard.rtl.compiled import Compiled, missing
from radhard.rtl.design import ArrayDesign
from radhard.rtl.inference import Simulated, multiplied
from radhard.rtl.latency import running
from radhard.rtl.schedule import Operands, schedule


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (4, 9, 8)])
def test_tiles_add_up(dataflow: str, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    random = np.random.default_rng(0)
    a, w = random.integers(-128, 128, (m, k)), random.integers(-128, 128, (k, n))
    assert (multiplied(ArrayDesign(3, 2, dataflow=dataflow), a, w) == a @ w).all()


def test_narrow_sums_wrap_round() -> None:
    design = ArrayDesign(2, 2, bits=4, psum_bits=8)
    a, w = np.full((1, 6), 7), np.full((6, 1), 7)
    assert multiplied(design, a, w).item() == (6 * 49 + 128) % 256 - 128


def small() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2),
        nn.ReLU(), nn.Flatten(), nn.Linear(3 * 2 * 2, 5),
    )  # fmt: skip
    return model.eval(), torch.randn(3, 2, 6, 6), torch.tensor([0, 1, 2])


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("bits", [8, 5])
def test_a_network_is_the_same_there(dataflow: str, bits: int) -> None:
    work = rh.capture(*small(), IntegerFormat("own", bits))
    design = ArrayDesign(3, 4, bits=bits, psum_bits=28, dataflow=dataflow)
    there = work.with_(arithmetic=Simulated(design))
    assert (there.logits(work.images) == work.logits(work.images)).all()


def test_operands_that_registers_do_not_hold() -> None:
    work = rh.capture(*small(), rh.INT8)
    with pytest.raises(ValueError, match="at most"):
        work.with_(arithmetic=Simulated(ArrayDesign(2, 2, bits=4))).logits(work.images)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_cycles_are_those_of_the_schedule(dataflow: str) -> None:
    work = rh.capture(*small(), rh.INT8)
    design = ArrayDesign(3, 4, dataflow=dataflow)
    edges = 0

    def counted(_: ArrayDesign, operands: Operands) -> np.ndarray:
        nonlocal edges
        edges += schedule(design, operands).cycles
        return operands.a @ operands.w

    for layer in work.layers:
        groups = layer.bounds["groups"]
        a = np.zeros((layer.positions, layer.fan_in), np.int64)
        w = np.zeros((layer.fan_in, layer.channels // groups), np.int64)
        for _ in range(groups):
            multiplied(design, a, w, counted)
    assert running(work, design).cycles == edges


def test_energy_by_hand() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5, bias=False))
    work = rh.capture(model, torch.rand(1, 1, 2, 3), torch.tensor([0]), rh.INT8)
    design = ArrayDesign(4, 2)
    products = 30 * (0.2 + 0.03 / 8 * 24)
    # inputs for each of 3 tiles of channels, weights once, sums of 2 tiles written, read, written
    moved = 6 * 3 * 8 + 30 * 8 + 5 * 3 * 24
    found = running(work, design)
    assert found.energy_nj == pytest.approx((products + moved * 10 / 64) / 1000)
    tripled = running(work, ArrayDesign(4, 2, protect="tmr")).energy_nj
    assert tripled - found.energy_nj == pytest.approx(2 * products / 1000)
    assert sizes(design, 1) == (1, 4, 2)


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
def test_lenet5_by_verilator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty images through the whole network on the emitted array, compiled."""
    torch.manual_seed(0)
    images = torch.randn(20, 1, 28, 28)
    work = rh.capture(architectures.lenet5(10).eval(), images, torch.arange(20) % 10, rh.INT8)
    design = ArrayDesign(8, 8, psum_bits=28)
    compiled = Compiled(design, tmp_path)

    def by_verilator(design: ArrayDesign, operands: Operands) -> np.ndarray:
        return compiled.run(operands, None)[0]

    monkeypatch.setattr(inference, "by_twin", by_verilator)
    there = work.with_(arithmetic=inference.Simulated(design))
    assert (there.logits(images) == work.logits(images)).all()
