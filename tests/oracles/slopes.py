"""Slopes of products, read off the definition: one mean, one difference, one sum at a time."""

import numpy as np


def smoothed_slopes(products: list[int], reach: int) -> list[float]:
    """Of products in the order of their operands: half the difference of the means beside each."""
    count = len(products)

    def mean(centre: int) -> float:
        return sum(products[centre + d] for d in range(-reach, reach + 1)) / (2 * reach + 1)

    found = []
    for code in range(count):
        centre = min(max(code, reach + 1), count - 2 - reach)
        found.append((mean(centre + 1) - mean(centre - 1)) / 2)
    return found


def back(a, w, kind, of_operand, of_weight, slopes):
    """Slopes by operands (k, t) and weights (k, n), of those by sums (n, t)."""
    by_operand, by_weight = np.zeros(a.shape), np.zeros(w.shape)
    for k, n, t in np.ndindex(len(w), w.shape[1], a.shape[1]):
        if kind[k, n] >= 0:
            by_operand[k, t] += slopes[n, t] * of_operand[kind[k, n], w[k, n], a[k, t]]
            by_weight[k, n] += slopes[n, t] * of_weight[kind[k, n], w[k, n], a[k, t]]
    return by_operand, by_weight
