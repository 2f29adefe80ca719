"""Slopes of products by tables: by how much a circuit's product grows with either operand.

Chang Meng, Wayne Burleson, Giovanni De Micheli, arXiv:2509.10519: training through an approximate
multiplier with the slopes of its own products, which are those of their mean over nearby operands,
not with the other operand, which is the slope of the exact product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_compiled = njit(cache=True, nogil=True)

Floats = NDArray[np.float32]


def smoothed_slopes(products: NDArray[Any], integers: NDArray[np.int64], reach: int) -> Floats:
    """By how much products grow per step of their last operand.

    Each product stands for the mean of those up to ``reach`` steps away, and a slope is half the
    difference of the next two means: ``(p[c + r + 1] + p[c + r] - p[c - r] - p[c - r - 1]) / (4 r +
    2)``. Towards the ends, where products are missing, it is that of the nearest operand which has
    them.

    Args:
        products: by bit pattern of the last operand, (..., codes).
        integers: what its patterns stand for, (codes,), each another.
        reach: steps on either side.

    Raises:
        ValueError: where it reaches farther than there are operands.

    >>> smoothed_slopes(np.array([0, 3, 6, 9, 12, 15]), np.arange(6), 1).tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    """
    count, most = len(integers), (len(integers) - 3) // 2
    if not 0 <= reach <= most:
        raise ValueError(
            f"slopes over {reach} operands on either side can't be: of {count} use 0 to {most}"
        )
    order = np.argsort(integers)
    sorted_ = products[..., order].astype(np.float64)
    near, far = reach, reach + 1
    centre = np.arange(count).clip(far, count - 1 - far)
    up = sorted_[..., centre + far] + sorted_[..., centre + near]
    down = sorted_[..., centre - near] + sorted_[..., centre - far]
    found = np.empty(products.shape, np.float32)
    found[..., order] = (up - down) / (4 * reach + 2)
    return found


@_compiled
def add_slopes(a, w, kind, of_operand, of_weight, slopes, to_operands, to_weights):
    """Add what slopes by sums are by operands and by weights.

    Args:
        a: operands (k, t), bit patterns.
        w: weights (k, n), likewise.
        kind: of the element of each weight, (k, n); negative ones are passed by.
        of_operand, of_weight: slopes of products, ``[kind, weight, operand]``.
        slopes: by sums, (n, t).
        to_operands: where those by operands are added, (k, t).
        to_weights: likewise by weights, (k, n).
    """
    for k in range(len(w)):
        for n in range(w.shape[1]):
            if kind[k, n] < 0:
                continue
            left, right = of_operand[kind[k, n], w[k, n]], of_weight[kind[k, n], w[k, n]]
            total = np.float32(0)
            for t in range(a.shape[1]):
                code, slope = a[k, t], slopes[n, t]
                to_operands[k, t] += slope * left[code]
                total += slope * right[code]
            to_weights[k, n] += total
