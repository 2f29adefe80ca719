"""Faults drawn as nature draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson
from radhard.stats.stopping import anytime_proportion


class Sampler(Protocol):
    """Two pure functions that belong together: which faults to try, and what they tell."""

    @property
    def name(self) -> str:
        """The name that tables and campaign files use."""
        ...

    def draw(self, space: SiteSpace, n: int, rng: np.random.Generator) -> Faults:
        """``n`` faults of ``space``, numbered from 0, each with its weight."""
        ...

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """The probability of outcome ``metric`` in ``space``.

        ``anytime`` asks for an interval that stays valid when a look at it decides whether to
        go on.
        """
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each fault independently from the space's own distribution; all weights are 1.

    Intervals are Wilson's, or a confidence sequence where the number of faults was not fixed in
    advance.
    """

    @property
    def name(self) -> str:
        """``uniform``."""
        return "uniform"

    def draw(self, space: SiteSpace, n: int, rng: np.random.Generator) -> Faults:
        """``n`` faults of ``space``: stratum by exposure, then site and image uniformly."""
        edges = np.cumsum(space.probability)
        stratum = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
        stratum = np.minimum(stratum, len(edges) - 1)
        index = rng.integers(0, space.sizes[stratum])
        image = rng.integers(0, space.images, n)
        bit, width = (
            np.array([getattr(s, name) for s in space.strata], dtype=np.int64)[stratum]
            for name in ("bit", "width")
        )
        keep, flip = space.model.masks(bit, width, rng)
        return Faults(np.arange(n), stratum, index, image, keep, flip, np.ones(n))

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """Share of the faults that had the outcome."""
        interval = anytime_proportion if anytime else wilson
        return interval(int(tally.events[metric].sum()), tally.total, confidence)
