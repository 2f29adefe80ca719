"""Weighted mean and variance that add up, in any order and from any number of workers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, weights, mean and centred sum of squares of observations.

    ``a + b`` is the summary of both samples together (Chan, Golub and LeVeque, 1979; with
    weights as in West, CACM 1979). Weights are reliability weights.

    Attributes:
        n: number of observations.
        weight: sum of their weights (n where unweighted).
        weight2: sum of squared weights.
        mean: weighted mean; 0 for an empty sample.
        m2: weighted sum of squared deviations from the mean.

    >>> Moments.of([1, 2]) + Moments.of([3]) == Moments.of([1, 2, 3])
    True
    """

    n: int = 0
    weight: float = 0.0
    weight2: float = 0.0
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: ArrayLike, weights: ArrayLike | None = None) -> Moments:
        """The summary of ``values``, each with its weight (1 where none are given)."""
        x = np.asarray(values, dtype=np.float64).ravel()
        if not x.size:
            return cls()
        w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
        total = float(w.sum())
        mean = float((w * x).sum() / total) if total else 0.0
        return cls(x.size, total, float((w * w).sum()), mean, float((w * (x - mean) ** 2).sum()))

    @classmethod
    def of_counts(cls, events: int, n: int) -> Moments:
        """The summary of ``n`` outcomes, ``events`` of them 1 and the others 0."""
        if not n:
            return cls()
        return cls(n, float(n), float(n), events / n, events * (n - events) / n)

    @classmethod
    def sum(cls, parts: Iterable[Moments]) -> Moments:
        """All parts together."""
        total = cls()
        for part in parts:
            total = total + part
        return total

    def __add__(self, other: Moments) -> Moments:
        weight = self.weight + other.weight
        if not weight:
            return Moments(self.n + other.n)
        step = other.mean - self.mean
        share = other.weight / weight
        return Moments(
            self.n + other.n,
            weight,
            self.weight2 + other.weight2,
            (self.weight * self.mean + other.weight * other.mean) / weight,
            self.m2 + other.m2 + step * step * self.weight * share,
        )

    @property
    def effective_n(self) -> float:
        """Kish's effective sample size: ``(sum w)**2 / sum w**2``."""
        return self.weight**2 / self.weight2 if self.weight2 else 0.0

    @property
    def variance(self) -> float:
        """The unbiased sample variance; infinite for fewer than two observations."""
        free = self.weight - self.weight2 / self.weight if self.weight else 0.0
        return self.m2 / free if self.n > 1 and free > 0 else math.inf

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.variance / self.effective_n) if self.n > 1 else math.inf
