"""Multipliers by their gates: files as if from a checkout, and nodes that are stuck."""

from pathlib import Path

import numpy as np
import pytest

import radhard as rh
from oracles.gates import array_multiplier, product, verilog
from radhard.testing import check_multiplier

#: Truncated by one bit on port A, 3 x 3 bits in two's complement (Baugh and Wooley), with cells,
#: expressions in ports, a sum of concatenations and figures in comments.
SIGNED = """
/* A file of our own,
   laid out as those of EvoApproxLib. module none(); */
// MAE% = 3.08 %
// PDK45_PWR = 0.052 mW
// PDK45_AREA = 172.2 um2
module mul3s_own ( A, B, O );
  input [2:0] A;
  input [2:0] B;
  output [5:0] O;
  wire S_1_0, S_1_1, S_2_0, C_2_0, S_2_1, C_2_1, S_2_2, T_0,T_1,T_2, T_3;

  assign S_1_0 = (A[1] & B[0]);
  assign S_1_1 = (A[1] & B[1]);
  FULL u1 (.A(S_1_1), .B(~(A[2] & B[0])), .C(1'b1), .S(S_2_0), .CO(C_2_0));
  FULL u2 (.A(~(A[1] & B[2])), .B(~(A[2] & B[1])), .C(1'b1), .S(S_2_1), .CO(C_2_1));
  HALF u3 (.A((A[2] & B[2])), .B(1'b0), .S(S_2_2));
  assign {T_3, T_2, T_1, T_0} = {1'b1, S_2_2, S_2_1} + {C_2_1, C_2_0};
  assign O = {T_2, T_1, T_0, S_2_0, S_1_0, 1'b0};
endmodule
/* mod */
module HALF( input A, input B, output S, output C );
    assign S = A ^ B;
    assign C = A & B;
endmodule
module FULL( input A, input B, input C, output S, output CO );
    assign S = (A ^ B) ^ C;
    assign CO = (A & B) | (B & C) | (A & C);
endmodule
"""


def test_gates_of_an_array() -> None:
    """Exact, and the same for any order of the statements."""
    text = verilog(array_multiplier(8), 8)
    one = rh.Netlist(text)
    assert one.digest() == rh.multiplier_named("mul8u_exact").digest()
    lines = text.split("\n")
    at = next(k for k, line in enumerate(lines) if line.startswith("assign"))
    turned = "\n".join([*lines[:at], *lines[at:-2][::-1], *lines[-2:]])
    assert rh.Netlist(turned).digest() == one.digest()
    assert (one.name, one.width, one.signed, one.release) == ("mine", 8, False, "")


@pytest.mark.parametrize("level", [0, 1])
def test_every_node_stuck(level: int) -> None:
    """Against one pair, one gate at a time."""
    gates = array_multiplier(3)
    one = rh.Netlist(verilog(gates, 3))
    assert len(one.nodes) == len(gates) + 6
    changed = 0
    for node in one.nodes:
        found = one.stuck_at(node, level).table()
        wanted = [[product(gates, a, b, 3, {node: level}) for b in range(8)] for a in range(8)]
        assert np.array_equal(found, wanted), node
        changed += not np.array_equal(found, one.table())
    assert changed > len(gates) / 2


def test_two_nodes_stuck() -> None:
    gates = array_multiplier(4)
    one = rh.Netlist(verilog(gates, 4)).stuck_at("n5", 1).stuck_at("O[2]", 0)
    assert one.name == "mine:n5=1,O[2]=0"
    wanted = [[product(gates, a, b, 4, {"n5": 1, "O[2]": 0}) for b in range(16)] for a in range(16)]
    assert np.array_equal(one.table(), wanted)
    assert one != rh.Netlist(verilog(gates, 4))
    check_multiplier(one)


def test_cells_sums_and_figures(tmp_path: Path) -> None:
    path = tmp_path / "mul3s_own.v"
    path.write_text(SIGNED)
    one = rh.multiplier_named(f"{path}@signed")
    assert one.name == "mul3s_own"
    assert one.digest() == rh.multiplier_named("mul3s_array:a=1").digest()
    assert (one.power_mw, one.area_um2, one.delay_ns) == (0.052, 172.2, None)
    unsigned = rh.multiplier_named(f"{path}@unsigned")
    assert np.array_equal(unsigned.table() & 63, one.table() & 63)
    assert rh.read_netlist(path, True, "v1").release == "v1"


def test_slices_and_wires_with_values() -> None:
    """Other ways to write the same gates."""
    text = SIGNED.replace("S_1_0, S_1_1,", "S_1_1,").replace(
        "assign S_1_0 = (A[1] & B[0])", "wire [1:0] low = {(A[2:1] & B[1:0])} ; wire S_1_0 = low[0]"
    )
    text = text.replace(
        "assign O = {T_2, T_1, T_0, S_2_0, S_1_0, 1'b0}",
        "assign O[5:2] = {T_2, T_1, T_0, S_2_0}; assign O[1:0] = {S_1_0, 1'b0}",
    )
    assert np.array_equal(rh.Netlist(text, True).table(), rh.Netlist(SIGNED, True).table())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("module mul3s_own", "modul mul3s_own", "HALF, FULL are parts of no other"),
        ("FULL u1", "FAX1 u1", r"module mul3s_own: .FAX1 u1 .*without _pdk45"),
        ("module HALF(", "module HALE(", "without _pdk45"),
        ("assign S_1_0 = (A[1] & B[0]);", "", None),
        ("assign S_1_0 = (A[1] & B[0]);", "assign S_1_0 = S_1_0 & B[0];", "S_1_0 can't be found"),
        ("assign O = {T_2, T_1, T_0, S_2_0, S_1_0, 1'b0};", "", r"O\[0\], .* must be driven once"),
        ("S(S_2_1)", "S(S_2_0)", r"S_2_0 must be driven once"),
        ("(A[1] & B[1])", "(A[1] & B)", "1 bits meet 3"),
        ("(A[1] & B[1])", "(A[1] & B[1]", r"lacks '\)'"),
        ("(A[1] & B[1])", "A[1] & * B[1]", r"can't be read at '\*'"),
        ("(A[1] & B[1])", "A[1] B[1]", r"can't be read from 'B\[1\]' on"),
        ("} + {C_2_1", "} + ~{C_2_1", "a sum is of nets"),
        ("output [5:0] O", "output [6:0] O", "one output of twice the width"),
        ("input [2:0] B", "input [3:0] B", "A and B of like width"),
        (".C(1'b1), ", "", "an instance of FULL leaves C open"),
        ("(A[1] & B[1])", "~" * 5000 + "A[1]", "module mul3s_own: .*nested too deeply"),
    ],
)
def test_what_can_t_be_read(old: str, new: str, message: str | None, tmp_path: Path) -> None:
    assert old in SIGNED
    path = tmp_path / "bad.v"
    path.write_text(SIGNED.replace(old, new))
    with pytest.raises(ValueError, match=message or r"O\[0\].* can't be found"):
        rh.read_netlist(path, True).table()


def test_stuck_nodes_have_to_be_there() -> None:
    one = rh.Netlist(SIGNED, True)
    for node, level in (("S_9_9", 0), ("S_1_0", 2)):
        with pytest.raises(ValueError, match=rf"{node} can't be stuck at {level}.*nodes A\[0\]"):
            one.stuck_at(node, level)


def test_files_that_are_not_there_or_no_verilog(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file none\.v"):
        rh.multiplier_named("none.v@signed")
    (tmp_path / "empty.v").write_text("// nothing")
    with pytest.raises(ValueError, match="no module"):
        rh.read_netlist(tmp_path / "empty.v", True)
    with pytest.raises(ValueError, match=r"none\.v@signed or none\.v@unsigned$"):
        rh.multiplier_named("none.v@signed,transposed")
