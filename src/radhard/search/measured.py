"""What a systolic array can have against upsets, at the area that it was measured to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from radhard.accel.clocked import ClockedArray
from radhard.accel.systolic import Systolic
from radhard.campaign.campaign import Campaign
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.workload import Workload
from radhard.protect.column import ColumnClamp
from radhard.protect.protection import Cost
from radhard.protect.storage import BitTriplication
from radhard.rtl.design import ArrayDesign, Protect, Value
from radhard.rtl.hardware import measured
from radhard.search.part import Option, Watched

#: Whose bits a protection of arrays keeps three times.
_VOTED: dict[Protect, tuple[Value, str]] = {
    "msb": ("a", "input-register"), "psum": ("p", "psum-register"),
}  # fmt: skip
_CLAMPS: tuple[Protect, ...] = ("clamp", "zero")


def array_of(campaign: Campaign) -> ArrayDesign | None:
    """The array whose registers a campaign strikes, as hardware; ``None`` for other chips."""
    chip, work = campaign.chip, campaign.network
    exact = [how for how in work.arithmetic if how.exact]
    if not isinstance(chip, Systolic | ClockedArray) or len(exact) < len(work.arithmetic):
        return None
    inputs, weights = map(max, ports(work))
    sums = max(how.latch.width for how in exact)
    return ArrayDesign(chip.rows, chip.cols, inputs, weights, sums, chip.dataflow)


def added(design: ArrayDesign, protect: Protect) -> float | None:
    """Area that a protection adds, as a share of the plain array; ``None`` where not measured.

    Counted are flip-flops and logic cells of four inputs, a cell of a carry chain as two; DSP
    blocks, which none of these needs more of, are left out. ``msb`` keeps bits of activations.

    >>> round(added(ArrayDesign(8, 8, 8, dataflow="ws"), "psum"), 3)
    0.327
    """
    both = [measured(replace(design, protect=kind)) for kind in ("none", protect)]
    sizes = [
        found.cells + found.ffs
        for found in both
        if found is not None and found.cells is not None and found.ffs is not None
    ]
    return sizes[1] / sizes[0] - 1 if len(sizes) == 2 else None


def measured_guards(campaign: Campaign, learning: Workload) -> Iterator[Watched]:
    """Clamps where sums leave the columns, where such an array was measured.

    Args:
        campaign: the plain question.
        learning: the network with the images on which bounds are learned.
    """
    design = array_of(campaign)
    for kind in _CLAMPS if design is not None else ():
        area = added(design, kind) if design is not None else None
        if area is not None:
            clamp = ColumnClamp(kind == "zero").learned(learning)
            yield Watched(f"{kind} at the columns, measured", (clamp,), Cost(area=area))


def measured_options(campaign: Campaign) -> Iterator[Option]:
    """Bits of registers that the array keeps three times, where such an array was measured."""
    design = array_of(campaign)
    for kind, (value, component) in _VOTED.items() if design is not None else ():
        area = added(design, kind) if design is not None else None
        if design is None or area is None:
            continue
        copies = replace(design, protect=kind).voted(value)
        hows = campaign.network.arithmetic
        widths = {how.latch.width if value == "p" else how.input.width for how in hows}
        if widths != {design.widths[value]}:
            continue  # the top bits of some layers would be others than those that vote
        (width,) = widths
        top = BitTriplication(tuple(range(width - copies, width)), (component,))
        what, slot = f"top {copies} bits of {{}} tripled, measured", f"component {component}"
        yield Option(slot, what, component, top, Cost(area=area), False)


def ports(work: Workload) -> tuple[list[int], list[int]]:
    """Bits that codes of activations and of weights need in two's complement, by layer.

    Raises:
        ValueError: for formats that are no integers.
    """
    hows = [how for layer, how in zip(work.layers, work.arithmetic, strict=True) if layer.macs]
    return [_width(how.input) for how in hows], [_width(how.weight) for how in hows]


def _width(fmt: NumberFormat) -> int:
    """Bits of a code less its zero point."""
    if not isinstance(fmt, IntegerFormat):
        raise ValueError(f"{fmt.name} is no format of integers: an array here multiplies integers")
    return fmt.spread
