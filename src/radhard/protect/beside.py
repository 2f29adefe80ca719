"""Compiled rules of guards that judge values by their neighbours, in all channels at once."""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True)


@_compiled
def suppress(values, order, position, bounds, both, into):
    """Set what differs too much from its neighbours, and what is no finite number, to 0.

    Args:
        values: (n, width, channels), finite or not.
        order: which of them are judged, and which stand before and after these.
        position: (n,) where windows lie.
        bounds: lowest and highest difference from the one before, and of the one after, (4,
            positions, channels), or of one position for all.
        both: whether both differences must be odd.
        into: (n, channels) results, (n, channels) whether differences are odd, and (n,) whether
            anything has become something else.
    """
    (results, wrong, changed), nothing = into, values.dtype.type(0)
    for i in range(len(values)):
        p = position[i] if bounds.shape[1] > 1 else 0
        low, high, low_after, high_after = bounds[0, p], bounds[1, p], bounds[2, p], bounds[3, p]
        own, before, after = values[i, order[0]], values[i, order[1]], values[i, order[2]]
        result, flags, other = results[i], wrong[i], False
        for c in range(values.shape[2]):
            x, a, b = own[c], before[c], after[c]
            x = x if x - x == 0 else nothing
            a = a if a - a == 0 else nothing
            b = b if b - b == 0 else nothing
            back, on = x - a, b - x
            odd = (back < low[c]) | (back > high[c])
            odd &= (not both) | (on < low_after[c]) | (on > high_after[c])
            x = nothing if odd else x
            result[c], flags[c] = x, odd
            other |= x != own[c]
        changed[i] = other


@_compiled
def median(windows, into):
    """The middle of each window (n, width, channels), of odd width; no number counts as 0."""
    _, width, channels = windows.shape
    nothing, row = windows.dtype.type(0), np.empty(width, windows.dtype)
    for i in range(len(windows)):
        if width == 3:
            for c in range(channels):
                x, y, z = windows[i, 0, c], windows[i, 1, c], windows[i, 2, c]
                x = nothing if np.isnan(x) else x
                y = nothing if np.isnan(y) else y
                z = nothing if np.isnan(z) else z
                low, high = (x, y) if x < y else (y, x)
                z = z if z < high else high
                into[i, c] = z if z > low else low
            continue
        for c in range(channels):
            for j in range(width):
                x, k = windows[i, j, c], j
                x = nothing if np.isnan(x) else x
                while k > 0 and row[k - 1] > x:
                    row[k] = row[k - 1]
                    k -= 1
                row[k] = x
            into[i, c] = row[width // 2]
