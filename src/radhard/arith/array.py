"""An array of processing elements that multiply and add, and the bits of them that are stuck."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

Stationary = Literal["os", "ws", "is"]
#: What can have a stuck bit: the registers of weights, activations and partial sums, the
#: multiplier's output, and a net within the multiplier.
Site = Literal["weight", "activation", "product", "psum", "gate"]


@dataclass(frozen=True, slots=True)
class Defect:
    """A bit of one processing element that always has the same value.

    Attributes:
        row, col: of the processing element, from 0.
        site: what is stuck: a bit of the register of ``weight``, ``activation`` or ``psum`` (the
            partial sum that the element passes on), of the ``product``, or a ``gate``.
        value: 0 or 1.
        bit: which, from 0, the lowest.
        node: of a gate, the net of the multiplier's netlist.

    Raises:
        ValueError: for another site or value, a place or bit below 0, or a gate without a net.
    """

    row: int
    col: int
    site: Site
    value: int
    bit: int = 0
    node: str = ""

    def __post_init__(self) -> None:
        if self.site not in get_args(Site):
            raise ValueError(f"site {self.site!r} can't be: use {', '.join(get_args(Site))}")
        if self.value not in (0, 1) or min(self.row, self.col, self.bit) < 0:
            raise ValueError(
                f"{self} can't be: bits are stuck at 0 or 1; rows, columns and bits count from 0"
            )
        if (self.site == "gate") != bool(self.node):
            raise ValueError(f"{self} can't be: gates, and nothing else, have a node, their net")


@dataclass(frozen=True, slots=True)
class Array:
    """rows x cols processing elements, through which the products of a layer pass.

    A layer is a product of matrices: positions by terms (input channel, kernel row, kernel column)
    by output channels, one for each group. Element (r, c) makes the products of
    terms k with k mod rows = r and channels n with n mod cols = c in a weight-stationary array
    (``ws``), of positions m with m mod rows = r and channels with n mod cols = c in an output-
    stationary one (``os``), of terms k mod rows = r and positions m mod cols = c in an input-
    stationary one (``is``).

    Where a stuck bit acts besides its own element: registers pass their values on, so that
    activations (weights where inputs stay) are wrong in all columns from that one on; weights that
    stay (or inputs) are loaded through the registers above, so that all rows below have them wrong,
    too; in an output-stationary array weights are wrong in all rows from that one on, and sums pass
    the accumulators of the rows below when they leave. Elements without work go on
    computing with zeros, unless they are gated; registers of an output-stationary array are emptied
    before each tile. All rules were checked against a simulation of
    registers, cycle by cycle.

    Attributes:
        rows, cols: processing elements.
        dataflow: what stays in the elements: ``ws``, ``os`` or ``is``.
        defects: stuck bits, each in its own place.
        restart: whether the sums of an array that keeps weights or inputs start anew from 0 for
            each tile of ``rows`` terms, and tiles are added up outside; else they go on.
        gated: whether elements without work do nothing; those of an output-stationary array still
            hand on the sums of the rows above.
        psum_bits: of partial sums, 8 to 48; sums of the array wrap round at them.
        bypassed: elements (row, column) whose multiplier and adder sums pass by, as repairs do that
            prune what faulty elements hold (Zhang et al., VTS 2018); their registers pass values on
            as before.

    Raises:
        ValueError: for fewer than 1 row or column, another dataflow, defects or bypassed elements
            that lie outside, or some that are bypassed where sums stay in them.

    >>> Array(2, 2, defects=(Defect(0, 1, "product", 1, bit=14),)).faulty
    1
    """

    rows: int = 128
    cols: int = 128
    dataflow: Stationary = "ws"
    defects: tuple[Defect, ...] = ()
    restart: bool = True
    gated: bool = False
    psum_bits: int = 32
    bypassed: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1 or self.dataflow not in get_args(Stationary):
            raise ValueError(
                f"an array of {self.rows} x {self.cols}, {self.dataflow!r} can't be: use at least "
                "1 x 1, and ws, os or is"
            )
        for name in ("defects", "bypassed"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("rows", "cols", "psum_bits"):
            if type(getattr(self, name)) is not int:
                raise TypeError(f"{name} of an array must be an int: got {getattr(self, name)!r}")
        places = Counter((d.row, d.col, d.site, d.bit, d.node) for d in self.defects)
        twice = [one for one, count in places.items() if count > 1]
        if twice:
            raise ValueError(f"a bit is stuck twice, {twice[0]}: say each one once")
        if not 8 <= self.psum_bits <= 48:
            raise ValueError(f"partial sums of {self.psum_bits} bits can't be: use 8 to 48")
        for one in self.defects:
            if one.row >= self.rows or one.col >= self.cols:
                raise ValueError(f"{one} lies outside an array of {self.rows} x {self.cols}")
            if one.site == "psum" and one.bit >= self.psum_bits:
                raise ValueError(f"{one}: partial sums have {self.psum_bits} bits, from 0")

        if self.bypassed and self.dataflow == "os":
            raise ValueError("elements in which sums stay can't be bypassed: use ws or is")
        for row, col in self.bypassed:
            if not (0 <= row < self.rows and 0 <= col < self.cols):
                raise ValueError(
                    f"({row}, {col}) lies outside an array of {self.rows} x {self.cols}"
                )

    @property
    def name(self) -> str:
        """Such as ``128x128-ws``, with what is stuck: ``128x128-ws:163-product``."""
        sites = Counter(one.site for one in self.defects)
        faults = "+".join(f"{count}-{site}" for site, count in sites.items())
        return ":".join(filter(None, (f"{self.rows}x{self.cols}-{self.dataflow}", faults)))

    @property
    def faulty(self) -> int:
        """Processing elements that have a defect."""
        return len({(one.row, one.col) for one in self.defects})
