"""Control of an array: what campaigns take its flips to do, against the array."""

import json
from dataclasses import replace
from itertools import product
from operator import mul

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from oracles.sequencer import Machine
from radhard.accel.edgewise import run_tiles
from radhard.accel.matrices import streams, wrapped
from radhard.accel.sequencer import Sequencer, Strikes
from radhard.accel.systolic import Systolic
from radhard.rtl.bench import Bench, Sequenced, believed, sequenced_agreement
from radhard.rtl.compiled import lint, missing
from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Integers, Operands
from radhard.rtl.sequenced import emit_control, sequencer_of
from radhard.testing import check_chip

FLOWS = ("ws", "os", "is")


def several(dataflow: str) -> tuple[str, ...]:
    """Kinds of registers of which each row or column has its own."""
    return ("valid", "read", "fetch") if dataflow == "os" else ("valid", "read", "write")


def edges_of(array: Sequenced, operands: Operands, flips: Flips) -> Integers:
    """That the second tile takes under flips of control; as without one under others."""
    flow, data = array.design.dataflow, len(array.design.registers)
    found = np.full(len(flips), array.sequencer.edges)
    own = np.flatnonzero(flips.register >= data)
    part = flips[own]
    moving, held = streams(flow, operands.a[1], operands.w[1])
    before = streams(flow, operands.a[0], operands.w[0])[1]
    given = (np.broadcast_to(one, (len(own), *one.shape)) for one in (moving, held, before))
    strikes = Strikes.flips(part.register - data, part.col, part.bit, part.cycle)
    found[own] = array.sequencer.replay(*given, strikes).edges
    return found


def by_oracle(array: Sequenced, operands: Operands, flips: Flips) -> Integers:
    """The second tile's results; the third one's must be right again."""
    design = array.design
    widths = {**design.widths, "counter": array.bits}
    memories = []
    for a, w in zip(operands.a, operands.w, strict=True):
        moving, held = streams(design.dataflow, a, w)
        memories.append(([list(map(int, one)) for one in moving.T],
                         [list(map(int, one)) for one in held.T]))  # fmt: skip
    shape = streams(design.dataflow, operands.a[0], operands.w[0])
    tall = design.rows if design.dataflow == "os" else len(shape[0])

    def matrix(results: dict) -> np.ndarray:
        places = ([results.get((m, c), 0) for c in range(design.cols)] for m in range(tall))
        found = np.array(list(places))
        found = found[::-1] if design.dataflow == "os" else found
        return found.T if design.dataflow == "is" else found

    found, times = [], edges_of(array, operands, flips)
    for k in range(len(flips)):
        one = flips[k : k + 1]
        register = array.registers[int(one.register[0])]
        place = (int(one.row[0]), int(one.col[0]))
        if one.register[0] >= len(design.registers):
            place = place[1:] if register.name in several(design.dataflow) else ()
        machine = Machine(design.rows, design.cols, design.dataflow, widths)
        machine.tile(*memories[0])
        strike = int(one.cycle[0]), register.name, place, int(one.bit[0])
        results, time = machine.tile(*memories[1], strike)
        found.append(matrix(results))
        assert time == times[k], list(one.lines(array))
        last, edges = machine.tile(*memories[2])
        assert (matrix(last) == wrapped(operands.a[2] @ operands.w[2], widths["p"])).all()
        assert edges == array.sequencer.edges, list(one.lines(array))
    return np.array(found)


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize(("size", "free"), [((2, 2), 3), ((3, 1), 1), ((1, 2), 2)])
def test_flips_of_every_register(dataflow: str, size: tuple[int, int], free: int) -> None:
    array = Sequenced.of(ArrayDesign(*size, 3, 4, 10, dataflow), free)
    operands = Operands.drawn(array.design, 3, free, 1)
    edges = array.sequencer.edges
    data = sum(one.bits for one in array.design.registers)
    places = np.arange(array.state_bits * edges).reshape(edges, array.state_bits)
    control = places[:, data:].ravel()
    some = np.random.default_rng(0).choice(places[:, :data].ravel(), 200)
    flips = Flips.at(array, np.concatenate([control, some]))
    found = sequenced_agreement(array, operands, flips, lambda o, f: by_oracle(array, o, f))
    assert found.disagreements == ()
    assert found.faults == len(flips)
    assert 0.2 < found.changing / found.faults < 0.8
    assert {bank.name for bank in array.sequencer.banks} <= found.registers.keys()


@pytest.mark.parametrize("dataflow", FLOWS)
def test_long_tiles(dataflow: str) -> None:
    array = Sequenced.of(ArrayDesign(2, 2, 3, 4, 20, dataflow), 600)
    operands = Operands.drawn(array.design, 3, 600, 2)
    flips = Flips.drawn(array, array.sequencer.edges, 400, 1)
    control = np.flatnonzero(flips.register >= len(array.design.registers))
    found = sequenced_agreement(
        array, operands, flips[control[:12]], lambda o, f: by_oracle(array, o, f)
    )
    assert found.disagreements == ()


@pytest.mark.parametrize("dataflow", FLOWS)
def test_wide_arrays_multiply(dataflow: str) -> None:
    """What moves through them is still of use when lines that are written are moved."""
    design = ArrayDesign(3, 700, 4, dataflow=dataflow)
    plan, operands = sequencer_of(design, 5), Operands.drawn(design, 2, 5, 0)
    (moving, held), (_, before) = (streams(dataflow, operands.a[k], operands.w[k]) for k in (1, 0))
    none = Strikes.flips(*np.zeros((4, 1), np.int64)).harmless
    found = plan.replay(moving[None], held[None], before[None], none)
    results = found.results[0].T if dataflow == "is" else found.results[0]
    assert (results == operands.a[1] @ operands.w[1]).all()
    assert found.edges == plan.edges


@pytest.mark.parametrize("dataflow", FLOWS)
def test_what_control_does_depends_on_no_operand(dataflow: str) -> None:
    array = Sequenced.of(ArrayDesign(2, 2, 8, dataflow=dataflow), 3)
    every = Flips.every(array, array.sequencer.edges)
    control = every[np.flatnonzero(every.register >= len(array.design.registers))]
    changed = []
    for seed in range(2):
        operands = Operands.drawn(array.design, 2, 3, seed)
        golden = operands.a[1] @ operands.w[1]
        changed.append((believed(array, operands, control) != golden).any((1, 2)))
    assert (changed[0] == changed[1]).mean() > 0.98  # but for products that are zero


def test_counters_that_hold_more_do_the_same_without_a_fault() -> None:
    for bits, flow in product((4, 6), ("ws", "os")):
        plan = Sequencer(2, 3, flow, 5, bits)
        assert plan.edges == Sequencer(2, 3, flow, 5, 4).edges
        assert plan.state_bits >= Sequencer(2, 3, flow, 5, 4).state_bits


def test_a_planted_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flips that strike an edge later."""
    array = Sequenced.of(ArrayDesign(2, 2, 4), 3)
    operands = Operands.drawn(array.design, 3, 3, 1)

    def late(shape, banks, tiles, strikes, elements, into):
        run_tiles(shape, banks, tiles, (*strikes[:4], strikes[4] + 1), elements, into)

    flips = Flips.drawn(array, array.sequencer.edges, 200, 0)
    flips = flips[np.flatnonzero(flips.register >= len(array.design.registers))]
    right = by_oracle(array, operands, flips)
    monkeypatch.setattr("radhard.accel.sequencer.run_tiles", late)
    assert sequenced_agreement(array, operands, flips, lambda o, f: right).disagreements


class Tiny(nn.Module):
    """A strided convolution and a linear layer, of several tiles each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.last = nn.Linear(16, 5)

    def forward(self, x):
        return self.last(torch.relu(self.conv(x)).flatten(1))


def tiny(format: rh.NumberFormat = rh.INT8) -> rh.Workload:
    torch.manual_seed(4)
    images = torch.randn(5, 2, 4, 4)
    return rh.capture(Tiny().eval(), images, torch.arange(5), format, "tiny")


def of_control(campaign: rh.Campaign, layer: str, count: int) -> rh.Faults:
    """Faults in control of a layer."""
    space = campaign.space()
    own = np.array([s.storage == "control" and s.layer == layer for s in space.strata])
    drawn = rh.Uniform().draw(space.only(own), count, np.random.default_rng(1))
    return replace(drawn, stratum=np.flatnonzero(own)[drawn.stratum])


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("multiplier", [None, "mul8s_1L2H@v1"])
def test_outcomes_of_a_network_are_those_of_its_layers_on_the_array(
    dataflow: str, multiplier: str | None
) -> None:
    """The linear layer ends the network: its logits are sums of tiles, one after the other."""
    work, chip, count = tiny(), Systolic(3, 2, dataflow), 40 if multiplier else 150
    multiply = mul
    if multiplier:
        circuit = rh.multiplier_named(multiplier)
        work, multiply = work.with_(multiplier=circuit), lambda a, w: int(circuit.product(a, w))
    campaign = rh.Campaign(work, chip, sampler=rh.Uniform(), seed=3)
    space, golden, faults = campaign.space(), campaign.golden(), of_control(campaign, "last", count)
    run, _ = campaign.strike.runs(space, golden, faults)
    number = [layer.name for layer in work.layers].index("last")
    layer, how, given = work.layers[number], work.arithmetic[number], work.parameters[number]
    [(trace, _, _)] = list(golden.parts(chip.corrupt(work, space, faults)))
    w = layer.weight_rows(given.weight).numpy().astype(np.int64).T
    bias = how.bias(given).reshape(-1).numpy().astype(np.int64)
    plan = chip.sequencer(work, number)
    changed = 0
    for k in range(len(faults)):
        x = trace.golden(layer.operands[0], torch.tensor([int(faults.image[k])]))
        a = how.operand(x[0]).numpy().astype(np.int64)[None]
        stratum = space.strata[faults.stratum[k]]
        kind = stratum.component.removeprefix("control-")
        lines = next(bank.count for bank in plan.banks if bank.name == kind)
        time, place = divmod(int(faults.index[k]), lines)
        tile, edge = divmod(time, plan.edges)
        strike = edge, kind, (place,) if kind in several(dataflow) else (), stratum.bit
        clean = [multiply(int(a[0, q]), int(w[q, m])) for m in range(w.shape[1])
                 for q in range(len(w))]  # fmt: skip
        sums = np.reshape(clean, (w.shape[1], -1)).sum(1) + bias
        if multiplier:  # which makes something of zeros: only what a fault changes counts
            sums = sums - _tiled(a, w, chip, plan, tile, None, multiply)
        sums = (sums if multiplier else bias) + _tiled(a, w, chip, plan, tile, strike, multiply)
        width = how.latch.width
        scale = given.scale.reshape(-1)
        own_given = type(given)(given.weight, None, scale)
        logits = how.finished(torch.from_numpy(wrapped(sums, width)).to(torch.float64), own_given)
        assert torch.equal(logits[0].to(run.logits.dtype), run.logits[k])
        changed += not torch.equal(run.logits[k], run.golden[k])
    assert 0.13 < changed / count < 0.9


def _tiled(a, w, chip, plan, struck, strike, multiply) -> np.ndarray:
    """A [1, K] by W [K, N], tile after tile on one machine."""
    rows, cols, flow = chip.rows, chip.cols, chip.dataflow
    widths = {"a": 8, "w": 8, "p": 32, "counter": plan.bits}
    machine = Machine(rows, cols, flow, widths, multiply=multiply)
    q, n = w.shape
    up, across = {"ws": (q, n), "is": (q, 1), "os": (1, n)}[flow]
    total = np.zeros((1, n), np.int64)
    tiles = product(range(-(-up // rows)), range(-(-across // cols)))
    for number, (u, v) in enumerate(tiles):
        terms = slice(None) if flow == "os" else slice(u * rows, (u + 1) * rows)
        channels = slice(None) if flow == "is" else slice(v * cols, (v + 1) * cols)
        moving, held = streams(flow, a[:, terms], w[terms, channels])
        free = {"ws": 1, "is": n, "os": q}[flow]
        left = np.zeros((rows, free), np.int64)
        left[: moving.shape[1], : len(moving)] = moving.T
        top = np.zeros((cols, free if flow == "os" else rows), np.int64)
        top[: held.shape[1], : len(held)] = held.T
        given = [list(map(int, one)) for one in left], [list(map(int, one)) for one in top]
        results, _ = machine.tile(*given, strike if number == struck else None)
        here = total[:, channels]
        for m in range(here.shape[1]):
            place = {"ws": (0, m), "is": (m, 0), "os": (rows - 1, m)}[flow]  # os: row 0 is last
            here[0, m] += results.get(place, 0)
    return total


@pytest.mark.parametrize("dataflow", FLOWS)
def test_all_arithmetic_agrees_where_numbers_are_whole(dataflow: str) -> None:
    """What floats, fixed point, and fixed point that saturates step by step hold exactly."""
    torch.manual_seed(0)
    model = Tiny().eval()
    with torch.no_grad():
        for part in model.parameters():
            part.copy_(torch.randint(-3, 4, part.shape))
    images = torch.randint(-2, 3, (3, 2, 4, 4)).float()
    fixed = rh.format_named("32b_rb10")
    formats = rh.FLOAT32, rh.FLOAT64, fixed, replace(rh.Formats.of(fixed), rounding="each-step")
    found = []
    for format in formats:
        work = rh.capture(model, images, torch.arange(3), format, "whole")
        campaign = rh.Campaign(work, Systolic(3, 2, dataflow), sampler=rh.Uniform())
        parts = [of_control(campaign, layer, 150) for layer in ("conv", "last")]
        space, golden = campaign.space(), campaign.golden()
        runs = [campaign.strike.runs(space, golden, part)[0] for part in parts]
        found.append(torch.cat([run.logits for run in runs]).double())
        assert 50 < sum(int((run.logits != run.golden).any(1).sum()) for run in runs) < 290
    for other in found[1:]:
        assert torch.equal(other, found[0])


def test_bits_of_control_that_are_stuck_and_values_that_are_random() -> None:
    campaign = rh.Campaign(tiny(), Systolic(3, 2, "ws"), sampler=rh.Uniform())
    faults = of_control(campaign, "last", 200)
    ran, golden = {}, campaign.golden()
    for value in (0, 1):
        stuck = campaign.with_(model=rh.StuckAt(value))
        bit = np.array([s.bit for s in stuck.space().strata])[faults.stratum]
        mask = np.int64(1) << bit
        own = replace(faults, keep=~mask, flip=mask * value)
        ran[value] = stuck.strike.runs(stuck.space(), golden, own)[0].logits
    flipped = campaign.strike.runs(campaign.space(), golden, faults)[0]
    same = [(one == flipped.golden).all(1) for one in ran.values()]
    as_flips = [(one == flipped.logits).all(1) for one in ran.values()]
    assert bool(((same[0] & as_flips[1]) | (same[1] & as_flips[0])).all())
    assert int((same[0] ^ same[1]).sum()) > 20
    random = campaign.with_(model=rh.RandomValue()).run(until=100)
    assert random.n == 100


def test_shares_of_control_are_its_bits() -> None:
    work, chip = tiny(), Systolic(4, 4, "ws")
    space, bits = chip.sites(work), chip.storage_bits(work)
    control = sum(s.exposure for s in space.strata if s.storage == "control")
    of_control = sum(count for name, count in bits.items() if name.startswith("control-"))
    assert control / space.rate_fit == pytest.approx(of_control / sum(bits.values()))
    total = sum(s.exposure for s in space.strata) + sum(k.exposure for k in space.known)
    assert total == pytest.approx(space.rate_fit)


def test_campaigns_on_it_are_asked_again_and_cover() -> None:
    work = tiny()
    check_chip(Systolic(3, 2, "os"), work)
    campaign = rh.Campaign(work, Systolic(2, 2, "ws"), seed=1)
    scored, plain = campaign.run(until=600), campaign.with_(sampler=rh.Uniform()).run(until=4000)
    assert scored["sdc1"].low <= plain["sdc1"].high
    assert plain["sdc1"].low <= scored["sdc1"].high
    assert rh.chips.chip_named("systolic:2x2:ws") == Systolic(2, 2, "ws")
    assert rh.chips.chip_named("systolic") == Systolic() == Systolic(32, 32, "os")


def test_elements_of_which_no_single_product_is_known() -> None:
    array = rh.Array(2, 2, "ws", (rh.Defect(0, 0, "product", 1, 3),))
    with pytest.raises(ValueError, match="clocked"):
        Systolic(2, 2, "ws").sites(tiny().with_(array=array))


def test_faults_of_control_are_no_values_to_follow() -> None:
    with pytest.raises(ValueError, match="clocked"):
        rh.follow(rh.Campaign(tiny(), Systolic(2, 2)), 10)


@pytest.mark.skipif(bool(missing()), reason=missing() or "there")
@pytest.mark.parametrize("dataflow", FLOWS)
def test_flips_in_the_compiled_text(dataflow: str, tmp_path) -> None:
    array = Sequenced.of(ArrayDesign(3, 2, 4, 4, 12, dataflow, "psum"), 5)
    text = emit(array.design) + emit_control(array.design, array.bits)
    assert lint(text, tmp_path, "sequenced") == []
    operands = Operands.drawn(array.design, 2, 5, 0)
    flips = Flips.every(array, array.sequencer.edges)
    found = sequenced_agreement(array, operands, flips, Bench(array, tmp_path).strike)
    assert found.disagreements == ()


@pytest.mark.skipif(bool(missing()), reason=missing() or "there")
def test_the_command(at_the_command_line) -> None:
    given = ("rtl", "--rows", "2", "--cols", "2", "--size", "3", "--control", "--json")
    code, out, _ = at_the_command_line("validate", *given)
    assert code == 0
    found = json.loads(out)
    assert found["disagreements"] == 0
    assert found["registers"]["step"] > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("rtl --permanent single --control", "--permanent and --control can't be together"),
        ("rtl --netlist --control", "ask for one of them"),
        ("rtl --permanent single --netlist", "ask for one of them"),
        ("rtl --permanent single --faults 10", "use --maps"),
        ("rtl --netlist --engine twin", "only its gates"),
        ("rtl --control --engine twin", "only its text"),
        ("rtl --control --multiplier mul8s_1L2H@v1", "exact products"),
        ("rtl --permanent single --protect psum", "use no protection"),
    ],
)
def test_questions_that_exclude_each_other(at_the_command_line, asked: str, said: str) -> None:
    code, out, told = at_the_command_line("validate", *asked.split())
    assert (code, out) == (2, "")
    assert said in told


@pytest.mark.parametrize(
    "line", ["p[0,0].1@99999999999999999999", "p[0,0].1@\u0661", "p[0,0]@1", "q[0,0].1@1"]
)
def test_lines_that_are_no_flips(line: str) -> None:
    with pytest.raises(ValueError, match="is no flip"):
        Flips.read(ArrayDesign(2, 2), [line])
