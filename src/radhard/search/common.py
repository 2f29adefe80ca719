"""Faults that all designs meet, and what each design makes of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.accel.chip import Chip, Software
from radhard.campaign.campaign import Campaign
from radhard.campaign.pool import shared
from radhard.campaign.result import Result
from radhard.campaign.sealed import keep_arrays, reusable_arrays
from radhard.campaign.shard import shards_of
from radhard.campaign.strike import alarm_at
from radhard.faults.fault import Faults
from radhard.faults.model import BitFlip
from radhard.faults.space import SiteSpace
from radhard.protect.protection import Flags, Protection, Struck, hardened, stopped_by
from radhard.protect.storage import SECDED, Parity
from radhard.sampling.gradient import GradientImportance
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally
from radhard.search.clean import layer_of
from radhard.search.part import Option, Watched

Reals = NDArray[np.float64]
#: Outcomes of a run that are kept.
_METRICS = ("sdc1", "correct", "lost", "gained")


class Seen(NamedTuple):
    """What faults do under a guard.

    Attributes:
        columns: failures as ``sdc1``, and right answers that are ``lost`` and ``gained``, (n,).
        right: whether the fault-free answer is, (n,).
        alarms: of a check, (n,) by the name of the layer, where the fault does harm without it.
    """

    columns: dict[str, Flags]
    right: Flags
    alarms: dict[str, Flags]


@dataclass(frozen=True, eq=False)
class Common:
    """Faults that all designs meet.

    Attributes:
        campaign: the plain question.
        plain: its whole population.
        space: what of it the faults are drawn from: the strata of ``plain`` with less exposure.
        faults: drawn from ``space``.
        store: folder in which outcomes are kept.
    """

    campaign: Campaign
    plain: SiteSpace
    space: SiteSpace
    faults: Faults
    store: Path | None = None
    _seen: dict[str, Seen] = field(default_factory=dict, repr=False)
    _passes: dict[Option, Reals] = field(default_factory=dict, repr=False)
    _left: dict[Option, Reals] = field(default_factory=dict, repr=False)

    @classmethod
    def drawn(
        cls,
        campaign: Campaign,
        plain: SiteSpace,
        space: SiteSpace,
        count: int,
        store: Path | None = None,
        proofs: bool = False,
    ) -> Common:
        """``count`` faults of ``space``.

        Args:
            campaign, plain, space, store: see `Common`.
            count: how many.
            proofs: whether the sampler may leave out what is proved to be harmless in the plain
                network: where no guard that meets the faults corrects.
        """
        if not proofs:
            own = without_proofs(campaign.sampler)
            campaign = campaign.with_(sampler=own, name=campaign.name)
        score = campaign.score(space, campaign.golden())
        parts = [campaign.draw(space, *part, score) for part in shards_of(count)]
        return cls(campaign, plain, space, Faults.joined(parts), store)

    def under(self, guard: Watched) -> Seen:
        """What the faults do under a guard; they are run once."""
        if guard.name not in self._seen:
            self._seen[guard.name] = self._run(guard)
        return self._seen[guard.name]

    def under_all(
        self,
        guards: Sequence[Watched],
        workers: int = 1,
        watch: Callable[[Watched, int], None] = lambda guard, done: None,
    ) -> None:
        """Run the faults under each of several guards, by so many processes.

        Args:
            guards: of which none checks what another one of them lets pass.
            workers: processes; with one all is done in this one.
            watch: called with each guard and how many are done before it.
        """
        lacking = [guard for guard in guards if not self._known(guard)] if workers > 1 else []
        numbers = ((number,) for number in range(len(lacking)))
        crew = min(workers, len(lacking))
        found = shared(partial(_runner, self, lacking), numbers, crew) if crew > 1 else None
        for done, guard in enumerate(guards):
            watch(guard, done)
            if found is not None and guard in lacking:
                self._seen[guard.name] = next(found)
            else:
                self.under(guard)

    def _known(self, guard: Watched) -> bool:
        path = self._path(guard)
        return guard.name in self._seen or (path is not None and path.exists())

    def _run(self, guard: Watched) -> Seen:
        columns = self._kept(guard)
        right = columns["lost"] | (columns["correct"] & ~columns["gained"])
        own = {name: columns.pop(name) for name in _METRICS}
        del own["correct"]
        return Seen(own, right, columns)

    def _guarded(self, guard: Watched) -> Campaign:
        return self.campaign.with_(protections=guard.protections, name=self.campaign.name)

    def _kept(self, guard: Watched) -> dict[str, Flags]:
        """Outcomes from the store, or found out and put there."""
        path = self._path(guard)
        if path is None:
            return self._outcomes(guard)
        found = reusable_arrays(path)
        if found is None:
            found = self._outcomes(guard)
            keep_arrays(path, found)
        return found

    def _path(self, guard: Watched) -> Path | None:
        """Where the store has outcomes."""
        if self.store is None:
            return None
        return self.store / f"{self._guarded(guard).id[:16]}-{self._digest}.npz"

    def _telling(self, guard: Watched) -> Flags:
        """The faults to run, (n,): a check has to see those alone that do harm without it."""
        if guard.below is None:
            return np.ones(len(self.faults), bool)
        harm = self.under(guard.below).columns
        return harm["sdc1"] | harm["lost"] | harm["gained"]

    def _outcomes(self, guard: Watched) -> dict[str, Flags]:
        """Of the telling faults, window by window; of the others those without the check."""
        guarded, chosen = self._guarded(guard), self._telling(guard)
        golden = guarded.golden()
        ends = np.cumsum([0, *(count for _, count in shards_of(len(self.faults)))])
        found = {metric: np.zeros(len(self.faults), bool) for metric in _METRICS}
        if guard.below is not None:
            found["correct"] = self.under(guard.below).right.copy()
            found |= {name: np.zeros(len(self.faults), bool) for name in guard.checked}
        for start, end in itertools.pairwise(ends):
            own = start + np.flatnonzero(chosen[start:end])
            if len(own):
                faults = self.faults[own]
                part = guarded.strike.outcomes(self.plain, golden, faults, guard.below is not None)
                for name in found:
                    found[name][own] = part[name if name in _METRICS else alarm_at(name)]
        return found

    @cached_property
    def _digest(self) -> str:
        """A hash of the faults."""
        found = hashlib.sha256()
        for name in ("stratum", "index", "image", "keep", "flip"):
            found.update(np.ascontiguousarray(getattr(self.faults, name)).tobytes())
        return found.hexdigest()[:16]

    @cached_property
    def struck(self) -> Struck:
        """What software sees of the faults."""
        work, chip = self.campaign.network, self.campaign.chip
        return Struck.of(self.plain, self.faults, chip.corrupt(work, self.plain, self.faults))

    def passes(self, option: Option) -> Reals:
        """Share of each fault that still strikes, (n,): 0 where it is stopped."""
        if option not in self._passes:
            self._passes[option] = self._passed(option)
        return self._passes[option]

    def _passed(self, option: Option) -> Reals:
        if option.by is not None:
            return np.where(self.under(option.by).alarms[layer_of(option)], 0.0, 1.0)
        stopped = stopped_by([option.protection], self.campaign.network, self.struck).harmless
        return np.where(
            stopped, 0.0, share_left([option.protection], self.plain)[self.faults.stratum]
        )

    def failing(self, guard: Watched) -> Reals:
        """Weighted failures under a guard alone, (n,); sums are proportional to rates."""
        found: Reals = self.under(guard).columns["sdc1"] * self.faults.weight
        return found

    def weight(self, guard: Watched, chosen: Sequence[Option]) -> float:
        """Weighted failures that are left."""
        left = self.failing(guard)
        for option in chosen:
            left = left * self.passes(option)
        return float(left.sum())

    def left(self, option: Option) -> Reals:
        """Which share of each stratum's strikes can still do something, (strata,)."""
        if option not in self._left:
            self._left[option] = left_open([option.protection], self.campaign, self.plain)
        return self._left[option]

    def open_share(self, chosen: Sequence[Option]) -> float:
        """Share of all strikes that can still do something, whatever the faults have shown."""
        left = self.plain.probability
        for option in chosen:
            left = left * self.left(option)
        return float(left.sum())

    def tally(self, guard: Watched, chosen: Sequence[Option]) -> Tally:
        """What the faults do to a design.

        Where it leaves a share of a stratum's strikes, so many of the faults are taken to strike,
        by the draw of a number for each: the same one for all designs.
        """
        before = np.divide(
            self.space.exposure, self.plain.exposure,
            where=self.plain.exposure > 0, out=np.ones(len(self.plain.strata)),
        )  # fmt: skip
        left = 1 / before[self.faults.stratum]
        for option in chosen:
            left = left * self.passes(option)
        strikes = self._coin < left
        seen = self.under(guard)
        columns = {name: hits & strikes for name, hits in seen.columns.items()}
        columns["correct"] = (seen.right & ~columns["lost"]) | columns["gained"]
        return Tally.of(self.faults, columns, len(self.plain.strata), not guard.corrects)

    @cached_property
    def _coin(self) -> Reals:
        """A number in [0, 1) for each fault."""
        rng = np.random.default_rng([int(self._digest, 16), len(self.faults)])
        return rng.random(len(self.faults))

    def result(self, tally: Tally, accuracy: float, confidence: float = 0.95) -> Result:
        """A design's answer, with its accuracy without a fault; failures are its ``sdc1``."""
        return Result(
            self.campaign.id, self.campaign.name, self.space, self.campaign.sampler, tally,
            accuracy, confidence, False, 0.0,
            images=self.campaign.windows.sample,
        )  # fmt: skip


def _runner(common: Common, guards: Sequence[Watched]) -> Callable[[int], Seen]:
    """Runs the faults under a guard."""
    return lambda number: common.under(guards[number])


def without_proofs(sampler: Sampler) -> Sampler:
    """The sampler without proofs, which are of the plain network: a guard may break them."""
    return replace(sampler, proofs=False) if isinstance(sampler, GradientImportance) else sampler


def share_left(protections: Sequence[Protection], space: SiteSpace) -> Reals:
    """Which share of each stratum's strikes hardened storage leaves, (strata,)."""
    found: Reals = hardened(protections, space).exposure / np.maximum(space.exposure, 1e-300)
    return found


def left_open(protections: Sequence[Protection], campaign: Campaign, space: SiteSpace) -> Reals:
    """Which share of each stratum's strikes can still do something, (strata,).

    A code stops every fault of its component where each is one wrong bit.
    """
    left = share_left(protections, space)
    if isinstance(space.model, BitFlip) and isinstance(campaign.chip, Chip | Software):
        for part in protections:
            if isinstance(part, Parity | SECDED):
                for number, stratum in enumerate(space.strata):
                    if not part.components or stratum.component in part.components:
                        left[number] = 0.0
    return left
