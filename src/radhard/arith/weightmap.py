"""Which weight stands best for which, where products are not what they should be.

Mrazek et al., "ALWANN" (ICCAD 2019): weight w is replaced by the w2 whose products with all
operands are nearest to those of w. No data is needed, and no gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]

_compiled = njit(cache=True, nogil=True)


class Mapped(NamedTuple):
    """What each weight code is replaced by.

    Attributes:
        to: (codes,) the code that stands for each; its own where none is better.
        before, after: (codes,) expected error of each code's products, as it is and replaced.
    """

    to: Integers
    before: Reals
    after: Reals


def weight_map(
    products: NDArray[Any], operands: Integers, weights: Integers, shares: Reals | None = None
) -> Mapped:
    """The map that makes the sum of ``|product - operand * weight|`` least.

    Args:
        products: of a circuit, ``[weight, operand]``.
        operands, weights: what their codes stand for, (codes,).
        shares: how often each operand occurs, (codes,); once each where ``None``.

    Returns:
        A map that is first in the order of codes among equals, but leaves what is as good.

    >>> every = np.arange(-128, 128)
    >>> exact = weight_map(np.multiply.outer(every, every), every, every)
    >>> int((exact.to != np.arange(256)).sum()), float(exact.after.sum())
    (0, 0.0)
    """
    count = np.ones(len(operands)) if shares is None else shares
    seen = np.flatnonzero(count)
    by_operand = np.ascontiguousarray(products.T[seen], np.float64)
    return _least(_distances(by_operand, np.multiply.outer(weights, operands[seen]), count[seen]))


@_compiled
def _distances(products, exact, shares):
    """Sums of ``shares * |product - exact|``, ``[weight, its replacement]``.

    Args:
        products: ``[operand, replacement]``.
        exact: ``[weight, operand]``.
        shares: of operands.
    """
    found = np.zeros((len(exact), products.shape[1]))
    for code in range(len(exact)):
        for i in range(len(shares)):
            for other in range(products.shape[1]):
                found[code, other] += shares[i] * abs(products[i, other] - exact[code, i])
    return found


def variance_map(
    products: NDArray[Any], operands: Integers, weights: Integers, shares: Reals
) -> Mapped:
    """The map that makes the variance of ``product - operand * weight`` least.

    A constant error can be taken off the bias of the sum.

    Args:
        products, operands, weights, shares: as `weight_map`; shares add up to 1.
    """
    p, x = products.astype(np.float64), operands.astype(np.float64)
    mean, centre = p @ shares, float(x @ shares)
    spread = (p - mean[:, None]) ** 2 @ shares
    both = (p - mean[:, None]) @ (shares * (x - centre))
    own = float((x - centre) ** 2 @ shares)
    w = weights.astype(np.float64)[:, None]
    return _least(np.maximum(spread - 2 * w * both + w * w * own, 0.0))


def _least(errors: Reals) -> Mapped:
    """Of errors ``[code, its replacement]``."""
    every = np.arange(len(errors))
    to, before = errors.argmin(1), errors[every, every]
    to = np.where(before <= errors[every, to], every, to)
    return Mapped(to, before, errors[every, to])
