"""Weighted mean and variance that add up, in any order and from any number of workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


@dataclass(frozen=True, slots=True, eq=False)
class ArrayMoments:
    """Mean and variance of each place of an array, over observations; ``a + b`` as for `Moments`.

    Attributes:
        n: number of observations.
        mean, m2: per place, float64.

    >>> both = ArrayMoments.of(np.array([[1.0], [2.0]])) + ArrayMoments.of(np.array([[3.0]]))
    >>> float(both.mean[0]), float(both.deviation[0])
    (2.0, 1.0)
    """

    n: int
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    @classmethod
    def of(cls, values: ArrayLike) -> ArrayMoments:
        """The summary of observations (n, ...)."""
        x = np.asarray(values, np.float64)
        mean = x.mean(0)
        return cls(len(x), mean, ((x - mean) ** 2).sum(0))

    def __add__(self, other: ArrayMoments) -> ArrayMoments:
        n, gap = self.n + other.n, other.mean - self.mean
        mean = self.mean + gap * (other.n / n)
        return ArrayMoments(n, mean, self.m2 + other.m2 + gap**2 * (self.n * other.n / n))

    def pooled(self, axes: tuple[int, ...]) -> ArrayMoments:
        """With places along ``axes`` taken as observations of one; those axes get length 1."""
        if not axes:
            return self
        places = int(np.prod([self.mean.shape[axis] for axis in axes]))
        mean = self.mean.mean(axes, keepdims=True)
        spread = self.n * ((self.mean - mean) ** 2).sum(axes, keepdims=True)
        return ArrayMoments(self.n * places, mean, self.m2.sum(axes, keepdims=True) + spread)

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation per place; 0 for a single observation."""
        found: NDArray[np.float64] = np.sqrt(self.m2 / max(self.n - 1, 1))
        return found


def between(
    weights: NDArray[np.float64],
    events: Sequence[NDArray[np.float64]],
    signs: Sequence[float],
    centred: bool = True,
    errors: float = 0.0,
) -> float:
    """Variance that clusters add to a weighted mean, such as images to a rate over faults.

    That of the mean over clusters less what it would be if observations of a cluster were
    independent: the sum over pairs of one cluster (Cochran, Sampling Techniques, 3rd ed., 11.4).

    Args:
        weights: sums of weights and of their squares per cluster, (2, clusters).
        events: the same over the observations with each of some events, that exclude each other.
        signs: value of an observation with each event; it is 0 with none.
        centred: whether deviations are from the mean; from 0 otherwise.
        errors: how many of its own standard errors are added.

    >>> clusters = np.array([[4.0, 4.0], [4.0, 4.0]])
    >>> between(clusters, [np.array([[4.0, 0.0], [4.0, 0.0]])], [1.0])
    0.09375
    """
    total = float(weights[0].sum())
    if total <= 0:
        return 0.0
    own = np.einsum("j,jk->k", np.asarray(signs), np.stack([part[0] for part in events]))
    mean = float(own.sum()) / total if centred else 0.0
    together = (own - mean * weights[0]) ** 2
    alone = mean**2 * (weights[1] - np.stack(list(events))[:, 1].sum(0))
    for sign, part in zip(signs, events, strict=True):
        alone = alone + (sign - mean) ** 2 * part[1]
    found = max(float((together - alone).sum()), 0.0)
    return (found + errors * math.sqrt(float((together**2).sum()))) / total**2
