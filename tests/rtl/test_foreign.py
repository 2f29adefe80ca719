"""Arrays that radhard did not write: other conventions, other names, their own text."""

import json
from pathlib import Path

import numpy as np
import pytest

import radhard as rh
from radhard.accel.clocked import ClockedArray
from radhard.rtl.compiled import Compiled, missing
from radhard.rtl.cycle import signed
from radhard.rtl.design import ArrayDesign
from radhard.rtl.flip import Flips
from radhard.rtl.foreign import ForeignArray, read_foreign
from radhard.rtl.learn import learned
from radhard.rtl.schedule import Operands, schedule
from radhard.rtl.validate import validate
from radhard.testing import check_chip

#: Elements multiply what they hold, products have a register; an output can be muted.
TEXT = """
module cell_unit (
    input  logic clock, shift_in,
    input  logic signed [3:0] act_in, wgt_in,
    input  logic signed [11:0] sum_in,
    output logic signed [3:0] act, wgt,
    output logic signed [11:0] acc
);
    logic signed [7:0] times;
    always_ff @(posedge clock) begin
        if (shift_in) wgt <= wgt_in;
        else begin
            act <= act_in;
            times <= act * wgt;
            acc <= sum_in + 12'(times);
        end
    end
endmodule
module tpu (
    input  logic clock, shift_in, resetn,
    input  logic signed [3:0] acts [2],
    input  logic signed [3:0] wgts [3],
    output logic signed [11:0] sums [3]
);
    wire signed [3:0] a_wire [2][4];
    wire signed [3:0] w_wire [3][3];
    wire signed [11:0] p_wire [3][3];
    logic mute [3];
    for (genvar i = 0; i < 2; i++) begin : line
        assign a_wire[i][0] = acts[i];
        for (genvar j = 0; j < 3; j++) begin : unit
            cell_unit u (.clock, .shift_in, .act_in(a_wire[i][j]), .act(a_wire[i][j+1]),
                .wgt_in(w_wire[i][j]), .wgt(w_wire[i+1][j]),
                .sum_in(p_wire[i][j]), .acc(p_wire[i+1][j]));
        end
    end
    for (genvar j = 0; j < 3; j++) begin : ends
        assign w_wire[0][j] = wgts[j];
        assign p_wire[0][j] = 0;
        always_ff @(posedge clock) mute[j] <= 0;
        assign sums[j] = resetn && !mute[j] ? p_wire[2][j] : 0;
    end
endmodule
"""
MAPPING = """
module = "tpu"
sources = ["tpu.sv"]
rows = 2
cols = 3
bits = 4
psum_bits = 12
dataflow = "ws"
own = true
pipelined = true
unpacked = ["left", "top", "y"]
[ports]
clk = "clock"
load = "shift_in"
left = "acts"
top = "wgts"
y = "sums"
[constants]
resetn = 1
[registers]
a = "line[{row}].unit[{col}].u.act"
w = "line[{row}].unit[{col}].u.wgt"
p = "line[{row}].unit[{col}].u.acc"
product = "line[{row}].unit[{col}].u.times"
[others]
mute = { path = "mute[{col}]", width = 1, cols = 3 }
"""
PATHS = (("a", "a"), ("w", "w"), ("p", "p"), ("product", "product"))


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    (tmp_path / "tpu.sv").write_text(TEXT)
    path = tmp_path / "tpu.toml"
    path.write_text(MAPPING)
    return path


class Registers:
    """An array of either convention, one register after the other, with one flip."""

    def __init__(self, design: ForeignArray) -> None:
        self.design = design

    def __call__(self, design: ArrayDesign, operands: Operands, flips: Flips) -> np.ndarray:
        return np.stack([self.run(operands, flips[k : k + 1]) for k in range(len(flips))])

    def run(self, operands: Operands, flip: Flips) -> np.ndarray:
        design, plan = self.design, schedule(self.design, operands)
        widths = {**design.widths, "product": design.product_bits}
        shape, moves, stays = (design.rows, design.cols), design.left, design.top
        now = {name: np.zeros(shape, np.int64) for name in widths}
        found = np.zeros(int(np.prod(plan.shape)), np.int64)
        for edge in range(plan.cycles):
            new = {name: held.copy() for name, held in now.items()}
            for r, c in np.ndindex(shape):
                came = now[moves][r, c - 1] if c else plan.left[edge, r]
                if plan.controls[edge, design.controls.index("load")]:
                    new[stays][r, c] = now[stays][r - 1, c] if r else plan.top[edge, c]
                    continue
                new[moves][r, c] = came
                met = now[moves][r, c] if design.own else came
                new["product"][r, c] = met * now[stays][r, c]
                added = now["product"][r, c] if design.pipelined else new["product"][r, c]
                new["p"][r, c] = (now["p"][r - 1, c] if r else 0) + added
            now = new
            if flip.cycle[0] == edge:
                name = design.registers[flip.register[0]].name
                now[name][flip.row[0], flip.col[0]] ^= np.int64(1) << flip.bit[0]
            now = {
                name: signed(held & ((1 << widths[name]) - 1), widths[name])
                for name, held in now.items()
            }
            shown = np.flatnonzero(plan.shows[edge] >= 0)
            found[plan.shows[edge, shown]] = now["p"][-1, shown]
        return found.reshape(plan.shape)


@pytest.mark.parametrize("dataflow", ["ws", "is"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("pipelined", [False, True])
def test_conventions(dataflow: str, own: bool, pipelined: bool) -> None:
    size = (2, 3, 3, 0, 9, dataflow)
    paths = PATHS if pipelined else PATHS[:3]
    design = ForeignArray(*size, paths=paths, own=own, pipelined=pipelined)
    operands, hardware = Operands.drawn(design, tiles=2, free=3, seed=1), Registers(design)
    every = Flips.every(design, schedule(design, operands).cycles)
    found = validate(design, operands, every[:: 1 if own and pipelined else 5], hardware)
    assert found.disagreements == ()
    assert found.changing > found.faults / 5
    assert ("product" in found.registers) == pipelined


@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_a_chip_of_other_conventions(dataflow: str) -> None:
    chip = ClockedArray(3, 4, dataflow, own=True, pipelined=True)
    check_chip(chip)
    assert chip.name == f"clocked-3x4-{dataflow}-own-pipelined"
    with pytest.raises(ValueError, match="conventions"):
        ClockedArray(2, 2, "os", own=True)


def test_products_are_struck_in_networks() -> None:
    """The sign of a product is that of all bits above it in a sum."""
    import torch
    from torch import nn

    work = rh.capture(nn.Linear(3, 2), torch.randn(1, 3), torch.tensor([0]), rh.INT8)
    chip = ClockedArray(2, 2, pipelined=True)
    space = chip.sites(work)
    signs = [(s.component, s.bit) == ("product-register", 15) for s in space.strata]
    number = signs.index(True)
    assert max(s.bit for s in space.strata if s.component == "product-register") == 15
    n = int(space.sizes[number])
    none = np.zeros(n, np.int64)
    faults = rh.Faults(
        none, none + number, np.arange(n), none, none - 1, none + (1 << 15), np.ones(n)
    )
    run = rh.resume(rh.record(work), chip.corrupt(work, space, faults))
    how, given = work.arithmetic[0], work.parameters[0]
    x = how.operand(work.images)[0].numpy()
    w = given.weight.numpy()
    sums = w @ x + how.bias(given).numpy()
    for k in range(n):
        up, row, channel, _ = np.unravel_index(k, (2, 2, 2, 1))
        term = up * 2 + row
        made = w[channel, term] * x[term] if term < 3 else 0
        wrong = sums.copy()
        wrong[channel] += (1 << 16) / 2 * (1 if made < 0 else -1)
        expected = how.finished(torch.from_numpy(wrong), given)
        assert (run.logits[k] == expected.float()).all()


def test_what_a_file_says(mapping: Path) -> None:
    design = read_foreign(mapping)
    assert (design.rows, design.cols, design.own, design.late) == (2, 3, True, 2)
    assert [one.name for one in design.registers] == ["a", "w", "p", "product", "mute"]
    assert "tpu dut (" in design.wrapped()


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("rows = 2", "row = 2", "rows"),
        ("rows = 2", 'rows = "two"', "mapping file"),
        ('dataflow = "ws"', 'dataflow = "os"', "use ws or is"),
        ('load = "shift_in"', "", "ports.load is missing"),
        ('product = "line', 'producd = "line', "registers.producd"),
        ("pipelined = true", "pipelined = false", "registers"),
        ('sources = ["tpu.sv"]', 'sources = ["gone.sv"]', "gone.sv"),
        ('sources = ["tpu.sv"]', "sources = []", "list files"),
        ("resetn = 1", 'resetn = "up"', "constants.resetn"),
        ("width = 1", "width = 0", "others.mute.width"),
        ("bits = 4", "bits = 40", "2 to 16"),
        ('module = "tpu"', "module = tpu", "can't be read"),
        ('module = "tpu"', 'module = "tpu; x"', "no name of Verilog's"),
        ('load = "shift_in"', 'load = "a), .b(c"', "no name of Verilog's"),
        ('sources = ["tpu.sv"]', 'sources = ["../tpu.sv"]', "outside its folder"),
        ("pipelined = true", 'pipelined = "yes"', "give true or false"),
        ("own = true", "own = true\nlatency = -1", "use 0 to 64 edges"),
        ("rows = 2", "rows = true", "give an integer"),
        ('product = "line[{row}]', 'product = "line[{line}]', "is no path"),
        ('product = "line[{row}]', 'product = "line[{row.x}]', "is no path"),
        ('product = "line[{row}]', 'product = "a ^= 0; line[{row}]', "is no path"),
    ],
)
def test_files_that_cannot_be(mapping: Path, line: str, instead: str, said: str) -> None:
    assert line in MAPPING
    mapping.write_text(MAPPING.replace(line, instead, 1))
    with pytest.raises(ValueError, match=said):
        read_foreign(mapping)


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
def test_their_own_text(mapping: Path, tmp_path: Path, at_the_command_line) -> None:
    given = ("validate", "rtl", "--design", str(mapping), "--size", "4", "--json")
    code, out, _ = at_the_command_line(*given)
    found = json.loads(out)
    assert (code, found["disagreements"], found["multiplies"]) == (0, 0, True)
    assert found["faults"] == sum(found["registers"].values())
    table = found["learned"]["mute"]
    assert table["sites"] == 3 * found["edges"]
    assert table["masked"] + table["fixed"] + table["varying"] == pytest.approx(1)
    mapping.write_text(MAPPING.replace("own = true", "own = false"))  # not what the text does
    code, out, _ = at_the_command_line(*given)
    assert code == 1
    assert not json.loads(out)["multiplies"]


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
def test_results_that_leave_later(mapping: Path, at_the_command_line) -> None:
    """Two registers behind the columns: the closed forms hold, theirs are learned."""
    late = TEXT.replace(
        "        assign sums[j] = ",
        """        logic signed [11:0] one, two;
        always_ff @(posedge clock) begin one <= p_wire[2][j]; two <= one; end
        assign sums[j] = """,
    ).replace("? p_wire[2][j] : 0", "? two : 0")
    (mapping.parent / "tpu.sv").write_text(late)
    given = ("validate", "rtl", "--design", str(mapping), "--size", "4", "--json")
    code, out, _ = at_the_command_line(*given)
    assert (code, json.loads(out)["multiplies"]) == (1, False)
    others = 'one = { path = "ends[{col}].one", width = 12, cols = 3 }\n'
    mapping.write_text(MAPPING.replace("[ports]", "latency = 2\n[ports]") + others)
    code, out, _ = at_the_command_line(*given)
    found = json.loads(out)
    assert (code, found["disagreements"], found["multiplies"]) == (0, 0, True)
    assert 0 < found["learned"]["one"]["masked"] < 1


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
def test_what_is_learned_of_a_muted_output(mapping: Path, tmp_path: Path) -> None:
    design = read_foreign(mapping)
    compiled = Compiled(design, tmp_path / "made")
    found = learned(design, compiled.run, 4, seed=3)["mute"]
    shows = schedule(design, Operands.drawn(design, 1, 4, 0)).shows
    shown = int((shows >= 0).sum())
    assert found.sites == shows.size
    assert found.masked == pytest.approx(1 - shown / shows.size)  # what is not shown is not missed
    assert found.wrong == pytest.approx(shown / shows.size / 12, rel=0.1)
