"""How many faults a campaign needs, before it has begun and when it has come some way."""

from __future__ import annotations

import math

from radhard.stats.edge import radius, reach
from radhard.stats.estimate import Estimate
from radhard.stats.interval import z_quantile
from radhard.stats.stopping import log_ratio


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


def more_to_exclude(found: Estimate, bound: float, anytime: bool = False) -> int | None:
    """Observations still to be made until an interval around the same share leaves out ``bound``.

    An interval leaves out a proportion once the likelihood ratio against it is large enough; see
    `radhard.stats.ball`. Weighted observations count as many unweighted ones as give the interval
    that there is.

    Args:
        found: the share so far; the answer takes it to stay.
        bound: a share; any number outside [0, 1] is left out from the start.
        anytime: whether the interval is a confidence sequence.

    Returns:
        0 where ``bound`` is left out already; ``None`` where no number is enough, since it is the
        share itself, or nothing has been observed.

    >>> from radhard.stats.ball import proportion
    >>> more_to_exclude(proportion(0, 100), 0.01)
    199
    >>> proportion(0, 298).high > 0.01 > proportion(0, 299).high
    True
    """
    if not found.low <= bound < found.high:
        return 0
    share = found.value
    if not found.n or share == bound:
        return None
    end = found.high if found.high < 1 else found.low
    needed, now = (_observations(share, p, found, anytime) for p in (bound, end))
    return max(1, math.floor(needed / now * found.n) + 1 - found.n)


def _observations(share: float, end: float, found: Estimate, anytime: bool) -> float:
    """How many unweighted observations put an end of the interval around ``share`` at ``end``."""
    from scipy.optimize import brentq

    end = min(max(end, 1e-15), 1 - 1e-15)
    exact = found.method == "beta-mixture confidence sequence"
    limit = radius(found.confidence, anytime)
    hits, misses = (p * math.log(p / q) if p else 0.0 for p, q in
                    ((share, end), (1 - share, 1 - end)))  # fmt: skip

    def excess(n: float) -> float:
        if exact:
            return log_ratio(share * n, n, -math.log(1 - found.confidence))(end)
        skew = (n * end * (1 - end)) ** -0.5
        return n * (hits + misses) - float(reach(skew, n, limit))

    most = 1.0
    while excess(most) < 0:
        most *= 2
    return float(brentq(excess, 1e-9, most, xtol=1e-6, rtol=1e-12))
