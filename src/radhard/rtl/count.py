"""What an array costs by formula: no tool needed, and what tools must agree with."""

from __future__ import annotations

from dataclasses import dataclass

from radhard.rtl.design import ArrayDesign, Value
from radhard.rtl.serial import wrapper_bits


@dataclass(frozen=True, slots=True)
class Count:
    """Cells of an ECP5, multipliers in its DSP blocks, shift registers around the array included.

    Attributes:
        ffs: flip-flops.
        carries: cells of the carry chain, two bits each.
        dsps: multipliers.
        luts: look-up tables of four inputs; ``None`` where logic optimisation decides: with bounds,
            and for ``tmr`` in ``os``.
    """

    ffs: int
    carries: int
    dsps: int
    luts: int | None


def count(design: ArrayDesign) -> Count:
    """What Yosys 0.70 makes of a design with exact multipliers, exactly.

    Raises:
        ValueError: for other multipliers.

    >>> count(ArrayDesign(4, 4))
    Count(ffs=708, carries=120, dsps=16, luts=96)
    >>> count(ArrayDesign(4, 4, protect="voted"))
    Count(ffs=1984, carries=144, dsps=16, luts=704)
    """
    if design.multiplier:
        raise ValueError(
            f"{design.multiplier} is counted by synthesis alone: formulas are of exact multipliers"
        )
    copies = 3 if design.protect == "tmr" else 1
    dsps = copies * design.rows * design.cols
    return Count(_ffs(design), _carries(design, copies), dsps, _luts(design))


def core_bits(design: ArrayDesign) -> int:
    """Bits of the plain array that something reads.

    Nothing reads what leaves the last column, nor, where sums stay, the last row.

    >>> core_bits(ArrayDesign(4, 4)), core_bits(ArrayDesign(4, 4, dataflow="os"))
    (608, 576)
    """
    return sum(_read(design, value) * design.widths[value] for value in design.widths)


def _read(design: ArrayDesign, value: Value) -> int:
    """Elements whose register of a value is read."""
    rows, cols = design.rows, design.cols
    if value == design.left:
        return rows * (cols - 1)
    return (rows - 1) * cols if value == design.top and design.dataflow == "os" else rows * cols


def _votes(design: ArrayDesign) -> int:
    """Bits that are kept three times and read."""
    return sum(_read(design, value) * design.voted(value) for value in design.widths)


def _ffs(design: ArrayDesign) -> int:
    bounds = len(design.bounds) * design.widths["p"]
    kept = core_bits(design) + 2 * _votes(design) - _sign_copies(design)
    return kept + wrapper_bits(design) + bounds


def _headroom(design: ArrayDesign) -> int:
    """Bits of a sum above those of a product."""
    widths = design.widths
    return widths["p"] - widths["a"] - widths["w"]


def _sign_copies(design: ArrayDesign) -> int:
    """Flip-flops that always hold the same: signs of the sums of the first two rows.

    Sums of one product have as many bits as a product, sums of two one more; what is above
    repeats the sign, and is merged where it isn't voted.
    """
    if design.dataflow == "os":
        return 0
    above = _headroom(design)
    if voted := design.voted("p"):
        return design.cols * max(above - voted, 0)
    return design.cols * (above + (max(above - 1, 0) if design.rows > 1 else 0))


def _carries(design: ArrayDesign, copies: int) -> int:
    """Adders, two bits a cell, and two comparators per column."""
    widths, rows, cols = design.widths, design.rows, design.cols
    whole = -(-widths["p"] // 2)
    compared = 2 * whole * cols if design.checks else 0
    if design.dataflow == "os" or copies == 3:
        return copies * rows * cols * whole + compared
    if design.voted("p"):
        return (rows - 1) * cols * whole
    product = widths["a"] + widths["w"]
    narrow = [min(-(-(product + row) // 2), whole) for row in range(1, min(rows, 3))]
    return cols * (sum(narrow) + max(rows - 3, 0) * whole) + compared


def _luts(design: ArrayDesign) -> int | None:
    """The way out of the wrapper, votes, and in ``os`` what sums move down by.

    Nothing moves down into the first row: there, plain bits are reset instead.
    """
    if design.checks or (design.dataflow == "os" and design.protect == "tmr"):
        return None
    rows, cols, width = design.rows, design.cols, design.widths["p"]
    found = cols * width + _votes(design)
    if design.dataflow != "os":
        return found
    plain = width - design.voted("p")
    return found + rows * cols * width - cols * plain + (2 if plain else 1)
