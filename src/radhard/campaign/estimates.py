"""What the outcomes of a campaign's faults say of all faults: estimates of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.campaign.part import rated
from radhard.campaign.runs import Runs
from radhard.campaign.windows import ImageSample
from radhard.faults.space import Known, SiteSpace
from radhard.metrics.outcome import OF_ALARMS, RULED_OUT, counted_as
from radhard.metrics.resiliency import known_outcome, resiliency_accuracy
from radhard.network.coverage import Covered
from radhard.protect.protection import Cost
from radhard.sampling.sampler import Asked, Sampler
from radhard.sampling.tally import ANY, Event, Tally
from radhard.stats.ball import contrast, ratio, widened
from radhard.stats.estimate import Estimate, mixed, opposite
from radhard.stats.interval import wilson
from radhard.stats.moments import between

#: Faults whose detected corruption a guard saw, and those that it took for one.
_SEEN: Event = {"sdc1": 1, "sdc1_undetected": -1}
_FALSE_ALARM: Event = {"detected": 1, "sdc1": -1, "sdc1_undetected": 1}
#: Faults that change a logit: what proofs speak of, where masked ones are asked for.
_CHANGED: Event = {ANY: 1, "masked": -1}
#: Faults per image from which on what images differ by weighs more than how faults fell; up to a
#: standard error of it is added from there, since an interval of few faults is wide enough alone.
_FEW = 10


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Estimates from the faults of a campaign; a `Result` adds what is read from them.

    Attributes:
        id, name: of the campaign.
        space: the population of faults.
        sampler: how they were drawn.
        tally: what they did.
        golden_accuracy: of the fault-free network over all images of the campaign.
        confidence: of all intervals.
        anytime: whether looking at the estimates ended it; intervals are confidence sequences then.
        seconds: time that this run took.
        cost: what the protections take.
        protections: each in words.
        covered: which share of the network could be struck; ``None`` where there is no saying.
        images: which images are meant, where those that were struck are a sample of them.
        drawn: the population that the faults were drawn from; ``space`` where ``None``.
        flat: layers of whose faults the sampler's scores say nothing, see `Margins.flat`.
        rows: gives what each fault did; ``None`` where only sums are known.
        unproved: whether protections change what is computed, so that no proof counts.
        idle: protections that provably do nothing, as no code is out of their bounds.
        clean_alarms: share of images without a fault that raise an alarm under the protections.
    """

    id: str
    name: str
    space: SiteSpace
    sampler: Sampler
    tally: Tally
    golden_accuracy: float
    confidence: float
    anytime: bool
    seconds: float
    cost: Cost = Cost()  # noqa: RUF009 - frozen, so it can be shared
    protections: tuple[str, ...] = ()
    covered: Covered | None = None
    images: ImageSample | None = None
    drawn: SiteSpace | None = None
    flat: tuple[str, ...] = ()
    rows: Callable[[], Runs] | None = None
    unproved: bool = False
    idle: tuple[str, ...] = ()
    clean_alarms: float = 0.0

    @property
    def n(self) -> int:
        """Faults."""
        return self.tally.total

    @property
    def runs(self) -> Runs | None:
        """What each fault did, read where it is stored; ``None`` where only sums are known."""
        return self.rows() if self.rows is not None else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the outcomes that were counted."""
        return self.tally.outcomes

    def __getitem__(self, metric: str) -> Estimate:
        """Probability of an outcome, given that a fault strikes; ``ra`` is that of ``correct``.

        ``recall`` and ``precision`` are those of alarms.

        Raises:
            KeyError: for an outcome that was not counted.
            ValueError: for recall and precision where nothing watched the runs.
        """
        if metric in OF_ALARMS:
            found: Estimate = getattr(self, metric)
            return found
        metric = counted_as(metric)
        if metric not in self.tally.outcomes:
            raise KeyError(f"no outcome {metric!r}: this campaign counted {self.metrics}")
        return self._with_known(self._tried(metric), metric, self.space.known)

    @property
    def golden(self) -> Estimate:
        """Fault-free accuracy; known of the images at hand, which are a sample of the task's."""
        return self._clean(self.golden_accuracy)

    @property
    def false_alarms(self) -> Estimate:
        """Share of images that raise an alarm without a fault."""
        return self._clean(self.clean_alarms)

    def _clean(self, share: float) -> Estimate:
        return wilson(round(share * self.space.images), self.space.images, self.confidence)

    @property
    def ra(self) -> Estimate:
        """Resiliency accuracy: accuracy given that a fault strikes (Tyagi et al.)."""
        return self["correct"]

    def fit(self, metric: str) -> Estimate:
        """Rate of an outcome in FIT, failures in 10^9 device hours.

        Raises:
            ValueError: when the chip has no raw rates.
        """
        return rated(self[metric], self.space.rate_fit)

    @property
    def recall(self) -> Estimate:
        """Share of the SDC-1 faults that a guard detected, of those that were sampled.

        Faults in control, whose effect is known, are none of them, although they count as SDC-1.
        Where no SDC-1 fault was seen the value is not-a-number.

        Raises:
            ValueError: where nothing watched the runs.
        """
        self._check_watched("recall")
        return self._ratio(
            _SEEN, {"sdc1_undetected": 1}, self.space.probability, "no SDC-1 faults seen"
        )

    @property
    def precision(self) -> Estimate:
        """Share of the alarms that were raised for SDC-1 faults, of those that were sampled.

        See `recall` for faults in control, and for what it raises; no alarm gives not-a-number.
        """
        self._check_watched("precision")
        return self._ratio(_SEEN, _FALSE_ALARM, self.space.probability, "no alarms seen")

    @property
    def precision_of_injected(self) -> Estimate:
        """One minus the share of all sampled faults that were benign and raised an alarm.

        What Li et al., SC'17, section 6.2, call precision. Raises as `recall` does.
        """
        self._check_watched("precision_of_injected")
        found = self._contrast([_FALSE_ALARM], [1.0], self.space.probability)
        return opposite(found)

    @property
    def watched(self) -> bool:
        """Whether anything may have raised alarms."""
        alarms = self.tally.events.get("detected")
        return bool(self.protections) or (alarms is not None and bool(alarms.any()))

    def _check_watched(self, name: str) -> None:
        if not self.watched:
            raise ValueError(
                f"no {name} without a detector: run the campaign with one that raises alarms, "
                "such as protections=[rh.RangeDetector()]"
            )

    def _tried(self, metric: str) -> Estimate:
        return self._estimate(metric, self.space.probability)

    def _estimate(self, metric: str, target: NDArray[np.float64]) -> Estimate:
        """Of faults in strata that are struck with these probabilities, up to a factor."""
        if metric == "correct":
            drop = self._contrast([{"lost": 1}, {"gained": 1}], [1.0, -1.0], target)
            return resiliency_accuracy(self.golden_accuracy, drop)
        if metric == "masked":
            return opposite(self._contrast([_CHANGED], [1.0], target))
        return self._contrast([{metric: 1}], [1.0], target)

    def _contrast(
        self,
        events: Sequence[Event],
        signs: Sequence[float],
        target: NDArray[np.float64],
    ) -> Estimate:
        """Sum of the probabilities of events that exclude each other, each times its sign."""
        cells = self.sampler.cells(self._asked(events, target), self.tally)
        found = contrast(cells, signs, self.confidence, self.anytime)
        return self._of_images(found, events, signs, cells.value(np.ones(len(signs))))

    def _ratio(
        self, one: Event, other: Event, target: NDArray[np.float64], missing: str
    ) -> Estimate:
        """The share of the first event in both; where there is neither, what is ``missing``."""
        events = (one, other)
        cells = self.sampler.cells(self._asked(events, target), self.tally)
        found = ratio(cells, self.confidence, self.anytime)
        if math.isnan(found.value):
            return replace(found, missing=missing)
        return self._of_images(found, events, [1 - found.value, -found.value], None)

    def _asked(self, events: Sequence[Event], target: NDArray[np.float64]) -> Asked:
        impossible = {"lost": self.golden_accuracy == 0, "gained": self.golden_accuracy == 1}
        names = ["changed" if event is _CHANGED else next(iter(event)) for event in events]
        ruled_out = [0 if impossible.get(name) else RULED_OUT.get(name, 3) for name in names]
        return Asked(self.drawn or self.space, target, events, ruled_out)

    def _of_images(
        self, found: Estimate, events: Sequence[Event], signs: Sequence[float], share: float | None
    ) -> Estimate:
        """With what images differ by, where those that were struck stand for more.

        It is that of the whole population; a part with another share of events is taken to differ
        by as much relative to it. Without a share, the estimate is a ratio.
        """
        sums, meant = self.tally.images, self.images
        if not meant or len(sums.key) >= meant.of or math.isnan(found.value):
            return found
        parts = [sums.having(event)[1] for event in events]
        weight = sums.weights[0].sum()
        events_per_fault = float(np.sum(parts, (0, 2))[0] / weight)
        if events_per_fault <= 0:
            return found
        own = meant.sampled(sums.key)
        per_image = sums.n[own].sum() / max(own.sum(), 1)
        variance = between(
            sums.weights[:, own], [part[:, own] for part in parts], signs, share is not None,
            per_image / (per_image + _FEW),
        )  # fmt: skip
        of_weight = float(sums.weights[0, own].sum() / weight)
        scale = of_weight * (1.0 if share is None else share) / events_per_fault
        rest = 1 - own.sum() / (meant.of - len(meant.always))
        wider = widened(found, rest * variance * scale**2, self.anytime, own.sum() - 1)
        least, most = (0.0, 1.0) if share is None else (min(0.0, *signs), max(0.0, *signs))
        return replace(wider, low=max(wider.low, least), high=min(wider.high, most))

    def _with_known(self, tried: Estimate, metric: str, known: Sequence[Known]) -> Estimate:
        """The probability of an outcome over all sites, from that over the tried ones."""
        return mixed(tried, self.space.tried, self._of_known(metric, known))

    def _of_known(self, metric: str, known: Sequence[Known]) -> float:
        """Probability that a fault strikes a known site and has the outcome."""
        return sum(
            self.space.known_share(part) * known_outcome(part, metric, self.golden_accuracy)
            for part in known
        )
