"""Compiled bounds of what a wrong value does to its layer and to the steps behind it.

Sums of floats differ in their last bits with the order in which they are added up, and no one order
is the engine's. So every value is an interval that holds it in all of them. Where its ends meet in
the golden value, behind a rectifier or in a coarse code, nothing has changed.

A **layer** is its golden sums (images, elements), ends of their rounding errors (images, channels),
the share of what sums change by that may be lost in rounding, channels and `Layer.inner`; its
**finish** how sums become outputs (as in `radhard.engine.rounding`), the value of a sum of 1 per
channel, and by which share that product may err. A **chain** is codes and numbers of steps, golden
values that they add, golden results, and what a change of 1 in these costs
(`radhard.foresight.price`) with whether that is known.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from radhard.engine.rounding import AS_IS, TO_FLOAT, TO_TABLE, as_output

#: Steps value by value; numbers of `AFFINE` are slope, offset and largest term per channel.
BETWEEN, AFFINE, ADD, TIMES, PER, PLUS, ROUND, SIGN = range(8)
#: What is proved: nothing, that the answer stays, that nothing changes.
OPEN, STAYS, SAME = range(3)
#: By which share normalisation may err, and of a price of 1 the part that counts as all of it.
_AFFINE_ERROR, _ALL = 2.0**-20, 0.99

_compiled = njit(cache=True, error_model="numpy", nogil=True)


@_compiled
def _output(finish, m, low, high):
    """The outputs between which one lies whose sum lies between ``low`` and ``high``."""
    how, unit, error = finish
    if how.kind in (TO_FLOAT, TO_TABLE):  # which may be rounded to float32 on the way
        low, high = low - abs(low) * 2.0**-22, high + abs(high) * 2.0**-22
    elif how.kind != AS_IS:
        low, high = low - abs(low) * error, high + abs(high) * error
    return as_output(how, low, unit[m]), as_output(how, high, unit[m])


@_compiled
def _step(code, numbers, m, side, low, high):
    """Two values behind one step, the smaller one first."""
    one, two = np.float32(np.sign(low)), np.float32(np.sign(high))
    if code == BETWEEN:
        one, two = (
            low if low > numbers[0] else numbers[0],
            high if high > numbers[0] else numbers[0],
        )
        one, two = min(one, numbers[1]), min(two, numbers[1])
    elif code == AFFINE:
        slope, offset, terms = numbers[3 * m], numbers[3 * m + 1], numbers[3 * m + 2]
        a, b = np.float64(low) * slope, np.float64(high) * slope
        error = _AFFINE_ERROR * (max(abs(a), abs(b)) + terms)
        one, two = np.float32(min(a, b) + offset - error), np.float32(max(a, b) + offset + error)
    elif code == ADD:
        one, two = low + side, high + side
    elif code == TIMES:
        one, two = low * numbers[0], high * numbers[0]
    elif code == PER:
        one, two = low / numbers[0], high / numbers[0]
    elif code == PLUS:
        one, two = low + numbers[0], high + numbers[0]
    elif code == ROUND:
        one, two = np.float32(np.rint(low)), np.float32(np.rint(high))
    return (one, two) if one <= two else (two, one)


@_compiled
def _behind(low, high, b, m, element, chain):
    """By how much a value at the end of a chain differs from golden at most; 0: not in any bit.

    Infinity where infinities may turn into not-a-number.
    """
    codes, numbers, added, golden, _, _ = chain
    for k in range(len(codes)):
        if not low <= high:
            return np.inf
        code = codes[k]
        side = added[b, element] if code == ADD else np.float32(0)
        low, high = _step(code, numbers[k], m, side, low, high)
    if not low <= high:
        return np.inf
    right = golden[b, element]
    if low == right and high == right:
        if right != 0 or np.signbit(low) == np.signbit(high) == np.signbit(right):
            return 0.0
        return np.inf
    return max(abs(np.float64(low) - right), abs(np.float64(high) - right))


@_compiled
def _moved(change, b, m, position, layer, finish, chain):
    """What a change of one sum costs, and whether it changes anything."""
    sums, noise, lost, channels, inner = layer
    element = (position // inner * channels + m) * inner + position % inner
    middle = np.float64(sums[b, element]) + change
    room = noise[b, m] + lost * abs(change)
    low, high = _output(finish, m, middle - room, middle + room)
    moved = _behind(low, high, b, m, element, chain)
    if moved == 0:
        return 0.0
    return moved * chain[4][b, element] if chain[5] else np.inf


@_compiled
def _level(cost):
    """What a cost proves."""
    if cost == 0:
        return SAME
    return STAYS if cost < _ALL else OPEN


@_compiled
def of_values(image, channel, element, low, high, chain, into):
    """What is proved of outputs that lie between ``low`` and ``high``, (n,) each."""
    for i in range(len(image)):
        b, e = image[i], element[i]
        moved = _behind(low[i], high[i], b, channel[i], e, chain)
        cost = moved * chain[4][b, e] if chain[5] and moved > 0 else moved
        into[i] = SAME if moved == 0 else _level(cost) if chain[5] else OPEN


@_compiled
def outputs(channel, low, high, finish, into):
    """Outputs (n, 2) whose sums lie between ``low`` and ``high``, (n,) each."""
    for i in range(len(channel)):
        into[i, 0], into[i, 1] = _output(finish, channel[i], low[i], high[i])


@_compiled
def of_weights(wrong, reads, inputs, geometry, layer, finish, chain, into):
    """What is proved of wrong weights.

    Args:
        wrong: (n,) images, output channels, products, and changes.
        reads: (n,) first and last position (half open) that reads it.
        inputs: golden operands (images, elements).
        geometry: whether it is a convolution; its eight numbers; columns of outputs, output
            channels per group, input channels per group, rows and columns of inputs; fan-in.
        layer, finish, chain: see the module.
        into: (n,) levels.
    """
    image, channel, term, change = wrong
    windows, numbers, shape, fan_in = geometry
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = numbers
    columns, own, members, rows_in, columns_in = shape
    for i in range(len(image)):
        b, m, k = image[i], channel[i], term[i]
        # times a zero of padding, infinities are no numbers
        cost = 0.0 if np.isfinite(change[i]) or reads[0][i] >= reads[1][i] else np.inf
        if windows:
            plane = (m // own * members + k // (kernel_rows * kernel_columns)) * rows_in
            down_by = k // kernel_columns % kernel_rows * apart_y - above
            right_by = k % kernel_columns * apart_x - before
        for p in range(reads[0][i], reads[1][i] if cost == 0 else 0):
            if windows:
                y, x = p // columns * down + down_by, p % columns * right + right_by
                if y < 0 or y >= rows_in or x < 0 or x >= columns_in:
                    continue
                held = inputs[b, (plane + y) * columns_in + x]
            else:
                held = inputs[b, p * fan_in + k]
            moved = change[i] * held
            if moved != 0:
                cost += _moved(moved, b, m, p, layer, finish, chain)
                if not cost < _ALL:
                    break
        into[i] = _level(cost)


@_compiled
def _reader(element, tap, geometry):
    """At which position an input element is read through a tap, and as which product; -1: none."""
    windows, numbers, shape, fan_in = geometry
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = numbers
    columns, _, members, rows_in, columns_in = shape
    if not windows:
        return element // fan_in, element % fan_in
    channel, place = element // (rows_in * columns_in), element % (rows_in * columns_in)
    y = place // columns_in + above - tap // kernel_columns * apart_y
    x = place % columns_in + before - tap % kernel_columns * apart_x
    if y < 0 or x < 0 or y % down or x % right or x // right >= columns:
        return -1, 0
    product = channel % members * kernel_rows * kernel_columns + tap
    return y // down * columns + x // right, product


@_compiled
def of_inputs(wrong, reads, weights, geometry, layer, finish, chain, into):
    """What is proved of wrong inputs.

    Args:
        wrong: (n,) images, elements (-1: a zero of padding), changes, and products that read it,
            where it is one.
        reads: (n, 5) channels from, to, positions from, to, and the first output.
        weights: (output channels, fan-in).
        geometry, layer, finish, chain, into: as in `of_weights`.
    """
    image, element, change, term = wrong
    windows, (kernel_rows, kernel_columns, _, _, _, _, _, _), shape, _ = geometry
    _, own, members, rows_in, columns_in = shape
    positions, taps = layer[0].shape[1] // layer[3], kernel_rows * kernel_columns
    for i in range(len(image)):
        cost, e = 0.0, element[i]
        first, end, low, high, late = reads[i]
        group = e // (rows_in * columns_in) // members * own if windows and e >= 0 else 0
        if windows and e >= 0:
            first, end = max(first, group), min(end, group + own)
        for tap in range(taps if windows and e >= 0 else 1):
            p, k = low, term[i]
            if e >= 0:
                p, k = _reader(e, tap, geometry)
            if p < low or p >= min(high, positions):
                continue
            for m in range(max(first, -(-(late - p) // positions)), end):
                moved = change[i] * weights[m, k]
                if moved != 0 and cost < _ALL:
                    cost += _moved(moved, image[i], m, p, layer, finish, chain)
            if not cost < _ALL:
                break
        into[i] = _level(cost)


@_compiled
def held_sums(wrong, inputs, weights, geometry, exact, into):
    """Sums of some products of windows, as a struck latch holds them, in float64.

    With floats each product is rounded to float32, and sums of more than one run in float64, as
    PyTorch's cumulative sum has it.

    Args:
        wrong: (n,) images, output channels and positions, (n, 2) terms, and whether each is a
            product alone.
        inputs, weights, geometry: as above.
        exact: whether all are integers.
        into: (n,).
    """
    image, channel, position, terms, alone = wrong
    windows, numbers, shape, fan_in = geometry
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = numbers
    columns, own, members, rows_in, columns_in = shape
    for i in range(len(image)):
        x, w = inputs[image[i]], weights[channel[i]]
        first, end, total = max(terms[i, 0], 0), min(terms[i, 1], fan_in), 0.0
        if alone:
            first, end = terms[i, 0], terms[i, 0] + 1
        top = position[i] // columns * down - above
        left = position[i] % columns * right - before
        group = channel[i] // own * members
        for k in range(first, end):
            held = np.float32(0)
            if not windows:
                held = x[position[i] * fan_in + k]
            else:
                y = top + k // kernel_columns % kernel_rows * apart_y
                z = left + k % kernel_columns * apart_x
                if 0 <= y < rows_in and 0 <= z < columns_in:
                    c = group + k // (kernel_rows * kernel_columns)
                    held = x[(c * rows_in + y) * columns_in + z]
            if exact:
                part = np.float64(held) * np.float64(w[k])
            else:
                part = np.float64(np.float32(held * w[k]))
            total = part if alone else total + part
        into[i] = total if exact else np.float32(total)


@_compiled
def dearest(costs, share, price):
    """Raise prices (images, elements) to the costs (pairs, elements) of pairs times their shares.

    Shares are (images, pairs); a pair of no share is left out, and what is no number is infinite.
    """
    for b in range(share.shape[0]):
        for j in range(share.shape[1]):
            factor = share[b, j]
            if factor == 0:
                continue
            for e in range(price.shape[1]):
                value = costs[j, e] * factor if factor < np.inf else np.inf
                if not value <= price[b, e]:
                    price[b, e] = value if value == value else np.inf  # noqa: PLR0124 - not-a-number
