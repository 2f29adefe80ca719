"""Permanent faults of the emitted array, against the rules for them."""

import json
from pathlib import Path

import numpy as np
import pytest

from radhard.arith.array import Array, Defect
from radhard.arith.broken import Exact
from radhard.faults.permanent import Permanent
from radhard.rtl.compiled import missing
from radhard.rtl.design import ArrayDesign
from radhard.rtl.schedule import Operands
from radhard.rtl.stuck import array_of, by_saboteurs, by_stuck_twin, held_by, stuck_agreement

FLOWS = ("ws", "os", "is")
SIZES = ((3, 3, 4, 16), (2, 4, 4, 8), (3, 2, 8, 24))


def given(dataflow: str, size: tuple[int, int, int, int]) -> tuple[ArrayDesign, Operands, Array]:
    rows, cols, bits, psum = size
    design = ArrayDesign(rows, cols, bits, 0, psum, dataflow)
    return design, Operands.drawn(design, tiles=2, free=5, seed=1), array_of(design, ())


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("size", SIZES)
def test_each_stuck_bit_alone(dataflow: str, size: tuple[int, int, int, int]) -> None:
    design, operands, plain = given(dataflow, size)
    chips = list(Permanent().every(plain, Exact(design.bits, signed=True)))
    found = stuck_agreement(design, operands, chips)
    assert found.disagreements == ()
    assert 0.8 < found.changing / found.chips < 1


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rate", [0.2, 0.5, 1.0])
def test_maps(dataflow: str, size: tuple[int, int, int, int], rate: float) -> None:
    design, operands, plain = given(dataflow, size)
    multiplier = Exact(design.bits, signed=True)
    chips = [Permanent(rate=rate).drawn(plain, multiplier, 0, k) for k in range(60)]
    found = stuck_agreement(design, operands, chips)
    assert found.disagreements == ()
    assert found.changing > 50


def test_zeros_that_become_products_begin_when_stuck_bits_arrive() -> None:
    """The weight's stuck bit is two registers above the element: its zeros begin an edge later."""
    design, operands, _ = given("os", (3, 3, 4, 16))
    far = Defect(1, 2, "weight", 1, 0), Defect(2, 2, "activation", 1, 0)
    near = Defect(2, 2, "weight", 1, 0), far[1]
    chips = [array_of(design, near), array_of(design, far)]
    assert stuck_agreement(design, operands, chips).disagreements == ()
    one, two = by_stuck_twin(design, operands, held_by(design, chips))[:, :, 2, 2]
    assert (one != two).all()


def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published one: a stuck weight register harms its own element alone."""
    design, operands, plain = given("ws", (3, 3, 4, 16))
    chips = list(Permanent("weight").every(plain, Exact(4, signed=True)))
    true = held_by

    def alone(design: ArrayDesign, arrays: list[Array]) -> dict[str, np.ndarray]:
        last = [
            array_of(design, [d for d in one.defects if d.row == design.rows - 1]) for one in arrays
        ]
        return dict(true(design, last))

    monkeypatch.setattr("radhard.rtl.stuck.held_by", alone)
    assert len(stuck_agreement(design, operands, chips).disagreements) > len(chips) / 3


@pytest.mark.parametrize("changed", [{"protect": "psum"}, {"weight_bits": 3}])
def test_arrays_that_are_not_compared(changed: dict[str, object]) -> None:
    design = ArrayDesign(2, 2, 4, **changed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="can't be compared"):
        stuck_agreement(design, Operands.drawn(design, 1, 3, 0), [])


def test_the_verb(at_the_command_line) -> None:
    base = ("validate", "rtl", "--rows", "2", "--cols", "3", "--bits", "4", "--engine", "twin")
    for words, chips in (("single", 2 * 3 * (4 + 4 + 8 + 16) * 2), ("product sa1 rate=0.5", 30)):
        given = (*base, "--permanent", words, "--maps", "30", "--json")
        code, out, _ = at_the_command_line(*given)
        found = json.loads(out)
        assert (code, found["chips"], found["disagreements"]) == (0, chips, 0)
    for words in ("nonsense", "product bit=99"):
        code, _, said = at_the_command_line(*base, "--permanent", words)
        assert code == 2
        assert "Traceback" not in said


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_saboteurs_do_what_the_twin_does(dataflow: str, tmp_path: Path) -> None:
    design, operands, plain = given(dataflow, (2, 3, 4, 40))
    multiplier = Exact(4, signed=True)
    singles = list(Permanent().every(plain, multiplier))[::7]
    maps = [Permanent(rate=0.7).drawn(plain, multiplier, 0, k) for k in range(40)]
    chips = [
        array_of(design, [d for d in one.defects if d.row and d.col]) for one in (*singles, *maps)
    ]
    held = held_by(design, chips)
    found = by_saboteurs(design, tmp_path)(design, operands, held)
    assert (found == by_stuck_twin(design, operands, held)).all()
