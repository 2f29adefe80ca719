"""Compiled sums of some of the products of an output, as a struck latch holds them."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def partial_sums(wrong, golden, weights, shape, geometry, windows, into):
    """Sums of products of windows, in float32, one after the other.

    Args:
        wrong: (n,) images, output channels and positions, and (n, 2) terms from, to.
        golden: inputs (images, elements).
        weights: (output channels, fan-in).
        shape: fan-in, columns of outputs, output channels per group, input channels per group,
            rows and columns of inputs.
        geometry: eight numbers.
        windows: whether it is a convolution.
        into: (n,).
    """
    image, channel, position, terms = wrong
    fan_in, columns, own, inputs, rows_in, columns_in = shape
    kernel_rows, kernel_columns, down, right, above, before, apart_y, apart_x = geometry
    taps = kernel_rows * kernel_columns
    for i in range(len(image)):
        x, w = golden[image[i]], weights[channel[i]]
        first, end = max(terms[i, 0], 0), min(terms[i, 1], fan_in)
        total = np.float32(0)
        if not windows:
            start = position[i] * fan_in
            for k in range(first, end):
                total += x[start + k] * w[k]
        else:
            top = position[i] // columns * down - above
            left = position[i] % columns * right - before
            group = channel[i] // own * inputs
            for k in range(first, end):
                y = top + k % taps // kernel_columns * apart_y
                z = left + k % kernel_columns * apart_x
                if 0 <= y < rows_in and 0 <= z < columns_in:
                    total += x[((group + k // taps) * rows_in + y) * columns_in + z] * w[k]
        into[i] = total
