"""A part of what a campaign found, and rates in FIT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from radhard.metrics.fit import fit
from radhard.metrics.outcome import counted_as
from radhard.stats.estimate import Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of the space, such as a layer: its share of the faults and what they did.

    Attributes:
        label: what the strata of the part have in common.
        probability: that a fault strikes it.
        n: faults that did.
        estimate: makes the estimate of an outcome, when it is asked for.
        rate_fit: faults in FIT that strike it, where raw rates are known.
    """

    label: tuple[str | int, ...]
    probability: float
    n: int
    estimate: Callable[[str], Estimate]
    rate_fit: float | None = None

    def __getitem__(self, metric: str) -> Estimate:
        """Probability of an outcome, given that a fault strikes this part."""
        return self.estimate(counted_as(metric))

    def fit(self, metric: str) -> Estimate:
        """Rate of an outcome in FIT that this part contributes.

        Raises:
            ValueError: when the chip has no raw rates.
        """
        return rated(self[metric], self.rate_fit)


def rated(probability: Estimate, rate_fit: float | None) -> Estimate:
    """A probability as a rate in FIT, where raw rates are known; see `raw_rate`."""
    return fit(probability, raw_rate(rate_fit))


def raw_rate(rate_fit: float | None) -> float:
    """The raw rate, which must be known.

    Raises:
        ValueError: where it is not.
    """
    if rate_fit is None:
        raise ValueError(
            "this chip has no raw rates, so no FIT: give them as rate_fit_per_mbit of its parts, "
            "such as chips.Software(rate_fit_per_mbit=20.49)"
        )
    return rate_fit
