"""Compiled kernels around layers whose outputs are computed anew from gathered operands."""

from __future__ import annotations

import numpy as np
from numba import njit

from radhard.engine.tile import kept, laid_out

_compiled = njit(cache=True, nogil=True)


@_compiled
def reached(state, tiles, geometry, into):
    """Mark the positions of boxes of results, box after box, that read a value that differs."""
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    boxes, base, start, _, _ = state
    first = 0
    for i in range(len(tiles)):
        top, left, height, width = tiles[i]
        own_top, own_left, own_height, own_width = boxes[i]
        for k in range(own_height * own_width):
            if start[base[i] + k] == start[base[i] + k + 1]:
                continue
            for tap in range(kernel_rows * kernel_columns):
                e = own_top + k // own_width + above - tap // kernel_columns * apart_y
                f = own_left + k % own_width + before - tap % kernel_columns * apart_x
                if e % down or f % right:
                    continue
                e, f = e // down - top, f // right - left
                if 0 <= e < height and 0 <= f < width:
                    into[first + e * width + f] = True
        first += height * width


@_compiled
def gathered(state, image, tiles, maps, geometry, marked, into, position):
    """Operands of the outputs at marked positions, (marked, channels * taps), and which those are.

    Args:
        state: what runs differ by in the layer's input.
        image: (n,).
        tiles: (n, 4) boxes of results.
        maps: golden input; rows and columns of its map, columns of the result's.
        geometry: eight numbers.
        marked: from `reached`.
        into: zeros, which padding keeps.
        position: (marked,), in the map of the result.
    """
    golden, rows_in, columns_in, columns = maps
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    channels, taps = golden.shape[2], kernel_rows * kernel_columns
    region = np.empty(rows_in * columns_in * channels, golden.dtype)
    span_y, span_x = (kernel_rows - 1) * apart_y + 1, (kernel_columns - 1) * apart_x + 1
    first, row = 0, 0
    for i in range(len(image)):
        top, left, height, width = tiles[i]
        y_low, x_low = max(0, top * down - above), max(0, left * right - before)
        y_end = min(rows_in, (top + height - 1) * down - above + span_y)
        x_end = min(columns_in, (left + width - 1) * right - before + span_x)
        across = max(0, x_end - x_low)
        box = (y_low, x_low, max(0, y_end - y_low), across)
        if height * width:
            laid_out(state, i, golden[image[i]], columns_in, box, region)
        for k in range(height * width):
            if not marked[first + k]:
                continue
            e, f = top + k // width, left + k % width
            position[row] = e * columns + f
            for tap in range(taps):
                y = e * down - above + tap // kernel_columns * apart_y
                x = f * right - before + tap % kernel_columns * apart_x
                if 0 <= y < rows_in and 0 <= x < columns_in:
                    source = ((y - y_low) * across + x - x_low) * channels
                    for c in range(channels):
                        into[row, c * taps + tap] = region[source + c]
            row += 1
        first += height * width


@_compiled
def settled(value, free, image, tiles, golden, columns, marked, out, used):
    """Keep what differs of outputs computed anew; gives (rows, entries) used of ``out``.

    Args:
        value: (marked, channels).
        free: the same without a fault, where golden outputs were added up in another order: what
            equals that has not changed. No rows where they were not.
        image: (n,).
        tiles: (n, 4) boxes of results.
        golden: outputs.
        columns: of their map.
        marked: from `reached`.
        out: arrays for the result.
        used: (rows, entries) of it that are taken.
    """
    largest, channels = 1, golden.shape[2]
    for i in range(len(image)):
        largest = max(largest, tiles[i, 2] * tiles[i, 3])
    work = np.empty(largest * channels, golden.dtype)
    first, row = 0, 0
    for i in range(len(image)):
        top, left, height, width = tiles[i]
        held = golden[image[i]]
        for k in range(height * width):
            place = (top + k // width) * columns + left + k % width
            for c in range(channels):
                work[k * channels + c] = held[place, c]
            if not marked[first + k]:
                continue
            for c in range(channels):
                if not len(free) or value[row, c] != free[row, c]:
                    work[k * channels + c] = value[row, c]
            row += 1
        box = (top, left, height, width)
        used = kept(work, held, columns, i, box, out, used)
        first += height * width
    return used


@_compiled
def column(value, channel, image, golden, columns, out):
    """Runs whose outputs in one channel, (n, positions), are given; gives (rows, entries) used."""
    boxes, base, start, chan, into = out
    positions = golden.shape[1]
    rows, entries = 0, 0
    for i in range(len(image)):
        boxes[i, 0], boxes[i, 1] = 0, 0
        boxes[i, 2], boxes[i, 3] = positions // columns, columns
        base[i] = rows
        first, m = entries, channel[i]
        for p in range(positions):
            start[rows] = entries
            rows += 1
            chan[entries], into[entries] = m, value[i, p]
            entries += value[i, p] != golden[image[i], p, m]
        start[rows] = entries
        rows += 1
        if entries == first:
            boxes[i] = 0
    return rows, entries
