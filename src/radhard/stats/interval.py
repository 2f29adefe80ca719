"""Confidence intervals for proportions and for means of bounded values.

All take counts or moments and return an `Estimate`. For rare events use Wilson (the default
elsewhere) or Clopper-Pearson; the normal interval has width 0 at no events and is here for
comparison with published figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from radhard.stats.estimate import Estimate
from radhard.stats.moments import Moments


def z_quantile(confidence: float) -> float:
    """The two-sided standard normal quantile: 1.96 at 0.95.

    Raises:
        ValueError: when ``confidence`` is not inside (0, 1).

    >>> round(z_quantile(0.95), 4)
    1.96
    """
    from scipy.special import ndtri

    _check_confidence(confidence)
    return float(ndtri(0.5 + confidence / 2))


def wilson(events: int, n: int, confidence: float = 0.95) -> Estimate:
    """Score interval for a proportion (Wilson, JASA 1927).

    >>> e = wilson(5, 3000)
    >>> round(e.low, 6), round(e.high, 6)
    (0.000712, 0.003896)
    """
    _check_counts(events, n, confidence)
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, confidence, 0, "wilson")
    share, z = events / n, z_quantile(confidence)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = max(0.0, centre - half) if events > 0 else 0.0
    high = min(1.0, centre + half) if events < n else 1.0
    return Estimate(share, low, high, confidence, n, "wilson")


def clopper_pearson(events: int, n: int, confidence: float = 0.95) -> Estimate:
    """Exact interval for a proportion (Clopper and Pearson, Biometrika 1934); conservative."""
    from scipy.special import betaincinv

    _check_counts(events, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else float(betaincinv(events, n - events + 1, tail))
    high = 1.0 if events == n else float(betaincinv(events + 1, n - events, 1 - tail))
    return Estimate(_ratio(events, n), low, high, confidence, n, "clopper-pearson")


def jeffreys(events: int, n: int, confidence: float = 0.95) -> Estimate:
    """Equal-tailed Bayesian interval under Jeffreys' prior, with the ends 0 and 1 kept."""
    from scipy.special import betaincinv

    _check_counts(events, n, confidence)
    tail = (1 - confidence) / 2
    a, b = events + 0.5, n - events + 0.5
    low = 0.0 if events == 0 else float(betaincinv(a, b, tail))
    high = 1.0 if events == n else float(betaincinv(a, b, 1 - tail))
    return Estimate(_ratio(events, n), low, high, confidence, n, "jeffreys")


def agresti_coull(events: int, n: int, confidence: float = 0.95) -> Estimate:
    """Adjusted normal interval (Agresti and Coull, American Statistician 1998).

    Its ends may lie outside [0, 1]; they are left as the formula gives them.
    """
    _check_counts(events, n, confidence)
    z = z_quantile(confidence)
    trials = n + z * z
    centre = (events + z * z / 2) / trials
    half = z * math.sqrt(centre * (1 - centre) / trials)
    return Estimate(_ratio(events, n), centre - half, centre + half, confidence, n, "agresti-coull")


def normal(moments: Moments, confidence: float = 0.95) -> Estimate:
    """Mean plus and minus z standard errors (Wald's interval for proportions)."""
    half = z_quantile(confidence) * moments.standard_error
    mean = moments.mean
    return Estimate(mean, mean - half, mean + half, confidence, moments.n, "normal")


def student(moments: Moments, confidence: float = 0.95) -> Estimate:
    """Mean of independent values by Student's t; unbounded where there are fewer than two."""
    from scipy.special import stdtrit

    _check_confidence(confidence)
    half = math.inf
    if moments.n > 1:
        half = float(stdtrit(moments.n - 1, 0.5 + confidence / 2)) * moments.standard_error
    mean = moments.mean
    return Estimate(mean, mean - half, mean + half, confidence, moments.n, "student")


def hoeffding(moments: Moments, largest: float = 1.0, confidence: float = 0.95) -> Estimate:
    """Mean of values in [0, ``largest``], by Hoeffding's inequality (JASA 1963)."""
    _check_confidence(confidence)
    half = largest * math.sqrt(math.log(2 / (1 - confidence)) / (2 * moments.n))
    mean = moments.mean
    return Estimate(mean, mean - half, mean + half, confidence, moments.n, "hoeffding")


def empirical_bernstein(
    moments: Moments, largest: float = 1.0, confidence: float = 0.95
) -> Estimate:
    """Mean of values in [0, ``largest``] (Maurer and Pontil, COLT 2009, theorem 4)."""
    _check_confidence(confidence)
    log = math.log(4 / (1 - confidence))
    half = math.inf
    if moments.n > 1:
        half = math.sqrt(2 * moments.variance * log / moments.n)
        half += largest * 7 * log / (3 * (moments.n - 1))
    mean = moments.mean
    return Estimate(mean, mean - half, mean + half, confidence, moments.n, "empirical-bernstein")


def quantile(values: Sequence[float] | ArrayLike, q: float, confidence: float = 0.95) -> Estimate:
    """A quantile, between two order statistics (Conover, Practical Nonparametric Statistics, 3.2).

    Unbounded where the sample is too small for an end.

    Args:
        values: of any kind that has an order; infinities are allowed, not-a-number is not.
        q: which, inside (0, 1).
        confidence: of the interval, at least.

    Raises:
        ValueError: for not-a-number, or a ``q`` outside (0, 1).

    >>> found = quantile(range(101), 0.5)
    >>> found.value, found.low, found.high
    (50.0, 40.0, 60.0)
    """
    from scipy.stats import binom

    _check_confidence(confidence)
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not 0 < q < 1 or np.isnan(ordered).any():
        raise ValueError(f"the {q!r} quantile can't be: q is inside (0, 1), values are numbers")
    n, tail = len(ordered), (1 - confidence) / 2
    first, last = (int(binom.ppf(p, n, q)) for p in (tail, 1 - tail))
    low = float(ordered[first - 1]) if first >= 1 else -math.inf
    high = float(ordered[last]) if n and last < n else math.inf
    value = float(np.quantile(ordered, q, method="inverted_cdf")) if n else math.nan
    return Estimate(value, low, high, confidence, n, "order statistics")


def total(parts: Sequence[Estimate]) -> Estimate:
    """The sum of independent estimates of one unit and confidence.

    The intervals of the parts are recovered as variances on either side (Zou and Donner, Statistics
    in Medicine 2008, MOVER).

    Raises:
        ValueError: for no parts, or parts that differ in unit or confidence.

    >>> one = Estimate(1.0, 0.4, 1.8, 0.95, 10, "wilson", "FIT")
    >>> print(total([one, one]))
    2 FIT [1.151, 3.131]
    """
    if len({(part.unit, part.confidence) for part in parts}) != 1:
        raise ValueError("no sum of estimates of different units or confidence, or of none")
    value = sum(part.value for part in parts)
    below = math.hypot(*(part.value - part.low for part in parts))
    above = math.hypot(*(part.high - part.value for part in parts))
    n = sum(part.n for part in parts)
    first = parts[0]
    return Estimate(value, value - below, value + above, first.confidence, n, "mover", first.unit)


def paired(plus: int, minus: int, n: int, confidence: float = 0.95) -> Estimate:
    """Share of n pairs that favour one side less the share that favours the other.

    >>> print(paired(30, 10, 1000))
    2.00 % [0.77, 3.34]
    """
    one, other = wilson(plus, n, confidence), wilson(minus, n, confidence)
    odds = one.value * other.value / max((1 - one.value) * (1 - other.value), 1e-300)
    return difference(one, other, -min(1.0, math.sqrt(odds)))  # no pair favours both


def difference(plus: Estimate, minus: Estimate, correlation: float = 0.0) -> Estimate:
    """``plus - minus``, by the method of `total`.

    Args:
        plus, minus: of one unit and confidence.
        correlation: of the two, -1 to 1.

    Raises:
        ValueError: for parts that differ in unit or confidence.

    >>> one = Estimate(1.0, 0.4, 1.8, 0.95, 10, "wilson", "FIT")
    >>> print(difference(one, one))
    0 FIT [-1, 1]
    """
    if (plus.unit, plus.confidence) != (minus.unit, minus.confidence):
        raise ValueError("no difference of estimates of different units or confidence")
    value = plus.value - minus.value

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a + b * b - 2 * correlation * a * b))

    below = reach(plus.value - plus.low, minus.high - minus.value)
    above = reach(plus.high - plus.value, minus.value - minus.low)
    n = max(plus.n, minus.n)
    return Estimate(value, value - below, value + above, plus.confidence, n, "mover", plus.unit)


def _ratio(events: int, n: int) -> float:
    return events / n if n else math.nan


def _check_counts(events: int, n: int, confidence: float) -> None:
    _check_confidence(confidence)
    if not 0 <= events <= n:
        raise ValueError(f"{events} events in {n} trials can't be: events must be in 0..{n}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence!r} can't be: use a number inside (0, 1)")
