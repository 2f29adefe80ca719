"""Compiled loops over tiles: lay values out, pass them through a chain, keep what differs.

A tile is all channels of a box, (positions, channels), in one row; `kernel` tells states.
"""

from __future__ import annotations

from numba import njit

#: Elementwise operations of a chain; `BETWEEN` clamps as comparators do, which drop not-a-number.
AFFINE, AFFINE_FUSED, RELU, CLAMP, ADD, BETWEEN = range(6)

_compiled = njit(cache=True, error_model="numpy", nogil=True)


@njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})
def _affine_fused(work, first, slope, offset):
    for m in range(len(slope)):
        work[first + m] = work[first + m] * slope[m] + offset[m]


@_compiled
def _affine(work, first, slope, offset):
    for m in range(len(slope)):
        work[first + m] = work[first + m] * slope[m] + offset[m]


@_compiled
def chained(work, count, channels, codes, numbers, side):
    """Elementwise operations on ``count`` values; ``side`` is what `ADD` adds."""
    for k in range(len(codes)):
        code = codes[k]
        if code == RELU:
            for j in range(count):
                work[j] = max(work[j], 0)
        elif code == CLAMP:
            low, high = numbers[k, 0], numbers[k, 1]
            for j in range(count):
                if work[j] < low:
                    work[j] = low
                elif work[j] > high:
                    work[j] = high
        elif code == BETWEEN:
            low, high = numbers[k, 0], numbers[k, 1]
            for j in range(count):
                above = work[j] if work[j] > low else low
                work[j] = above if above < high else high
        elif code == ADD:
            for j in range(count):
                work[j] += side[j]
        elif code == AFFINE:
            for j in range(0, count, channels):
                _affine(work, j, numbers[k, :channels], numbers[k, channels : 2 * channels])
        else:
            for j in range(0, count, channels):
                _affine_fused(work, j, numbers[k, :channels], numbers[k, channels : 2 * channels])


@_compiled
def laid_out(state, i, golden, columns, box, into):
    """A run's values, (positions, channels), in ``box``, golden where it doesn't differ."""
    boxes, base, start, chan, value = state
    channels = golden.shape[1]
    top, left, height, width = box
    for y in range(height):
        for x in range(width):
            place = (y * width + x) * channels
            row = golden[(top + y) * columns + left + x]
            for c in range(channels):
                into[place + c] = row[c]
    own_top, own_left, own_height, own_width = boxes[i]
    for y in range(max(own_top, top), min(own_top + own_height, top + height)):
        for x in range(max(own_left, left), min(own_left + own_width, left + width)):
            k = base[i] + (y - own_top) * own_width + x - own_left
            place = ((y - top) * width + x - left) * channels
            for j in range(start[k], start[k + 1]):
                into[place + chan[j]] = value[j]


@_compiled
def kept(work, golden, columns, i, box, out, used):
    """Append what differs of a tile to ``out``, in the smallest box; gives (rows, entries) used."""
    boxes, base, start, chan, value = out
    channels = golden.shape[1]
    top, left, height, width = box
    first, entries = used
    base[i] = first
    y_low, y_high, x_low, x_high = height, -1, width, -1
    for y in range(height):
        for x in range(width):
            start[first + y * width + x] = entries
            place = (y * width + x) * channels
            row = golden[(top + y) * columns + left + x]
            before = entries
            for c in range(channels):
                v = work[place + c]
                chan[entries] = c
                value[entries] = v
                entries += v != row[c]
            if entries > before:
                y_low, y_high = min(y_low, y), y
                x_low, x_high = min(x_low, x), max(x_high, x)
    if y_high < 0:
        boxes[i] = 0
        start[first] = entries
        return first + 1, entries
    rows = 0
    for y in range(y_low, y_high + 1):
        for x in range(x_low, x_high + 1):
            start[first + rows] = start[first + y * width + x]
            rows += 1
    start[first + rows] = entries
    boxes[i, 0], boxes[i, 1] = top + y_low, left + x_low
    boxes[i, 2], boxes[i, 3] = y_high + 1 - y_low, x_high + 1 - x_low
    return first + rows + 1, entries
