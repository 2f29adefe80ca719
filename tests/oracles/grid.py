"""A systolic array, simulated cycle by cycle: which variable each register holds, and who reads it.

A product of P x Q inputs and Q x M weights; outputs are (m, p). No closed form is used.
"""

from collections import Counter
from itertools import product

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
