"""What all samplers share: drawing with weights, and estimating from weighted faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson, wilson_effective
from radhard.stats.stopping import anytime_proportion

Reals = NDArray[np.float64]


class Outlook(NamedTuple):
    """What is thought of n faults before they are run; estimates are right whatever it says.

    Attributes:
        chance: of another answer, (n,), in [0, 1].
        group: which of up to 8 kinds of faults may do differently at the same chance, (n,).
    """

    chance: Reals
    group: NDArray[np.int64]


Score = Callable[[Faults], Outlook]


class Sampler(Protocol):
    """Two pure functions that belong together: which faults to try, and what they tell."""

    @property
    def name(self) -> str:
        """The name that tables and campaign files use."""
        ...

    @property
    def scored(self) -> bool:
        """Whether `draw` needs a score."""
        ...

    def draw(
        self, space: SiteSpace, n: int, rng: np.random.Generator, score: Score | None = None
    ) -> Faults:
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
class Tilted:
    """Strata drawn from a proposal of the subclass, sites and images uniformly within them.

    The weight of a fault is the probability of its stratum over that in the proposal.
    """

    @property
    def scored(self) -> bool:
        """``False``."""
        return False

    def proposal(self, space: SiteSpace) -> Reals:
        """With which probability each stratum is drawn, (strata,); they sum to 1."""
        raise NotImplementedError

    def draw(
        self, space: SiteSpace, n: int, rng: np.random.Generator, score: Score | None = None
    ) -> Faults:
        """``n`` faults of ``space``."""
        return drawn(space, self.proposal(space), self.places(n, rng), rng)

    def places(self, n: int, rng: np.random.Generator) -> Reals:
        """Where in the proposal to draw, (n,) in [0, 1)."""
        return rng.random(n)

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """Weighted share of the faults that had the outcome; see `weighted_share`."""
        return weighted_share(tally, metric, confidence, anytime)


def drawn(space: SiteSpace, proposal: Reals, places: Reals, rng: np.random.Generator) -> Faults:
    """Faults at places (n,) in [0, 1) of a proposal (strata,) that sums to 1, each weighted."""
    edges = np.cumsum(proposal)
    stratum = np.searchsorted(edges, places * edges[-1], side="right")
    stratum = np.minimum(stratum, len(edges) - 1)
    true = space.probability
    weight = np.divide(true, proposal, out=np.ones_like(proposal), where=proposal > 0)
    weight[np.isclose(weight, 1.0, rtol=1e-12)] = 1.0
    return within(space, stratum, weight[stratum], rng)


def within(
    space: SiteSpace, stratum: NDArray[np.int64], weight: Reals, rng: np.random.Generator
) -> Faults:
    """Faults of these strata: site, image and masks drawn."""
    n = len(stratum)
    index = rng.integers(0, space.sizes[stratum])
    image = rng.integers(0, space.images, n)
    bit, width = space.bits[:, stratum]
    keep, flip = space.model.masks(bit, width, rng)
    return Faults(np.arange(n), stratum, index, image, keep, flip, weight)


def weighted_share(
    tally: Tally, metric: str, confidence: float, anytime: bool, extra: float = 0.0
) -> Estimate:
    """Sum of the weights of faults with the outcome over that of all, with a Wilson interval.

    The interval is that of as many unweighted faults as have the same variance (linearised); with
    equal weights, of the faults themselves. The ratio has a bias of order 1/n; it stays in [0, 1].

    Args:
        tally: of the faults.
        metric: the outcome.
        confidence: of the interval.
        anytime: for a confidence sequence instead; asymptotic unless all weights are 1.
        extra: variance to be added, as a multiple of that of n unweighted faults.
    """
    mass, mass2 = tally.weights.sum(axis=1)
    hits, hits2 = tally.weighted[metric].sum(axis=1)
    if not mass or (mass == mass2 == tally.total and not extra):
        interval = anytime_proportion if anytime else wilson
        return interval(int(tally.events[metric].sum()), tally.total, confidence)
    share = min(hits / mass, 1.0)
    plain = share * (1 - share)
    variance = (hits2 * (1 - 2 * share) + share**2 * mass2) / mass**2 + extra * plain / tally.total
    if plain <= 0 or variance <= 0:  # no event, or nothing else: weights say nothing of the spread
        variance, plain = mass2 / mass**2 + extra / tally.total, 1.0
    return wilson_effective(share, plain / variance, tally.total, confidence, anytime)
