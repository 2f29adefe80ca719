"""Sampling faults by what they should do to the decision, to first order."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.proposals import Importance
from radhard.sampling.sampler import Score, weighted_share
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GradientImportance:
    """Two phases: many candidates with their true probability; of these, run the telling ones.

    Each candidate gets a score, the first-order change of the decision margin over the margin. It
    is run with a chance in proportion to ``sqrt(P)``, where P is the probability of another top
    class that the score suggests: ``largest * min(1, score)``, at least ``least``. The weights undo
    that, so a wrong score costs precision, not correctness. The finite number of candidates adds to
    the variance, and intervals count it.

    Attributes:
        candidates: per fault that is run.
        largest, least: probabilities that a score is taken to suggest.

    Raises:
        ValueError: for fewer than 2 candidates, or unless 0 < least < largest < 1.
    """

    candidates: int = 200
    largest: float = 0.8
    least: float = 2e-4

    def __post_init__(self) -> None:
        if self.candidates < 2 or not 0 < self.least < self.largest < 1:
            raise ValueError(
                f"{self} can't be: use 2 or more candidates, and 0 < least < largest < 1"
            )

    @property
    def name(self) -> str:
        """``gradient-importance``."""
        return "gradient-importance"

    @property
    def scored(self) -> bool:
        """``True``."""
        return True

    def draw(
        self, space: SiteSpace, n: int, rng: np.random.Generator, score: Score | None = None
    ) -> Faults:
        """``n`` faults of ``space``.

        Raises:
            ValueError: without a score.
        """
        if score is None:
            raise ValueError(
                "gradient importance needs the score of each fault: run it in a Campaign, or give "
                "draw(..., score=...)"
            )
        offered = Importance().draw(space, n * self.candidates, rng)
        chance = np.sqrt(np.clip(self.largest * score(offered), self.least, self.largest))
        edges = np.cumsum(chance)
        places = (np.arange(n) + rng.random(n)) / n * edges[-1]
        taken = rng.permutation(np.minimum(np.searchsorted(edges, places), len(edges) - 1))
        weight = chance.mean() / chance[taken]
        return replace(offered[taken], id=np.arange(n), weight=weight)

    def estimate(
        self, space: SiteSpace, tally: Tally, metric: str, confidence: float, anytime: bool
    ) -> Estimate:
        """Weighted share of the faults that had the outcome; see `weighted_share`."""
        return weighted_share(tally, metric, confidence, anytime, 1 / self.candidates)
