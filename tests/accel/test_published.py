"""Systolic arrays: closed forms against a cycle-by-cycle grid, and published numbers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from oracles.bench import NUMBERS, Bench
from oracles.grid import Grid, simulate
from oracles.loopnest import Events
from radhard.accel.chips import PUBLISHED, PUBLISHED_MIX, chip_named
from radhard.accel.readers import activated
from radhard.faults.fault import Faults

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
    chip = PUBLISHED(*array, dataflow)
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


def disagreements(bench: Bench, array: tuple[int, int], dataflow: str, few: bool) -> list[int]:
    """Of every cell and bit (or one of its bits), how many there are, differ, matter, are read."""
    chip, shape = PUBLISHED(*array, dataflow), bench.shape
    own, terms = shape.m // shape.groups, bench.w[0].size
    positions, windows = shape.out[0] * shape.out[1], bench.windows()
    space, grid, counts = chip.sites(bench.work), Grid(*array, dataflow), np.zeros(4, int)
    for operand, cells in grid.cells((positions, terms, own)).items():
        strata = [k for k, s in enumerate(space.strata) if s.component == f"{operand}-register"]
        size, width = len(cells) * shape.groups, len(strata)
        assert space.strata[strata[0]].size == size
        lanes = np.arange(size * width)
        index, bit = np.divmod(lanes, width)
        if few:
            index, bit, lanes = lanes[:size], lanes[:size] * 7 % width, lanes[:size]
        image, n = index % len(bench.x), len(lanes)
        faults = Faults(
            lanes, np.array(strata)[bit], index, image, np.full(n, -1), 1 << bit, np.ones(n)
        )
        corruption = chip.corrupt(bench.work, space, faults)
        found, golden = bench.outputs(corruption)
        weights = bench.w.reshape(shape.groups, own, terms)
        sums = np.einsum("bgpq,gmq->bgmp", windows, weights)[image]
        group, cell = np.divmod(index, len(cells))
        read = np.zeros(n, bool)
        for g in range(shape.groups):
            here = np.flatnonzero(group == g)
            when = Events(*np.array([place for _, place in cells])[cell[here]].T)
            values = windows[image[here], g], weights[g].T
            out, read[here] = grid.run(bench.how, values, operand, (when, bit[here]))
            sums[here, g] = out.transpose(0, 2, 1)
        sums = sums.reshape(n, shape.m, *shape.out) + bench.bias[:, None, None]
        wrong = (found != bench.elements(bench.how.result(sums))).any(1)
        wrong |= activated(bench.work, corruption) != read
        counts += [n, wrong.sum(), (found != golden).any(1).sum(), read.sum()]
    return counts.tolist()


@pytest.mark.parametrize("array", [(4, 4), (3, 5)])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize(("name", "numbers"), [("strided", "int8"), ("grouped", "16b_rb10")])
def test_a_struck_cell_does_what_it_does_on_the_grid(name, numbers, dataflow, array) -> None:
    count, wrong, changed, read = disagreements(Bench.of(name, numbers), array, dataflow, few=True)
    assert wrong == 0
    assert 0.1 * count < changed <= read < count


@pytest.mark.exhaustive
@pytest.mark.parametrize("array", [(4, 4), (3, 5)])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("name", ["strided", "grouped", "dilated", "depthwise", "vectors"])
def test_every_bit_of_every_cell_on_the_grid(name, numbers, dataflow, array) -> None:
    count, wrong, *_ = disagreements(Bench.of(name, numbers), array, dataflow, few=False)
    print(f"{name} {numbers} {dataflow} {array}: {wrong} of {count:,} disagree")
    assert wrong == 0


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
    found = PUBLISHED(*array, dataflow).occupancy(*size)
    assert found.cycles == cycles
    assert tuple(found.cells[name] for name in ("input", "weight", "psum")) == cells


def test_utilisation_is_the_derived_one() -> None:
    for array, size, shares in (
        ((4, 4), (8, 10, 8), (0.625, 0.625, 0.625)),
        ((4, 4), (6, 9, 7), (0.45, 0.525, 0.39375)),
        ((3, 5), (7, 6, 11), (0.3889, 0.3667, 0.2852)),
    ):
        found = PUBLISHED(*array).occupancy(*size)
        pes = array[0] * array[1]
        got = [found.utilisation(name, pes) for name in ("input", "weight", "psum")]
        assert got == pytest.approx(shares, abs=5e-5)


def test_probabilities_sum_to_one_and_idle_time_is_known(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    chip = PUBLISHED(4, 4, mix=PUBLISHED_MIX)
    space = chip.sites(work)
    idle, control = space.known
    whole = space.exposure.sum() + idle.exposure + control.exposure
    assert whole == pytest.approx(space.rate_fit)
    assert control.exposure / whole == pytest.approx(0.1701, abs=1e-4)
    assert space.tried + sum(map(space.known_share, space.known)) == pytest.approx(1)
    faults = rh.Importance().draw(space, 600, np.random.default_rng(3))
    corruption = chip.corrupt(work, space, faults)
    assert set(corruption.operand) == {"input", "weight", "psum"}
    run = rh.resume(rh.record(work), corruption)
    assert 0.02 < (run.logits != run.golden).any(1).double().mean() < 0.98


def test_arrays_have_names() -> None:
    assert chip_named("published") == PUBLISHED()
    assert chip_named("published:16x8:ws") == PUBLISHED(16, 8, "ws")
    assert chip_named("published:16x16").name == "published-16x16-os"
    with pytest.raises(ValueError, match="use at least 1 x 1, and os, ws or is"):
        chip_named("published:4x4:rs")
    for wrong in ({"control_accuracy": 2}, {"control_share": 1}, {"mix": (0.0, 1, 0, 0)}):
        with pytest.raises(ValueError, match="give shares"):
            PUBLISHED(**wrong)
    with pytest.raises(ValueError, match="use 0 or more"):
        PUBLISHED(rate_fit_per_mbit=-1.0)
