"""Compiled search for the end of an interval: how far rates of cells can be from their shares."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from radhard.stats.interval import z_quantile

_compiled = njit(cache=True, error_model="numpy", nogil=True)

#: Skewness from which events are too few for a normal law: that of 3 expected ones.
_FEW = 3**-0.5
#: What looking at any time adds to the radius where no event carries the end: fitted, so that of
#: 4,000 sequences of up to 28,000 runs at rates of 0.03 to 50 % 95 % never leave the truth out.
_LOOKS = 0.3


class Radius(NamedTuple):
    """How far rates may be from shares, as a log likelihood ratio.

    Attributes:
        many: where many events carry the end.
        none: where none does.
        anytime: whether it grows with the events, so that it can be looked at at any time.
    """

    many: float
    none: float
    anytime: bool


def radius(confidence: float, anytime: bool) -> Radius:
    """That of intervals with this confidence."""
    none = -math.log(1 - confidence)
    return Radius(z_quantile(confidence) ** 2 / 2, none + _LOOKS * anytime, anytime)


@_compiled
def reach(skew, runs, limit):
    """The radius where the estimate has a skewness and so many runs."""
    many, none, anytime = limit
    if anytime:
        return none + 0.5 * math.log1p(min(1 / max(skew * skew, 1e-300), runs))
    return many + (none - many) * min(1.0, (skew / _FEW) ** 2)


@_compiled
def farthest(mass, n, shares, allowed, signs, limit, rates):
    """Find the rates within the ball whose sum of mass times rate times sign is the largest.

    They are ``share / (level - strength * pull)`` in each cell, for the level at which they sum to
    1, and the greatest strength that does not leave the ball.

    Args:
        mass, n: of k cells, (k,); one with n = 0 is free.
        shares: of outcomes and of none of them, (k, outcomes + 1).
        allowed: which of them can be, (k, outcomes + 1).
        signs: of them, (outcomes + 1,).
        limit: a `Radius`.
        rates: to be filled, (k, outcomes + 1).
    """
    scale, total = 0.0, 0.0
    for k in range(len(mass)):
        total += n[k]
        if n[k] > 0:
            scale = max(scale, mass[k] / n[k] * np.abs(signs).max())
    low, high = math.log(1e-9), math.log(1e9)
    if not _inside(high, scale, total, mass, n, shares, allowed, signs, limit, rates):
        for _ in range(60):
            middle = (low + high) / 2
            if _inside(middle, scale, total, mass, n, shares, allowed, signs, limit, rates):
                low = middle
            else:
                high = middle
        _inside(low, scale, total, mass, n, shares, allowed, signs, limit, rates)


@_compiled
def _inside(log_strength, scale, total, mass, n, shares, allowed, signs, limit, rates):
    """Whether the rates at a strength, which are filled in, are in the ball."""
    strength = math.exp(log_strength) / max(scale, 1e-300)
    far = second = third = 0.0
    for k in range(len(mass)):
        if n[k] <= 0:
            _free(allowed[k], signs, rates[k])
            continue
        _tilted(strength * mass[k] / n[k], shares[k], allowed[k], signs, rates[k])
        mean = square = 0.0
        for j in range(len(signs)):
            mean += rates[k, j] * signs[j]
            square += rates[k, j] * signs[j] ** 2
            if shares[k, j] > 0:
                far += n[k] * shares[k, j] * math.log(shares[k, j] / rates[k, j])
        variance = max(square - mean**2, 0.0)
        second += mass[k] ** 2 / n[k] * variance
        third += mass[k] ** 3 / n[k] ** 2 * variance
    skew = third / second**1.5 if second > 0 else 1e30
    return far <= reach(skew, total, limit)


@_compiled
def _free(allowed, signs, rates):
    """All on the outcome that can be and has the largest sign."""
    best = len(signs) - 1
    for j in range(len(signs)):
        rates[j] = 0.0
        if allowed[j] and signs[j] > signs[best]:
            best = j
    rates[best] = 1.0


@_compiled
def _tilted(strength, shares, allowed, signs, rates):
    """The rates of one cell at a strength."""
    best, level = len(signs) - 1, -1e300
    for j in range(len(signs)):
        if allowed[j] and signs[j] > signs[best]:
            best = j
        if shares[j] > 0:
            level = max(level, strength * signs[j] + shares[j])
    for _ in range(60):  # from below: the sum is convex, so a step never goes too far
        excess, slope = -1.0, 0.0
        for j in range(len(signs)):
            if shares[j] > 0:
                part = shares[j] / max(level - strength * signs[j], 1e-300)
                excess += part
                slope += part * part / shares[j]
        if excess <= 1e-13:
            break
        level += excess / slope
    level = max(level, strength * signs[best])
    left = 1.0
    for j in range(len(signs)):
        rates[j] = 0.0
        if shares[j] > 0:
            rates[j] = min(shares[j] / max(level - strength * signs[j], 1e-300), 1.0)
            left -= rates[j]
    rates[best] += max(left, 0.0)
