"""The array as SystemVerilog: a text to read, which Yosys, Verilator and Icarus take."""

from __future__ import annotations

from collections.abc import Iterator

from radhard.rtl.design import COPIES, ArrayDesign, Value
from radhard.rtl.multiply import emit_multiplier

_KINDS = {"ws": "weight stationary", "os": "output stationary", "is": "input stationary"}
_WORDS: dict[Value, str] = {"a": "activations", "w": "weights", "p": "partial sums"}
#: Synthesis merges equal copies of a module's contents unless it is told to keep the module.
_KEEP = "(* keep_hierarchy *)\n"
_REPLICA = """// One of three copies; kept apart, since synthesis would merge equal registers.
(* keep_hierarchy *)
module replica #(parameter W = 1) (
    input  logic clk, {controls},
    input  logic [W-1:0] d,
    output logic [W-1:0] q
);
    always_ff @(posedge clk) {update}
endmodule

// A register that is kept three times; its value is what two of them agree on.
module voted #(parameter W = 1) (
    input  logic clk, {controls},
    input  logic [3*W-1:0] d,
    output logic [W-1:0] q
);
    logic [W-1:0] q_x, q_y, q_z;
    replica #(.W(W)) x ({wired}, .d(d[0 +: W]), .q(q_x));
    replica #(.W(W)) y ({wired}, .d(d[W +: W]), .q(q_y));
    replica #(.W(W)) z ({wired}, .d(d[2*W +: W]), .q(q_z));
    assign q = (q_x & q_y) | (q_x & q_z) | (q_y & q_z);
endmodule
"""
_CHECK = """// A column's output against its bounds.
module check (
    input  logic signed [{p}] sum, {bounds},
    output logic signed [{p}] y
);
    logic below, above;
    assign below = sum < low;
    assign above = sum > high;
    assign y = {formula};
endmodule
"""
_SABOTEUR = """logic signed [{range}] made;
    logic [{range}] keep = '1, force_ = '0;
    {product}
    assign product = (made & keep) | force_;"""
_CHECKED = {
    "clamp": "(below || above) ? (below ? low : high) : sum",
    "zero": "(below || above) ? '0 : sum",
    "mean": "(below || above) ? mean : sum",
}


def emit(design: ArrayDesign, sabotaged: bool = False) -> str:
    """The module ``systolic`` and its parts.

    Inputs of the rows are on ``left``, row 0 in the lowest bits, and are skewed by the caller, as
    `schedule` says; those of the columns on ``top``. Sums leave on ``y``, column 0 lowest.

    Args:
        design: the array.
        sabotaged: whether a simulator can hold bits of products, by ``keep`` and ``force_``.

    >>> "assign product = 16'(a) * 16'(w);" in emit(ArrayDesign(2, 2))
    True
    """
    widths = design.widths
    told = ", ".join(f"{_WORDS[value]} of {width} bits" for value, width in widths.items())
    title = f"// {design.rows} x {design.cols}, {_KINDS[design.dataflow]}: {told}; "
    parts = [title + f"protection: {design.protect}.\n"]
    if any(design.voted(value) for value in widths):
        parts.append(_replica(design))
    parts += [_mac(design, sabotaged), _element(design)]
    if design.checks:
        formula, bounds = _CHECKED[design.protect], ", ".join(design.bounds)
        parts.append(_CHECK.format(p=_range(widths["p"]), bounds=bounds, formula=formula))
    return "\n".join([*parts, _array(design)])


def _range(width: int) -> str:
    return f"{width - 1}:0"


def _update(design: ArrayDesign, name: str, given: str, enable: str) -> str:
    """What an edge does to a register."""
    taken = f"clear ? '0 : {given}" if design.dataflow == "os" else given
    return f"if ({enable}) {name} <= {taken};"


def _replica(design: ArrayDesign) -> str:
    reset = design.dataflow == "os"
    controls = ("reset", "enable") if reset else ("enable",)
    wired = ", ".join(f".{name}({name})" for name in ("clk", *controls))
    update = ("if (reset) q <= '0; else " if reset else "") + "if (enable) q <= d;"
    return _REPLICA.format(controls=", ".join(controls), wired=wired, update=update)


def _mac(design: ArrayDesign, sabotaged: bool) -> str:
    a, w, p = design.widths.values()
    wide, circuit = design.product_bits, design.circuit
    above = f"{{{p - wide}{{product[{wide - 1}]}}}}, " if p > wide else ""
    told = "made" if sabotaged else "product"
    product = f"assign {told} = {wide}'(a) * {wide}'(w);"
    if circuit is not None:
        ends = ", ".join(f".{name}({circuit.width}'({name}))" for name in ("a", "w"))
        product = f"multiply circuit ({ends}, .product({told}));"
    if sabotaged:
        product = _SABOTEUR.format(range=_range(wide), product=product)
    return (
        ("" if circuit is None else emit_multiplier(circuit) + "\n")
        + (_KEEP if design.protect == "tmr" else "")
        + f"""module mac (
    input  logic signed [{_range(a)}] a,
    input  logic signed [{_range(w)}] w,
    input  logic signed [{_range(p)}] p,
    output logic signed [{_range(p)}] sum
);
    logic signed [{_range(wide)}] product;
    {product}
    assign sum = p + {{{above}product}};
endmodule
"""
    )


def _element(design: ArrayDesign) -> str:
    """One processing element: reads what comes in, and what it holds."""
    ports = [f"input  logic clk, {', '.join(design.controls)}"]
    for value, width in design.widths.items():
        ports.append(f"input  logic signed [{_range(width)}] {value}_i")
        ports.append(f"output logic signed [{_range(width)}] {value}")
    body = [*_arithmetic(design)]
    for value in design.widths:
        body += _register(design, value, *_feed(design, value))
    lines = ",\n    ".join(ports)
    return "\n".join([f"module pe (\n    {lines}\n);", *(f"    {x}" for x in body), "endmodule\n"])


def _arithmetic(design: ArrayDesign) -> Iterator[str]:
    """One multiplier and adder, or three; of an output-stationary array, sums also move down."""
    held = design.dataflow != "os"
    a = "a" if held and design.top == "a" else "a_i"
    w = "w" if held and design.top == "w" else "w_i"
    p = "p_i" if held else "p"
    kind = f"logic signed [{_range(design.widths['p'])}]"
    for copy in _copies(design):
        yield f"{kind} sum{copy};"
        yield f"mac mac{copy} (.a({a}), .w({w}), .p({p}), .sum(sum{copy}));"
        if not held:
            yield f"{kind} next{copy};"
            yield f"assign next{copy} = drain ? p_i : sum{copy};"


def _copies(design: ArrayDesign) -> list[str]:
    """What is put to the names of things that are there three times, or once."""
    return [f"_{copy}" for copy in COPIES] if design.protect == "tmr" else [""]


def _feed(design: ArrayDesign, value: Value) -> tuple[list[str], str]:
    """What a register takes, or its copies do where they differ, and when."""
    if value == "p":
        name = "next" if design.dataflow == "os" else "sum"
        return [f"{name}{copy}" for copy in _copies(design)], "en"
    stays = design.dataflow != "os" and value == design.top
    return [f"{value}_i"], "load" if stays else "en"


def _register(design: ArrayDesign, value: Value, given: list[str], enable: str) -> Iterator[str]:
    """A value's register: plain, or its top bits three times."""
    width, voted = design.widths[value], design.voted(value)
    low = width - voted
    name, part = (f"{value}_low", f"[{_range(low)}]") if voted else (value, "")
    if voted and low:
        yield f"logic [{_range(low)}] {name};"
    if low:
        yield f"always_ff @(posedge clk) {_update(design, name, given[0] + part, enable)}"
    if voted:
        top = f"{value}_top" if low else value
        taken = [one + (f"[{width - 1}:{low}]" if low else "") for one in given]
        if low:
            yield f"logic [{_range(voted)}] {top};"
            yield f"assign {value} = {{{top}, {name}}};"
        three = f"{{3{{{taken[0]}}}}}" if len(taken) == 1 else f"{{{', '.join(taken[::-1])}}}"
        reset = ".reset(en && clear), " if design.dataflow == "os" else ""
        yield f"voted #(.W({voted})) {value}_copies (.clk(clk), {reset}.enable({enable}),"
        yield f"    .d({three}), .q({top}));"


def _array(design: ArrayDesign) -> str:
    """Elements in rows and columns: one value moves right, one and the sums move down."""
    left, top = design.left, design.top
    rows, cols, p = design.rows, design.cols, design.widths["p"]
    of_left, of_top = design.widths[left], design.widths[top]
    wired = ", ".join(f".{name}({name})" for name in ("clk", *design.controls))
    bounds = ",\n    input  logic set, bound" if design.checks else ""
    return f"""module systolic #(parameter ROWS = {rows}, COLS = {cols}) (
    input  logic clk, {", ".join(design.controls)}{bounds},
    input  logic [ROWS*{of_left}-1:0] left,
    input  logic [COLS*{of_top}-1:0] top,
    output logic [COLS*{p}-1:0] y
);
    // What enters row r, column c: {left} from the left, {top} and p from above.
    logic [ROWS*(COLS+1)*{of_left}-1:0] {left};
    logic [(ROWS+1)*COLS*{of_top}-1:0] {top};
    logic [(ROWS+1)*COLS*{p}-1:0] p;
    assign {top}[0 +: COLS*{of_top}] = top;
    assign p[0 +: COLS*{p}] = '0;

    for (genvar row = 0; row < ROWS; row++) begin : rows
        assign {left}[row*(COLS+1)*{of_left} +: {of_left}] = left[row*{of_left} +: {of_left}];
        for (genvar col = 0; col < COLS; col++) begin : cols
            pe element ({wired},
                .{left}_i({left}[(row*(COLS+1) + col)*{of_left} +: {of_left}]),
                .{left}({left}[(row*(COLS+1) + col + 1)*{of_left} +: {of_left}]),
                .{top}_i({top}[(row*COLS + col)*{of_top} +: {of_top}]),
                .{top}({top}[((row+1)*COLS + col)*{of_top} +: {of_top}]),
                .p_i(p[(row*COLS + col)*{p} +: {p}]),
                .p(p[((row+1)*COLS + col)*{p} +: {p}]));
        end
    end

    // Nothing reads what leaves the last column, nor what leaves the last row on its way down.
    logic [ROWS-1:0] unused_right;
    for (genvar row = 0; row < ROWS; row++) begin : rights
        assign unused_right[row] = ^{left}[((row+1)*(COLS+1) - 1)*{of_left} +: {of_left}];
    end
    logic unused_below;
    assign unused_below = ^{top}[ROWS*COLS*{of_top} +: COLS*{of_top}];
{_outputs(design)}endmodule
"""


def _outputs(design: ArrayDesign) -> str:
    p = design.widths["p"]
    if not design.checks:
        return f"\n    assign y = p[ROWS*COLS*{p} +: COLS*{p}];\n"
    first, *others = design.bounds[::-1]
    held, rest = ", ".join((first, *others)), ", ".join(others)
    wired = ", ".join(f".{name}({name})" for name in design.bounds)
    return f"""
    // Bounds come in bit by bit, the highest of {first} first.
    logic signed [{_range(p)}] {", ".join(design.bounds)};
    always_ff @(posedge clk) if (set) {{{held}}} <= {{{first}[{p - 2}:0], {rest}, bound}};

    for (genvar col = 0; col < COLS; col++) begin : checks
        check column (.sum(p[(ROWS*COLS + col)*{p} +: {p}]), {wired},
            .y(y[col*{p} +: {p}]));
    end
"""
