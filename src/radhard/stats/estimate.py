"""A number with its interval: the only form in which a probability leaves the library."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, the interval that holds the truth with probability ``confidence``, and its basis.

    Attributes:
        value: the point estimate.
        low, high: ends of the two-sided interval.
        confidence: probability that such an interval covers the truth, in (0, 1).
        n: the number of observations behind it.
        method: how the interval was made, such as ``wilson``.
        unit: of value, low and high; empty for a probability.
        missing: where the value is not-a-number, what was not seen.

    >>> print(Estimate(0.0367, 0.0305, 0.0441, 0.95, 3000, "wilson"))
    3.67 % [3.05, 4.41]
    >>> print(Estimate(math.nan, 0, 1, 0.95, 0, "wilson", missing="no alarms seen"))
    no alarms seen
    """

    value: float
    low: float
    high: float
    confidence: float
    n: int
    method: str
    unit: str = ""
    missing: str = ""

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        if math.isnan(self.value):
            return self.missing or "no faults seen"
        if self.unit:
            return f"{self.value:.4g} {self.unit} [{self.low:.4g}, {self.high:.4g}]"
        digits = 2 if max(-self.low, self.high) >= 0.001 else 4
        value, low, high = (f"{100 * x:.{digits}f}" for x in (self.value, self.low, self.high))
        return f"{value} % [{low}, {high}]"


def opposite(found: Estimate) -> Estimate:
    """The probability that an outcome is not had."""
    return replace(found, value=1 - found.value, low=1 - found.high, high=1 - found.low)


def mixed(found: Estimate, share: float, rest: float) -> Estimate:
    """``share * found + rest``, kept in [0, 1]."""
    if share == 1 and rest == 0:
        return found
    value, low, high = (share * end + rest for end in (found.value, found.low, found.high))
    return replace(found, value=value, low=max(0.0, low), high=min(1.0, high))
