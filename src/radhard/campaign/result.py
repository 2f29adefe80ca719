"""The answer: estimates of outcomes, whole and in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from radhard.campaign.difference import Difference
from radhard.campaign.estimates import Estimates
from radhard.campaign.part import Part, raw_rate
from radhard.faults.space import SiteSpace, Stratum
from radhard.metrics.fit import ISO26262_FIT, Verdict, judged
from radhard.metrics.outcome import ONLY_ACTIVATED
from radhard.stats.estimate import Estimate, mixed


@dataclass(frozen=True, slots=True, eq=False)
class Result(Estimates):
    """What a campaign found; see `Estimates` for what it holds."""

    def __sub__(self, other: Result) -> Difference:
        """This result less another, outcome by outcome; see `Difference`."""
        if not isinstance(other, Result):
            raise TypeError(f"{other!r} can't be taken from a result: take another result")
        return Difference(self, other)

    @property
    def ra_without_control(self) -> Estimate:
        """RA if faults in control flip-flops did nothing (RA_true-nc of Tyagi et al.)."""
        live = np.array([s.storage != "control" for s in self.space.strata])
        struck = float(self.space.probability[live].sum())
        datapath = self._estimate("correct", self.space.probability * live)
        found = mixed(datapath, struck, (1 - struck) * self.golden_accuracy)
        harmless = tuple(
            replace(part, accuracy=1.0) if part.control else part for part in self.space.known
        )
        return self._with_known(found, "correct", harmless)

    @property
    def ra_fully_used(self) -> Estimate:
        """RA given that the fault strikes no idle flip-flop (utilisation taken to be 1)."""
        idle = self._idle
        return mixed(self.ra, 1 / (1 - idle), -idle / (1 - idle) * self.golden_accuracy)

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
        return replace(self, space=space, drawn=self.drawn or self.space)

    @property
    def utilisation(self) -> Estimate:
        """Share of the datapath's flip-flop cycles that hold a live value; known exactly."""
        control = sum(self.space.known_share(part) for part in self.space.known if part.control)
        share = self.space.tried / max(1 - control, 1e-300)
        return Estimate(share, share, share, self.confidence, self.n, "exact")

    @property
    def _idle(self) -> float:
        return sum(self.space.known_share(p) for p in self.space.known if p.idle)

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
        chosen = np.array([of is None or of(stratum) for stratum in self.space.strata])
        rest = {"activated": 1, metric: -1}
        target = self.space.probability * chosen
        return self._ratio({metric: 1}, rest, target, "no activated faults seen")

    def fit_verdict(self, metric: str = "sdc1", budget_fit: float = ISO26262_FIT) -> Verdict:
        """Whether the rate of an outcome keeps to a budget, that of ISO 26262 unless stated.

        Raises:
            ValueError: when the chip has no raw rates.
        """
        rate, known = raw_rate(self.space.rate_fit), self._of_known(metric, self.space.known)
        tried = self._tried(metric)
        exposure = rate * self.space.tried
        return judged(tried, exposure, rate * known, budget_fit, self.anytime)

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
        probability, struck = self.space.tried * self.space.probability, self.tally.n
        return [
            self._part(label, np.array(members), float(probability[members].sum()), struck)
            for label, members in groups.items()
        ]

    @property
    def strata(self) -> list[Part]:
        """One part per stratum, labelled (component, layer, bit)."""
        return self.by(lambda s: (s.component, s.layer, s.bit))

    def _part(
        self,
        label: tuple[str | int, ...],
        members: NDArray[np.int64],
        probability: float,
        struck: NDArray[np.int64],
    ) -> Part:
        @cache
        def estimate(metric: str) -> Estimate:
            own = np.zeros(len(self.space.strata))
            own[members] = self.space.probability[members]
            return self._estimate(metric, own)

        total = self.space.rate_fit
        rate = None if total is None else total * probability
        return Part(label, probability, int(struck[members].sum()), estimate, rate)
