"""Shift registers around an array, so that it fits the pins of any device."""

from __future__ import annotations

from pathlib import Path

from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit


def wrapper_bits(design: ArrayDesign) -> int:
    """Flip-flops of the shift registers.

    >>> wrapper_bits(ArrayDesign(4, 4))
    160
    """
    return _fed(design) + design.cols * design.widths["p"]


def write_texts(design: ArrayDesign, folder: Path) -> list[Path]:
    """Write the array and the shift registers around it into a folder; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {folder / "systolic.sv": emit(design), folder / "serial.sv": emit_serial(design)}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def emit_serial(design: ArrayDesign) -> str:
    """The module ``serial``: an array whose operands come in, and sums leave, bit by bit.

    Only with such a frame can place and route say how fast an array is; it is for measuring, and
    its cost is in the figures.
    """
    rows = design.rows * design.widths[design.left]
    fed, shown = _fed(design), design.cols * design.widths["p"]
    inputs = [*design.controls, *(("set", "bound") if design.checks else ())]
    wired = ", ".join(f".{name}({name})" for name in ("clk", *inputs))
    return f"""// An array behind shift registers, so that it needs few pins.
module serial (
    input  logic clk, {", ".join(inputs)}, shift, capture, d,
    output logic q
);
    logic [{fed - 1}:0] fed;
    logic [{shown - 1}:0] y, kept;
    always_ff @(posedge clk) if (shift) fed <= {{fed[{fed - 2}:0], d}};
    always_ff @(posedge clk) kept <= capture ? y : {{kept[{shown - 2}:0], 1'b0}};
    assign q = kept[{shown - 1}];
    systolic array ({wired},
        .left(fed[{rows - 1}:0]), .top(fed[{fed - 1}:{rows}]), .y(y));
endmodule
"""


def _fed(design: ArrayDesign) -> int:
    widths = design.widths
    return design.rows * widths[design.left] + design.cols * widths[design.top]
