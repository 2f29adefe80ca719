"""Intervals for outcomes in cells of known mass, which take no one's word for an empty cell.

A sample with unequal weights is cut into *cells* of like weight, whose share of the population is
known. The interval holds every value that rates of the cells can have which the outcomes do not
contradict: those within a ball of Kullback-Leibler divergence around the observed shares (the
likelihood-ratio region; Owen, Biometrika 1988; Cappe et al., Annals of Statistics 2013, for a
single cell). A cell without an event may still have the rate that its own runs leave possible, so
no score and no weight can talk an interval narrow.

The radius is that of a chi-square with one degree of freedom where many events carry the end, and
``log(1 / (1 - confidence))``, the rule of three, where none does; in between it follows the
skewness of the estimate at the end that is sought. For one cell this covers at least as often as it
says but for a percent at the worst rate; for more it is asymptotic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from radhard.stats.edge import farthest, radius, reach
from radhard.stats.estimate import Estimate
from radhard.stats.interval import z_quantile
from radhard.stats.stopping import anytime_proportion

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: By which sums may leave an interval without being outside.
_ROUNDING = 1e-9
#: Candidates from which on masses are exact.
_EXACT = 1e300
#: Observations that a variance of unknown origin is taken to rest on, where it is looked at often.
_COUNTED = 100.0
METHOD, ANYTIME = "likelihood ball", "likelihood ball, sequence, asymptotic"


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Runs in cells of like weight, and what they showed.

    Attributes:
        mass: share of the population in each cell, (k,); they sum to 1.
        n: unweighted runs that would tell as much, (k,); 0 where a cell has none.
        shares: weighted share of a cell's runs with each of some outcomes, (k, outcomes), that
            exclude each other.
        never: outcomes that are proved to be impossible in a cell, (k, outcomes).
        runs: in all cells together.
        hits: runs with each outcome, (outcomes,).
        looked_at: candidates from which the masses are known; infinite where they are exact.
        gaps: share of the population that lies between two cells and had no runs, and which cells
            these are, (gaps, 3): it may have the rates of either.
        impossible: which outcomes can't be in any cell, (outcomes,); none where empty.
    """

    mass: Reals
    n: Reals
    shares: Reals
    never: Flags
    runs: int
    hits: tuple[int, ...] = ()
    looked_at: float = math.inf
    gaps: Reals = field(default_factory=lambda: np.zeros((0, 3)))
    impossible: Sequence[bool] = ()

    def masses(self, signs: Reals | None = None) -> Reals:
        """With each gap given to the neighbour whose sum of shares times signs is the larger, (k,).

        Half to either where no signs are given.
        """
        mass, sides = self.mass.copy(), self.gaps[:, 1:].astype(np.int64)
        if signs is None:
            np.add.at(mass, sides, self.gaps[:, :1] / 2)
            return mass
        worth = self.shares @ signs
        better = np.where(worth[sides[:, 0]] >= worth[sides[:, 1]], sides[:, 0], sides[:, 1])
        np.add.at(mass, better, self.gaps[:, 0])
        return mass

    @property
    def plain(self) -> bool:
        """Whether the runs are alike: one cell, of equal weights."""
        return (
            len(self.mass) == 1 and math.isclose(self.n[0], self.runs) and self.looked_at > _EXACT
        )

    def value(self, signs: Reals) -> float:
        """Sum over cells and outcomes of mass times share times sign."""
        return float(self.masses() @ (self.shares @ signs))


def proportion(
    events: float, n: float, confidence: float = 0.95, anytime: bool = False
) -> Estimate:
    """Probability of an outcome from runs of equal weight.

    >>> print(proportion(0, 100))
    0.00 % [0.00, 2.95]
    """
    share = np.full((1, 1), events / n if n else 0.0)
    none = np.zeros((1, 1), bool)
    one = Cells(np.ones(1), np.full(1, float(n)), share, none, round(n), (round(events),))
    return contrast(one, [1.0], confidence, anytime)


def contrast(
    cells: Cells, signs: Sequence[float], confidence: float = 0.95, anytime: bool = False
) -> Estimate:
    """Sum of the probabilities of outcomes, each times its sign.

    Args:
        cells: the runs.
        signs: one number in [-1, 1] per outcome: 1 for a probability, 1 and -1 for a difference.
        confidence: of the interval.
        anytime: for an interval that may be looked at after every few runs.

    >>> shares = np.array([[0.3, 0.1]])
    >>> one = Cells(np.ones(1), np.full(1, 100.0), shares, np.zeros((1, 2), bool), 100)
    >>> print(contrast(one, [1.0, -1.0]))
    20.00 % [7.81, 31.98]
    """
    s = np.asarray(signs, np.float64)
    least, most = min(0.0, float(s.min())), max(0.0, float(s.max()))
    method = ANYTIME if anytime else METHOD
    if not cells.runs:
        return Estimate(math.nan, least, most, confidence, 0, method)
    if anytime and cells.plain and len(s) == 1 and s[0] == 1:
        return anytime_proportion(float(cells.shares[0, 0]) * cells.runs, cells.runs, confidence)
    value = cells.value(s)
    (low, least_rates), (high, most_rates) = (
        _farthest(cells, sign * s, confidence, anytime) for sign in (-1.0, 1.0)
    )
    found = Estimate(value, -low, high, confidence, cells.runs, method)
    can_be = s * ~np.array(cells.impossible or np.zeros(len(s)), bool)
    ends = min(0.0, float(can_be.min())), max(0.0, float(can_be.max()))
    worth = [(cells.shares @ s, rates @ s) for rates in (least_rates, most_rates)]
    found = _as_offered(found, cells, worth, ends, anytime)
    low, high = max(found.low, least) + 0.0, min(found.high, most)
    inside = min(max(value, low), high)
    if abs(inside - value) < _ROUNDING:
        inside, low, high = value, min(low, value), max(high, value)
    return replace(found, value=inside, low=low, high=high)


def ratio(cells: Cells, confidence: float = 0.95, anytime: bool = False) -> Estimate:
    """The first of two outcomes' share of both: P(A) / (P(A) + P(B)).

    The extreme ratio of the ball is found as the root of the extreme of ``(1 - ratio) A - ratio B``
    (Dinkelbach, Management Science 1967).

    >>> shares = np.array([[0.2, 0.2]])
    >>> one = Cells(np.ones(1), np.full(1, 100.0), shares, np.zeros((1, 2), bool), 100, (20, 20))
    >>> print(ratio(one))
    50.00 % [33.58, 66.42]
    """
    a, b = cells.masses() @ cells.shares if cells.runs else (0.0, 0.0)
    method = ANYTIME if anytime else METHOD
    if a + b <= 0:
        return Estimate(math.nan, 0.0, 1.0, confidence, 0, method)
    value, n = float(a / (a + b)), sum(cells.hits)
    if cells.plain:  # given how many have either
        return proportion(value * n, n, confidence, anytime)
    ends, worth = [], []
    for first in (0, 1):  # the largest ratio of either to both
        at = (value, 1 - value)[first]
        for _ in range(20):
            s = np.array([1 - at, -at] if first == 0 else [-at, 1 - at])
            _, rates = _farthest(cells, s, confidence, anytime)
            sums = cells.masses(s) @ rates
            later = float(sums[first] / max(sums.sum(), 1e-300))
            done, at = abs(later - at) < 1e-7, max(later, at)
            if done:
                break
        ends.append(min(at, 1.0))
        worth.append(rates)
    found = Estimate(value, 1 - ends[1], ends[0], confidence, n, method)
    signs = np.array([1 - value, -value]) / (a + b)  # near the value a ratio moves by so much
    felt = [(cells.shares @ signs, rates @ signs) for rates in reversed(worth)]
    found = _as_offered(found, cells, felt, (signs[1], signs[0]), anytime)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def _as_offered(
    found: Estimate,
    cells: Cells,
    worth: Sequence[Sequence[Reals]],
    ends: tuple[float, float],
    anytime: bool,
) -> Estimate:
    """With masses that are known from so many candidates: one not seen yet may be worth anything.

    That is a ball of its own, around the shares of the candidates, whose ends are added to those
    of the runs as independent ones (Zou and Donner's MOVER, 2008). Where none of a cell was run,
    more such candidates may be worth more than those are thought to be: the wider end counts.

    Args:
        found: with masses taken to be exact.
        cells: the runs.
        worth: what a candidate of each cell may be worth on average, (k,), at the low end and at
            the high one.
        ends: the least and the most that any is worth.
        anytime: whether the interval is looked at again and again.
    """
    if cells.looked_at > _EXACT:
        return found
    shares = np.append(cells.masses(), 0.0)[None]
    any_of_them, limit = np.ones(shares.shape, bool), radius(found.confidence, anytime)
    off = []
    n = np.array([cells.looked_at])
    for sign, known, extreme in zip((-1.0, 1.0), worth, ends, strict=True):
        moved = [0.0]
        for own in known:
            signs, rates = sign * np.append(own, extreme), np.zeros_like(shares)
            farthest(np.ones(1), n, shares, any_of_them, signs, limit, rates)
            moved.append(float((rates[0] - shares[0]) @ signs))
        off.append(max(moved))
    # what cells without runs may be worth is no chance, and adds to both
    free = np.where(cells.n == 0, cells.masses(), 0.0)
    below, above = (float(free @ (far - shown)) for shown, far in worth)
    low, high = max(found.value + below, found.low), min(found.value + above, found.high)
    low -= math.hypot(low - found.low, off[0])
    high += math.hypot(found.high - high, off[1])
    return replace(found, low=low, high=high)


def widened(
    found: Estimate, variance: float, anytime: bool = False, freedom: float = math.inf
) -> Estimate:
    """An estimate with another, independent source of variance (Zou and Donner's MOVER, 2008).

    Args:
        found: the estimate.
        variance: to be added.
        anytime: whether the interval is looked at again and again.
        freedom: degrees, where the variance is estimated from few.
    """
    from scipy.special import stdtrit

    if not variance > 0 or math.isnan(found.value):
        return found
    z = z_quantile(found.confidence)
    factor = float(stdtrit(max(freedom, 1.0), 0.5 + found.confidence / 2)) / z
    if anytime:
        counted = min(freedom + 1, _COUNTED)
        z = math.sqrt(2 * reach(0.0, counted, radius(found.confidence, anytime)))
    more = factor * z * math.sqrt(variance)
    below = math.hypot(found.value - found.low, more)
    above = math.hypot(found.high - found.value, more)
    return replace(found, low=found.value - below, high=found.value + above)


def _farthest(cells: Cells, signs: Reals, confidence: float, anytime: bool) -> tuple[float, Reals]:
    """The largest sum of mass times rate times sign within the ball, and the rates that have it."""
    rest = (1 - cells.shares.sum(1, keepdims=True)).clip(0, 1)
    shares = np.concatenate([cells.shares, rest], 1)
    allowed = np.concatenate([~cells.never | (cells.shares > 0), np.ones_like(rest, bool)], 1)
    rates = np.zeros_like(shares)
    limit = radius(confidence, anytime)
    mass = cells.masses(signs)
    farthest(mass, cells.n, shares, allowed, np.append(signs, 0.0), limit, rates)
    found = rates[:, :-1]
    return float(mass @ (found @ signs)), found
