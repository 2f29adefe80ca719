"""Compiled kernels that move, select and write the entries of states; see `kernel`."""

from __future__ import annotations

from numba import njit

_compiled = njit(cache=True, nogil=True)


@_compiled
def turn(rows, image, held, into):
    """Copy images of (images, channels, positions) into (images, positions, channels)."""
    for b in image:
        if held[b]:
            continue
        held[b] = True
        for p in range(rows.shape[2]):
            for c in range(rows.shape[1]):
                into[b, p, c] = rows[b, c, p]


@_compiled
def move(state, strides, origin, extent, channels, out):
    """Every so many rows and columns of some channels, from an origin on.

    Args:
        state: what runs differ by.
        strides, origin: rows and columns of the first map from one of the result to the next, and
            those of its first, which lie outside where there is a margin.
        extent: rows and columns of the result.
        channels: the first, that behind the last, and the number of the first in the result.
        out: the result.
    """
    boxes, base, start, chan, value = state
    to_boxes, to_base, to_start, to_chan, to_value = out
    (down, right), (above, before), (lowest, furthest) = strides, origin, extent
    first, end, number = channels
    rows, entries = 0, 0
    for i in range(len(boxes)):
        top, left = boxes[i, 0] - above, boxes[i, 1] - before
        height, width = boxes[i, 2], boxes[i, 3]
        e, f = max(0, -(-top // down)), max(0, -(-left // right))
        to_boxes[i, 0], to_boxes[i, 1] = e, f
        last_row = min((top + height - 1) // down, lowest - 1)
        last_column = min((left + width - 1) // right, furthest - 1)
        to_boxes[i, 2] = max(0, last_row - e + 1) if height else 0
        to_boxes[i, 3] = max(0, last_column - f + 1) if width else 0
        to_base[i] = rows
        for y in range(to_boxes[i, 2]):
            for x in range(to_boxes[i, 3]):
                to_start[rows] = entries
                rows += 1
                k = base[i] + ((e + y) * down - top) * width + (f + x) * right - left
                for j in range(start[k], start[k + 1]):
                    if first <= chan[j] < end:
                        to_chan[entries] = chan[j] - first + number
                        to_value[entries] = value[j]
                        entries += 1
        to_start[rows] = entries
        rows += 1
        if entries == to_start[to_base[i]]:
            to_boxes[i] = 0
    return rows, entries


@_compiled
def flatten(state, columns, positions, out):
    """A map as one position whose channels are its values in the order (channel, position)."""
    boxes, base, start, chan, value = state
    to_boxes, to_base, to_start, to_chan, to_value = out
    rows, entries = 0, 0
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        to_base[i] = rows
        to_start[rows] = entries
        for k in range(height * width):
            place = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                to_chan[entries] = chan[j] * positions + place
                to_value[entries] = value[j]
                entries += 1
        if entries > to_start[rows]:
            to_boxes[i, 0], to_boxes[i, 1], to_boxes[i, 2], to_boxes[i, 3] = 0, 0, 1, 1
            rows += 1
        else:
            to_boxes[i] = 0
        to_start[rows] = entries
        rows += 1
    return rows, entries


@_compiled
def write(state, columns, positions, into):
    """Overwrite golden rows (n, channels * positions), channel by channel, where runs differ."""
    boxes, base, start, chan, value = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            place = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                into[i, chan[j] * positions + place] = value[j]


@_compiled
def merge(first, second, shift, out):
    """Entries of two states over one map, the channels of the second counted from ``shift``."""
    to_boxes, to_base, to_start, to_chan, to_value = out
    rows, entries = 0, 0
    for i in range(len(to_boxes)):
        one, two = first[0][i], second[0][i]
        if not one[2]:
            one = two
        if not two[2]:
            two = one
        top, left = min(one[0], two[0]), min(one[1], two[1])
        height = max(one[0] + one[2], two[0] + two[2]) - top
        width = max(one[1] + one[3], two[1] + two[3]) - left
        to_boxes[i, 0], to_boxes[i, 1] = top, left
        to_boxes[i, 2], to_boxes[i, 3] = height, width
        to_base[i] = rows
        for k in range(height * width):
            to_start[rows + k] = entries
            y, x = top + k // width, left + k % width
            for state, moved in ((first, 0), (second, shift)):
                own_top, own_left, own_height, own_width = state[0][i]
                if not (own_top <= y < own_top + own_height):
                    continue
                if not (own_left <= x < own_left + own_width):
                    continue
                row = state[1][i] + (y - own_top) * own_width + x - own_left
                for j in range(state[2][row], state[2][row + 1]):
                    to_chan[entries] = state[3][j] + moved
                    to_value[entries] = state[4][j]
                    entries += 1
        to_start[rows + height * width] = entries
        rows += height * width + 1
    return rows, entries


@_compiled
def golden_entries(state, image, golden, columns, into):
    """The golden values of a state's entries, in their order."""
    boxes, base, start, chan, _ = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            row = golden[image[i], (top + k // width) * columns + left + k % width]
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                into[j] = row[chan[j]]


@_compiled
def placed(state, columns, positions, run, place):
    """Whose a state's entries are, and where they lie in the map, channel by channel."""
    boxes, base, start, chan, _ = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            p = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                run[j], place[j] = i, chan[j] * positions + p


@_compiled
def bounded(state, image, golden, maps, ends, rule, out):
    """What entries become that lie outside of bounds; gives how many do.

    Args:
        state: what runs differ by.
        image: (n,) golden maps of which image.
        golden: what nothing has corrected yet.
        maps: columns and positions of the map.
        ends: lowest and highest value, what is below (or no number) and what is above becomes; each
            for all places, (1,), or channel by channel.
        rule: whether values stay as they are, and whether golden ones are corrected too.
        out: for each entry its value, and whether it differs from the golden one; per run whether
            something lay outside, and how many golden values did where its entries are.
    """
    boxes, base, start, chan, value = state
    (columns, positions), (low, high, below, above), (stays, corrects) = maps, ends, rule
    after, kept, alarm, clean = out
    single, found = len(low) == 1, 0
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            p = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                c, v = chan[j], value[j]
                e = 0 if single else c * positions + p
                now, other = v, golden[image[i], p, c]
                if not low[e] <= v <= high[e]:
                    found += 1
                    if not stays:
                        now = above[e] if v > high[e] else below[e]
                    if stays or now != v:
                        alarm[i] = True
                if not low[e] <= other <= high[e]:
                    inside = above[e] if other > high[e] else below[e]
                    if stays or inside != other:
                        clean[i] += 1
                    if corrects:
                        other = inside
                after[j], kept[j] = now, now != other
    return found


@_compiled
def select(state, value, kept, out):
    """The entries with ``kept``, and their new values."""
    boxes, base, start, chan, _ = state
    to_boxes, to_base, to_start, to_chan, to_value = out
    rows, entries = 0, 0
    for i in range(len(boxes)):
        to_base[i] = rows
        before = entries
        for k in range(boxes[i, 2] * boxes[i, 3]):
            to_start[rows] = entries
            rows += 1
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                to_chan[entries], to_value[entries] = chan[j], value[j]
                entries += kept[j]
        to_start[rows] = entries
        rows += 1
        for n in range(4):  # one by one: numba takes seconds to compile the copy of a row
            to_boxes[i, n] = boxes[i, n] if entries > before else 0
    return rows, entries


@_compiled
def within(state, columns, positions, reads, kept):
    """Which entries lie in each run's box of reads: channels and positions from, to, and first."""
    boxes, base, start, chan, _ = state
    for i in range(len(boxes)):
        top, left, height, width = boxes[i]
        for k in range(height * width):
            p = (top + k // width) * columns + left + k % width
            for j in range(start[base[i] + k], start[base[i] + k + 1]):
                m = chan[j]
                kept[j] = (
                    reads[i, 0] <= m < reads[i, 1]
                    and reads[i, 2] <= p < reads[i, 3]
                    and m * positions + p >= reads[i, 4]
                )
