"""The end of an interval by whole arrays and a root finder: the twin of `radhard.stats.edge`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from radhard.stats.ball import Cells
from radhard.stats.edge import Radius

Reals = NDArray[np.float64]


def largest(cells: Cells, signs: Reals, radius: Radius) -> float:
    """The largest sum of mass times rate times sign within the ball."""
    return Edge(cells, np.asarray(signs, float), radius).reached()


class Edge:
    """The largest sum of mass times rate times sign within the ball."""

    def __init__(self, cells: Cells, signs: Reals, radius: Radius) -> None:
        self.live = cells.n > 0
        self.cells, self.signs = cells, signs
        self.mass, self.n = cells.mass[self.live], cells.n[self.live]
        rest = 1 - cells.shares[self.live].sum(1, keepdims=True)
        self.shares = np.concatenate([cells.shares[self.live], rest.clip(0, 1)], 1)
        never = cells.never[self.live] & (self.shares[:, :-1] == 0)
        self.allowed = np.concatenate([~never, np.ones_like(rest, bool)], 1)
        self.pull = np.append(signs, 0.0) * (self.mass / np.maximum(self.n, 1e-300))[:, None]
        self.radius = radius

    def reached(self) -> float:
        """The sum."""
        return float(self.cells.mass @ (self.rates() @ self.signs))

    def rates(self) -> Reals:
        """The rates that have it, (k, outcomes)."""
        from scipy.optimize import brentq

        rates = np.zeros_like(self.cells.shares)
        for k in np.flatnonzero(~self.live):  # any rate that is not ruled out
            signs = np.where(self.cells.never[k], 0.0, self.signs)
            best = int(np.argmax(signs))
            rates[k, best] = float(signs[best] > 0)
        if self.live.any():
            ends = math.log(1e-9), math.log(1e9)
            scale = float(1 / max(np.abs(self.pull).max(), 1e-300))
            over = [self._over(end, scale) for end in ends]
            at = ends[0] if over[0] >= 0 else ends[1]
            if over[0] < 0 < over[1]:
                at = brentq(self._over, *ends, args=(scale,), xtol=1e-12)
            rates[self.live] = self._rates(math.exp(at) * scale)[:, :-1]
        return rates

    def _over(self, log_strength: float, scale: float) -> float:
        """By how much the rates at this strength leave the ball."""
        rates = self._rates(math.exp(log_strength) * scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(self.shares > 0, self.shares * np.log(self.shares / rates), 0.0)
        signs = np.append(self.signs, 0.0)
        mean = rates @ signs
        variance = (rates @ signs**2 - mean**2).clip(0)
        per_run = self.mass / self.n
        second = float(per_run**2 @ (self.n * variance))
        third = float(per_run**3 @ (self.n * variance))
        skew = third / second**1.5 if second > 0 else math.inf
        events = 1 / skew**2 if skew > 0 else math.inf
        many, none, anytime = self.radius
        limit = many + (none - many) * min(1.0, 3 * skew**2)
        if anytime:
            limit = none + 0.5 * math.log1p(min(events, float(self.n.sum())))
        return float(self.n @ terms.sum(1)) - limit

    def _rates(self, strength: float) -> Reals:
        """Rates that give the largest sum for their divergence: n share / (level - pull)."""
        pull = strength * self.pull
        floor = np.where(self.allowed, pull, -np.inf).max(1)
        level = np.maximum(floor, self._level(pull))
        gap = np.maximum(level[:, None] - pull, 1e-300)
        rates = np.where(self.shares > 0, self.shares / gap, 0.0)
        left = (1 - rates.sum(1)).clip(0)
        top = np.where(self.allowed, pull, -np.inf).argmax(1)
        rates[np.arange(len(rates)), top] += left
        found: Reals = rates.clip(0, 1)
        return found

    def _level(self, pull: Reals) -> Reals:
        """Where ``share / (level - pull)`` sums to 1 over what was seen, (k,)."""
        level: Reals = np.where(self.shares > 0, pull + self.shares, -np.inf).max(1)
        for _ in range(200):
            gap = np.maximum(level[:, None] - pull, 1e-300)
            part = np.where(self.shares > 0, self.shares / gap, 0.0)
            step = ((part.sum(1) - 1) / np.maximum((part / gap).sum(1), 1e-300)).clip(0)
            level = level + step
            if (step <= 1e-15 * np.abs(level)).all():
                break
        return level
