"""Tiles on an array with its sequencer, edge by edge, each struck once: compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from radhard.arith.latch import latched, within

_compiled = njit(cache=True, nogil=True)

#: States: nothing to do; operands are loaded, or sums cleared; the wave passes; sums move out.
IDLE, BEGIN, WAVE, DRAIN = range(4)
#: Edges before a tile's flips reach its array: it is idle, is told to begin, and passes that on.
LEAD = 3
#: What elements compute with: numbers as they are, products by a table, products that are cut.
PLAIN, TABLE, CUT = range(3)
#: Registers of control that there is one of each, by their place; where sums stay, ``hold`` is
#: ``drain`` and ``load`` is ``clear``. From the sixth on there are several of a kind.
_STATE, _STEP, _ENABLE, _BEGIN, _HOLD, _VALID, _READ, _FETCH = range(8)
_DRAIN = _HOLD
#: Lines that are written before those still of use are moved.
_ROOM = 512


@_compiled
def run_tiles(
    shape: Any, banks: NDArray[np.int64], tiles: Any, strikes: Any, elements: Any, into: Any
) -> None:
    """Run n tiles, each struck once.

    Args:
        shape: whether sums stay, rows, columns, values that stream, edges of the wave.
        banks: first register, count and width of each kind, (kinds, 3).
        tiles: what enters the rows (n, free, rows), what enters the columns (n, rows or free,
            cols), and what the tile before held (n, rows, cols).
        strikes: kind, place, what is kept and inverted, and edge, (n,) each.
        elements: what they compute with, its table, offsets and masks of codes, or its cut, and
            whether weights move right.
        into: results (n, longest, cols), and edges (n,).
    """
    stays, rows, cols = shape[0], shape[1], shape[2]
    moving, held, before = tiles
    found, edges = into
    longest, kind = found.shape[1], moving.dtype
    right, down = np.empty((rows, _ROOM + cols), kind), np.empty((_ROOM + rows, cols), kind)
    sums, size = np.empty((rows, cols), kind), banks[-1, 0] + banks[-1, 1]
    now, then = np.empty(size, np.int64), np.empty(size, np.int64)
    for i in range(len(moving)):
        x = y = _ROOM
        right[:, x:] = 0
        sums[:] = 0
        down[y:] = 0
        if not stays:
            down[y:] = before[i]
        _rest(shape, banks, longest, now)
        start, left, edge = True, LEAD, 0
        while left > 0:
            if edge == strikes[4][i]:
                bank = strikes[0][i]
                at = banks[bank, 0] + strikes[1][i]
                struck = now[at] & strikes[2][i] ^ strikes[3][i]
                now[at] = struck & ((1 << banks[bank, 2]) - 1)
            edge += 1
            _write(shape, banks, now, sums, found[i])
            if now[_ENABLE] > 0:
                x = _moved(shape, banks, now, moving[i], right, x)
                if stays:
                    y = _room(down, y, rows)
                    for c in range(cols):
                        down[y, c] = _entering(now, banks[_VALID, 0], banks[_FETCH, 0], c, held[i])
                    _meet(now, right, x, down, y, sums, elements)
                else:
                    _pass(right, x, down, y, sums, elements)
            if not stays and now[_BEGIN] > 0:
                y, row = _room(down, y, rows), rows - 1 - now[_HOLD]
                down[y] = 0
                if row >= 0:
                    down[y] = held[i, row]
            done = _next(shape, banks, now, then, start)
            now, then = then, now
            start = start and not done
            left = LEAD if start else left - 1
        edges[i] = edge


@_compiled
def _rest(shape, banks, longest, now):
    """Registers as the tile before has left them."""
    now[:] = 0
    free = shape[3]
    for kind in range(_READ, len(banks)):
        last = kind == len(banks) - 1
        for k in range(banks[kind, 0], banks[kind, 0] + banks[kind, 1]):
            now[k] = (longest if last else free) & ((1 << banks[kind, 2]) - 1)


@_compiled
def _write(shape, banks, now, sums, found):
    """Results that are shown, where and when the sequencer says."""
    stays, rows, cols = shape[0], shape[1], shape[2]
    longest, write, valid = len(found), banks[-1, 0], banks[_VALID, 0]
    if stays:
        place = now[write]
        if now[_DRAIN] > 0 and place < longest:
            for c in range(cols):
                found[rows - 1 - place, c] = sums[rows - 1, c]
        return
    for c in range(cols):
        place = now[write + c]
        if now[valid + rows + c] > 0 and place < longest:
            found[place, c] = sums[rows - 1, c]


@_compiled
def _entering(now, valid, counter, line, memory):
    """What a line reads of its own memory; zero where it does not, or beyond the end."""
    place = now[counter + line]
    if now[valid + line] > 0 and place < len(memory):
        return memory[place, line]
    return memory.dtype.type(0)


@_compiled
def _room(lines, head, lasting):
    """Where the next line goes, before those of which so many are still of use."""
    if head > 0:
        return head - 1
    for k in range(lasting - 1, -1, -1):
        lines[_ROOM + k] = lines[k]
    return _ROOM - 1


@_compiled
def _moved(shape, banks, now, moving, right, head):
    """What moves right has moved by one: element (r, c) holds ``right[r, head + c]``."""
    head = _room(right.T, head, shape[2])
    for r in range(shape[1]):
        right[r, head] = _entering(now, banks[_VALID, 0], banks[_READ, 0], r, moving)
    return head


@_compiled
def _product(right, down, elements):
    """A product of whole numbers by a table, or as a latch holds it."""
    how, table, codes, cut, swapped = elements
    a, w = (int(down), int(right)) if swapped else (int(right), int(down))
    if how == TABLE:
        return table[(a + codes[0]) & codes[1], (w + codes[2]) & codes[3]]
    return latched(a, w, cut)


@_compiled
def _pass(right, x, down, y, sums, elements):
    """Sums move down a row, and a product is added to each; from the bottom up."""
    rows, cols = sums.shape
    across, at, below = np.uint64(cols), np.uint64(x), np.uint64(y)  # which are never negative
    for line in range(rows - 1, -1, -1):
        r, above = np.uint64(line), np.uint64(max(line - 1, 0))
        for c in range(across):
            sums[r, c] = sums[above, c] if line else sums.dtype.type(0)
        if elements[0] == PLAIN:
            for c in range(across):
                sums[r, c] += right[r, at + c] * down[below + r, c]
        else:
            for c in range(cols):
                one = _product(right[r, x + c], down[y + line, c], elements)
                sums[r, c] = _summed(sums[r, c], one, elements)


@_compiled
def _meet(now, right, x, down, y, sums, elements):
    """Two waves meet; sums are made where they stay, or move down, or all is emptied."""
    rows, cols = sums.shape
    if now[_BEGIN] > 0:
        right[:, x : x + cols] = 0
        down[y : y + rows] = 0
        sums[:] = 0
    elif now[_DRAIN] > 0:
        for r in range(rows - 1, 0, -1):
            sums[r] = sums[r - 1]
        sums[0] = 0
    elif elements[0] == PLAIN:
        across, at, below = np.uint64(cols), np.uint64(x), np.uint64(y)  # which are never negative
        for r in range(np.uint64(rows)):
            for c in range(across):
                sums[r, c] += right[r, at + c] * down[below + r, c]
    else:
        for r in range(rows):
            for c in range(cols):
                one = _product(right[r, x + c], down[y + r, c], elements)
                sums[r, c] = _summed(sums[r, c], one, elements)


@_compiled
def _summed(total, one, elements):
    """A sum and a product, where they saturate no further than the latch."""
    return within(total + one, elements[3]) if elements[0] == CUT else total + one


@_compiled
def _next(shape, banks, now, then, start):
    """The registers after an edge, from those before; gives whether the tile is done at it."""
    stays, rows, _, free, wave = shape
    state, step = now[_STATE], now[_STEP]
    begins, waves, drains = state == BEGIN, state == WAVE, stays and state == DRAIN
    idle = not (begins or waves or drains)
    passed = waves and step >= wave - 1
    ready = begins and (stays or step >= rows - 1)
    done = (drains and step >= rows - 1) if stays else passed
    follows = DRAIN if passed and stays else state
    if idle or ready or done:
        follows = BEGIN if idle else WAVE if ready else IDLE
    then[_STATE] = follows if start else IDLE
    anew = idle or ready or passed or done or not start
    then[_STEP] = 0 if anew else step + 1
    then[_ENABLE] = not idle if stays else waves
    then[_BEGIN] = begins
    if stays:
        then[_DRAIN] = drains
    else:
        then[_HOLD] = now[_HOLD] + 1 if now[_BEGIN] > 0 else 0
    valid, line = banks[_VALID, 0], banks[_VALID, 1]
    for k in range(line - 1, 0, -1):
        then[valid + k] = 0 if begins else now[valid + k - 1]
    then[valid] = 0 if begins else waves and step < free
    for kind in range(_READ, len(banks)):
        last = kind == len(banks) - 1
        for k in range(banks[kind, 1]):
            on = now[_DRAIN] if last and stays else now[valid + (rows if last else 0) + k]
            at = banks[kind, 0] + k
            then[at] = 0 if begins else now[at] + on
    for kind in range(len(banks)):
        mask = (1 << banks[kind, 2]) - 1
        for k in range(banks[kind, 0], banks[kind, 0] + banks[kind, 1]):
            then[k] &= mask
    return done and start
