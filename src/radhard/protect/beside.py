"""Compiled rules of guards that judge values by their neighbours."""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True)


@_compiled
def _number(value):
    return value if np.isfinite(value) else type(value)(0)


@_compiled
def _odd(value, before, bounds, channel, position):
    """Whether a value is too far from its neighbour."""
    low, high = bounds
    m = channel if low.shape[0] > 1 else 0
    p = position if low.shape[1] > 1 else 0
    unlike = value - before
    return unlike < low[m, p] or unlike > high[m, p]


@_compiled
def suppress(windows, channel, position, rule, bounds, into):
    """What values become that differ too much from their neighbours.

    Args:
        windows: (n, k) value, the one before, the one after and, where wrong values become a mean,
            those before and after these.
        channel, position: (n,) where the values stand.
        rule: the neighbours before and after each place, whether they are other channels, whether
            both differences must be odd, and whether a wrong value becomes a mean.
        bounds: lowest and highest difference, (m, positions) or 1 instead.
        into: (n,) results.
    """
    before, after, along, both, mean = rule
    for i in range(len(windows)):
        c, p = channel[i], position[i]
        own, left, right = (
            _number(windows[i, 0]), _number(windows[i, 1]), _number(windows[i, 2]),
        )  # fmt: skip
        next_c, next_p = (after[c], p) if along else (c, after[p])
        wrong = _odd(own, left, bounds, c, p)
        if wrong and both:
            wrong = _odd(right, own, bounds, next_c, next_p)
        if wrong and mean:
            last_c, last_p = (before[c], p) if along else (c, before[p])
            far_c, far_p = (after[next_c], p) if along else (c, after[next_p])
            nothing, wrong_left = (
                own * 0,
                _odd(left, _number(windows[i, 3]), bounds, last_c, last_p),
            )
            wrong_right = _odd(right, own, bounds, next_c, next_p)
            if wrong_right and both:
                wrong_right = _odd(_number(windows[i, 4]), right, bounds, far_c, far_p)
            total = (nothing if wrong_left else left) + (nothing if wrong_right else right)
            into[i] = total / 2
        else:
            into[i] = 0 if wrong else own


@_compiled
def median(windows, into):
    """The middle of each row of an odd number of values; what is no number counts as 0."""
    width = windows.shape[1]
    row = np.empty(width, windows.dtype)
    for i in range(len(windows)):
        for j in range(width):
            value, k = windows[i, j], j
            if np.isnan(value):
                value = windows.dtype.type(0)
            while k > 0 and row[k - 1] > value:
                row[k] = row[k - 1]
                k -= 1
            row[k] = value
        into[i] = row[width // 2]
