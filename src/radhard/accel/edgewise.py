"""Tiles on an array with its sequencer, edge by edge, each struck once: compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    longest = found.shape[1]
    right, down = np.empty((rows, cols), moving.dtype), np.empty((rows, cols), moving.dtype)
    sums = np.empty((rows, cols), moving.dtype)
    size = banks[-1, 0] + banks[-1, 1]
    now, then = np.empty(size, np.int64), np.empty(size, np.int64)
    for i in range(len(moving)):
        right[:] = 0
        sums[:] = 0
        if stays:
            down[:] = 0
        else:
            down[:] = before[i]
        _rest(shape, banks, longest, now)
        start, left, edge = True, LEAD, 0
        while left > 0:
            if edge == strikes[4][i]:
                kind = strikes[0][i]
                at = banks[kind, 0] + strikes[1][i]
                struck = now[at] & strikes[2][i] ^ strikes[3][i]
                now[at] = struck & ((1 << banks[kind, 2]) - 1)
            edge += 1
            _write(shape, banks, now, sums[rows - 1], found[i])
            if stays:
                _meet(shape, banks, now, moving[i], held[i], right, down, sums, elements)
            else:
                _load(shape, banks, now, moving[i], held[i], right, down, sums, elements)
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
def _write(shape, banks, now, shown, found):
    """Results that are shown, where and when the sequencer says."""
    stays, rows, cols = shape[0], shape[1], shape[2]
    longest, write, valid = len(found), banks[-1, 0], banks[_VALID, 0]
    if stays:
        place = now[write]
        if now[_DRAIN] > 0 and place < longest:
            found[rows - 1 - place] = shown
        return
    for c in range(cols):
        place = now[write + c]
        if now[valid + rows + c] > 0 and place < longest:
            found[place, c] = shown[c]


@_compiled
def _entering(now, valid, counter, line, memory):
    """What a line reads of its own memory; zero where it does not, or beyond the end."""
    place = now[counter + line]
    if now[valid + line] > 0 and place < len(memory):
        return memory[place, line]
    return memory.dtype.type(0)


@_compiled
def _moved(shape, banks, now, moving, right, r):
    """A row of what moves right hands on."""
    for c in range(shape[2] - 1, 0, -1):
        right[r, c] = right[r, c - 1]
    right[r, 0] = _entering(now, banks[_VALID, 0], banks[_READ, 0], r, moving)


@_compiled
def _add(sums, onto, right, down, elements):
    """A row of sums: those of ``onto``, and a product each."""
    how, table, codes, cut, swapped = elements
    if how == PLAIN:
        for c in range(len(sums)):
            sums[c] = onto[c] + right[c] * down[c]
        return
    for c in range(len(sums)):
        a, w = (down[c], right[c]) if swapped else (right[c], down[c])
        if how == TABLE:
            x, y = (int(a) + codes[0]) & codes[1], (int(w) + codes[2]) & codes[3]
            sums[c] = onto[c] + table[x, y]
        else:
            sums[c] = _within(onto[c] + _cut(int(a) * int(w), cut), cut)


@_compiled
def _within(value, cut):
    return min(max(value, cut[1]), cut[2])


@_compiled
def _cut(product, cut):
    """A product as its latch holds it, cut toward zero."""
    if cut[0] < 0:
        most = cut[2] >> -cut[0]
        return _within(min(max(product, -most - 1), most + 1) << -cut[0], cut)
    return _within((product + ((product >> 63) & ((1 << cut[0]) - 1))) >> cut[0], cut)


@_compiled
def _load(shape, banks, now, moving, held, right, down, sums, elements):
    """What stays is loaded, and what moves passes it; from the bottom up."""
    rows = shape[1]
    if now[_ENABLE] > 0:
        none = np.zeros_like(sums[0])
        for r in range(rows - 1, -1, -1):
            _moved(shape, banks, now, moving, right, r)
            _add(sums[r], sums[r - 1] if r else none, right[r], down[r], elements)
    if now[_BEGIN] > 0:
        for r in range(rows - 1, 0, -1):
            down[r] = down[r - 1]
        row = rows - 1 - now[_HOLD]
        if row < 0:
            down[0] = 0
        else:
            down[0] = held[row]


@_compiled
def _meet(shape, banks, now, moving, held, right, down, sums, elements):
    """Two waves meet; sums are made where they stay, or move down."""
    if now[_ENABLE] == 0:
        return
    rows, cols, clear = shape[1], shape[2], now[_BEGIN] > 0
    if clear:
        right[:] = 0
        down[:] = 0
        sums[:] = 0
        return
    for r in range(rows - 1, -1, -1):
        _moved(shape, banks, now, moving, right, r)
        if r:
            down[r] = down[r - 1]
        else:
            for c in range(cols):
                down[0, c] = _entering(now, banks[_VALID, 0], banks[_FETCH, 0], c, held)
        if now[_DRAIN] == 0:
            _add(sums[r], sums[r], right[r], down[r], elements)
        elif r:
            sums[r] = sums[r - 1]
        else:
            sums[0] = 0


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
