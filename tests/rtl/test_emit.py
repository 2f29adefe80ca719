"""The emitted text: lint, and the same results and flips as the twin once it is compiled."""

from pathlib import Path

import numpy as np
import pytest

from radhard.arith.multipliers import multiplier_named
from radhard.rtl.compiled import Compiled, lint, missing
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Operands, schedule

CASES = [
    (dataflow, protect)
    for dataflow in ("ws", "os", "is")
    for protect in ("none", "clamp", "zero", "mean", "msb", "psum", "voted", "tmr")
]
compiles = pytest.mark.skipif(bool(missing()), reason=f"nothing to compile with: {missing()}")


@compiles
@pytest.mark.parametrize(("dataflow", "protect"), CASES)
def test_the_linter_finds_nothing(dataflow: str, protect: str, tmp_path: Path) -> None:
    for sizes in ((8, 8), (3, 2, 8, 5), (1, 1, 4, 4, 8), (4, 5, 2, 3, 48)):
        text = emit(ArrayDesign(*sizes, dataflow=dataflow, protect=protect))
        assert lint(text, tmp_path) == []
    assert lint(text.replace("sum = p +", "sum = p[0] +"), tmp_path)  # it does find things


@compiles
@pytest.mark.parametrize(("dataflow", "protect"), CASES)
def test_every_flip_of_two_tiles_is_that_of_the_twin(
    dataflow: str, protect: str, tmp_path: Path
) -> None:
    design = ArrayDesign(3, 2, 4, 3, 10, dataflow=dataflow, protect=protect)
    operands = Operands.drawn(design, tiles=2, free=4, seed=1)
    if design.checks:
        operands = Operands(operands.a, operands.w, (-30, 25, 7)[: len(design.bounds)])
    flips = Flips.every(design, schedule(design, operands).cycles)
    compiled, twin = Compiled(design, tmp_path), Twin(design, operands)
    assert (compiled.run(operands, None) == twin.run()).all()
    found, told = compiled.run(operands, flips), twin.run(flips)
    lines = list(flips.lines(design))
    differ = (found != told).reshape(len(flips), -1).any(1).nonzero()[0]
    assert [lines[k] for k in differ] == []
    assert (found != twin.run()).any() != (protect in ("voted", "tmr"))


NETLIST = """// two bits by two, one partial product left out
module rough(A, B, O);
  input [1:0] A; input [1:0] B; output [3:0] O;
  wire n1, n2;
  assign n1 = A[0] & B[1];
  assign n2 = A[1] & B[1];
  assign O = {n2, n2, n1, A[0] & B[0]};
endmodule
"""
CIRCUITS = ("mul8s_1KV8@v1", "mul8s_1KVL@v1", "mul8s_1L2H@v1", "mul8s_1KR3@v1",
            "mul8s_array:columns=7", "mul4s_array:a=1,b=2,columns=4")  # fmt: skip


@compiles
@pytest.mark.parametrize("name", CIRCUITS)
def test_all_products_of_a_multiplier(name: str, tmp_path: Path) -> None:
    circuit = multiplier_named(name)
    width = circuit.width
    design = ArrayDesign(1, 1, width, multiplier=name)
    half = 1 << (width - 1)
    every = np.arange(-half, half)
    a = np.broadcast_to(every[None, :, None], (2 * half, 2 * half, 1))
    operands = Operands(a.copy(), every[:, None, None])
    found = Compiled(design, tmp_path).run(operands, None)[0, :, :, 0]
    assert (found == circuit.product(every[None, :], every[:, None])).all()
    assert lint(emit(design), tmp_path) == []


@compiles
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_flips_in_an_array_of_a_netlist(dataflow: str, tmp_path: Path) -> None:
    (tmp_path / "rough.v").write_text(NETLIST)
    name = f"{tmp_path / 'rough.v'}@signed"
    design = ArrayDesign(2, 2, 2, dataflow=dataflow, protect="psum", multiplier=name)
    operands = Operands.drawn(design, tiles=2, free=3, seed=2)
    twin, compiled = Twin(design, operands), Compiled(design, tmp_path)
    flips = Flips.every(design, schedule(design, operands).cycles)
    assert (compiled.run(operands, flips) == twin.run(flips)).all()
    assert (twin.run()[0] != operands.a @ operands.w).any()


@pytest.mark.parametrize(
    ("name", "said"),
    [("mul8u_1JFF@v1", "unsigned"), ("mul8s_drum:bits=4", "can't be emitted"),
     ("mul8s_none@v1", "no multiplier")],
)  # fmt: skip
def test_multipliers_without_a_text(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ArrayDesign(2, 2, multiplier=name)
    with pytest.raises(ValueError, match="multiplies 8 bits"):
        ArrayDesign(2, 2, bits=12, multiplier="mul8s_1L2H@v1")


def test_the_plain_text_is_short() -> None:
    text = emit(ArrayDesign(4, 4))
    assert "always_ff @(posedge clk) if (load) w <= w_i;" in text
    assert "keep_hierarchy" not in text
    assert len(text.splitlines()) < 75
    assert max(map(len, text.splitlines())) <= 120


def test_copies_are_kept_apart() -> None:
    voted, tripled = (emit(ArrayDesign(4, 4, protect=name)) for name in ("voted", "tmr"))
    assert voted.count("(* keep_hierarchy *)\nmodule replica") == 1
    assert voted.count("mac mac") == 1
    assert "(* keep_hierarchy *)\nmodule mac" in tripled
    assert "{sum_z, sum_y, sum_x}" in tripled
