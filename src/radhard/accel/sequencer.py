"""What sequences an array: a state machine, counters and what they set off, edge by edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import add, mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.accel.tiling import Flags, tile_edges
from radhard.arith.array import Stationary
from radhard.faults.model import Integers

#: Edges before a tile's flips reach its array: it is idle, is told to begin, and passes that on.
LEAD = 3
#: States: nothing to do; operands are loaded, or sums cleared; the wave passes; sums move out.
IDLE, BEGIN, WAVE, DRAIN = range(4)


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
#: What an element makes of two operands, or of a sum and a product.
Operation = Callable[[Numbers, Numbers], Numbers]


class Elements(NamedTuple):
    """What processing elements compute with.

    Attributes:
        multiply: an activation and a weight.
        add: a sum and a product.
        exactly: whether these are products and sums of integers.
    """

    multiply: Operation = mul
    add: Operation = add
    exactly: bool = True


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
        run = _Run.of(self, elements, moving, held, before)
        edge, edges = 0, np.zeros(len(moving), np.int64)
        while run.left.any():
            self._strike(run.control, strikes, edge)
            edges += run.left > 0
            run.advance()
            edge += 1
        return Replayed(run.found, edges)

    def _strike(self, control: Mapping[str, Integers], strikes: Strikes, edge: int) -> None:
        (lanes,) = np.nonzero(strikes.edge == edge)
        for number in np.unique(strikes.bank[lanes]).tolist():
            own = lanes[strikes.bank[lanes] == number]
            where = own, strikes.place[own]
            bank = self.banks[number]
            struck = control[bank.name][where] & strikes.keep[own] ^ strikes.flip[own]
            control[bank.name][where] = struck & (1 << bank.width) - 1

    def next(self, now: Mapping[str, Integers], start: Flags) -> tuple[dict[str, Integers], Flags]:
        """The registers after an edge, (n, count) of each kind, and which tiles are done at it."""
        state, step = now["state"][:, 0], now["step"][:, 0]
        stays = self.dataflow == "os"
        begins, waves = state == BEGIN, state == WAVE
        drains = (state == DRAIN) & stays
        idle = ~(begins | waves | drains)
        passed = waves & (step >= self.wave - 1)
        ready = begins if stays else begins & (step >= self.rows - 1)
        done = drains & (step >= self.rows - 1) if stays else passed
        then = np.where(passed, DRAIN if stays else IDLE, state)
        then = np.where(idle, BEGIN, np.where(ready, WAVE, np.where(done, IDLE, then)))
        anew = idle | ready | passed | done | ~start
        valid = np.roll(now["valid"], 1, 1)
        valid[:, 0] = waves & (step < self.free)
        found = {
            "state": np.where(start, then, IDLE)[:, None],
            "step": np.where(anew, 0, step + 1)[:, None],
            "enable": (~idle if stays else waves)[:, None].astype(np.int64),
            "valid": np.where(begins[:, None], 0, valid),
            "read": now["read"] + now["valid"][:, : self.rows],
        }
        if stays:
            found |= {"clear": begins[:, None].astype(np.int64)}
            found |= {"drain": drains[:, None].astype(np.int64)}
            found |= {"fetch": now["fetch"] + now["valid"][:, : self.cols]}
            found |= {"write": now["write"] + now["drain"]}
        else:
            found |= {"load": begins[:, None].astype(np.int64)}
            found |= {"hold": np.where(now["load"] > 0, now["hold"] + 1, 0)}
            found |= {"write": now["write"] + now["valid"][:, self.rows :]}
        for name in ("read", "fetch", "write"):
            if name in found:
                found[name] = np.where(begins[:, None], 0, found[name])
        for bank in self.banks:
            found[bank.name] &= (1 << bank.width) - 1
        return found, done & start


@dataclass(slots=True, eq=False)
class _Run:
    """Tiles on arrays of their own, all at the same edge.

    Attributes:
        sequencer: what sequences them.
        elements: what theirs compute with.
        moving, held: with a row of zeros behind the last one, which stands for all beyond it.
        control: the sequencer's registers.
        right, down, sums: those of the elements, (n, rows, cols).
        start: which are told to run, (n,).
        left: edges until their results are taken, once they are not, (n,).
        found: what is written, (n, results of a column, cols).
    """

    sequencer: Sequencer
    elements: Elements
    moving: Numbers
    held: Numbers
    control: dict[str, Integers]
    right: Numbers
    down: Numbers
    sums: Numbers
    start: Flags
    left: Integers
    found: Numbers

    @classmethod
    def of(
        cls, sequencer: Sequencer, elements: Elements, moving: Numbers, held: Numbers,
        before: Numbers,
    ) -> _Run:  # fmt: skip
        n, stays = len(moving), sequencer.dataflow == "os"
        size = n, sequencer.rows, sequencer.cols
        longest = sequencer.rows if stays else sequencer.free
        after = {"read": sequencer.free, "fetch": sequencer.free, "write": longest}
        control = {
            bank.name: np.full((n, bank.count), after.get(bank.name, 0)) for bank in sequencer.banks
        }
        nothing = np.zeros(size, moving.dtype)
        down = nothing if stays else before.astype(moving.dtype)
        moving, held = (np.pad(one, ((0, 0), (0, 1), (0, 0))) for one in (moving, held))
        return cls(
            sequencer, elements, moving, held, control, nothing, down, nothing, np.ones(n, bool),
            np.full(n, LEAD), np.zeros((n, longest, sequencer.cols), moving.dtype),
        )  # fmt: skip

    def advance(self) -> None:
        """One edge: all registers at once, from what they were."""
        now, self.control = self.control, {}
        self._write(now)
        (self._output_stationary if self.sequencer.dataflow == "os" else self._loaded)(now)
        self.control, done = self.sequencer.next(now, self.start)
        self.start = self.start & ~done
        self.left = np.where(self.start, LEAD, (self.left - 1).clip(0))

    def _write(self, now: Mapping[str, Integers]) -> None:
        """Results that are shown, where and when the sequencer says."""
        cols, rows = self.sequencer.cols, self.sequencer.rows
        stays = self.sequencer.dataflow == "os"
        on = now["drain"].repeat(cols, 1) if stays else now["valid"][:, rows:]
        at = now["write"].repeat(cols, 1) if stays else now["write"]
        lane, col = np.nonzero((on > 0) & (at < self.found.shape[1]) & (self.left > 0)[:, None])
        place = at[lane, col]
        place = rows - 1 - place if stays else place
        self.found[lane, place, col] = self.sums[lane, -1, col]

    def _read(self, memory: Numbers, at: Integers, on: NDArray[np.bool_]) -> Numbers:
        """Of each line its own place in a memory (n, places, lines), zero where it is not read."""
        place = np.where(on, at, memory.shape[1] - 1).clip(max=memory.shape[1] - 1)
        return np.take_along_axis(memory, place[:, None], 1)[:, 0]

    def _added(self, sums: Numbers, right: Numbers, down: Numbers) -> Numbers:
        """Sums with a product each; weights move right where inputs stay."""
        a, w = (down, right) if self.sequencer.dataflow == "is" else (right, down)
        return self.elements.add(sums, self.elements.multiply(a, w))

    def _loaded(self, now: Mapping[str, Integers]) -> None:
        """What stays is loaded, and what moves passes it; from the right and the bottom on."""
        rows = self.sequencer.rows
        on = now["enable"][:, 0] > 0
        if on.any():
            entering = self._read(self.moving, now["read"], now["valid"][:, :rows] > 0)
            came = shifted(self.right, entering, 2)
            above = shifted(self.sums, np.zeros_like(self.sums[:, 0]), 1)
            sums = self._added(above, came, self.down)
            self.right, self.sums = _where(on, came, self.right), _where(on, sums, self.sums)
        load = now["load"][:, 0] > 0
        if load.any():
            row = rows - 1 - now["hold"][:, 0]
            entering = self.held[np.arange(len(row)), np.where(row < 0, rows, row)]
            self.down = _where(load, shifted(self.down, entering, 1), self.down)

    def _output_stationary(self, now: Mapping[str, Integers]) -> None:
        """Two waves meet; sums are made where they stay, or move down."""
        on, clear, drain = (now[name][:, 0] > 0 for name in ("enable", "clear", "drain"))
        if not on.any():
            return
        rows, cols = self.sequencer.rows, self.sequencer.cols
        valid = now["valid"] > 0
        right = shifted(self.right, self._read(self.moving, now["read"], valid[:, :rows]), 2)
        down = shifted(self.down, self._read(self.held, now["fetch"], valid[:, :cols]), 1)
        above = shifted(self.sums, np.zeros_like(self.sums[:, 0]), 1)
        sums = _where(drain, above, self._added(self.sums, right, down))
        none = np.zeros_like(sums)
        right, down, sums = (_where(clear, none, one) for one in (right, down, sums))
        self.right, self.down = _where(on, right, self.right), _where(on, down, self.down)
        self.sums = _where(on, sums, self.sums)


def _where(which: Flags, one: Numbers, other: Numbers) -> Numbers:
    """Of each lane the one or the other."""
    if which.all():
        return one
    return np.where(which[:, None, None], one, other) if which.any() else other


def shifted(held: Numbers, entering: Numbers, axis: int) -> Numbers:
    """What neighbours hand on along an axis, and what enters at its edge."""
    found = np.empty_like(held)
    if axis == 2:
        found[:, :, 1:], found[:, :, 0] = held[:, :, :-1], entering
    else:
        found[:, 1:], found[:, 0] = held[:, :-1], entering
    return found
