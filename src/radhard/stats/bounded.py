"""Means of few independent values with known ends, whatever lies between the values that were seen.

Student's interval has no width where all values are alike, and none to spare where a rare value was
not drawn. Here an end of the interval is the least mean of any distribution on the whole range that
is not too unlikely to have given the sample: an empirical likelihood (Owen, Biometrika 1988) that
may also put mass on the end of the range (Honda and Takemura, COLT 2010). With zeros and ones it is
near Wilson's interval, with many values that vary little near Student's, and where nothing varies
it is near the rule of three.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radhard.stats.estimate import Estimate
from radhard.stats.interval import z_quantile

_Values = NDArray[np.float64]


def bounded(
    values: ArrayLike, low: float = 0.0, high: float = 1.0, confidence: float = 0.95
) -> Estimate:
    """Mean of independent values in [``low``, ``high``]; never without width inside that range.

    Coverage is asymptotic. By simulation a 95 % interval of two to 100 values holds the mean in
    93 % or more, also where a few values out of many make most of the difference.

    Args:
        values: at least one.
        low, high: the range, which must be known beforehand.
        confidence: of the interval.

    Raises:
        ValueError: for no values, or one outside the range.

    >>> print(bounded([1.0] * 100))
    100.00 % [97.05, 100.00]
    """
    x = np.asarray(values, np.float64).ravel()
    if not x.size or not (low <= x.min() and x.max() <= high):
        raise ValueError(f"values must be in [{low:g}, {high:g}], at least one: got {x[:5]}")
    span = high - low
    below = low + span * _least_mean((x - low) / span, confidence)
    above = high - span * _least_mean((high - x) / span, confidence)
    return Estimate(float(x.mean()), below, above, confidence, x.size, "bounded mean")


def crossed(
    table: ArrayLike,
    reach: float,
    low: float = 0.0,
    high: float = 1.0,
    confidence: float = 0.95,
    ends: tuple[float, float] | None = None,
) -> Estimate:
    """Mean over rows and columns that are both samples, such as networks and images.

    All of a row share its chance, and all of a column. Each side has the interval of its own means;
    the two are put together as by Banerjee (Calcutta Statistical Association Bulletin 1960): the
    squares of their half widths add, which is wide rather than narrow, since what belongs to a
    single cell counts on both sides.

    Args:
        table: values in [``low``, ``high``] (rows, columns).
        reach: how far the mean over these rows can be from that over all, as a share of the range;
            1 where nothing is known, 0 where rows are no sample.
        low, high: the range.
        confidence: of the interval.
        ends: those of the means of rows over these columns, where they are known to be nearer than
            ``low`` and ``high``.

    >>> print(crossed(np.ones((50, 100)), reach=0.0))
    100.00 % [97.05, 100.00]
    >>> print(crossed(np.ones((2, 100)), reach=1.0))
    100.00 % [22.30, 100.00]
    """
    x = np.asarray(table, np.float64)
    columns = bounded(x.mean(0), low, high, confidence)
    first, last = ends or (low, high)
    means = np.clip(x.mean(1), first, last)  # of rounding
    rows = within(bounded(means, first, last, confidence), reach * (high - low))
    value = columns.value
    below = max(low, value - math.hypot(value - columns.low, value - rows.low))
    above = min(high, value + math.hypot(columns.high - value, rows.high - value))
    return Estimate(value, below, above, confidence, x.size, "bounded mean, crossed")


def within(found: Estimate, distance: float) -> Estimate:
    """An estimate with ends that are no further from the value than ``distance``."""
    low, high = found.value - distance, found.value + distance
    return replace(found, low=max(found.low, low), high=min(found.high, high))


def _least_mean(values: _Values, confidence: float) -> float:
    """Lower end for the mean of values in [0, 1].

    The divergence that is allowed lies between that of the normal interval, where many values carry
    the end, and that of the rule of three, where none does; the skewness at the end decides.
    """
    if not values.any():
        return 0.0
    many, none = z_quantile(confidence) ** 2 / 2, -math.log(1 - confidence)
    budget, mean = none, 0.0
    for _ in range(3):
        mean, skew = _tilted(values, budget / len(values))
        budget = many + (none - many) * min(1.0, 2 * skew)
    return mean


def _tilted(values: _Values, budget: float) -> tuple[float, float]:
    """Least mean within a divergence of the sample, and how skewed the mean of such samples is.

    Value x gets the weight a / (n (x + e)); what is left over when e = 0 lies at 0.
    """
    shift = _shift(values, budget)
    away = values + shift
    scale = math.exp(np.log(away).mean() - budget)
    weights = scale / len(values) / away
    mean, rest = scale - shift, max(0.0, 1 - float(weights.sum()))
    square, cube = (
        float((weights * np.abs(values - mean) ** k).sum()) + rest * mean**k for k in (2, 3)
    )
    return mean, cube / square**1.5 / math.sqrt(len(values))


def _shift(values: _Values, budget: float) -> float:
    """The e at which the divergence of the weights 1 / (x + e) from equal ones is the budget."""
    from scipy.optimize import brentq

    def over(log_shift: float) -> float:
        away = values + math.exp(log_shift)
        return float(np.log(away).mean()) + math.log(float((1 / away).mean())) - budget

    least = float(values[values > 0].min())
    if values.min() > 0 and over(math.log(least) - 40) <= 0:
        return 0.0
    return math.exp(brentq(over, math.log(least) - 40, 3 - math.log(budget) / 2, xtol=1e-7))
