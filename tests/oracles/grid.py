"""A systolic array, simulated cycle by cycle: which variable each register holds, and who reads it.

A product of P x Q inputs and Q x M weights; outputs are (m, p). No closed form is used. `Grid`
moves the values themselves, one per fault, and strikes them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from oracles.held import Numbers
from oracles.loopnest import Events

Values = np.ndarray
Registers = dict[str, Values]
Place = tuple[int, ...]
#: Corner and extent of a tile, and how many steps stream past it.
Tile = tuple[tuple[int, int], tuple[int, int], int]
REGISTERS = ("input", "weight", "psum")

Held = dict[str, Counter]


def simulate(rows: int, cols: int, dataflow: str, size: tuple[int, int, int]) -> tuple[int, Held]:
    """Cycles, and for each operand how many cells hold (variable, outputs still to be reached)."""
    p_count, q_count, m_count = size
    up, across = {
        "os": (p_count, m_count), "ws": (q_count, m_count), "is": (q_count, p_count),
    }[dataflow]  # fmt: skip
    held: Held = {"input": Counter(), "weight": Counter(), "psum": Counter()}
    cycles = 0
    for top, left in product(range(0, up, rows), range(0, across, cols)):
        tile = (min(rows, up - top), min(cols, across - left))
        stream = {"os": q_count, "ws": p_count, "is": m_count}[dataflow]
        length = stream + rows + cols - 2
        cycles += length
        for cycle, row, col in product(range(length), range(rows), range(cols)):
            step = cycle - row - col  # what streams past this element now
            see = {"os": _output_stationary, "ws": _weight_stationary, "is": _input_stationary}
            see[dataflow](held, (top, left), tile, (row, col), (step, stream))
    return cycles, held


def _output_stationary(held, corner, tile, place, stream):
    (top, left), (row, col), (k, terms) = corner, place, stream
    if not 0 <= k < terms:
        return
    if row < tile[0]:
        reached = frozenset((left + c, top + row) for c in range(col, tile[1]))
        held["input"][(top + row, k), reached] += 1
    if col < tile[1]:
        reached = frozenset((left + col, top + r) for r in range(row, tile[0]))
        held["weight"][(left + col, k), reached] += 1
    if row < tile[0] and col < tile[1]:
        own = (left + col, top + row)
        held["psum"][(own, (0, k + 1)), frozenset([own])] += 1


def _weight_stationary(held, corner, tile, place, stream):
    (top, left), (row, col), (p, count) = corner, place, stream
    if row < tile[0] and col < tile[1]:
        reached = frozenset((left + col, later) for later in range(max(p, 0), count))
        held["weight"][(left + col, top + row), reached] += 1
    if not 0 <= p < count:
        return
    if row < tile[0]:
        reached = frozenset((left + c, p) for c in range(col, tile[1]))
        held["input"][(p, top + row), reached] += 1
    if col < tile[1]:
        own = (left + col, p)
        terms = (top, top + min(row + 1, tile[0]))
        held["psum"][(own, terms), frozenset([own])] += 1


def _input_stationary(held, corner, tile, place, stream):
    (top, left), (row, col), (m, count) = corner, place, stream
    if row < tile[0] and col < tile[1]:
        reached = frozenset((later, left + col) for later in range(max(m, 0), count))
        held["input"][(left + col, top + row), reached] += 1
    if not 0 <= m < count:
        return
    if row < tile[0]:
        reached = frozenset((m, left + c) for c in range(col, tile[1]))
        held["weight"][(m, top + row), reached] += 1
    if col < tile[1]:
        own = (m, left + col)
        terms = (top, top + min(row + 1, tile[0]))
        held["psum"][(own, terms), frozenset([own])] += 1


@dataclass(frozen=True)
class Grid:
    """An array of processing elements with a register of each kind, and what stays in place."""

    rows: int
    cols: int
    dataflow: str

    def cells(self, size: tuple[int, int, int]) -> dict[str, list[tuple[Place, Place]]]:
        """Of each kind of register: (variable, (cycle, row, column)), in the order of variables.

        A variable's cells are in the order of time.
        """
        found: dict[str, list[tuple[Place, Place]]] = {kind: [] for kind in REGISTERS}
        for cycle, tile, step in self._cycles(size):
            for row, col in product(range(self.rows), range(self.cols)):
                for kind, name in self._held(tile, (row, col), step - row - col).items():
                    found[kind].append((name, (cycle, row, col)))
        return {kind: sorted(cells) for kind, cells in found.items()}

    def run(
        self,
        how: Numbers,
        operands: tuple[Values, Values],
        kind: str,
        strike: tuple[Events, Values],
        met: Values | None = None,
    ) -> tuple[Values, Values]:
        """The product (n, P, M) of (n, P, Q) and (Q, M) values, and which lanes read the struck.

        Cycle by cycle: values move, then lanes are struck, then elements multiply and add; a sum
        is struck after that. ``met`` (n, Q) is added the inputs that the last channel multiplies.
        """
        (a, b), (events, bits) = operands, strike
        n, read = len(a), np.zeros(len(a), bool)
        out = np.zeros((n, a.shape[1], b.shape[1]), np.int64)
        size = (a.shape[1], a.shape[2], b.shape[1])
        empty = np.zeros((self.rows, self.cols, n), np.int64)
        for cycle, tile, step in self._cycles(size):
            if step == 0:
                held = {name: empty.copy() for name in REGISTERS}
                dirty = {name: empty.astype(bool) for name in REGISTERS}
            held, dirty = self._moved(held, dirty)
            for row, col in product(range(self.rows), range(self.cols)):
                names = self._held(tile, (row, col), step - row - col)
                self._feed(held, (a, b), names, (row, col), first=step == 0)
                lanes = events.at(cycle, row, col)
                word = how.input if kind == "input" else how.weight
                if kind != "psum" and len(lanes):
                    cell = held[kind][row, col]
                    cell[lanes] = word.flipped(cell[lanes], bits[lanes])
                    dirty[kind][row, col][lanes] = True
                total = held["psum"][row, col]
                if "psum" in names:
                    read |= dirty["input"][row, col] | dirty["weight"][row, col]
                    total += held["input"][row, col] * held["weight"][row, col]
                    if met is not None and names["psum"][0] == b.shape[1] - 1:
                        met[:, names["weight"][1]] += held["input"][row, col]
                if kind == "psum" and len(lanes):
                    total[lanes] = how.struck(total[lanes], total[lanes], bits[lanes])
                    read[lanes] = True
                self._drain(out, total, names, row)
        return out, read

    def _cycles(self, size: tuple[int, int, int]) -> Iterator[tuple[int, Tile, int]]:
        """Number of the cycle; corner, extent and what streams past a tile; cycle of the tile."""
        p, q, m = size
        up, across, stream = {"os": (p, m, q), "ws": (q, m, p), "is": (q, p, m)}[self.dataflow]
        cycle = 0
        for top, left in product(range(0, up, self.rows), range(0, across, self.cols)):
            extent = min(self.rows, up - top), min(self.cols, across - left)
            for step in range(stream + self.rows + self.cols - 2):
                yield cycle, ((top, left), extent, stream), step
                cycle += 1

    def _held(self, tile: Tile, place: Place, step: int) -> dict[str, Place]:
        """The variables in an element's registers: (p, q) of inputs, (m, q), and (m, p) of sums.

        A sum is there while products are added to it.
        """
        (top, left), (height, width), stream = tile
        (row, col), now = place, 0 <= step < stream
        across, down = row < height, col < width  # what moves along an active row, or column
        r, c = top + row, left + col
        if self.dataflow == "os":
            names = {"input": (r, step), "weight": (c, step), "psum": (c, r)}
            there = {"input": now and across, "weight": now and down}
        elif self.dataflow == "ws":
            names = {"input": (step, r), "weight": (c, r), "psum": (c, step)}
            there = {"input": now and across, "weight": across and down}
        else:
            names = {"input": (c, r), "weight": (step, r), "psum": (step, c)}
            there = {"input": across and down, "weight": now and across}
        there["psum"] = now and down and (self.dataflow != "os" or across)
        return {kind: names[kind] for kind in REGISTERS if there[kind]}

    def _moved(self, held: Registers, dirty: Registers) -> tuple[Registers, Registers]:
        """One cycle on: what does not stay moves to the right, or down."""
        stays = {"os": "psum", "ws": "weight", "is": "input"}[self.dataflow]
        down = "weight" if self.dataflow == "os" else "psum"
        moved = []
        for registers in (held, dirty):
            after = {}
            for kind, values in registers.items():
                if kind == stays:
                    after[kind] = values
                    continue
                after[kind] = np.zeros_like(values)
                if kind == down:
                    after[kind][1:] = values[:-1]
                else:
                    after[kind][:, 1:] = values[:, :-1]
            moved.append(after)
        return moved[0], moved[1]

    def _feed(
        self, held: Registers, operands: tuple[Values, Values], names: dict[str, Place],
        place: Place, first: bool,
    ) -> None:  # fmt: skip
        """Values come in at the left and upper edge; what stays is there from the start."""
        (a, b), (row, col) = operands, place
        stays = {"os": "psum", "ws": "weight", "is": "input"}[self.dataflow]
        for kind in ("input", "weight"):
            edge = row == 0 if (kind, self.dataflow) == ("weight", "os") else col == 0
            if kind in names and (first if kind == stays else edge):
                one, q = names[kind]
                held[kind][row, col] = a[:, one, q] if kind == "input" else b[q, one]

    def _drain(self, out: Values, total: Values, names: dict[str, Place], row: int) -> None:
        """Sums that are complete, in this tile, are added up outside."""
        if "psum" not in names:
            return
        m, p = names["psum"]
        if self.dataflow == "os":
            out[:, p, m] = total
        elif row == self.rows - 1:
            out[:, p, m] += total
