"""How many faults a campaign needs before it has begun."""

from __future__ import annotations

import math

from radhard.stats.interval import z_quantile


def leveugle(
    population: float, margin: float, confidence: float = 0.95, proportion: float = 0.5
) -> int:
    """Faults for a half width of ``margin``, drawn without replacement from ``population``.

    Leveugle, Calvez, Maistri and Vanhauwaert, DATE'09: ``n = N / (1 + e^2 (N-1) / (z^2 p(1-p)))``,
    rounded up, with the exact normal quantile z (published tables use 1.96, 2.576 or 2.58).
    It plans a proportion over equally likely faults; with unequal probabilities it does not apply.

    Args:
        population: number of possible faults; ``math.inf`` is allowed.
        margin: half width wanted, in (0, 1).
        confidence: in (0, 1).
        proportion: the rate expected; 0.5 is the worst case.

    >>> leveugle(math.inf, 0.01, 0.99)
    16588
    """
    if not population > 0 or not 0 < margin < 1 or not 0 < proportion < 1:
        raise ValueError(
            f"population {population!r}, margin {margin!r}, proportion {proportion!r} can't be: "
            "use a positive population and a margin and proportion inside (0, 1)"
        )
    z = z_quantile(confidence)
    unlimited = z * z * proportion * (1 - proportion) / margin**2
    if math.isinf(population):
        return math.ceil(unlimited)
    return math.ceil(population / (1 + (population - 1) / unlimited))
