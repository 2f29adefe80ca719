"""Failures in time: from the probability of an outcome to its rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from radhard.stats.estimate import Estimate
from radhard.stats.samplesize import more_to_exclude

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rate keeps to a budget.

    Attributes:
        budget_fit: what is allowed, in FIT.
        verdict: ``met`` or ``missed`` where the whole interval is on one side of the budget.
        more_faults: how many more would decide, should the rate stay what it is; 0 where it is
            decided, ``None`` where no number would, or no fault has been tried.
    """

    budget_fit: float
    verdict: Literal["met", "missed", "undecided"]
    more_faults: int | None


def judged(
    probability: Estimate,
    exposure_fit: float,
    known_fit: float = 0.0,
    budget_fit: float = ISO26262_FIT,
    anytime: bool = False,
) -> Verdict:
    """Whether ``exposure_fit * probability + known_fit`` keeps to a budget.

    Args:
        probability: of the outcome, given a fault at a site that is tried.
        exposure_fit: rate of such faults in FIT.
        known_fit: rate of the outcome by sites whose effect is known.
        budget_fit: what is allowed.
        anytime: whether the interval is a confidence sequence.

    Raises:
        ValueError: for a budget that is not above 0, or a negative exposure.

    >>> from radhard.stats.ball import proportion
    >>> judged(proportion(96, 3000), 238.2)
    Verdict(budget_fit=10.0, verdict='met', more_faults=0)
    >>> judged(proportion(6, 200), 238.2).verdict
    'undecided'
    """
    if not budget_fit > 0 or exposure_fit < 0:
        raise ValueError(
            f"a budget of {budget_fit!r} FIT for {exposure_fit!r} FIT can't be: use a budget above "
            "0, and an exposure of 0 or more"
        )
    spare = budget_fit - known_fit
    bound = spare / exposure_fit if exposure_fit else math.copysign(math.inf, spare)
    if probability.high <= bound:
        return Verdict(budget_fit, "met", 0)
    if probability.low > bound:
        return Verdict(budget_fit, "missed", 0)
    return Verdict(budget_fit, "undecided", more_to_exclude(probability, bound, anytime))


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
