"""What faults do where some bits are kept three times, from runs without that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, nan

from radhard.campaign.part import Part
from radhard.campaign.result import Result
from radhard.faults.space import Stratum
from radhard.stats.estimate import Estimate, mixed


class Voting:
    """What faults do where some bits are kept three times, from runs without that.

    Args:
        result: of the runs.
        votes: of which strata the bits are.
    """

    #: What each outcome is of a fault without effect; of the right answer it is the accuracy.
    _HARMLESS: Mapping[str, float] = {"sdc1": 0.0, "activated": 0.0, "masked": 1.0}

    def __init__(self, result: Result, votes: Callable[[Stratum], bool]) -> None:
        self.result, self.votes = result, votes
        self.parts = {bool(part.label[0]): part for part in result.by(lambda s: (votes(s),))}

    def __getitem__(self, metric: str) -> Estimate:
        """Probability of an outcome, given that a fault strikes."""
        harmless = self._HARMLESS.get(metric, self.result.golden_accuracy)
        return self._of(self.parts.get(False), metric, harmless)

    @property
    def gain(self) -> Estimate:
        """Accuracy under a fault that the votes save."""
        golden = self.result.golden_accuracy
        return lost(self._of(self.parts.get(True), "correct", golden), golden)

    def share(self, gain: Estimate, plain: Result) -> Estimate:
        """A gain as a share of what a fault costs on the plain array: all, where all bits vote."""
        if False not in self.parts:
            return self._exact(1.0)
        return _share(gain, lost(plain.ra, plain.golden_accuracy))

    @property
    def worst(self) -> tuple[str, Estimate]:
        """The layer whose faults cost most accuracy, given that one strikes it, and how much."""
        golden, layers = self.result.golden_accuracy, {s.layer for s in self.result.space.strata}
        wide = replace(self.result, confidence=1 - (1 - self.result.confidence) / len(layers))
        costs = {
            str(part.label[0]): lost(part["correct"], golden)
            for part in wide.by(lambda s: (s.layer, self.votes(s)))
            if not part.label[1] and part.n
        }
        if not costs:
            return "", self._exact(0.0)
        name = max(costs, key=lambda layer: costs[layer].value)
        return name, replace(costs[name], confidence=self.result.confidence)

    def _of(self, part: Part | None, metric: str, harmless: float) -> Estimate:
        """Of a part of the faults, where all others are harmless."""
        if part is None:
            return self._exact(harmless)
        share = part.probability
        return mixed(part[metric], share, (1 - share) * harmless)

    def _exact(self, value: float) -> Estimate:
        return Estimate(value, value, value, self.result.confidence, self.result.n, "exact")


def lost(ra: Estimate, golden: float) -> Estimate:
    """Accuracy less that under a fault; more than none is possible, and less."""
    return replace(ra, value=golden - ra.value, low=golden - ra.high, high=golden - ra.low)


def _share(gain: Estimate, cost: Estimate) -> Estimate:
    """A gain as a share of what a fault costs without it; both intervals have to hold."""
    doubt = 2 * (1 - gain.confidence)
    if cost.low <= 0:
        nothing = Estimate(nan, nan, nan, 1 - doubt, gain.n, gain.method)
        return replace(nothing, low=-inf, high=inf, missing="the plain cost may be none")
    ends = [one / other for one in (gain.low, gain.high) for other in (cost.low, cost.high)]
    return replace(
        gain, value=gain.value / cost.value, low=min(ends), high=max(ends), confidence=1 - doubt
    )
