"""Differences of results: fault by fault where two campaigns met the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.campaign.estimates import Estimates
from radhard.campaign.runs import Runs, common
from radhard.faults.space import SiteSpace
from radhard.metrics.fit import fit
from radhard.metrics.outcome import RULED_OUT, counted_as
from radhard.protect.protection import Flags
from radhard.sampling.sampler import Asked
from radhard.sampling.tally import Tally
from radhard.stats.ball import contrast
from radhard.stats.estimate import Estimate
from radhard.stats.interval import difference


@dataclass(frozen=True, eq=False)
class Difference:
    """What one campaign found less what another did; ``one - other`` of two results.

    Campaigns of one population, sampler and seed meet the same faults, whatever watches the run.
    Most of these do the same in both, and only the others tell the two apart, so that the interval
    is narrower than those of the parts; it is never wider than both parts at their farthest ends,
    as it would be where a guard leaves nothing proved. Where the faults are others, so is their
    luck: the intervals of both are added.

    Attributes:
        one, other: the results.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
    >>> result = rh.Campaign(work).run(until=100)
    >>> (result - result).paired, (result - result)["sdc1"].value
    (True, 0.0)
    """

    one: Estimates
    other: Estimates

    @property
    def paired(self) -> bool:
        """Whether both met the same faults."""
        return self._common is not None

    def __getitem__(self, metric: str) -> Estimate:
        """Difference of the probabilities of an outcome; ``correct`` is resiliency accuracy.

        Raises:
            KeyError: for an outcome that one of them did not count.
            ValueError: for results of different confidence.
        """
        metric = counted_as(metric)
        parts = self.one[metric], self.other[metric]
        if self._common is None:
            found = difference(*parts)
            return replace(found, method=f"{parts[0].method}, independent faults")
        tried = self._tried(metric)
        rest = self._known(metric)
        share = self.one.space.tried
        value, low, high = (share * end + rest for end in (tried.value, tried.low, tried.high))
        found = replace(tried, value=value, low=max(-1.0, low), high=min(1.0, high))
        ends = difference(*parts, correlation=-1.0)  # both parts at their farthest ends at once
        if ends.half_width < found.half_width:
            return replace(ends, method=f"{parts[0].method}, of both parts")
        return found

    @property
    def ra(self) -> Estimate:
        """Difference of resiliency accuracies."""
        return self["correct"]

    def fit(self, metric: str) -> Estimate:
        """Difference of the rates of an outcome in FIT.

        Raises:
            ValueError: when one of the chips has no raw rates.
        """
        one, other = self.one.fit(metric), self.other.fit(metric)
        rate = self.one.space.rate_fit
        if self._common is None or rate is None:
            return replace(difference(one, other), method=f"{one.method}, independent faults")
        return fit(self[metric], rate)

    @cached_property
    def _common(self) -> tuple[Runs, Runs] | None:
        """The faults of both, in one order; ``None`` where they are not the same."""
        one, other = self.one, self.other
        drawn = [result.drawn or result.space for result in (one, other)]
        alike = _same(*drawn) and _same(one.space, other.space) and one.sampler == other.sampler
        mine, theirs = (one.runs, other.runs) if alike else (None, None)
        if mine is None or theirs is None:
            return None
        try:
            found = common(mine, theirs)
        except ValueError:
            return None
        return found if len(found[0]) == min(one.n, other.n) else None

    def _tried(self, metric: str) -> Estimate:
        """The difference given that a fault strikes one of the strata."""
        assert self._common is not None
        gains = _gains(*self._common, metric)
        steps = {f"{step:+d}": gains == step for step in (1, -1, 2, -2)}
        used = {name: hits for name, hits in steps.items() if name[1] == "1" or hits.any()}
        found = self._contrast(used, RULED_OUT.get("lost" if metric == "correct" else metric, 3))
        if metric != "correct":
            return found
        rest = self.one.golden_accuracy - self.other.golden_accuracy
        value, low, high = (end + rest for end in (found.value, found.low, found.high))
        return replace(found, value=value, low=low, high=high)

    def _contrast(self, columns: dict[str, Flags], ruled_out: int) -> Estimate:
        """Sum of the shares of outcomes, each times the number that is its name.

        They can't be from a proof on that rules the outcome out in both.
        """
        assert self._common is not None
        one = min(self.one, self.other, key=lambda result: result.n)
        proofs = self.one.tally.proofs and self.other.tally.proofs
        tally = Tally.of(self._common[0].faults, columns, len(one.space.strata), proofs)
        tally = replace(tally, offered=one.tally.offered, looked_at=one.tally.looked_at)
        anytime, target = self.one.anytime or self.other.anytime, one.space.probability
        events = [{name: 1} for name in columns]
        drawn, signs = one.drawn or one.space, [float(name) for name in columns]
        asked = Asked(drawn, target, events, [ruled_out] * len(events))
        cells = one.sampler.cells(asked, tally)
        found = contrast(cells, signs, one.confidence, anytime)
        both = replace(one, tally=tally, anytime=anytime)
        found = both._of_images(found, events, signs, cells.value(np.ones(len(signs))))
        fewer = min(self.one.n, self.other.n)
        first = "" if self.one.n == self.other.n else f", the first {fewer:,} faults of both"
        return replace(found, method=f"{found.method}, paired{first}")

    def _known(self, metric: str) -> float:
        """The difference that known sites make: none, but for accuracies that differ."""
        one, other = (r._of_known(metric, r.space.known) for r in (self.one, self.other))
        return one - other


def _gains(one: Runs, other: Runs, metric: str) -> NDArray[np.int64]:
    """What each fault adds to the difference; for accuracy, beyond what golden runs differ by."""

    def of(run: Runs) -> NDArray[np.int64]:
        if metric != "correct":
            return run.column(metric).astype(np.int64)
        return run.column("gained").astype(np.int64) - run.column("lost").astype(np.int64)

    found: NDArray[np.int64] = of(one) - of(other)
    return found


def _same(one: SiteSpace, other: SiteSpace) -> bool:
    """Whether two populations are the same, so that their draws can be."""
    parts = ("strata", "images", "model", "rate_fit", "known")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


class Compared(NamedTuple):
    """A line of `compare`.

    Attributes:
        name: of the campaign.
        estimate: of the outcome.
        difference: to the baseline; ``None`` for the baseline itself.
        paired: whether it met the same faults as the baseline.
        fit: difference of rates in FIT; ``None`` where one of them has no raw rate.
    """

    name: str
    estimate: Estimate
    difference: Estimate | None
    paired: bool
    fit: Estimate | None


def compare(
    results: Sequence[Estimates], metric: str = "sdc1", baseline: int = 0
) -> list[Compared]:
    """Results beside one of them, each with its difference and the interval of that.

    Args:
        results: of campaigns, at least one, of one confidence.
        metric: the outcome; ``ra``, or ``correct``, is resiliency accuracy.
        baseline: number of the result that the others are compared with.

    Raises:
        ValueError: for no results, a baseline that is none of them, or different confidences.
        KeyError: for an outcome that one of them did not count.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), name="tiny")
    >>> plain = rh.Campaign(work)
    >>> safe = plain.with_(protections=[rh.Parity(("weight",))], name="safe")
    >>> for row in rh.compare(list(rh.collect([plain, safe], until=200))):
    ...     print(row.name, row.difference is not None and row.difference.value < 0)
    tiny-fp32-software False
    safe True
    """
    if not results:
        raise ValueError("no results to compare: give one or more, such as those of rh.collect")
    if not 0 <= baseline < len(results):
        raise ValueError(
            f"baseline {baseline!r} of {len(results)} results can't be: use 0 to {len(results) - 1}"
        )
    metric = counted_as(metric)
    base = results[baseline]
    return [
        _compared(result, None if result is base else Difference(result, base), metric)
        for result in results
    ]


def _compared(result: Estimates, gap: Difference | None, metric: str) -> Compared:
    if gap is None:
        return Compared(result.name, result[metric], None, False, None)
    rated = None not in (gap.one.space.rate_fit, gap.other.space.rate_fit)
    rate = gap.fit(metric) if rated and metric != "correct" else None
    return Compared(result.name, result[metric], gap[metric], gap.paired, rate)
