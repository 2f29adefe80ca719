"""Compiled sums of products in which every latch rounds: products are cut, sums saturate.

Products are those of integers. Those of a window are added up one after the other, and the
windows, one per input channel, likewise. ``cut`` says how a latch holds a value: bits dropped from
a product, lowest and highest integer.
"""

from __future__ import annotations

from numba import njit

_compiled = njit(cache=True, nogil=True)


@_compiled
def within(value, cut):
    """A sum as its latch holds it, which saturates."""
    value = value if value > cut[1] else cut[1]
    return value if value < cut[2] else cut[2]


@_compiled
def latched(x, w, cut):
    """A product as its latch holds it, cut toward zero."""
    product, bits = x * w, cut[0]
    if bits >= 0:
        return within((product + ((product >> 63) & ((1 << bits) - 1))) >> bits, cut)
    most = cut[2] >> -bits
    if product > most:
        return cut[2]
    return cut[1] if product < -most - 1 else within(product << -bits, cut)


@_compiled
def _sum(x, w, taps, window, cut):
    total = 0
    for start in range(0, len(w), window):
        part = 0
        for k in range(start, start + window):
            if taps[k] >= 0:
                part = within(part + latched(x[taps[k]], w[k], cut), cut)
        total = within(total + part, cut)
    return total


@_compiled
def layer_sums(x, w, taps, window, cut, into):
    """Of all outputs.

    Args:
        x: (n, inputs).
        w: (channels, fan-in).
        taps: which input each product reads, -1 for padding, (groups, positions, fan-in).
        window: products per window.
        cut: three numbers.
        into: (n, channels, positions).
    """
    own = len(w) // len(taps)
    for i in range(len(x)):
        for m in range(len(w)):
            for p in range(taps.shape[1]):
                into[i, m, p] = _sum(x[i], w[m], taps[m // own, p], window, cut)


@_compiled
def channel_sums(x, w, group, taps, window, cut, into):
    """Of one output channel each, with weights of its own: as `layer_sums`.

    Args:
        x: (n, inputs).
        w: (n, fan-in).
        group: (n,).
        taps, window, cut: as above.
        into: (n, positions).
    """
    for i in range(len(x)):
        for p in range(taps.shape[1]):
            into[i, p] = _sum(x[i], w[i], taps[group[i], p], window, cut)


@_compiled
def _flipped(value, keep, flip, width):
    """What a latch of two's complement holds after a strike."""
    low, half = (1 << width) - 1, 1 << (width - 1)
    return ((((value & keep) ^ flip) & low) ^ half) - half


@_compiled
def struck_sums(x, w, terms, masks, width, window, cut, into):
    """Of one output each, while a latch on the way to it is struck once.

    Args:
        x, w: the operands of each product, (n, fan-in).
        terms: (n, 2) the products, from and to, whose sum the latch holds: one product; those of a
            window so far; those of all windows so far; or any others, which are then added up in
            a latch of their own, whose change goes into the sum of all windows.
        masks: (n,) what is kept of its code, and what is inverted.
        width: bits of the latch.
        window, cut: as above.
        into: (n, 3): the sum, and what the latch held before and after.
    """
    for i in range(len(x)):
        first, end = terms[i]
        keep, flip = masks[0][i], masks[1][i]
        of_product = end - first == 1
        of_window = not of_product and first % window == 0 and first < end <= first + window
        of_all = not of_product and not of_window and first == 0 and end % window == 0
        total, own, before, after = 0, 0, 0, 0
        if end == 0:
            total = after = _flipped(0, keep, flip, width)
        for start in range(0, x.shape[1], window):
            part = 0
            for k in range(start, start + window):
                product = latched(x[i, k], w[i, k], cut)
                if of_product and k == first:
                    before, after = product, _flipped(product, keep, flip, width)
                    product = after
                own = within(own + product, cut) if first <= k < end else own
                part = within(part + product, cut)
                if of_window and k == end - 1:
                    before, after = part, _flipped(part, keep, flip, width)
                    part = after
            total = within(total + part, cut)
            if of_product or of_window or not start < end <= start + window:
                continue
            before = total if of_all else own
            after = _flipped(before, keep, flip, width)
            total = after if of_all else within(total + after - before, cut)
        into[i, 0], into[i, 1], into[i, 2] = total, before, after
