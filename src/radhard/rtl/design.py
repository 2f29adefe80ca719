"""A systolic array as hardware: its parameters, and every register that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from radhard.arith.array import Stationary
from radhard.arith.multiplier import Integers, Multiplier
from radhard.rtl.multiply import circuit_named

#: What an array does against upsets; `ArrayDesign` says what each is.
Protect = Literal["none", "clamp", "zero", "mean", "msb", "psum", "voted", "tmr"]
#: Values that move through an array: activations, weights, partial sums.
Value = Literal["a", "w", "p"]
#: The three copies of a voted register.
COPIES = ("x", "y", "z")
#: Top bits of activations that ``msb`` keeps three times.
TOP_BITS = 2
#: Widest partial sums: their sums with products stay within 64 bits.
WIDEST_SUM = 48


@dataclass(frozen=True, slots=True)
class Register:
    """A register that each of rows x cols elements has; of one for the whole array, 1 x 1.

    Attributes:
        name: ``a``, ``w`` or ``p``; of voted values ``p_x``, ``p_y`` and ``p_z`` are the copies of
            the top bits and ``p_low`` is what lies below; ``low`` and ``high`` are the bounds, and
            ``mean`` is what others become.
        value: what it holds, or a part of: ``a``, ``w``, ``p``, ``low``, ``high`` or ``mean``.
        rows, cols: how many there are.
        width: in bits.
        path: in the emitted text, with places for ``row`` and ``col``.
    """

    name: str
    value: str
    rows: int
    cols: int
    width: int
    path: str

    @property
    def bits(self) -> int:
        """Of all elements."""
        return self.rows * self.cols * self.width


@dataclass(frozen=True, slots=True)
class ArrayDesign:
    """A systolic array of rows x cols processing elements, which multiplies A [M, K] by W [K, N].

    Each element multiplies what comes in, adds, and passes on. Weight stationary (``ws``): element
    (r, c) holds W[r, c], activations move right, sums down; K is rows, N is cols, M is free. Input
    stationary (``is``) is its transpose: element (r, c) holds A[c, r], weights move right; K is
    rows, M is cols, N is free. Output stationary (``os``): element (r, c) sums up Y[r, c],
    activations move right and weights down; M is rows, N is cols, K is free. Integers are in two's
    complement, sums wrap round.

    Protections: ``clamp`` sets a column's output that is out of bounds to the nearer one, ``zero``
    to 0, ``mean`` to a value that is set as the bounds are. ``msb`` keeps the top two bits of
    activations three times and votes, ``psum`` the top quarter of the partial sums, ``voted`` every
    flip-flop; ``tmr`` has three multipliers and adders as well.

    Attributes:
        rows, cols: processing elements.
        bits: of an activation.
        weight_bits: of a weight; 0 for as many as an activation.
        psum_bits: of a partial sum; 0 for 8 more than a product.
        dataflow: ``ws``, ``os`` or ``is``.
        protect: one of the protections.
        multiplier: of the catalogue, by name; exact where empty. It is at least as wide as what it
            multiplies, which is extended to its width.

    Raises:
        ValueError: for what can't be built.

    >>> design = ArrayDesign(4, 4, dataflow="os", protect="psum")
    >>> design.widths["p"], design.voted("p"), design.state_bits
    (24, 6, 832)
    """

    rows: int = 8
    cols: int = 8
    bits: int = 8
    weight_bits: int = 0
    psum_bits: int = 0
    dataflow: Stationary = "ws"
    protect: Protect = "none"
    multiplier: str = ""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError(f"an array of {self.rows} x {self.cols} can't be: use 1 x 1 or more")
        for given, kinds in ((self.dataflow, Stationary), (self.protect, Protect)):
            if given not in get_args(kinds):
                raise ValueError(f"{given!r} can't be: use one of {', '.join(get_args(kinds))}")
        widths = self.widths
        if not (2 <= widths["a"] <= 16 and 2 <= widths["w"] <= 16):
            raise ValueError(
                f"activations of {widths['a']} and weights of {widths['w']} bits can't be: use 2 "
                "to 16"
            )
        if self.circuit is not None and self.circuit.width < max(widths["a"], widths["w"]):
            raise ValueError(
                f"{self.multiplier} multiplies {self.circuit.width} bits: use operands of as many "
                "or fewer"
            )
        if not self.product_bits <= widths["p"] <= WIDEST_SUM:
            raise ValueError(
                f"partial sums of {widths['p']} bits can't be: use {self.product_bits}, the width "
                f"of a product, to {WIDEST_SUM}"
            )

    @property
    def widths(self) -> dict[Value, int]:
        """Bits of each value."""
        weight = self.weight_bits or self.bits
        return {"a": self.bits, "w": weight, "p": self.psum_bits or self.product_bits + 8}

    @property
    def circuit(self) -> Multiplier | None:
        """The multiplier; ``None`` for an exact one."""
        return _circuit(self.multiplier)

    @property
    def product_bits(self) -> int:
        """Of a product."""
        if self.circuit is not None:
            return 2 * self.circuit.width
        return self.bits + (self.weight_bits or self.bits)

    def product(self, a: Integers, w: Integers) -> Integers:
        """What an element makes of an activation and a weight; they broadcast."""
        return a * w if self.circuit is None else self.circuit.product(a, w)

    @property
    def own(self) -> bool:
        """Whether an element multiplies what its own register holds of what moves: no."""
        return False

    @property
    def pipelined(self) -> bool:
        """Whether products have a register: no."""
        return False

    @property
    def late(self) -> int:
        """Edges by which sums are made later than here."""
        return self.own + self.pipelined

    @property
    def latency(self) -> int:
        """Edges by which results are shown after their sums are made: none."""
        return 0

    @property
    def left(self) -> Value:
        """What enters the rows and moves right."""
        return "w" if self.dataflow == "is" else "a"

    @property
    def top(self) -> Value:
        """What enters the columns, and stays or moves down."""
        return "a" if self.dataflow == "is" else "w"

    @property
    def checks(self) -> bool:
        """Whether column outputs are compared with bounds."""
        return bool(self.bounds)

    @property
    def bounds(self) -> tuple[str, ...]:
        """Registers that all columns share, in the order of `Operands.bounds`."""
        own = {"clamp": (), "zero": (), "mean": ("mean",)}.get(self.protect)
        return () if own is None else ("low", "high", *own)

    @property
    def controls(self) -> tuple[str, ...]:
        """Inputs that say what an edge does."""
        return ("en", "clear", "drain") if self.dataflow == "os" else ("en", "load")

    @property
    def name(self) -> str:
        """In one word, such as ``ws-8x8-a8w8p24-clamp``."""
        widths = "".join(f"{value}{width}" for value, width in self.widths.items())
        plain = f"{self.dataflow}-{self.rows}x{self.cols}-{widths}-{self.protect}"
        return "-".join(filter(None, (plain, re.sub(r"[^\w.]", "_", self.multiplier))))

    def voted(self, value: Value) -> int:
        """How many top bits of a value are kept three times."""
        width = self.widths[value]
        match self.protect:
            case "voted" | "tmr":
                return width
            case "msb":
                return min(TOP_BITS, width) if value == "a" else 0
            case "psum":
                return width // 4 if value == "p" else 0
        return 0

    @property
    def registers(self) -> tuple[Register, ...]:
        """Every register; those that nothing reads, at the edges, too."""
        found = [one for value in self.widths for one in self._parts(value)]
        width = self.widths["p"]
        found += [Register(name, name, 1, 1, width, name) for name in self.bounds]
        return tuple(found)

    @property
    def state_bits(self) -> int:
        """Of all registers."""
        return sum(one.bits for one in self.registers)

    def register(self, name: str) -> Register:
        """The one of a name.

        Raises:
            ValueError: where there is none.
        """
        for one in self.registers:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.registers)
        raise ValueError(f"{self.name} has no register {name!r}: use one of {names}")

    def _parts(self, value: Value) -> Iterator[Register]:
        """What a value is kept in."""
        place = "rows[{row}].cols[{col}].element."
        voted = self.voted(value)
        low = self.widths[value] - voted
        if low:
            name = f"{value}_low" if voted else value
            yield Register(name, value, self.rows, self.cols, low, place + name)
        if voted:
            for copy in COPIES:
                path = f"{place}{value}_copies.{copy}.q"
                yield Register(f"{value}_{copy}", value, self.rows, self.cols, voted, path)


@cache
def _circuit(name: str) -> Multiplier | None:
    return circuit_named(name)
