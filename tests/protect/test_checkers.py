"""Checksums against loops that execute the checker's own reads, integer by integer."""

import os
from itertools import product

import numpy as np
import pytest

import radhard as rh
from oracles import loopnest
from oracles.bench import LAYERS, NUMBERS, Bench
from oracles.checker import Checker, extended
from oracles.grid import Grid
from oracles.loopnest import Events
from oracles.tiles import tiled
from radhard.accel.buffer import Buffer, Kept
from radhard.accel.chips import PUBLISHED, Chip, Component
from radhard.accel.dataflow import Held, RowStationary
from radhard.faults.fault import Faults
from radhard.protect.checksum import Checksum, Formed
from radhard.protect.protection import joined

FILTERS = 2
EXHAUSTIVE = "RADHARD_EXHAUSTIVE" in os.environ
FEW = ("strided", "int8"), ("grouped", "16b_rb10"), ("depthwise", "uint8")


def outcomes(bench: Bench, asked: Checksum, corruption) -> tuple[np.ndarray, np.ndarray]:
    """Alarms (n,) and outputs (n, elements) of the engine."""
    run = rh.resume(rh.record(bench.work, joined([asked], bench.work)), corruption)
    unit = float(bench.work.arithmetic[0].output.scales(run.logits))
    return run.detected.numpy(), np.rint(run.logits.double().numpy() / unit).astype(np.int64)


def compared(bench: Bench, checker: Checker, clean: np.ndarray, corruption) -> dict[str, int]:
    """Outcomes of all ways to check: disagreements, and of each way how many alarms there were."""
    written = Checker(bench.shape, bench.how, checker.out, clean, bench.w, bench.bias)
    rows, read, at_writing = (
        (part != 0).reshape(len(part), -1).any(1)
        for part in (checker.positions(), checker.channels(), written.channels())
    )
    plain = checker.outputs()
    ways = {
        "filter": (Checksum(), rows, plain),
        "input, read": (Checksum(False, True), read, plain),
        "input, written": (Checksum(False, True, inputs=Formed.WRITTEN), at_writing, plain),
        "both": (Checksum(True, True, correct=True), rows | read, checker.corrected()),
        "both, written": (
            Checksum(True, True, correct=True, inputs=Formed.WRITTEN),
            rows | at_writing,
            written.corrected(),
        ),
    }
    found = {"disagreements": 0}
    for name, (asked, alarm, out) in ways.items():
        detected, outputs = outcomes(bench, asked, corruption)
        wrong = (outputs != bench.elements(out)).any(1) | (detected != alarm)
        found["disagreements"] += int(wrong.sum())
        found[name] = int(alarm.sum())
        if asked.correct:
            found[f"{name}: restored"] = int((out != plain).reshape(len(out), -1).any(1).sum())
    return found


def on_eyeriss(bench: Bench, held: Held, count: int) -> dict[str, int]:
    size = () if held in list(Held)[:6] else (1, 1.0)
    part = Component("it", "sram" if size else "latch", held, 20.0, *size)
    chip = Chip("tiny", "", 4, 7, (part,), RowStationary(FILTERS))
    space = chip.sites(bench.work)
    faults = rh.Importance().draw(space, count, np.random.default_rng(count))
    strike = loopnest.sites(bench.shape, held, faults.index)
    strike["bit"] = np.array([s.bit for s in space.strata])[faults.stratum]
    values = bench.x[faults.image], extended(bench.shape, bench.w)
    s = bench.shape
    windows = np.zeros((2, count, s.groups, s.c, *s.kernel), np.int64)
    out, _ = loopnest.summed(s, bench.how, values, held, strike, FILTERS, windows[0])
    nothing = {**strike, "bit": strike["bit"][:0], **{k: v[:0] for k, v in strike.items()}}
    loopnest.summed(s, bench.how, values, held, nothing, FILTERS, windows[1])
    checker = Checker(s, bench.how, out, windows[0], bench.w, bench.bias)
    return compared(bench, checker, windows[1], chip.corrupt(bench.work, space, faults))


def on_array(
    bench: Bench, array: tuple[int, int], dataflow: str, operand: str, count: int
) -> dict[str, int]:
    """Registers of a systolic array, whose checker is one column, or step of the stream, more."""
    chip, s = PUBLISHED(*array, dataflow), bench.shape
    own, terms = s.m // s.groups, bench.w[0].size
    size = s.out[0] * s.out[1], terms, own
    more, grid = (*size[:2], own + 1), Grid(*array, dataflow)
    then = {(tile[0], step): cycle for cycle, tile, step in grid._cycles(more)}
    later = {cycle: then[tile[0], step] for cycle, tile, step in grid._cycles(size)}
    cells = grid.cells(size)[operand]
    when = np.array([(later[cycle], row, col) for _, (cycle, row, col) in cells])
    space, rng = chip.sites(bench.work), np.random.default_rng(count)
    strata = [k for k, x in enumerate(space.strata) if x.component == f"{operand}-register"]
    index = rng.integers(0, len(cells) * s.groups, count)
    bit, image = rng.integers(0, len(strata), count), rng.integers(0, len(bench.x), count)
    columns = np.arange(count), np.array(strata)[bit], index, image
    faults = Faults(*columns, np.full(count, -1), 1 << bit, np.ones(count))
    weights = bench.w.reshape(s.groups, own, terms)
    extended_, windows = (
        np.concatenate([weights, weights.sum(1, keepdims=True)], 1),
        bench.windows(),
    )
    out = np.einsum("bgpq,gmq->bgmp", windows, extended_)[image]
    met = windows.sum(2)[image]
    group, cell = np.divmod(index, len(cells))
    for g in range(s.groups):
        here = np.flatnonzero(group == g)
        if len(here):
            strike = Events(*when[cell[here]].T), bit[here]
            lanes = np.zeros((len(here), terms), np.int64)
            values = windows[image[here], g], extended_[g].T
            found, _ = grid.run(bench.how, values, operand, strike, lanes)
            out[here, g], met[here, g] = found.transpose(0, 2, 1), lanes
    return judged(bench, out, met, windows.sum(2)[image], chip.corrupt(bench.work, space, faults))


def judged(bench: Bench, out, met, clean, corruption) -> dict[str, int]:
    """Of sums (n, groups, channels and the checker's, positions), and of sums of windows."""
    s, n = bench.shape, len(out)
    every = np.concatenate([out[:, :, :-1].reshape(n, s.m, -1), out[:, :, -1]], 1)
    shape = (n, s.groups, s.c, *s.kernel)
    every = every.reshape(n, s.m + s.groups, *s.out)
    checker = Checker(s, bench.how, every, met.reshape(shape), bench.w, bench.bias)
    return compared(bench, checker, clean.reshape(shape), corruption)


@pytest.mark.parametrize("operand", ["input", "weight", "psum"])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_outcomes_on_an_array_are_those_of_one_more_channel(dataflow: str, operand: str) -> None:
    total: dict[str, int] = {}
    for name, numbers in FEW:
        for array in ((4, 4), (3, 5)) if EXHAUSTIVE else ((3, 5),):
            bench, count = Bench.of(name, numbers), 400 if EXHAUSTIVE else 40
            found = on_array(bench, array, dataflow, operand, count)
            assert not found["disagreements"], (name, numbers, array)
            total = {key: total.get(key, 0) + number for key, number in found.items()}
    assert total["filter"] > 0


@pytest.mark.parametrize("held", list(Kept))
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_outcomes_of_buffers_are_those_of_what_tiles_are_fetched(dataflow: str, held: Kept) -> None:
    total: dict[str, int] = {}
    for name, array in (("strided", (4, 3)), ("grouped", (3, 2)), ("vectors", (4, 4))):
        bench, count = Bench.of(name, "int8"), 250 if EXHAUSTIVE else 20
        chip = PUBLISHED(*array, dataflow, buffers=(Buffer("it", held, 1.0, 1.0),))
        space, rng = chip.sites(bench.work), np.random.default_rng(count)
        strata = [k for k, x in enumerate(space.strata) if x.component == "it"]
        index = rng.integers(0, space.strata[strata[0]].size, count)
        bit, image = rng.integers(0, len(strata), count), rng.integers(0, len(bench.x), count)
        columns = np.arange(count), np.array(strata)[bit], index, image
        faults = Faults(*columns, np.full(count, -1), 1 << bit, np.ones(count))
        sites = zip(image.tolist(), index.tolist(), bit.tolist(), strict=True)
        runs = [tiled(bench, array, dataflow, held, b, (i, k), True) for b, i, k in sites]
        out, met = (np.stack(part) for part in zip(*runs, strict=True))
        clean = bench.windows().sum(2)[image]
        found = judged(bench, out, met, clean, chip.corrupt(bench.work, space, faults))
        assert not found["disagreements"], name
        total = {key: total.get(key, 0) + number for key, number in found.items()}
    assert total["both, written"] > 0


@pytest.mark.parametrize("held", list(Held))
def test_outcomes_are_those_of_the_checkers_own_reads(held: Held) -> None:
    """Undetected, detected, restored, with every integer; 2,100 faults of each where asked for."""
    total: dict[str, int] = {}
    for name, numbers in product(LAYERS, NUMBERS) if EXHAUSTIVE else FEW:
        found = on_eyeriss(Bench.of(name, numbers), held, 100)
        assert not found["disagreements"], (name, numbers)
        total = {key: total.get(key, 0) + count for key, count in found.items()}
    assert total["input, written"] > 0
    assert total["both: restored"] > 0 or held.operand in {"input", "weight"}
    if held == Held.inputs_of_layer:
        assert total["filter"] < total["input, written"]
