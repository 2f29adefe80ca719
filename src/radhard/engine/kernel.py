"""Compiled kernels that push sparse differences through one operation, run by run.

A **state** is what n runs differ by in one value of the network, as five arrays: ``boxes`` (n, 4),
the top, left, height and width of the part of the map that may differ; ``base`` (n,), where the
run's row pointers begin in ``start``; and ``chan`` and ``value``, channels and faulty values of the
entries. Row k of a run is position k of its box; its entries are ``start[base + k] <= j`` and
``j < start[base + k + 1]``. Maps are channels-last, (images, positions, channels), in float32 or,
as then all values are, in float64.

Every kernel computes a **tile** per run, all channels of a box of results, passes it through a
chain of elementwise operations, and keeps what differs from the golden result (`tile`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from radhard.engine.multiply import add_product
from radhard.engine.rounding import (
    AS_IS,
    TO_CUT,
    TO_FLOAT,
    TO_INTEGER,
    TO_TABLE,
    as_operand,
    as_output,
    by_table,
    to_cut,
    to_fixed,
    to_float,
    to_integer,
)
from radhard.engine.tile import chained, kept, laid_out

#: Output channels computed together, and input channels whose weights stay in the cache.
LANES, CHANNELS_CACHED = 64, 64
#: Where sums of 64 bits are taken to saturate; no output tells them apart there.
_MOST_SUM = 2.0**62

_compiled = njit(cache=True, error_model="numpy", nogil=True)


@_compiled
def _changes(state, i, golden, columns, kind, par, table, stride, pointers, offset, change):
    """By how much operands change: pointers (rows, blocks + 1), weight offsets, amounts.

    Gives the sum of their sizes.
    """
    boxes, base, start, chan, value = state
    top, left, height, width = boxes[i]
    blocks = pointers.shape[1] - 1
    count, size = 0, 0.0
    for k in range(height * width):
        row = golden[(top + k // width) * columns + left + k % width]
        block = 0
        pointers[k, 0] = count
        for j in range(start[base[i] + k], start[base[i] + k + 1]):
            c = chan[j]
            while blocks > 1 and c >= (block + 1) * CHANNELS_CACHED:
                block += 1
                pointers[k, block] = count
            if table is None:
                moved = as_operand(kind, value[j], par) - as_operand(kind, row[c], par)
            else:
                moved = by_table(value[j], table) - by_table(row[c], table)
            offset[count] = c * stride
            change[count] = moved
            count += moved != 0
            size += abs(moved)
        for later in range(block + 1, blocks + 1):
            pointers[k, later] = count
    return size


@_compiled
def _spread(box, tile, geometry, shape, lists, weights, sums, flat):
    """Add products of changes to ``sums`` (blocks, positions, lanes), cached weights first.

    ``flat``: the weights once more, in one row, where they are 64-bit integers; ``None`` otherwise.
    """
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    inputs, lanes, _ = shape
    pointers, offset, change = lists
    top, left, height, width = box
    tile_top, tile_left, tile_height, tile_width = tile
    bytes_each = weights.itemsize
    wide = bytes_each == 8
    p_weights, p_sums = weights.ctypes.data, sums.ctypes.data
    p_offset, p_change = offset.ctypes.data, change.ctypes.data
    taps, positions = kernel_rows * kernel_columns, tile_height * tile_width
    for m in range(weights.shape[0]):
        for tap in range(taps):
            r, s = tap // kernel_columns, tap % kernel_columns
            cell = lanes * inputs * (m * taps + tap)
            portion = p_weights + bytes_each * cell
            for block in range(pointers.shape[1] - 1):
                for y in range(height):
                    e = top + y + above - r * apart_y
                    if e % down:
                        continue
                    e = e // down - tile_top
                    if e < 0 or e >= tile_height:
                        continue
                    for x in range(width):
                        f = left + x + before - s * apart_x
                        if f % right:
                            continue
                        f = f // right - tile_left
                        if f < 0 or f >= tile_width:
                            continue
                        k = y * width + x
                        first = pointers[k, block]
                        count = pointers[k, block + 1] - first
                        if not count:
                            continue
                        place = (m * positions + e * tile_width + f) * lanes
                        if flat is None:
                            add_product(
                                wide, lanes, p_sums + bytes_each * place, portion,
                                p_offset + 4 * first, p_change + bytes_each * first, count,
                            )  # fmt: skip
                        else:
                            for j in range(first, first + count):
                                for n in range(lanes):
                                    sums[place + n] += change[j] * flat[cell + offset[j] + n]


@_compiled
def _spread_grouped(box, tile, geometry, shape, lists, weights, sums):
    """The same where groups of inputs have outputs of their own; sums (1, positions, outputs)."""
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    inputs, outputs, groups = shape
    pointers, offset, change = lists
    top, left, height, width = box
    tile_top, tile_left, tile_height, tile_width = tile
    own, members = outputs // groups, inputs // groups
    for k in range(height * width):
        for tap in range(kernel_rows * kernel_columns):
            e = top + k // width + above - tap // kernel_columns * apart_y
            f = left + k % width + before - tap % kernel_columns * apart_x
            if e % down or f % right:
                continue
            e, f = e // down - tile_top, f // right - tile_left
            if e < 0 or e >= tile_height or f < 0 or f >= tile_width:
                continue
            for j in range(pointers[k, 0], pointers[k, 1]):
                c = offset[j]
                place = (e * tile_width + f) * outputs + c // members * own
                for m in range(own):
                    sums[place + m] += change[j] * weights[0, tap, c, m]


@_compiled
def _saturate(golden, wide, lanes, columns, tile, moved):
    """Put ``moved`` right where 64-bit sums would overflow, which ``wide`` tells."""
    top, left, height, width = tile
    channels, positions = golden.shape[1], height * width
    for k in range(positions):
        row = golden[(top + k // width) * columns + left + k % width]
        for m in range(channels):
            place = (m // lanes * positions + k) * lanes + m % lanes
            if abs(row[m] + wide[place]) >= _MOST_SUM:
                end = np.int64(_MOST_SUM) if wide[place] > 0 else -np.int64(_MOST_SUM)
                moved[place] = end - np.int64(row[m])


@_compiled
def _finished(kind, par, table, golden, unit, moved, lanes, columns, tile, work):
    """Outputs (positions, channels) of a tile from golden sums and what they move by."""
    top, left, height, width = tile
    channels, positions = golden.shape[1], height * width
    for k in range(positions):
        row = golden[(top + k // width) * columns + left + k % width]
        for m in range(0, channels, lanes):
            place = (m // lanes * positions + k) * lanes
            end = min(lanes, channels - m)
            into = k * channels + m
            if table is not None:
                for j in range(end):
                    work[into + j] = by_table(np.float32(row[m + j] + moved[place + j]), table)
            elif kind == AS_IS:
                for j in range(end):
                    work[into + j] = row[m + j] + moved[place + j]
            elif kind == TO_FLOAT:
                for j in range(end):
                    work[into + j] = to_float(np.float32(row[m + j] + moved[place + j]), par)
            elif kind == TO_CUT:
                for j in range(end):
                    work[into + j] = to_cut(row[m + j] + moved[place + j], par)
            elif kind == TO_INTEGER:
                for j in range(end):
                    total = row.dtype.type(row[m + j] + moved[place + j])
                    work[into + j] = to_integer(total * unit[m + j], par) * par[0]
            else:
                for j in range(end):
                    total = row.dtype.type(row[m + j] + moved[place + j])
                    work[into + j] = to_fixed(total * unit[m + j], par) * par[0]


@_compiled
def convolve(state, other, image, tiles, maps, layer, weights, finish, chain, out):
    """A convolution or dense layer, and the chain behind it; gives (rows, entries) used of ``out``.

    Args:
        state: what runs differ by in the layer's input.
        other: the same in what `ADD` adds, where the chain has it.
        image: (n,) golden maps of which image.
        tiles: (n, 4) boxes of results.
        maps: of the input, of sums, of what is added, of the chain's result, and columns of the
            input's and the result's map.
        layer: geometry of eight numbers, (input channels, lanes, groups), `Rounding.parts` of
            operands; with groups all output channels are lanes.
        weights: (blocks, taps, input channels, lanes) in the type of sums or float32, in float64,
            the largest sum of changes for which the first are exact, with groups (1, taps, inputs,
            outputs per group); and integers once more, in one row.
        finish: `Rounding.parts` of sums, value of a sum of 1 per channel.
        chain: codes, their numbers, and whether it adds.
        out: arrays for the result.
    """
    golden_in, sums, golden_side, golden_out, columns_in, columns = maps
    geometry, shape, (kind, par, table) = layer
    narrow, wide_weights, limit, flat = weights
    (finish_kind, finish_par, finish_table), unit = finish
    codes, numbers, adds = chain
    integers = flat is not None
    channels, lanes, groups = golden_out.shape[2], shape[1], shape[2]
    most, rows = 1, 1
    for i in range(len(image)):
        box = state[0][i]
        entries = state[2][state[1][i] + box[2] * box[3]] - state[2][state[1][i]]
        most, rows = max(most, entries), max(rows, box[2] * box[3])
    largest = 1
    for i in range(len(image)):
        largest = max(largest, tiles[i, 2] * tiles[i, 3])
    whole = groups > 1 or golden_in.shape[1] == 1
    blocks = 1 if whole else -(-shape[0] // CHANNELS_CACHED)
    stride = 1 if groups > 1 else lanes
    pointers = np.empty((rows, blocks + 1), np.int64)
    offset = np.empty(most + 1, np.int32)
    change = np.empty(most + 1, narrow.dtype)
    moved = np.empty(narrow.shape[0] * largest * lanes, narrow.dtype)
    wide_moved = np.empty(narrow.shape[0] * largest * lanes if limit < np.inf else 1, np.float64)
    work = np.empty(largest * channels, golden_out.dtype)
    side = np.empty(largest * channels if adds else 1, golden_out.dtype)
    used = (0, 0)
    for i in range(len(image)):
        b = image[i]
        tile = (tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3])
        box = (state[0][i, 0], state[0][i, 1], state[0][i, 2], state[0][i, 3])
        size = _changes(
            state, i, golden_in[b], columns_in, kind, par, table, stride, pointers, offset, change
        )
        held = narrow.shape[0] * tile[2] * tile[3] * lanes
        lists = (pointers, offset, change)
        fits = size <= limit or size != size or limit == np.inf
        if fits or integers:
            moved[:held] = 0
            if groups > 1:
                _spread_grouped(box, tile, geometry, shape, lists, narrow, moved)
            else:
                _spread(box, tile, geometry, shape, lists, narrow, moved, flat)
        if not fits:
            wide_moved[:held] = 0
            wide_lists = (pointers, offset, change.astype(np.float64))
            if groups > 1:
                _spread_grouped(box, tile, geometry, shape, wide_lists, wide_weights, wide_moved)
            else:
                _spread(box, tile, geometry, shape, wide_lists, wide_weights, wide_moved, None)
        if integers and not fits:
            _saturate(sums[b], wide_moved, lanes, columns, tile, moved)
        if fits or integers:
            _finished(
                finish_kind, finish_par, finish_table, sums[b], unit, moved, lanes, columns, tile,
                work,
            )  # fmt: skip
        else:
            _finished(
                finish_kind, finish_par, finish_table, sums[b], unit, wide_moved, lanes, columns,
                tile, work,
            )  # fmt: skip
        if adds:
            laid_out(other, i, golden_side[b], columns, tile, side)
        chained(work, tile[2] * tile[3] * channels, channels, codes, numbers, side)
        used = kept(work, golden_out[b], columns, i, tile, out, used)
    return used


@_compiled
def pass_on(state, other, image, tiles, maps, chain, out):
    """A chain alone; as `convolve`, with maps of the value, of what is added, and of the result."""
    golden_in, golden_side, golden_out, columns = maps
    codes, numbers, adds = chain
    channels = golden_out.shape[2]
    largest = 1
    for i in range(len(image)):
        largest = max(largest, tiles[i, 2] * tiles[i, 3])
    work = np.empty(largest * channels, golden_out.dtype)
    side = np.empty(largest * channels if adds else 1, golden_out.dtype)
    used = (0, 0)
    for i in range(len(image)):
        b = image[i]
        tile = (tiles[i, 0], tiles[i, 1], tiles[i, 2], tiles[i, 3])
        laid_out(state, i, golden_in[b], columns, tile, work)
        if adds:
            laid_out(other, i, golden_side[b], columns, tile, side)
        chained(work, tile[2] * tile[3] * channels, channels, codes, numbers, side)
        used = kept(work, golden_out[b], columns, i, tile, out, used)
    return used


@_compiled
def _saturated(held, change, read):
    """A 64-bit sum and a product, at the ends of the range that they may leave."""
    near = np.float64(held) + np.float64(change) * read
    if abs(near) >= _MOST_SUM:
        return np.int64(_MOST_SUM) if near > 0 else -np.int64(_MOST_SUM)
    return np.int64(held) + np.int64(change) * np.int64(read)


@_compiled
def reweigh(wrong, image, maps, geometry, how, finish, out):
    """Outputs of a layer, before any chain, under one wrong weight each.

    Args:
        wrong: (n,) output channel, (n,) input channel, (n,) tap, (n,) change of the weight.
        image: (n,).
        maps: golden input, golden sums and golden outputs; rows and columns of the input's map,
            columns of the output's.
        geometry: eight numbers.
        how: rounding of operands.
        finish: as in `convolve`.
        out: arrays for the result.
    """
    output, source, taps, change = wrong
    golden_in, sums, golden_out, rows_in, columns_in, columns = maps
    _, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    finishing, unit = finish
    boxes, base, start, chan, value = out
    positions = golden_out.shape[1]
    rows, entries = 0, 0
    for i in range(len(image)):
        m, c, b = output[i], source[i], image[i]
        r, s = taps[i] // kernel_columns, taps[i] % kernel_columns
        boxes[i, 0], boxes[i, 1] = 0, 0
        boxes[i, 2], boxes[i, 3] = positions // columns, columns
        base[i] = rows
        first = entries
        for p in range(positions):
            start[rows] = entries
            rows += 1
            y = p // columns * down - above + r * apart_y
            x = p % columns * right - before + s * apart_x
            if y < 0 or y >= rows_in or x < 0 or x >= columns_in:
                continue
            held = golden_in[b, y * columns_in + x, c]
            if how.kind == TO_TABLE:
                read = by_table(held, how)
            else:
                read = as_operand(how.kind, held, how.numbers)
            if finishing.kind == TO_CUT:
                total = _saturated(sums[b, p, m], change[i], read)
            else:
                total = sums.dtype.type(sums[b, p, m] + change[i] * read)
            found = golden_out.dtype.type(as_output(finishing, total, unit[m]))
            chan[entries], value[entries] = m, found
            entries += found != golden_out[b, p, m]
        start[rows] = entries
        rows += 1
        if entries == first:
            boxes[i] = 0
    return rows, entries
