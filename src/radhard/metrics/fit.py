"""Failures in time: from the probability of an outcome to its rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from radhard.stats.estimate import Estimate

#: Bits in a megabit, as raw rates in FIT/Mbit count them.
MBIT = 2**20
#: ISO 26262 allows a whole system on chip this many FIT at its highest level, ASIL D.
ISO26262_FIT = 10.0


def fit(probability: Estimate, exposure_fit: float) -> Estimate:
    """Rate of an outcome in FIT, failures in 10^9 device hours.

    Li et al., SC'17, equation 1: ``FIT = raw rate x bits x P(outcome)``.

    Args:
        probability: of the outcome, given a fault.
        exposure_fit: rate of faults in FIT: bits x share of time in use x raw rate.

    Raises:
        ValueError: for a negative rate.

    >>> from radhard.stats.interval import wilson
    >>> round(fit(wilson(100, 1000), raw_fit(20.49, bits=8 * 2**20)).value, 3)
    16.392
    """
    if exposure_fit < 0:
        raise ValueError(f"a rate of {exposure_fit!r} FIT can't be: use 0 or more")
    scaled = (probability.value, probability.low, probability.high)
    value, low, high = (part * exposure_fit for part in scaled)
    return replace(probability, value=value, low=low, high=high, unit="FIT")


def raw_fit(rate_fit_per_mbit: float, bits: float) -> float:
    """Rate of faults in FIT of ``bits`` bits at a raw rate per 2^20 bits."""
    return rate_fit_per_mbit * bits / MBIT


def total_fit(parts: Sequence[Estimate]) -> Estimate:
    """Sum of independent rates; interval ends add in quadrature around the values.

    (Zou and Donner's square-and-add, Statistics in Medicine 2008, keeps the parts' asymmetry.)

    Raises:
        ValueError: for no parts, or parts of different confidence.
    """
    if not parts or len({part.confidence for part in parts}) > 1:
        raise ValueError(f"{len(parts)} rates to add: give at least one, all of one confidence")
    value = sum(part.value for part in parts)
    low = value - sum((part.value - part.low) ** 2 for part in parts) ** 0.5
    high = value + sum((part.high - part.value) ** 2 for part in parts) ** 0.5
    n = sum(part.n for part in parts)
    return Estimate(value, max(low, 0.0), high, parts[0].confidence, n, "square-and-add", "FIT")
