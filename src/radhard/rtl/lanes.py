"""Compiled kernels for netlists: gates and flip-flops of 64 runs to a word."""

from __future__ import annotations

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True)


@_compiled
def settle(values, gates):
    """Compute all gates, in place."""
    for k in range(len(gates)):
        kind, out, a, b, c = gates[k]
        for j in range(values.shape[1]):
            x, y = values[a, j], values[b, j]
            if kind == 0:
                z = x & y
            elif kind == 1:
                z = x | y
            elif kind == 2:
                z = x ^ y
            elif kind == 3:
                z = ~x
            else:
                s = values[c, j]
                z = (x & ~s) | (y & s)
            values[out, j] = z


@_compiled
def clock(values, flops):
    """An edge: all flip-flops that are enabled take their inputs at once, in place."""
    new = np.empty((len(flops), values.shape[1]), np.uint64)
    for k in range(len(flops)):
        q, d, e = flops[k]
        for j in range(values.shape[1]):
            on = values[e, j]
            new[k, j] = (values[d, j] & on) | (values[q, j] & ~on)
    for k in range(len(flops)):
        values[flops[k, 0]] = new[k]
