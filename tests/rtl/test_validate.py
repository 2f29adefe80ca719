"""What campaigns take flips of an array's registers to do, against the array."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.accel.clocked import REGISTERS, ClockedArray
from radhard.faults.fault import Faults
from radhard.rtl.compiled import missing
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Operands, schedule
from radhard.rtl.validate import validate
from radhard.testing import check_chip

FLOWS = ("ws", "os", "is")
PROTECTIONS = ("none", "clamp", "zero", "mean", "msb", "psum", "voted", "tmr")


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("protect", PROTECTIONS)
def test_every_flip_of_two_tiles(dataflow: str, protect: str) -> None:
    for size in ((2, 3), (3, 2), (1, 1)):
        design = ArrayDesign(*size, 4, 3, 8, dataflow, protect)
        operands = Operands.drawn(design, tiles=2, free=5, seed=1)
        if design.checks:
            operands = Operands(operands.a, operands.w, (-20, 15, 3)[: len(design.bounds)])
        flips = Flips.every(design, schedule(design, operands).cycles)
        found = validate(design, operands, flips)
        assert found.disagreements == ()
        assert found.faults == len(flips)
        assert sum(found.registers.values()) == len(flips)
        assert (found.changing > 0) == (protect not in ("voted", "tmr"))


def test_flips_under_an_approximate_multiplier() -> None:
    design = ArrayDesign(2, 2, multiplier="mul8s_1KVL@v1", dataflow="os")
    operands = Operands.drawn(design, tiles=1, free=4, seed=3)
    flips = Flips.drawn(design, schedule(design, operands).cycles, 2000, 3)
    assert validate(design, operands, flips).disagreements == ()


def published(m: int, k: int, c: int) -> Operands:
    """The tile of the published counts."""
    rows, terms, columns = (np.arange(length) for length in (m, k, c))
    a = (37 * rows[:, None] + 101 * terms + 11) % 256 - 128
    w = (59 * terms[:, None] + 83 * columns + 7) % 256 - 128
    return Operands(a[None], w[None])


@pytest.mark.parametrize(
    ("dataflow", "failing"),
    [
        ("ws", {"a": 28_672, "w": 38_144, "p": 98_304}),
        ("is", {"a": 38_144, "w": 28_672, "p": 98_304}),
        ("os", {"a": 28_672, "w": 28_672, "p": 126_720}),
    ],
)
def test_published_counts(dataflow: str, failing: dict[str, int]) -> None:
    """Of all flips of an 8 x 8 tile, those that change a result (64 of the free axis, 24 bits)."""
    design = ArrayDesign(dataflow=dataflow)
    sizes = {"ws": (64, 8, 8), "is": (8, 8, 64), "os": (8, 64, 8)}[dataflow]
    operands = published(*sizes)
    every = Flips.every(design, schedule(design, operands).cycles)

    def nothing(design: ArrayDesign, operands: Operands, flips: Flips) -> np.ndarray:
        return np.repeat((operands.a @ operands.w)[None], len(flips), 0)

    for number, register in enumerate(design.registers):
        own = every[np.flatnonzero(every.register == number)]
        found = validate(design, operands, own, nothing)
        assert len(found.disagreements) == failing[register.name]


@pytest.mark.parametrize("planted", ["readers", "loading", "sign"])
def test_a_planted_error_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One term wrong, as its own register read, one edge off, or another bit of a sum."""
    true = ClockedArray.reads

    def wrong(self, register, layer, index):
        found = true(self, register, layer, index)
        if planted == "readers" and register == "input-register":
            found.channels[:, 0] -= found.channels[:, 0] > 0
        if planted == "loading" and register == "weight-register":
            found.positions[:, 0] += found.positions[:, 0] < found.positions[:, 1]
        if planted == "sign" and register == "psum-register":
            found.terms[:, 1] -= found.terms[:, 1] > 1
        return found

    monkeypatch.setattr(ClockedArray, "reads", wrong)
    design = ArrayDesign(4, 4)
    operands = Operands.drawn(design, tiles=2, free=8, seed=0)
    flips = Flips.drawn(design, schedule(design, operands).cycles, 1000, 0)
    found = validate(design, operands, flips)
    assert found.disagreements
    again = Flips.read(design, found.disagreements)
    assert len(validate(design, operands, again).disagreements) == len(again)


@pytest.mark.parametrize("dataflow", FLOWS)
def test_the_chip_keeps_to_what_chips_do(dataflow: str) -> None:
    check_chip(ClockedArray(3, 4, dataflow))
    assert rh.chips.chip_named(f"clocked:3x4:{dataflow}") == ClockedArray(3, 4, dataflow)


@pytest.mark.parametrize("size", [(0, 2, "ws"), (2, 2, "up"), (2, 2, "ws", -1.0)])
def test_arrays_that_cannot_be(size: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="can't be"):
        ClockedArray(*size)  # type: ignore[arg-type]


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("padding", [0, 1])
def test_faults_of_a_layer_are_flips_of_its_tiles(dataflow: str, padding: int) -> None:
    """A grouped convolution in several tiles: the engine's logits against the array's own."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(4, 6, 2, 2, padding, groups=2), nn.Flatten())
    work = rh.capture(model, torch.randn(1, 4, 6, 6), torch.tensor([0]), rh.INT8)
    work = work.with_(format=rh.Formats(*_of(work), sum_bits=20))
    chip = ClockedArray(3, 2, dataflow)
    space, random = chip.sites(work), np.random.default_rng(1)
    stratum = random.integers(0, len(space.strata), 1200)
    index = random.integers(0, space.sizes[stratum])
    bit, n = space.bits[0][stratum], 1200
    none = np.zeros(n, np.int64)
    keep = np.full(n, -1)
    faults = Faults(np.arange(n), stratum, index, none, keep, 1 << bit, np.ones(n))
    run = rh.resume(rh.record(work), chip.corrupt(work, space, faults))
    array = Layered(work, chip)
    for k in range(n):
        name = space.strata[stratum[k]].component
        expected = array.logits(name, int(index[k]), int(bit[k]))
        assert (run.logits[k].numpy() == expected).all(), (dataflow, name, index[k], k)
    changed = (run.logits != run.golden).any(1)
    assert 0.1 < changed.double().mean() < 0.95


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("register", list(REGISTERS)[:3])
def test_occupancy_is_that_of_the_registers(
    dataflow: str, register: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variable by variable: when and where it lies, by operands of which one alone is not 0."""
    there = list[np.ndarray]()
    true = ClockedArray._read

    def noted(self, operand, shape, layer, held):
        there.append(held.there)
        return true(self, operand, shape, layer, held)

    monkeypatch.setattr(ClockedArray, "_read", noted)
    design = ArrayDesign(3, 2, 4, 4, 12, dataflow)
    p, q, m = {"ws": (5, 3, 2), "os": (3, 5, 2), "is": (2, 3, 5)}[dataflow]
    layer = rh.capture(
        nn.Linear(q, m, bias=False), torch.zeros(1, p, q), torch.zeros(1, p, dtype=torch.int64)
    ).layers[0]
    chip = ClockedArray(3, 2, dataflow)
    name, operand = {"i": "a", "w": "w", "p": "p"}[register[0]], REGISTERS[register]
    shape = chip.shape(layer)
    count = {"input": p * q, "weight": q * m, "psum": p * m}[operand]
    size = shape.cycles * 6 if operand != "psum" else chip._size(shape, operand)
    index = np.arange(size)
    held, place = chip.reads(register, layer, index), chip.places(register, layer, index)
    total = 0
    for variable in range(count):
        a, w = np.zeros((p, q), np.int64), np.zeros((q, m), np.int64)
        if operand == "input":
            a.flat[variable] = 1
        elif operand == "weight":
            w.flat[variable] = 1
        else:
            a[variable // m], w[:, variable % m] = 1, 1
        where = _seen(design, Operands(a[None], w[None]), name)
        if dataflow == "os" and operand != "psum":  # what still moves while sums leave is not read
            where = {one for one in where if one[0] <= shape.edges - 3}
        own = {
            "input": held.element == variable,
            "weight": held.element == variable % m * q + variable // m,
            "psum": (held.channels[:, 0] == variable % m)
            & (held.positions[:, 0] == variable // m)
            & (held.terms[:, 1] > held.terms[:, 0]),
        }[operand]
        if operand != "psum":
            own &= there[0]
        expected = {tuple(int(part[k]) for part in place[3:]) for k in np.flatnonzero(own)}
        assert where == expected, variable
        total += len(where)
    assert total > count


def _seen(design: ArrayDesign, operands: Operands, name: str) -> set[tuple[int, int, int]]:
    """Edges and elements at which a register is not 0."""
    twin, plan = Twin(design, operands), schedule(design, operands)
    state, found = twin.start(1), set()
    for edge in range(plan.cycles):
        state = twin.step(state, plan, edge)
        found |= {(edge, int(r), int(c)) for r, c in np.argwhere(state[name][0])}
    return found


def _of(work):
    formats = work.formats
    return formats.weight, formats.activation, formats.accumulator


class Layered:
    """The only layer of a network on the twin, tile by tile, one of them struck."""

    def __init__(self, work, chip: ClockedArray) -> None:
        self.work, self.chip, self.layer = work, chip, work.layers[0]
        self.shape, self.how = chip.shape(self.layer), work.arithmetic[0]
        widths = self.how.input.width, self.how.weight.width, self.how.latch.width
        self.design = ArrayDesign(chip.rows, chip.cols, *widths, chip.dataflow)
        groups, p, q, m = (
            self.shape.groups, self.shape.positions, self.shape.terms, self.shape.channels,
        )  # fmt: skip
        x = self.how.operand(work.images).flatten().numpy().astype(np.int64)
        weight = self.layer.weight_rows(work.parameters[0].weight).numpy().astype(np.int64)
        channel, position, term = np.indices((self.layer.channels, p, q))
        taps = self.layer.tap(*map(torch.from_numpy, (channel, position, term))).numpy()
        x = np.append(x, 0)  # what padding reads
        self.a = np.stack([x[taps[g * m]] for g in range(groups)])
        self.w = np.stack([weight[g * m : (g + 1) * m].T for g in range(groups)])

    def logits(self, name: str, index: int, bit: int) -> np.ndarray:
        """Under one flip."""
        shape, flow = self.shape, self.chip.dataflow
        group, tile, flip = self._place(name, index)
        up, across = tile
        sums = np.stack([a @ w for a, w in zip(self.a, self.w, strict=True)])
        rows, cols = slice(up * 3, up * 3 + 3), slice(across * 2, across * 2 + 2)
        a, w = self.a[group], self.w[group]
        if flow == "ws":
            part, where = (a[:, rows], w[rows, cols]), (slice(None), cols)
        elif flow == "is":
            part, where = (a[cols, rows], w[rows]), (cols, slice(None))
        else:
            part, where = (a[rows], w[:, cols]), (rows, cols)
        fixed = {"ws": ((None, 3), (3, 2)), "is": ((2, 3), (3, None)), "os": ((3, None), (None, 2))}
        left, top = (_grown(x, size) for x, size in zip(part, fixed[flow], strict=True))
        register = [one.name for one in self.design.registers].index(name[0].replace("i", "a"))
        row, col, edge = flip
        one = Flips(*(np.array([v]) for v in (register, row, col, bit, edge)))
        found = Twin(self.design, Operands(left[None], top[None])).run(one)[0, 0]
        target = sums[group][where]
        plain = (left @ top)[: target.shape[0], : target.shape[1]]
        sums[group][where] += found[: target.shape[0], : target.shape[1]] - plain
        whole = torch.from_numpy(sums.transpose(0, 2, 1).reshape(1, -1, shape.positions)).double()
        given, half = self.work.parameters[0], 1 << (self.design.widths["p"] - 1)
        whole += self.how.bias(given).reshape(1, -1, 1)
        held = (whole + half) % (2 * half) - half  # what adds up tiles is as wide, and wraps round
        finished = self.how.finished(held, _flat(given))
        return finished.flatten().float().numpy()

    def _place(self, name: str, index: int) -> tuple[int, tuple[int, int], tuple[int, int, int]]:
        """Group, tile, and the element and edge of a site."""
        shape = self.shape
        if REGISTERS[name] != "psum":
            sizes = (shape.groups, shape.up, shape.across, shape.edges, shape.rows, shape.cols)
            group, up, across, edge, row, col = (int(v) for v in np.unravel_index(index, sizes))
            return group, (up, across), (row, col, edge)
        if self.chip.dataflow == "os":
            lengths = shape.edges - np.arange(shape.positions) % shape.rows
            channel, within = divmod(index, int(lengths.sum()))
            position = int(np.searchsorted(np.cumsum(lengths), within, side="right"))
            edge = within - int(lengths[:position].sum())
            late = max(0, edge - (shape.edges - shape.rows))
            group, channel = divmod(channel, shape.channels)
            element = position % shape.rows + late, channel % shape.cols, edge
            return group, (position // shape.rows, channel // shape.cols), element
        sizes = (shape.groups, shape.up, shape.rows, shape.channels, shape.positions)
        group, up, row, channel, position = (int(v) for v in np.unravel_index(index, sizes))
        own, step = (channel, position) if self.chip.dataflow == "ws" else (position, channel)
        across, col = divmod(own, shape.cols)
        return group, (up, across), (row, col, step + shape.rows + row + col)


def _grown(matrix: np.ndarray, size: tuple[int | None, int | None]) -> np.ndarray:
    """With zeros up to the size of a tile."""
    sizes = [
        length if want is None else want for length, want in zip(matrix.shape, size, strict=True)
    ]
    found = np.zeros(sizes, np.int64)
    found[: matrix.shape[0], : matrix.shape[1]] = matrix
    return found


def _flat(given):
    return type(given)(given.weight, None, given.scale.reshape(-1)[:1].reshape(()))


def test_the_verb(at_the_command_line) -> None:
    given = ("validate", "rtl", "--rows", "2", "--cols", "3", "--bits", "4", "--size", "4")
    code, out, _ = at_the_command_line(*given, "--engine", "twin", "--protect", "clamp", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["disagreements"] == 0
    assert found["faults"] == sum(found["registers"].values())
    assert found["engine"] == "twin"
    code, out, _ = at_the_command_line(*given, "--faults", "100", "--engine", "twin")
    assert "disagreements: 0" in out
    for flags in (("--faults", "none"), ("--faults", "0"), ("--rows", "0")):
        code, _, said = at_the_command_line(*given, *flags)
        assert code == 2
        assert "can't be" in said


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
def test_the_verb_by_verilator(at_the_command_line, tmp_path: Path) -> None:
    given = ("validate", "rtl", "--dataflow", "os", "--protect", "psum", "--faults", "3000",
             "--engine", "verilator", "--out", str(tmp_path))  # fmt: skip
    code, out, _ = at_the_command_line(*given, "--json")
    assert code == 0
    assert json.loads(out)["disagreements"] == 0


def differing(design: ArrayDesign, operands: Operands, flips: Flips) -> np.ndarray:
    """Hardware that has every seventh flip do nothing."""
    found = Twin(design, operands).run(flips)
    found[::7] = Twin(design, operands).run()
    return found


@pytest.mark.exhaustive
def test_flips_do_not_depend_on_processes() -> None:
    design = ArrayDesign(3, 3)
    operands = Operands.drawn(design, tiles=2, free=16, seed=1)
    flips = Flips.drawn(design, schedule(design, operands).cycles, 9000, 1)
    alone = validate(design, operands, flips, differing)
    assert validate(design, operands, flips, differing, workers=2) == alone
    assert len(alone.disagreements) > 100
