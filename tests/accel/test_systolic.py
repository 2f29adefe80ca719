"""Systolic arrays: closed forms against a cycle-by-cycle grid, and published numbers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from oracles.grid import simulate
from radhard.accel.chips import SYSTOLIC, chip_named

SIZES = [(8, 10, 8), (6, 9, 7), (7, 6, 11), (3, 2, 2)]


def product_of(size: tuple[int, int, int]) -> rh.Workload:
    """A linear layer that multiplies P x Q inputs by Q x M weights, then as many logits."""
    p, q, m = size
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(q, m, bias=False), nn.Flatten())
    return rh.capture(model, torch.randn(2, p, q), torch.tensor([0, 1]), format=rh.FIXED16_10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("array", [(4, 4), (3, 5), (8, 2)])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_every_cell_is_that_of_the_grid(dataflow, array, size) -> None:
    chip = SYSTOLIC(*array, dataflow)
    cycles, grid = simulate(*array, dataflow, size)
    found, layer = chip.occupancy(*size), product_of(size).layers[0]
    assert found.cycles == cycles
    p, q, m = size
    for operand, cells in grid.items():
        assert sum(cells.values()) == found.cells[operand] * found.variables[operand]
        assert found.utilisation(operand, array[0] * array[1]) == pytest.approx(
            sum(cells.values()) / (array[0] * array[1] * cycles)
        )
        reads = chip.reads(operand, layer, np.arange(sum(cells.values())))
        ours = Counter()
        for k, element in enumerate(reads.element):
            reached = frozenset(
                (c, at)
                for c in range(*reads.channels[k].clip(0, m))
                for at in range(*reads.positions[k].clip(0, p))
            )
            variable = {
                "input": (element // q, element % q),
                "weight": (element // q, element % q),
                "psum": ((element % m, element // m), tuple(reads.terms[k])),
            }[operand]
            ours[variable, reached] += 1
        assert ours == cells


@pytest.mark.parametrize(
    ("dataflow", "array", "size", "cycles", "cells"),
    [
        ("os", (4, 4), (8, 10, 8), 64, (8, 8, 10)),
        ("os", (4, 4), (6, 9, 7), 60, (8, 8, 9)),
        ("os", (3, 5), (7, 6, 11), 108, (15, 9, 6)),
        ("ws", (4, 4), (8, 10, 8), 84, (8, 14, 12)),
        ("ws", (3, 5), (7, 6, 11), 78, (15, 13, 6)),
    ],
)
def test_counts_are_the_derived_ones(dataflow, array, size, cycles, cells) -> None:
    found = SYSTOLIC(*array, dataflow).occupancy(*size)
    assert found.cycles == cycles
    assert tuple(found.cells[name] for name in ("input", "weight", "psum")) == cells


def test_utilisation_is_the_derived_one() -> None:
    for array, size, shares in (
        ((4, 4), (8, 10, 8), (0.625, 0.625, 0.625)),
        ((4, 4), (6, 9, 7), (0.45, 0.525, 0.39375)),
        ((3, 5), (7, 6, 11), (0.3889, 0.3667, 0.2852)),
    ):
        found = SYSTOLIC(*array).occupancy(*size)
        pes = array[0] * array[1]
        got = [found.utilisation(name, pes) for name in ("input", "weight", "psum")]
        assert got == pytest.approx(shares, abs=5e-5)


def test_probabilities_sum_to_one_and_idle_time_is_known(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    chip = SYSTOLIC(4, 4)
    space = chip.sites(work)
    idle, control = space.known
    assert space.exposure.sum() + idle.exposure + control.exposure == pytest.approx(1, abs=1e-9)
    assert space.tried + sum(map(space.known_share, space.known)) == pytest.approx(1)
    faults = rh.Importance().draw(space, 600, np.random.default_rng(3))
    corruption = chip.corrupt(work, space, faults)
    assert set(corruption.operand) == {"input", "weight", "psum"}
    run = rh.resume(rh.record(work), corruption)
    assert 0.02 < (run.logits != run.golden).any(1).double().mean() < 0.98


def test_arrays_have_names() -> None:
    assert chip_named("systolic") == SYSTOLIC()
    assert chip_named("systolic:16x8:ws") == SYSTOLIC(16, 8, "ws")
    assert chip_named("systolic:16x16").name == "systolic-16x16-os"
    with pytest.raises(ValueError, match="use at least 1 x 1, and os, ws or is"):
        chip_named("systolic:4x4:rs")
    with pytest.raises(ValueError, match=r"shares"):
        SYSTOLIC(control_accuracy=2)
