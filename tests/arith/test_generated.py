"""Multipliers that ArithsGen writes, read as its users have them on disk."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import radhard as rh
from radhard.arith.compiled import run_c
from radhard.arith.elements import Elements

pytest.importorskip("ariths_gen", reason="ariths-gen is not installed (extra: multipliers)")

from ariths_gen.multi_bit_circuits import approximate_multipliers, multipliers
from ariths_gen.wire_components import Bus

#: A class of the package, what it takes besides its operands, and what we call the same.
CIRCUITS: list[tuple[str, dict[str, int], str]] = [
    ("UnsignedArrayMultiplier", {}, "mul8u_exact"),
    ("SignedArrayMultiplier", {}, "mul8s_exact"),
    ("UnsignedDaddaMultiplier", {}, "mul8u_exact"),
    ("SignedWallaceMultiplier", {}, "mul8s_exact"),
    ("UnsignedTruncatedArrayMultiplier", {"truncation_cut": 3}, "mul8u_array:a=3,b=3"),
    (
        "UnsignedBrokenArrayMultiplier",
        {"horizontal_cut": 2, "vertical_cut": 5},
        "mul8u_array:b=2,columns=5",
    ),
]


def generated(circuit: str, more: dict[str, int], width: int = 8) -> Any:
    package = multipliers if hasattr(multipliers, circuit) else approximate_multipliers
    return getattr(package, circuit)(Bus("a", width), Bus("b", width), name="made", **more)


def written(circuit: Any, kind: str, path: Path) -> Path:
    with path.open("w") as file:
        getattr(circuit, f"get_{kind}")(file)
    return path


@pytest.mark.parametrize("kind", ["v_code_flat", "v_code_hier"])
@pytest.mark.parametrize(("circuit", "more", "same"), CIRCUITS)
def test_verilog(circuit: str, more: dict[str, int], same: str, kind: str, tmp_path: Path) -> None:
    path = written(generated(circuit, more), kind, tmp_path / "made.v")
    wanted = rh.multiplier_named(same)
    found = rh.read_netlist(path, wanted.signed)
    assert found.digest() == wanted.digest()


@pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)
@pytest.mark.parametrize("kind", ["c_code_flat", "c_code_hier"])
@pytest.mark.parametrize(("circuit", "more", "same"), CIRCUITS)
def test_c(circuit: str, more: dict[str, int], same: str, kind: str, tmp_path: Path) -> None:
    path = written(generated(circuit, more), kind, tmp_path / "made.c")
    wanted = rh.multiplier_named(same)
    found = run_c(path, wanted.signed)
    assert (found.name, found.digest()) == ("made", wanted.digest())


def test_nets_that_it_drives_twice_are_refused(tmp_path: Path) -> None:
    """As release 1.1.4 writes the half adders of one circuit by parts; laid flat, it is right."""
    circuit = generated("SignedCarrySaveMultiplier", {})
    flat = rh.read_netlist(written(circuit, "v_code_flat", tmp_path / "flat.v"), signed=True)
    assert flat.digest() == rh.multiplier_named("mul8s_exact").digest()
    path = written(circuit, "v_code_hier", tmp_path / "parts.v")
    with pytest.raises(ValueError, match=r"made_nand7_1\[0\] must be driven once"):
        rh.read_netlist(path, signed=True)


def test_stuck_gates(tmp_path: Path) -> None:
    """A partial product that is always 0 is one that is not added, in an array's element, too."""
    path = written(generated("UnsignedArrayMultiplier", {}, 4), "v_code_flat", tmp_path / "made.v")
    one = rh.read_netlist(path, signed=False)
    a, b = np.indices((16, 16))
    wanted = a * b - 4 * (a >> 2 & 1) * (b & 1)
    assert np.array_equal(one.stuck_at("made_and2_0", 0).table(), wanted)
    assert len({one.stuck_at(node, 1).digest() for node in one.nodes}) > len(one.nodes) / 2
    gate = rh.Defect(0, 0, "gate", 0, node="made_and2_0")
    made = Elements(rh.Array(1, 2, defects=(gate,)), one)
    assert np.array_equal(made.products(made.kinds[0][0, 0])[:16, :16], wanted.T)
