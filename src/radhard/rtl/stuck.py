"""Permanent faults in the emitted array, register by register, against the rules for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radhard.arith.array import Array, Defect
from radhard.arith.broken import Exact
from radhard.arith.elements import elements
from radhard.arith.multiplier import Multiplier
from radhard.arith.where import Where
from radhard.rtl.compiled import Compiled
from radhard.rtl.cycle import State, Twin, pattern, signed
from radhard.rtl.design import ArrayDesign
from radhard.rtl.schedule import Integers, Operands, Schedule, schedule

#: Which register, or product, has a defect's stuck bit.
_HOLDS: Mapping[str, str] = {"activation": "a", "weight": "w", "psum": "p", "product": "product"}

#: What is kept and forced of each register, and of products: (arrays, rows, cols, 2) by its name.
Held = Mapping[str, Integers]
#: What runs arrays with stuck bits in hardware: the results (arrays, tiles, M, N).
StuckHardware = Callable[[ArrayDesign, Operands, Held], Integers]


@dataclass(frozen=True, slots=True)
class StuckAgreement:
    """How rules and hardware compare.

    Attributes:
        chips: arrays with stuck bits that were tried.
        changing: those whose results are not the fault-free ones.
        disagreements: those whose results differ from what rules say, in words.
    """

    chips: int
    changing: int
    disagreements: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StuckTwin(Twin):
    """`Twin` with stuck bits, a lane per array.

    Attributes:
        held: what is kept and forced.
    """

    held: Held

    def start(self, lanes: int) -> State:
        """The registers before the first edge."""
        return self._masked(Twin.start(self, lanes))

    def step(self, state: Mapping[str, Integers], plan: Schedule, cycle: int) -> State:
        """The registers after an edge."""
        return self._masked(Twin.step(self, state, plan, cycle))

    def product(self, a: Integers, w: Integers) -> Integers:
        """What the multipliers make of what they are given, less what is stuck."""
        width, held = self.design.product_bits, self.held["product"]
        made = pattern(Twin.product(self, a, w), width)
        return signed((made & held[..., 0]) | held[..., 1], width)

    def _masked(self, state: State) -> State:
        return {
            name: (code & self.held[name][..., 0]) | self.held[name][..., 1]
            for name, code in state.items()
        }


def by_stuck_twin(design: ArrayDesign, operands: Operands, held: Held) -> Integers:
    """By numpy, register by register."""
    lanes, plan = len(held["product"]), schedule(design, operands)
    return StuckTwin(design, operands, held)._batch(plan, None, lanes)


def by_saboteurs(design: ArrayDesign, folder: Path) -> StuckHardware:
    """By the emitted text with saboteurs in its multipliers, compiled into a folder.

    Raises:
        FileNotFoundError, RuntimeError: as `Compiled` does.
    """
    compiled = Compiled(design, folder, sabotaged=True)

    def run(design: ArrayDesign, operands: Operands, held: Held) -> Integers:
        names = [*(one.name for one in design.registers), "product"]
        flat = [held[name].reshape(len(held[name]), -1, 2) for name in names]
        return compiled.run_stuck(operands, np.concatenate(flat, 1))

    return run


def stuck_agreement(
    design: ArrayDesign,
    operands: Operands,
    arrays: Sequence[Array],
    hardware: StuckHardware = by_stuck_twin,
) -> StuckAgreement:
    """Compare what `radhard.Array` takes stuck bits to do with what the hardware does.

    An element of the emitted array multiplies what comes in, one of `Array` what its own registers
    hold: what is stuck in the register of element (r, c) that moves a value on is stuck in element
    (r, c + 1) of `Array`, or (r + 1, c) for weights on their way down. The first ones of a row or
    column have no such register, and their defects are left out.

    Args:
        design: the array, unprotected, with operands of equal width.
        operands: of tiles, one after the other.
        arrays: of the same shape, with defects.
        hardware: what runs them.

    Raises:
        ValueError: for an array that protects itself, or with operands of several widths.

    >>> design = ArrayDesign(2, 2, bits=4)
    >>> operands = Operands.drawn(design, tiles=2, free=3, seed=0)
    >>> array = array_of(design, (Defect(1, 1, "product", 1, bit=3),))
    >>> stuck_agreement(design, operands, [array])
    StuckAgreement(chips=1, changing=1, disagreements=())
    """
    whole = array_of(design, ())
    arrays = [array_of(design, _placed(design, one.defects)) for one in arrays]
    found = hardware(design, operands, held_by(design, arrays))
    told = np.stack([_by_rules(design, operands, one) for one in arrays])
    plain = _by_rules(design, operands, whole)
    wrong = np.flatnonzero((found != told).reshape(len(arrays), -1).any(1))
    changing = int((found != plain).reshape(len(arrays), -1).any(1).sum())
    lines = tuple("; ".join(map(_words, arrays[k].defects)) for k in wrong.tolist())
    return StuckAgreement(len(arrays), changing, lines)


def array_of(design: ArrayDesign, defects: Sequence[Defect]) -> Array:
    """An array of the design's shape, with defects.

    Raises:
        ValueError: for a design that protects itself, or with operands of several widths.
    """
    if design.protect != "none" or design.widths["a"] != design.widths["w"]:
        raise ValueError(
            f"permanent faults of {design.name} can't be compared: use no protection, and operands "
            "of one width"
        )
    shape = design.rows, design.cols, design.dataflow
    return Array(*shape, tuple(defects), psum_bits=design.widths["p"])


def _placed(design: ArrayDesign, defects: Sequence[Defect]) -> list[Defect]:
    """Those that the emitted array has a register for."""
    return [one for one in defects if min(_register(design, one)) >= 0]


def _register(design: ArrayDesign, defect: Defect) -> tuple[int, int]:
    """The element of the emitted array whose register or product has a defect; below 0 for none."""
    value = _HOLDS[defect.site]
    if value == design.left:
        return defect.row, defect.col - 1
    if value == design.top and design.dataflow == "os":
        return defect.row - 1, defect.col
    return defect.row, defect.col


def held_by(design: ArrayDesign, arrays: Sequence[Array]) -> Held:
    """What stuck bits leave of each register, and of products."""
    shape = (len(arrays), design.rows, design.cols, 2)
    widths = {str(value): width for value, width in design.widths.items()}
    widths["product"] = design.product_bits
    held = {name: np.zeros(shape, np.int64) for name in widths}
    for name, width in widths.items():
        held[name][..., 0] = (1 << width) - 1
    for lane, array in enumerate(arrays):
        for one in array.defects:
            row, col = _register(design, one)
            bit = np.int64(1) << one.bit
            held[_HOLDS[one.site]][lane, row, col, 0] &= ~bit
            held[_HOLDS[one.site]][lane, row, col, 1] |= bit * one.value
    return held


def _by_rules(design: ArrayDesign, operands: Operands, array: Array) -> Integers:
    """What the rules make of each tile, (tiles, M, N)."""
    multiplier: Multiplier = design.circuit or Exact(design.bits, signed=True)
    made = elements(array, multiplier)
    kind: Any = np.uint8 if design.bits <= 8 else np.int32
    found = []
    for a, w in zip(operands.a, operands.w, strict=True):
        where = Where(*(np.arange(size)[None] for size in (len(a), w.shape[1], len(w))))
        left, top = (pattern(one, design.bits).astype(kind)[None] for one in (a, w.T))
        found.append(made.sums(left, top, where)[0])
    return np.stack(found)


def _words(defect: Defect) -> str:
    return f"{defect.site}[{defect.row},{defect.col}].{defect.bit} sa{defect.value}"
