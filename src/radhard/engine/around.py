"""Compiled kernels for guards that look at windows: what lies around the values that differ."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled = njit(cache=True, nogil=True)
#: More than any map has rows.
_FAR = 1 << 30


class Asked(NamedTuple):
    """The places at which a guard may decide otherwise than without a fault, run by run.

    Attributes:
        end: (n,) where the places of each run end in what follows.
        channel, position: (k,) channels and positions, in the order of the map.
        values: (k, width) what the guard decides by.
        clean: (k,) what the golden run goes on with.
    """

    end: NDArray[np.int64]
    channel: NDArray[np.int32]
    position: NDArray[np.int32]
    values: NDArray[Any]
    clean: NDArray[Any]

    @classmethod
    def room(cls, runs: int, places: int, width: int, real: Any) -> Asked:
        """Arrays that are yet to be filled."""
        return cls(
            np.empty(runs, np.int64),
            np.empty(places, np.int32),
            np.empty(places, np.int32),
            np.empty((places, width), real),
            np.empty(places, real),
        )

    def trimmed(self, used: int) -> Asked:
        """Without the room that was not used."""
        return Asked(self.end, *(part[:used] for part in self[1:]))


@_compiled
def entries(boxes, base, start):
    """How many values differ, of all runs."""
    found = 0
    for i in range(len(boxes)):
        found += start[base[i] + boxes[i, 2] * boxes[i, 3]] - start[base[i]]
    return found


@_compiled
def surrounding(state, image, maps, window, asked):
    """Fill in the places whose windows hold a value that differs; gives (places, box positions).

    Args:
        state: what runs differ by.
        image: (n,) golden maps of which image.
        maps: golden values before and after the guard, and columns of the map.
        window: for each place along the axis what it reads, itself first, and who reads it,
            perhaps more than once, (count, ...); and whether the axis is that of channels.
        asked: what is filled in.
    """
    boxes, base, start, chan, value = state
    golden, after, columns = maps
    reads, readers, along = window
    end, to_channel, to_position, values, clean = asked
    positions, channels = golden.shape[1:]
    held = np.full(positions * channels, -1, np.int32)
    wanted = np.zeros(positions * channels, np.bool_)
    met = np.zeros(positions, np.bool_)
    found, area = 0, 0
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        y_low, y_high, x_low, x_high = positions, -1, columns, -1
        for k in range(height * width):
            p = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                c = chan[j]
                held[p * channels + c] = j
                for r in range(readers.shape[1]):
                    q, m = (p, readers[c, r]) if along else (readers[p, r], c)
                    wanted[q * channels + m] = True
                    if not met[q]:
                        met[q] = True
                        y_low, y_high = min(y_low, q // columns), max(y_high, q // columns)
                        x_low, x_high = min(x_low, q % columns), max(x_high, q % columns)
        own, seen = golden[image[i]].reshape(-1), after[image[i]].reshape(-1)
        for p in range(y_low * columns, (y_high + 1) * columns):
            if not met[p]:
                continue
            met[p] = False
            for c in range(channels):
                place = p * channels + c
                if not wanted[place]:
                    continue
                wanted[place] = False
                middle, first, apart = (c, p * channels, 1) if along else (p, c, channels)
                for r in range(reads.shape[1]):
                    q = first + reads[middle, r] * apart
                    values[found, r] = value[held[q]] if held[q] >= 0 else own[q]
                clean[found], to_channel[found], to_position[found] = seen[place], c, p
                found += 1
        for k in range(height * width):
            p = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                held[p * channels + chan[j]] = -1
        end[i] = found
        if y_high >= 0:
            area += (y_high + 1 - y_low) * (x_high + 1 - x_low)
    return found, area


@_compiled
def resolved(asked, after, columns, out):
    """What runs differ by once the asked places have become ``after``; as kernels of stages."""
    ends, channel, position, _, clean = asked
    boxes, base, start, chan, value = out
    rows, entries, first = 0, 0, 0
    for i in range(len(ends)):
        top, left, bottom, right = _FAR, columns, -1, -1
        for j in range(first, ends[i]):
            if after[j] != clean[j]:
                y, x = position[j] // columns, position[j] % columns
                top, bottom = min(top, y), max(bottom, y)
                left, right = min(left, x), max(right, x)
        base[i], k = rows, 0
        boxes[i] = 0
        if bottom >= 0:
            boxes[i, 0], boxes[i, 1] = top, left
            boxes[i, 2], boxes[i, 3] = bottom + 1 - top, right + 1 - left
        for j in range(first, ends[i]):
            if after[j] != clean[j]:
                y, x = position[j] // columns - top, position[j] % columns - left
                while k <= y * boxes[i, 3] + x:
                    start[rows + k] = entries
                    k += 1
                chan[entries], value[entries] = channel[j], after[j]
                entries += 1
        while k <= boxes[i, 2] * boxes[i, 3]:
            start[rows + k] = entries
            k += 1
        rows += k
        first = ends[i]
    return rows, entries
