"""What sequences an array: a state machine, counters and what they set off, edge by edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.accel.edgewise import LEAD, PLAIN, run_tiles
from radhard.accel.tiling import tile_edges
from radhard.arith.array import Stationary
from radhard.faults.model import Integers


@dataclass(frozen=True, slots=True)
class Bank:
    """Registers of a kind: how many there are, and the bits of each."""

    name: str
    count: int
    width: int


class Strikes(NamedTuple):
    """Faults of n tiles, one each: right before an edge, and until the register is written.

    Attributes:
        bank: number of the kind.
        place: which one of that kind.
        keep: bits that stay.
        flip: bits that are inverted then.
        edge: of the tile.
    """

    bank: Integers
    place: Integers
    keep: Integers
    flip: Integers
    edge: Integers

    @classmethod
    def flips(cls, bank: Integers, place: Integers, bit: Integers, edge: Integers) -> Strikes:
        """Of a bit each, of which 0 is the lowest."""
        return cls(bank, place, np.full_like(bit, -1), np.int64(1) << bit, edge)

    @property
    def harmless(self) -> Strikes:
        """The same, but nothing is struck."""
        return self._replace(keep=np.full_like(self.keep, -1), flip=np.zeros_like(self.flip))


Numbers = NDArray[Any]
_NO_TABLE = np.zeros((0, 0), np.int64)


class Elements(NamedTuple):
    """What processing elements compute with.

    Attributes:
        how: `PLAIN` products and sums of numbers, products by `TABLE`, or `CUT` ones.
        exactly: whether these are products and sums of integers.
        table: products of an activation and a weight, by their codes.
        codes: what is added to an activation for its code, and its mask; the same of weights.
        cut: bits dropped from a product, lowest and highest value of a sum.
    """

    how: int = PLAIN
    exactly: bool = True
    table: Integers = _NO_TABLE
    codes: tuple[int, int, int, int] = (0, 0, 0, 0)
    cut: tuple[int, int, int] = (0, 0, 0)


#: Those of integers.
EXACT = Elements()


class Replayed(NamedTuple):
    """What n struck tiles came to.

    Attributes:
        results: what was written, (n, free, cols), or (n, rows, cols) where sums stay; not wrapped
            round, and 0 where nothing was.
        edges: that each took, (n,): a result that is right may be late, or early.
    """

    results: Numbers
    edges: Integers


@dataclass(frozen=True, slots=True)
class Sequencer:
    """The control of a systolic array: it runs one tile when told to, and says when it is done.

    Each row reads its own memory by a counter of its own (``read``), an edge later than the row
    above; ``valid`` bits say when, and travel on to the columns, which write results by counters of
    their own (``write``). What is not read is zero, and so is what lies beyond the tile. With held
    operands (``ws``, ``is``), ``hold`` counts their rows as they are loaded; where sums stay
    (``os``), columns read weights by a second set of counters (``fetch``), and ``drain`` writes a
    row of results at each edge. ``state`` and ``step`` say what is next; comparisons are by greater
    or equal, and who has told it to run waits until it is done, so that it ends whatever is struck.

    Attributes:
        rows, cols, dataflow: of the array.
        free: values that stream.
        bits: of ``step``, ``read`` and ``fetch``, and of ``write`` where results stream.

    >>> Sequencer(8, 8, "ws", 64, 7).state_bits, Sequencer(8, 8, "ws", 64, 7).edges
    (143, 90)
    """

    rows: int
    cols: int
    dataflow: Stationary
    free: int
    bits: int

    @property
    def banks(self) -> tuple[Bank, ...]:
        """All its registers."""
        rows, cols, bits = self.rows, self.cols, self.bits
        few = rows.bit_length()
        first = Bank("state", 1, 2), Bank("step", 1, bits), Bank("enable", 1, 1)
        if self.dataflow == "os":
            return (
                *first, Bank("clear", 1, 1), Bank("drain", 1, 1), Bank("valid", self.line, 1),
                Bank("read", rows, bits), Bank("fetch", cols, bits), Bank("write", 1, few),
            )  # fmt: skip
        return (
            *first, Bank("load", 1, 1), Bank("hold", 1, few), Bank("valid", self.line, 1),
            Bank("read", rows, bits), Bank("write", cols, bits),
        )  # fmt: skip

    @property
    def line(self) -> int:
        """How many valid bits there are, one after the other."""
        both = self.rows, self.cols
        return max(both) if self.dataflow == "os" else sum(both)

    @property
    def state_bits(self) -> int:
        """Of all registers."""
        return sum(bank.count * bank.width for bank in self.banks)

    @property
    def wave(self) -> int:
        """Edges of the wave."""
        return self.free + self.rows + self.cols - (2 if self.dataflow == "os" else 1)

    @property
    def edges(self) -> int:
        """Of a tile: those of the array, `LEAD`, and where sums stay one that moves nothing."""
        own = tile_edges(self.dataflow, self.rows, self.cols, self.free)
        return LEAD + own + (self.dataflow == "os")

    def replay(
        self, moving: Numbers, held: Numbers, before: Numbers, strikes: Strikes,
        elements: Elements = EXACT,
    ) -> Replayed:  # fmt: skip
        """Run n tiles, each struck once.

        Args:
            moving: what enters the rows, (n, free, rows).
            held: what enters the columns: (n, rows, cols), or (n, free, cols) where sums stay.
            before: what the tile before held, (n, rows, cols); of no use where sums stay.
            strikes: one of each.
            elements: what they compute with.
        """
        stays, n = self.dataflow == "os", len(moving)
        found = np.zeros((n, self.rows if stays else self.free, self.cols), moving.dtype)
        edges, first = np.empty(n, np.int64), 0
        banks = np.empty((len(self.banks), 3), np.int64)
        for row, bank in zip(banks, self.banks, strict=True):
            row[:], first = (first, bank.count, bank.width), first + bank.count
        shape = stays, self.rows, self.cols, self.free, self.wave
        tiles = tuple(np.ascontiguousarray(one, moving.dtype) for one in (moving, held, before))
        struck = tuple(np.ascontiguousarray(one, np.int64) for one in strikes)
        how, _, *parts = elements
        given = (how, *parts, self.dataflow == "is")
        run_tiles(shape, banks, tiles, struck, given, (found, edges))
        return Replayed(found, edges)
