"""Netlists as lists of gates: one pair of operands, one gate after the other."""

from collections.abc import Mapping

#: A net, its gate, and the nets that the gate reads.
Gates = list[tuple[str, str, str, str]]
_GATE = {"&": lambda x, y: x & y, "|": lambda x, y: x | y, "^": lambda x, y: x ^ y}


def array_multiplier(width: int) -> Gates:
    """Rows of partial products, added by ripple-carry adders of gates; O[k] are the products."""
    gates: Gates = []

    def gate(symbol: str, left: str, right: str) -> str:
        gates.append((f"n{len(gates)}", symbol, left, right))
        return gates[-1][0]

    def add(left: list[str], right: list[str]) -> list[str]:
        found, carry = [], None
        for x, y in zip(left, right, strict=True):
            half, both = gate("^", x, y), gate("&", x, y)
            if carry is None:
                found.append(half)
                carry = both
                continue
            found.append(gate("^", half, carry))
            carry = gate("|", both, gate("&", half, carry))
        return [*found, carry]

    def row(i: int) -> list[str]:
        return [gate("&", f"A[{i}]", f"B[{j}]") for j in range(width)]

    first = row(0)
    done, total = first[:1], [*first[1:], gate("^", first[0], first[0])]
    for i in range(1, width):
        total = add(total, row(i))
        done, total = [*done, total[0]], total[1:]
    for k, net in enumerate([*done, *total]):
        gates.append((f"O[{k}]", "|", net, net))
    return gates


def verilog(gates: Gates, width: int, name: str = "mine") -> str:
    """As a file of assigns."""
    lines = [f"module {name} (\n  A,\n  B,\n  O\n);", f"input [{width - 1}:0] A;"]
    lines += [f"input [{width - 1}:0] B;", f"output [{2 * width - 1}:0] O;"]
    lines.append("wire " + ",".join(net for net, *_ in gates if "[" not in net) + ";")
    lines += [f"assign {net} = {x} {symbol} {y}; // {symbol}" for net, symbol, x, y in gates]
    return "\n".join([*lines, "endmodule\n"])


def product(gates: Gates, a: int, b: int, width: int, stuck: Mapping[str, int]) -> int:
    """Of one pair."""
    held = {f"A[{k}]": a >> k & 1 for k in range(width)}
    held.update({f"B[{k}]": b >> k & 1 for k in range(width)})
    held.update({net: level for net, level in stuck.items() if net in held})
    for net, symbol, x, y in gates:
        held[net] = stuck.get(net, _GATE[symbol](held[x], held[y]))
    return sum(held[f"O[{k}]"] << k for k in range(2 * width))
