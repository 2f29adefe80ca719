"""Multipliers of the catalogue as SystemVerilog."""

from __future__ import annotations

from collections.abc import Iterator

from radhard.arith.broken import BrokenArray, Exact
from radhard.arith.multiplier import Multiplier
from radhard.arith.multipliers import multiplier_named
from radhard.arith.netlist import Netlist
from radhard.arith.published import Circuit

_MODULE = """// {title}
module multiply (
    input  logic signed [{high}:0] a, w,
    output logic signed [{top}:0] product
);
{body}endmodule
"""


def circuit_named(name: str) -> Multiplier | None:
    """The multiplier of an array by name; ``None`` for the exact one, ``""``.

    Raises:
        ValueError: for an unknown name, or one that has no text here.

    >>> circuit_named("mul8s_1L2H@v1").width
    8
    """
    if not name:
        return None
    found = multiplier_named(name)
    if not found.signed:
        raise ValueError(
            f"multiplier {name} has unsigned operands, and arrays here have two's complement: use "
            "a signed one (mul8s_...)"
        )
    own = _within(found)
    if not isinstance(own, Exact | BrokenArray | Netlist) or (
        isinstance(own, Netlist) and own.stuck
    ):
        raise ValueError(
            f"multiplier {name} can't be emitted: use a circuit of EvoApproxLib such as "
            "mul8s_1L2H@v1, an array such as mul8s_array:columns=4, or a netlist (mine.v@signed) "
            "without stuck nodes"
        )
    return found


def _within(circuit: Multiplier) -> Multiplier:
    return circuit.of if isinstance(circuit, Circuit) else circuit


def emit_multiplier(circuit: Multiplier) -> str:
    """The module ``multiply``: ``a`` is on port A, ``w`` on port B.

    An array adds partial products, here grouped by the low bits of ``w`` that it leaves out; a
    netlist is taken as it is.

    >>> print(emit_multiplier(multiplier_named("mul8s_1L2H@v1")))
    // mul8s_1L2H
    module multiply (
        input  logic signed [7:0] a, w,
        output logic signed [15:0] product
    );
        assign product = 16'($signed({a[7], a & 8'hfe})) * 16'($signed(w & 8'hfe));
    endmodule
    <BLANKLINE>
    """
    width, own = circuit.width, _within(circuit)
    given = {"title": circuit.name, "high": width - 1, "top": 2 * width - 1}
    if isinstance(own, Netlist):
        text, name, (a, b, out) = own.verilog.strip(), own.module_name, own.ports
        wired = f"    {name} circuit (.{a}(a), .{b}(w), .{out}(product));\n"
        return text + "\n\n" + _MODULE.format(body=wired, **given)
    assert isinstance(own, BrokenArray | Exact)
    terms = " +\n        ".join(_terms(own))
    return _MODULE.format(body=f"    assign product = {terms};\n", **given)


def _terms(circuit: BrokenArray | Exact) -> Iterator[str]:
    """Products of some bits of ``a`` and the upper bits of ``w``."""
    width = circuit.width
    rows = circuit.rows if isinstance(circuit, BrokenArray) else [(i, 0) for i in range(width)]
    every = (1 << width) - 1
    for cut in sorted({low for _, low in rows}):
        bits = [i for i, low in rows if low == cut]
        sign = f"a[{width - 1}]" if width - 1 in bits else "1'b0"
        of_a, of_w = sum(1 << i for i in bits), every >> cut << cut
        yield (
            f"{2 * width}'($signed({{{sign}, a & {width}'h{of_a:x}}})) * "
            f"{2 * width}'($signed(w & {width}'h{of_w:x}))"
        )
