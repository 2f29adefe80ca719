"""Compiled kernels for guards that look at windows: what lies around the values that differ."""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True)


@_compiled
def _row(state, i, golden, columns, p, into):
    """A run's values in all channels at position ``p``."""
    boxes, base, start, chan, value = state
    for c in range(len(into)):
        into[c] = golden[p, c]
    y, x = p // columns - boxes[i, 0], p % columns - boxes[i, 1]
    if 0 <= y < boxes[i, 2] and 0 <= x < boxes[i, 3]:
        k = base[i] + y * boxes[i, 3] + x
        for j in range(start[k], start[k + 1]):
            into[np.uint32(chan[j])] = value[j]


@_compiled
def asked(state, columns, readers, positions, position, end):
    """The positions at which a guard may decide otherwise than without a fault, in map order.

    Args:
        state: what runs differ by.
        columns: of the map.
        readers: by which positions each one is read, perhaps more than once, (positions, k); no
            columns where each is read by itself alone.
        positions: of the map.
        position: filled in, run by run.
        end: (n,) filled in, where those of each run end.

    Gives how many they are, and how many the boxes around those of each run hold.
    """
    boxes, base, start = state[:3]
    met = np.zeros(positions, np.bool_)
    found, area = 0, 0
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        y_low, y_high, x_low, x_high = positions, -1, columns, -1
        for k in range(height * width):
            if start[base[i] + k] == start[base[i] + k + 1]:
                continue
            p = (top + k // width) * columns + left + k % width
            for r in range(max(1, readers.shape[1])):
                q = readers[p, r] if readers.shape[1] else p
                if not met[q]:
                    met[q] = True
                    y_low, y_high = min(y_low, q // columns), max(y_high, q // columns)
                    x_low, x_high = min(x_low, q % columns), max(x_high, q % columns)
        for y in range(y_low, y_high + 1):
            for p in range(y * columns + x_low, y * columns + x_high + 1):
                position[found] = p
                found += met[p]
                met[p] = False
        end[i] = found
        if y_high >= 0:
            area += (y_high + 1 - y_low) * (x_high + 1 - x_low)
    return found, area


@_compiled
def beside(state, runs, image, golden, columns, reads, values):
    """What a guard reads that judges by other channels, at all positions that differ of some runs.

    Args:
        state: what runs differ by.
        runs: the first of them, and the one behind the last.
        image: (n,) golden maps of which image.
        golden: values that the guard has not seen yet.
        columns: of the map.
        reads: by which channels each is judged, itself first, (width, channels).
        values: (positions, width, channels), filled in.
    """
    boxes, base, start, chan, value = state
    n, channels = 0, values.shape[2]
    for i in range(runs[0], runs[1]):
        top, left, height, width = boxes[i]
        k, own = base[i], golden[image[i]]
        for y in range(top, top + height):
            for p in range(y * columns + left, y * columns + left + width):
                if start[k] < start[k + 1]:
                    for c in range(channels):
                        values[n, 0, c] = own[p, c]
                    for j in range(start[k], start[k + 1]):
                        values[n, 0, np.uint32(chan[j])] = value[j]
                    for r in range(1, len(reads)):
                        for c in range(channels):
                            values[n, r, c] = values[n, 0, reads[r, c]]
                    n += 1
                k += 1


@_compiled
def around(state, runs, image, golden, columns, reads, places, values):
    """The same of a guard that judges by other positions, (width, positions), at the asked ones.

    ``places``: positions and ends, as `asked` has filled them in.
    """
    position, end = places
    first = end[runs[0] - 1] if runs[0] else 0
    i = runs[0]
    for j in range(first, end[runs[1] - 1]):
        while j >= end[i]:
            i += 1
        for r in range(len(reads)):
            into = values[j - first, r]
            _row(state, i, golden[image[i]], columns, reads[r, position[j]], into)


@_compiled
def resolved(runs, image, clean, columns, places, after, begun, out, used):
    """What runs differ by once asked positions have become ``after``; gives what is used.

    Args:
        runs, image, columns, places: as in `around`.
        clean: golden values that the guard has seen.
        after: (positions, channels) of these runs.
        begun: (positions,) room.
        out: arrays for the result, of all runs.
        used: rows and entries of them by the runs before.
    """
    position, end = places
    boxes, base, start, chan, value = out
    rows, entries = used
    first = end[runs[0] - 1] if runs[0] else 0
    j = first
    for i in range(runs[0], runs[1]):
        golden, own = clean[image[i]], j
        y_low, y_high, x_low, x_high = clean.shape[1], -1, columns, -1
        while j < end[i]:
            p, before = position[j], entries
            begun[j - first] = entries
            for c in range(after.shape[1]):
                v = after[j - first, c]
                chan[entries], value[entries] = c, v
                entries += v != golden[p, c]
            if entries > before:
                y, x = p // columns, p % columns
                y_low, y_high = min(y_low, y), max(y_high, y)
                x_low, x_high = min(x_low, x), max(x_high, x)
            j += 1
        base[i], boxes[i], k = rows, 0, own
        if y_high >= 0:
            boxes[i, 0], boxes[i, 1] = y_low, x_low
            boxes[i, 2], boxes[i, 3] = y_high + 1 - y_low, x_high + 1 - x_low
            for y in range(y_low, y_high + 1):
                for p in range(y * columns + x_low, y * columns + x_high + 1):
                    while k < end[i] and position[k] < p:
                        k += 1
                    start[rows] = begun[k - first] if k < end[i] else entries
                    rows += 1
        start[rows] = entries
        rows += 1
    return rows, entries
