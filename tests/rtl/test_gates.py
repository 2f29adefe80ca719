"""The array after synthesis: flips of its flip-flops against the fault model."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from radhard.accel.clocked import ClockedArray
from radhard.rtl.count import core_bits
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.gates import _ordered, gates_of, netlist_agreement
from radhard.rtl.lanes import clock, settle
from radhard.rtl.schedule import Operands

has_yosys = bool(find_spec("pyosys") or shutil.which("yosys"))
synthesises = pytest.mark.skipif(not has_yosys, reason="no Yosys here: pip install .[hardware]")
PROTECTIONS = ("none", "clamp", "zero", "mean", "msb", "psum", "voted", "tmr")


def drawn(design: ArrayDesign) -> Operands:
    found = Operands.drawn(design, tiles=2, free=5, seed=1)
    return Operands(found.a, found.w, (-20, 15, 3)[: len(design.bounds)] or None)


@synthesises
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("protect", PROTECTIONS)
def test_every_flip_flop(dataflow: str, protect: str, tmp_path: Path) -> None:
    design = ArrayDesign(2, 3, 4, psum_bits=12, dataflow=dataflow, protect=protect)
    gates = gates_of(design, tmp_path)
    found = netlist_agreement(gates, drawn(design))
    assert found.disagreements == ()
    voted = protect in ("voted", "tmr")
    assert (found.changing.value == 0) == voted
    assert found.flip_flops < found.register_bits == design.state_bits
    if voted:  # no copy is lost
        assert found.flip_flops == 3 * core_bits(design)
    if dataflow != "os" and not voted:  # signs that always agree
        assert found.merged > 0
    if not voted:
        ratio = found.rate_over_text
        assert ratio.low < ratio.value < ratio.high
        assert ratio.value == pytest.approx(1) if dataflow == "os" else ratio.value < 1


@synthesises
def test_random_flips_and_planted_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design = ArrayDesign(3, 3, 4)
    gates, operands = gates_of(design, tmp_path), drawn(design)
    assert netlist_agreement(gates, operands, 500, seed=2).disagreements == ()
    assert (gates.run(operands, np.zeros(1, np.int64), np.zeros(1, np.int64)) >= -(2**15)).all()
    true = ClockedArray.reads

    def wrong(self, register, layer, index):
        found = true(self, register, layer, index)
        if register == "psum-register":
            found.terms[:, 1] -= found.terms[:, 1] > 1
        return found

    monkeypatch.setattr(ClockedArray, "reads", wrong)
    assert netlist_agreement(gates, operands, 1000).disagreements


@synthesises
def test_gates_multiply_without_faults(tmp_path: Path) -> None:
    """A flip of the last weight after the last edge changes nothing."""
    design = ArrayDesign(2, 2, 4, multiplier="mul8s_1KVL@v1")
    gates, operands = gates_of(design, tmp_path), drawn(design)
    golden = Twin(design, operands).run()[0]
    cycle = np.array([2 * len(golden[0]) + 40])
    assert (gates.run(operands, np.zeros(1, np.int64), cycle)[0] == golden).all()


@synthesises
def test_the_verb(at_the_command_line) -> None:
    given = ("validate", "rtl", "--rows", "2", "--cols", "2", "--bits", "4", "--netlist")
    code, out, _ = at_the_command_line(*given, "--faults", "300", "--json")
    found = json.loads(out)
    assert (code, found["faults"], found["disagreements"]) == (0, 300, 0)
    assert found["rate_over_text"]["low"] < found["rate_over_text"]["high"]


def test_gates_of_each_kind() -> None:
    random = np.random.default_rng(0)
    values = np.zeros((9, 2), np.uint64)
    values[1] = np.uint64(2**64 - 1)
    values[2:5] = random.integers(0, 2**63, (3, 2), np.uint64)
    a, b, s = values[2].copy(), values[3].copy(), values[4].copy()
    unordered = np.array([(4, 8, 5, 6, 4), (0, 5, 2, 3, 0), (3, 6, 7, 0, 0), (2, 7, 2, 3, 0)])
    gates = _ordered(unordered)
    assert [int(one[1]) for one in gates].index(8) == 3
    settle(values, gates)
    assert (values[8] == ((a & b & ~s) | (~(a ^ b) & s))).all()
    settle(values, np.array([(1, 8, 2, 3, 0)]))
    assert (values[8] == a | b).all()
    flops = np.array([(2, 3, 1), (3, 2, 1), (4, 2, 0)])
    clock(values, flops)
    assert (values[2] == b).all()
    assert (values[3] == a).all()
    assert (values[4] == s).all()
    with pytest.raises(RuntimeError, match="loop"):
        _ordered(np.array([(0, 5, 6, 2, 0), (0, 6, 5, 2, 0)]))
