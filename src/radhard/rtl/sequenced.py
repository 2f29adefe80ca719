"""An array with its sequencer as SystemVerilog."""

from __future__ import annotations

from string import Template

from radhard.accel.sequencer import Sequencer
from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit

_SEQUENCER = Template("""\
// Runs one tile when told to, and says when it is done. Rows read their memories by counters of
// their own, and columns write results; valid bits say when, an edge later from line to line.
module sequencer #(parameter ROWS = $rows, COLS = $cols, LINE = $line) (
    input  logic clk, start,
    input  logic [$high:0] free,
    output logic enable, $steered, done,
    output logic [LINE-1:0] valid,
    output logic [ROWS*$bits-1:0] read,
    output logic $places $fed,
    output logic [$writers*$short-1:0] write
);
    localparam logic [1:0] BEGIN = 1, WAVE = 2, DRAIN = 3;
    logic [1:0] state;
    logic [$high:0] step;
    logic begins, waves, drains, idle, passed, ready;
    assign begins = state == BEGIN;
    assign waves = state == WAVE;
    assign drains = $drains;
    assign idle = !(begins || waves || drains);
    assign passed = waves && 32'(step) + 1 >= 32'(free) + ROWS + COLS - $early;
    assign ready = $ready;
    assign done = $done;

    always_ff @(posedge clk) begin
        if (!start) state <= 0;
        else if (idle) state <= BEGIN;
        else if (ready) state <= WAVE;
        else if (done) state <= 0;
        else if (passed) state <= DRAIN;
        step <= (idle || ready || passed || done || !start) ? '0 : step + 1;
        enable <= $enables;
$own
    end

    for (genvar k = 0; k < LINE; k++) begin : line
        logic on;
        if (k == 0) begin : first
            always_ff @(posedge clk) on <= !begins && waves && step < free;
        end else begin : later
            always_ff @(posedge clk) on <= !begins && valid[k-1];
        end
        assign valid[k] = on;
    end
$counters
endmodule
""")
#: A tile begins each of them at 0.
_COUNTERS = Template("""
    for (genvar k = 0; k < $count; k++) begin : $block
        logic [$width-1:0] at;
        always_ff @(posedge clk) at <= begins ? '0 : $on ? at + 1 : at;
        assign $port[k*$width +: $width] = at;
    end""")
_SEQUENCED = Template("""\
// The array and what sequences it. Memories lie outside: rows and columns ask for places in theirs
// by read and $fed, get what is there at once, and results leave by y, with write and strobe.
module sequenced #(parameter ROWS = $rows, COLS = $cols) (
    input  logic clk, start,
    input  logic [$high:0] free,
    input  logic [ROWS*$left-1:0] left,
    input  logic [COLS*$top-1:0] top,
    output logic [ROWS*$bits-1:0] read,
    output logic $places $fed,
    output logic [$writers*$short-1:0] write,
    output logic [COLS-1:0] strobe,
    output logic [COLS*$p-1:0] y,
    output logic done
);
    logic enable, $steered;
    logic [$line-1:0] valid;
    sequencer control (.clk(clk), .start(start), .free(free), .enable(enable), $wired,
        .done(done), .valid(valid), .read(read), .$fed($fed), .write(write));

    // What is not asked for is zero.
    logic [ROWS*$left-1:0] entering;
    for (genvar k = 0; k < ROWS; k++) begin : lefts
        assign entering[k*$left +: $left] = valid[k] ? left[k*$left +: $left] : '0;
    end
    logic [COLS*$top-1:0] above;
    for (genvar k = 0; k < COLS; k++) begin : tops
        assign above[k*$top +: $top] = $asked top[k*$top +: $top]$unasked;
    end
    assign strobe = $strobe;
    systolic array (.clk(clk), .en(enable), $wired, .left(entering), .top(above), .y(y));
endmodule
""")
_BENCH = Template("""\
// As it is simulated. put writes a place of the memories of operands, wipe clears results, start
// lasts one edge, and y shows a place of the results.
module systolic_bench (
    input  logic clk, start, wipe, put,
    input  logic [31:0] at,
    input  logic [$rows*$left-1:0] left,
    input  logic [$cols*$top-1:0] top,
    output logic [$cols*$p-1:0] y
);
    logic go = 0, done;
    always_ff @(posedge clk) go <= (go && !done) || start;
    // Results are taken two edges after the tile is done.
    logic [1:0] open = 0;
    always_ff @(posedge clk) open <= start ? 3 : (go && !done) || open == 0 ? open : open - 1;

    logic [$rows*$left-1:0] lefts;
    logic [$cols*$top-1:0] tops;
    logic [$rows*$bits-1:0] read;
    logic $bench_places $fed;
    logic [$bench_writers*$short-1:0] write;
    logic [$cols-1:0] strobe;
    logic [$cols*$p-1:0] shown;
    sequenced dut (.clk(clk), .start(go), .free($bits'd$free), .left(lefts), .top(tops),
        .read(read), .$fed($fed), .write(write), .strobe(strobe), .y(shown), .done(done));

    for (genvar k = 0; k < $rows; k++) begin : rows
        logic [$left-1:0] memory [$free];
        logic [$high:0] place;
        assign place = read[k*$bits +: $bits];
        always_ff @(posedge clk) if (put && at < $free) memory[at] <= left[k*$left +: $left];
        assign lefts[k*$left +: $left] = 32'(place) < $free ? memory[place] : '0;
    end
    for (genvar k = 0; k < $cols; k++) begin : cols
        logic [$top-1:0] memory [$deep];
        always_ff @(posedge clk) if (put && at < $deep) memory[at] <= top[k*$top +: $top];
        assign tops[k*$top +: $top] = 32'($asks) < $deep ? memory[$asks] : '0;

        logic [$p-1:0] results [$tall];
        logic [$short-1:0] place;
        assign place = $writes;
        always_ff @(posedge clk) begin
            if (wipe) for (int n = 0; n < $tall; n++) results[n] <= '0;
            else if (strobe[k] && open != 0 && 32'(place) < $tall)
                results[place] <= shown[k*$p +: $p];
        end
        assign y[k*$p +: $p] = at < $tall ? results[at] : '0;
    end
endmodule
""")


def sequencer_of(design: ArrayDesign, free: int, bits: int = 0) -> Sequencer:
    """What sequences an array.

    Args:
        design: the array.
        free: values that stream.
        bits: of counters; 0 for as many as these need.
    """
    needed = (free + design.rows + design.cols).bit_length()
    return Sequencer(design.rows, design.cols, design.dataflow, free, bits or needed)


def emit_control(design: ArrayDesign, bits: int) -> str:
    """The module ``sequencer``, and ``sequenced``, which joins it to the array.

    Args:
        design: the array.
        bits: of counters.

    >>> "systolic array (.clk(clk), .en(enable)" in emit_control(ArrayDesign(2, 2), 4)
    True
    """
    words = _words(design, bits)
    return f"{_SEQUENCER.substitute(words)}\n{_SEQUENCED.substitute(words)}"


def emit_bench(design: ArrayDesign, free: int, bits: int) -> str:
    """Array, control, and memories around them, for so many values that stream."""
    deep, tall = (free, design.rows) if design.dataflow == "os" else (design.rows, free)
    words = _words(design, bits) | {"free": free, "deep": deep, "tall": tall}
    return f"{emit(design)}\n{emit_control(design, bits)}\n{_BENCH.substitute(words)}"


def _words(design: ArrayDesign, bits: int) -> dict[str, object]:
    """What is put into the texts."""
    steered = design.controls[1:]
    found: dict[str, object] = {
        "rows": design.rows, "cols": design.cols, "bits": bits, "high": bits - 1,
        "line": sequencer_of(design, 1, bits).line, "p": design.widths["p"],
        "left": design.widths[design.left], "top": design.widths[design.top],
        "steered": ", ".join(steered), "wired": ", ".join(f".{name}({name})" for name in steered),
    }  # fmt: skip
    few = design.rows.bit_length()
    return found | (
        _staying(bits, few, design.cols)
        if design.dataflow == "os"
        else _held(bits, few, design.cols)
    )


def _held(bits: int, few: int, cols: int) -> dict[str, object]:
    """Of an array that holds operands."""
    counters = _counted("reads", "read", "ROWS", bits, "valid[k]")
    counters += _counted("writes", "write", "COLS", bits, "valid[ROWS+k]")
    own = ["load <= begins;", "hold <= load ? hold + 1 : '0;"]
    return {
        "fed": "hold", "places": f"[{few - 1}:0]", "bench_places": f"[{few - 1}:0]",
        "writers": "COLS", "bench_writers": cols, "short": bits, "early": 1,
        "drains": "1'b0", "ready": "begins && 32'(step) + 1 >= ROWS", "done": "passed",
        "enables": "waves", "own": _lines(own), "counters": counters, "asked": "", "unasked": "",
        "strobe": "valid[ROWS +: COLS]", "asks": "hold", "writes": f"write[k*{bits} +: {bits}]",
    }  # fmt: skip


def _staying(bits: int, few: int, cols: int) -> dict[str, object]:
    """Of one whose sums stay."""
    counters = _counted("reads", "read", "ROWS", bits, "valid[k]")
    counters += _counted("fetches", "fetch", "COLS", bits, "valid[k]")
    counters += _counted("writes", "write", "1", few, "drain")
    return {
        "fed": "fetch", "places": f"[COLS*{bits}-1:0]", "bench_places": f"[{cols}*{bits}-1:0]",
        "writers": 1, "bench_writers": 1, "short": few, "early": 2,
        "drains": "state == DRAIN", "ready": "begins", "done": "drains && 32'(step) + 1 >= ROWS",
        "enables": "!idle", "own": _lines(["clear <= begins;", "drain <= drains;"]),
        "counters": counters, "asked": "valid[k] ?", "unasked": " : '0",
        "strobe": "{COLS{drain}}", "asks": f"fetch[k*{bits} +: {bits}]", "writes": "write",
    }  # fmt: skip


def _counted(block: str, port: str, count: str, width: int, on: str) -> str:
    return _COUNTERS.substitute(block=block, port=port, count=count, width=width, on=on)


def _lines(lines: list[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)
