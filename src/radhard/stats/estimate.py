"""A number with its interval: the only form in which a probability leaves the library."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
