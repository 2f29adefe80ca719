"""Stopping when the answer is good enough, without spoiling its confidence.

A fixed-n interval looked at again and again excludes the truth far more often than it says.
The intervals here are confidence sequences: with the stated probability they hold the truth at
every n at once, so a campaign may look after each batch and stop when it likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from radhard.stats.estimate import Estimate
from radhard.stats.moments import Moments


@dataclass(frozen=True, slots=True)
class Precision:
    """Stop when the interval's half width is at most ``half_width``.

    Attributes:
        half_width: absolute, in (0, 0.5).
        confidence: of the confidence sequence, in (0, 1).
        metric: the outcome that decides, or ``recall`` or ``precision`` of alarms.
        most: faults after which to stop in any case.

    >>> Precision(0.01).reached(anytime_proportion(0, 2000))
    True
    """

    half_width: float
    confidence: float = 0.95
    metric: str = "sdc1"
    most: int = 10_000_000

    def __post_init__(self) -> None:
        if not 0 < self.half_width < 0.5:
            raise ValueError(f"half width {self.half_width!r} can't be: use a number in (0, 0.5)")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence {self.confidence!r} can't be: use a number in (0, 1)")
        if not self.most >= 1:
            raise ValueError(f"most {self.most!r} can't be: use 1 fault or more")

    def reached(self, estimate: Estimate) -> bool:
        """Whether ``estimate`` is as narrow as wanted."""
        return estimate.half_width <= self.half_width


def anytime_proportion(events: float, n: float, confidence: float = 0.95) -> Estimate:
    """Confidence sequence for a proportion, valid at every n and exact for 0/1 outcomes.

    The proportions p at which the likelihood ratio of a Beta(1/2, 1/2) mixture to p stays below
    ``1 / (1 - confidence)`` (Robbins' method of mixtures, Ann. Math. Stat. 1970; by Ville's
    inequality it fails at any n with probability at most ``1 - confidence``).

    >>> e = anytime_proportion(30, 1000)
    >>> e.low < 0.03 < e.high
    True
    """
    if not 0 <= events <= n:
        raise ValueError(f"{events} events in {n} trials can't be: events must be in 0..{n}")
    method = "beta-mixture confidence sequence"
    if n == 0:
        return Estimate(math.nan, 0.0, 1.0, confidence, 0, method)
    events = n if events > n * (1 - 1e-12) else events
    excess = log_ratio(events, n, math.log(1 / (1 - confidence)))
    share = events / n
    low = 0.0 if events == 0 else _root(excess, 0.0, share)
    high = 1.0 if events == n else _root(excess, 1.0, share)
    return Estimate(share, low, high, confidence, int(n), method)


def anytime_mean(moments: Moments, confidence: float = 0.95, tuned_for: int = 10_000) -> Estimate:
    """Asymptotic confidence sequence for a mean of any values with a variance.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 2024, theorem 2.2;
    narrowest relative to a fixed-n interval near ``tuned_for`` observations (about 1.55 times as
    wide there at 95 %). Unbounded for fewer than two observations.
    """
    alpha = 1 - confidence
    half = math.inf
    if moments.n > 1:
        rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / tuned_for
        grown = moments.n * rho2 + 1
        bound = 2 * grown / (moments.n**2 * rho2) * math.log(math.sqrt(grown) / alpha)
        half = math.sqrt(moments.variance * bound)
    mean = moments.mean
    return Estimate(
        mean, mean - half, mean + half, confidence, moments.n, "asymptotic confidence sequence"
    )


def log_ratio(events: float, n: float, limit: float) -> Callable[[float], float]:
    """Of a proportion in (0, 1): log of the mixture's likelihood ratio to it, less ``limit``.

    The sequence of `anytime_proportion` holds the proportions at which this is at most 0.
    """
    from scipy.special import betaln

    mixture = float(betaln(events + 0.5, n - events + 0.5) - betaln(0.5, 0.5))

    def excess(p: float) -> float:
        hits = events * math.log(p) if events else 0.0
        misses = (n - events) * math.log1p(-p) if n > events else 0.0
        return mixture - hits - misses - limit

    return excess


def _root(excess: Callable[[float], float], outer: float, inner: float) -> float:
    """Where ``excess`` changes sign between ``outer`` (0 or 1, excluded) and ``inner``."""
    from scipy.optimize import brentq

    edge = abs(outer - 1e-15) if outer == 0.0 else 1 - 1e-15
    if excess(edge) <= 0:
        return outer
    inner = min(max(inner, 1e-15), 1 - 1e-15)
    return float(brentq(excess, edge, inner, xtol=1e-12))
