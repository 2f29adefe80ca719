"""The answer: estimates of outcomes, whole and in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from radhard.faults.space import Known, SiteSpace, Stratum, is_control
from radhard.metrics.fit import ISO26262_FIT, Verdict, fit, judged
from radhard.metrics.outcome import ONLY_ACTIVATED
from radhard.metrics.resiliency import known_outcome, resiliency_accuracy
from radhard.network.coverage import Covered
from radhard.protect.protection import Cost
from radhard.sampling.sampler import Sampler, weighted_share
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of the space, such as a layer: its share of the faults and what they did.

    Attributes:
        label: what the strata of the part have in common.
        probability: that a fault strikes it.
        n: faults that did.
        estimate: makes the estimate of an outcome, when it is asked for.
        rate_fit: faults in FIT that strike it, where raw rates are known.
    """

    label: tuple[str | int, ...]
    probability: float
    n: int
    estimate: Callable[[str], Estimate]
    rate_fit: float | None = None

    def __getitem__(self, metric: str) -> Estimate:
        """Probability of an outcome, given that a fault strikes this part."""
        return self.estimate(metric)

    def fit(self, metric: str) -> Estimate:
        """Rate of an outcome in FIT that this part contributes.

        Raises:
            ValueError: when the chip has no raw rates.
        """
        return _rated(self[metric], self.rate_fit)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a campaign found.

    Attributes:
        id, name: of the campaign.
        space: the population of faults.
        sampler: how they were drawn.
        tally: what they did.
        golden_accuracy: of the fault-free network over all images of the campaign.
        confidence: of all intervals.
        anytime: whether the number of faults was decided by looking at the estimates; intervals
            are then confidence sequences.
        seconds: time that this run took.
        cost: what the protections take.
        protections: each in words.
        covered: which share of the network could be struck; ``None`` where there is no saying.
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

    @property
    def n(self) -> int:
        """Faults."""
        return self.tally.total

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the outcomes that were counted."""
        return tuple(self.tally.events)

    def __getitem__(self, metric: str) -> Estimate:
        """Probability of an outcome, given that a fault strikes.

        Raises:
            KeyError: for an outcome that was not counted.
        """
        if metric not in self.tally.events:
            raise KeyError(f"no outcome {metric!r}: this campaign counted {self.metrics}")
        return self._with_known(self._estimate(self.tally, metric), metric, self.space.known)

    @property
    def golden(self) -> Estimate:
        """Fault-free accuracy; known of the images at hand, which are a sample of the task's."""
        count = self.space.images
        return wilson(round(self.golden_accuracy * count), count, self.confidence)

    @property
    def ra(self) -> Estimate:
        """Resiliency accuracy: accuracy given that a fault strikes (Tyagi et al.)."""
        return self["correct"]

    @property
    def ra_without_control(self) -> Estimate:
        """RA if faults in control flip-flops did nothing (RA_true-nc of Tyagi et al.)."""
        live = np.array([not is_control(s.component) for s in self.space.strata])
        struck = float(self.space.probability[live].sum())
        datapath = self._estimate(self.tally.of_strata(live), "correct")
        found = _mixed(datapath, struck, (1 - struck) * self.golden_accuracy)
        harmless = tuple(
            replace(part, accuracy=1.0) if is_control(part.name) else part
            for part in self.space.known
        )
        return self._with_known(found, "correct", harmless)

    @property
    def ra_fully_used(self) -> Estimate:
        """RA given that the fault strikes no idle flip-flop (utilisation taken to be 1)."""
        idle = self._idle
        return _mixed(self.ra, 1 / (1 - idle), -idle / (1 - idle) * self.golden_accuracy)

    @property
    def ra_uniform_sites(self) -> Estimate:
        """RA with all bits of all variables equally likely, struck as on the chip.

        RA_SW-cA of Tyagi et al.; each flip-flop of control is a variable of one bit.
        """
        return self.under(self.space.uniform).ra

    def under(self, space: SiteSpace) -> Result:
        """The same faults as a sample of another population: other rates, or a hardened chip.

        Args:
            space: of the same strata, with other exposures or known sites.

        Raises:
            ValueError: for other strata, or where one that was never drawn from can be hit.
        """
        places = [[(s.component, s.layer, s.bit) for s in x.strata] for x in (space, self.space)]
        now, before = space.probability, self.space.probability
        if places[0] != places[1] or (now[before == 0] > 0).any():
            raise ValueError("the population has other strata: it must be one of the same chip")
        factor = np.divide(now, before, where=before > 0, out=np.zeros_like(now))
        return replace(self, space=space, tally=self.tally.scaled(factor))

    @property
    def utilisation(self) -> Estimate:
        """Share of the datapath's flip-flop cycles that hold a live value; known exactly."""
        control = sum(
            self.space.known_share(part) for part in self.space.known if is_control(part.name)
        )
        share = self.space.tried / max(1 - control, 1e-300)
        return Estimate(share, share, share, self.confidence, self.n, "exact")

    @property
    def _idle(self) -> float:
        return sum(self.space.known_share(p) for p in self.space.known if p.name == "idle")

    def fit(self, metric: str) -> Estimate:
        """Rate of an outcome in FIT, failures in 10^9 device hours.

        Raises:
            ValueError: when the chip has no raw rates.
        """
        return _rated(self[metric], self.space.rate_fit)

    def per_activated(
        self, metric: str = "sdc1", of: Callable[[Stratum], bool] | None = None
    ) -> Estimate:
        """Probability of an outcome, given that something reads the struck value.

        Published rates are often given so (Li et al., SC'17). Idle storage and control are left
        out. How many faults are read is itself random, so the interval is that of a ratio.

        Args:
            metric: SDC of any kind, or another outcome that takes a read.
            of: which strata; all where ``None``.

        Raises:
            ValueError: for an outcome that an unread fault can have.
        """
        if metric not in ONLY_ACTIVATED:
            raise ValueError(
                f"{metric!r} is no outcome of activated faults alone: use one of "
                f"{', '.join(sorted(ONLY_ACTIVATED))}"
            )
        tally = self.tally
        if of is not None:
            tally = tally.of_strata(np.array([of(stratum) for stratum in self.space.strata]))
        part = tally.of_outcomes("activated", metric)
        found = weighted_share(part, "hit", self.confidence, self.anytime)
        # a sampler may count on how many faults each stratum has, or know of further variance
        other = self.sampler.estimate(self.space, part, "hit", self.confidence, self.anytime)
        return max(found, other, key=lambda one: one.half_width)

    def fit_verdict(self, metric: str = "sdc1", budget_fit: float = ISO26262_FIT) -> Verdict:
        """Whether the rate of an outcome keeps to a budget, that of ISO 26262 unless stated.

        Raises:
            ValueError: when the chip has no raw rates.
        """
        rate, known = _raw(self.space.rate_fit), self._of_known(metric, self.space.known)
        tried = self._estimate(self.tally, metric)
        exposure = rate * self.space.tried
        return judged(tried, exposure, rate * known, budget_fit, self.anytime)

    @property
    def recall(self) -> Estimate:
        """Share of the SDC-1 faults that a guard detected."""
        missed = self._part_of("sdc1", "sdc1_undetected")
        return _complement(missed)

    @property
    def precision(self) -> Estimate:
        """Share of the alarms that were raised for SDC-1 faults."""
        return self._part_of("detected", "sdc1", "sdc1_undetected")

    @property
    def precision_of_injected(self) -> Estimate:
        """One minus the share of all faults that were benign and raised an alarm.

        What Li et al., SC'17, section 6.2, call precision.
        """
        spared = self.tally.of_outcomes("detected", "sdc1", "sdc1_undetected")
        alarmed = self.tally.of_outcomes(None, "detected")
        benign = replace(
            alarmed,
            events={"hit": alarmed.events["hit"] - spared.events["hit"]},
            weighted={"hit": alarmed.weighted["hit"] - spared.weighted["hit"]},
        )
        return _complement(weighted_share(benign, "hit", self.confidence, anytime=False))

    def _part_of(self, base: str, hit: str, but: str | None = None) -> Estimate:
        part = self.tally.of_outcomes(base, hit, but)
        return weighted_share(part, "hit", self.confidence, anytime=False)

    def by(self, key: Callable[[Stratum], tuple[str | int, ...]]) -> list[Part]:
        """The parts of the space whose strata share ``key``, in the space's order.

        >>> import torch, radhard as rh
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
        >>> result = rh.Campaign(work).run(until=100)
        >>> [part.label for part in result.by(lambda s: (s.component,))]
        [('weight',), ('activation',)]
        """
        groups: dict[tuple[str | int, ...], list[int]] = {}
        for number, stratum in enumerate(self.space.strata):
            groups.setdefault(key(stratum), []).append(number)
        probability = self.space.tried * self.space.probability
        return [
            self._part(label, np.array(members), float(probability[members].sum()))
            for label, members in groups.items()
        ]

    @property
    def strata(self) -> list[Part]:
        """One part per stratum, labelled (component, layer, bit)."""
        return self.by(lambda s: (s.component, s.layer, s.bit))

    def _part(
        self, label: tuple[str | int, ...], members: NDArray[np.int64], probability: float
    ) -> Part:
        @cache
        def estimate(metric: str) -> Estimate:
            return self._estimate(self.tally.of_strata(members), metric)

        total = self.space.rate_fit
        rate = None if total is None else total * probability
        return Part(label, probability, int(self.tally.n[members].sum()), estimate, rate)

    def _estimate(self, tally: Tally, metric: str) -> Estimate:
        def counted(name: str) -> Estimate:
            return self.sampler.estimate(self.space, tally, name, self.confidence, self.anytime)

        if metric == "correct":
            return resiliency_accuracy(self.golden_accuracy, counted("lost"), counted("gained"))
        return counted(metric)

    def _with_known(self, tried: Estimate, metric: str, known: Sequence[Known]) -> Estimate:
        """The probability of an outcome over all sites, from that over the tried ones."""
        return _mixed(tried, self.space.tried, self._of_known(metric, known))

    def _of_known(self, metric: str, known: Sequence[Known]) -> float:
        """Probability that a fault strikes a known site and has the outcome."""
        return sum(
            self.space.known_share(part) * known_outcome(part, metric, self.golden_accuracy)
            for part in known
        )


def _mixed(found: Estimate, share: float, rest: float) -> Estimate:
    """``share * found + rest``, kept in [0, 1]."""
    if share == 1 and rest == 0:
        return found
    value, low, high = (share * end + rest for end in (found.value, found.low, found.high))
    return replace(found, value=value, low=max(0.0, low), high=min(1.0, high))


def _complement(found: Estimate) -> Estimate:
    return replace(found, value=1 - found.value, low=1 - found.high, high=1 - found.low)


def _rated(probability: Estimate, rate_fit: float | None) -> Estimate:
    return fit(probability, _raw(rate_fit))


def _raw(rate_fit: float | None) -> float:
    if rate_fit is None:
        raise ValueError(
            "this chip has no raw rates, so no FIT: give one, such as "
            "chips.Software(rate_fit_per_mbit=20.49)"
        )
    return rate_fit
