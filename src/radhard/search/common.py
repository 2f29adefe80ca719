"""Faults that all designs meet, and what each design makes of them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.accel.chip import Chip, Software
from radhard.campaign.campaign import Campaign
from radhard.campaign.result import Result
from radhard.campaign.sealed import keep_arrays, reusable_arrays
from radhard.campaign.shard import shards_of
from radhard.faults.fault import Faults
from radhard.faults.model import BitFlip
from radhard.faults.space import SiteSpace
from radhard.protect.checksum import Checksum
from radhard.protect.protection import Cost, Flags, Protection, Struck, hardened, stopped_by
from radhard.protect.ranges import RangeDetector
from radhard.protect.storage import SECDED, Parity
from radhard.sampling.gradient import GradientImportance
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally

Reals = NDArray[np.float64]
#: Outcomes of a run that are kept.
_METRICS = ("sdc1", "correct", "lost", "gained", "sdc1_undetected", "detected")


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A guard of the run, or none.

    Attributes:
        name: for tables.
        protections: one or none.
        cost: what it takes.
    """

    name: str
    protections: tuple[Protection, ...]
    cost: Cost

    @property
    def failure(self) -> str:
        """The outcome that is a failure: what a detector sees is repaired by repetition."""
        detects = any(isinstance(part, RangeDetector | Checksum) for part in self.protections)
        return "sdc1_undetected" if detects else "sdc1"

    @property
    def corrects(self) -> bool:
        """Whether it changes what is computed, rather than raise an alarm."""
        return bool(self.protections) and self.failure == "sdc1"


#: Nothing watches.
PLAIN = Watched("no guard", (), Cost())


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A protection that can be added, one per slot; what it does to faults needs no run.

    Attributes:
        slot: what it protects; another option of the same slot replaces it.
        name: for tables.
        protection: the thing itself.
        cost: what it takes.
        repeats: whether it needs the inference to be run again.
        by: the guard whose alarms in the option's layer are its own, where it is a checksum.
    """

    slot: str
    name: str
    protection: Protection
    cost: Cost
    repeats: bool
    by: Watched | None = None


class Seen(NamedTuple):
    """What faults do under a guard.

    Attributes:
        columns: failures as ``sdc1``, and right answers that are ``lost`` and ``gained``, (n,); a
            fault that a detector sees counts as harmless.
        right: whether the fault-free answer is, (n,).
        detected: the guard's alarms, (n,); of a guard that does not correct, where the fault does
            harm without it.
    """

    columns: dict[str, Flags]
    right: Flags
    detected: Flags


class Clean(NamedTuple):
    """A guarded network without a fault, over all images of a campaign.

    Attributes:
        accuracy: share of right answers.
        alarms: share of images with an alarm, which is a false one.
    """

    accuracy: float
    alarms: float


@dataclass(frozen=True, eq=False)
class Common:
    """Faults that all designs meet.

    Attributes:
        campaign: the plain question.
        plain: its whole population.
        space: what of it the faults are drawn from: the strata of ``plain`` with less exposure.
        faults: drawn from ``space``.
        store: folder in which outcomes are kept.
        cleans: networks without a fault, by guard, as far as they were asked for.
    """

    campaign: Campaign
    plain: SiteSpace
    space: SiteSpace
    faults: Faults
    store: Path | None = None
    cleans: dict[str, Clean] = field(default_factory=dict)
    _seen: dict[str, Seen] = field(default_factory=dict, repr=False)
    _passes: dict[int, Reals] = field(default_factory=dict, repr=False)
    _left: dict[int, Reals] = field(default_factory=dict, repr=False)

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

    def _run(self, guard: Watched) -> Seen:
        columns = self._kept(guard, self._digest, lambda: self._outcomes(guard))
        seen = columns["detected"] & (guard.failure != "sdc1")
        kept = {
            "sdc1": columns[guard.failure],
            "lost": columns["lost"] & ~seen,
            "gained": columns["gained"] & ~seen,
        }
        right = columns["lost"] | (columns["correct"] & ~columns["gained"])
        return Seen(kept, right, columns["detected"])

    def clean(self, guard: Watched) -> Clean:
        """What the network does without a fault, with the guard on."""
        if guard.name not in self.cleans:

            def measured() -> dict[str, np.ndarray]:
                guarded = self._guarded(guard)
                return {"clean": np.array(guarded.clean())}

            found = self._kept(guard, "clean", measured)["clean"]
            self.cleans[guard.name] = Clean(*found.tolist())
        return self.cleans[guard.name]

    def _guarded(self, guard: Watched) -> Campaign:
        return self.campaign.with_(protections=guard.protections, name=self.campaign.name)

    def _kept(
        self, guard: Watched, what: str, make: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Arrays from the store, or made and put there."""
        if self.store is None:
            return make()
        path = self.store / f"{self._guarded(guard).id[:16]}-{what}.npz"
        found = reusable_arrays(path)
        if found is None:
            found = make()
            keep_arrays(path, found)
        return found

    def _telling(self, guard: Watched) -> Flags:
        """The faults to run: a guard that does not correct needs those alone that do harm, (n,)."""
        if guard.corrects or not guard.protections:
            return np.ones(len(self.faults), bool)
        harm = self.under(PLAIN).columns
        return harm["sdc1"] | harm["lost"] | harm["gained"]

    def _outcomes(self, guard: Watched) -> dict[str, Flags]:
        """Of the telling faults, window by window; of the others those without protections."""
        guarded, chosen = self._guarded(guard), self._telling(guard)
        golden = guarded.golden()
        ends = np.cumsum([0, *(count for _, count in shards_of(len(self.faults)))])
        found = {metric: np.zeros(len(self.faults), bool) for metric in _METRICS}
        if not chosen.all():
            found["correct"] = self.under(PLAIN).right.copy()
        for start, end in itertools.pairwise(ends):
            own = start + np.flatnonzero(chosen[start:end])
            if len(own):
                part = guarded.outcomes(self.plain, golden, self.faults[own])
                for metric in _METRICS:
                    found[metric][own] = part[metric]
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
        if id(option) not in self._passes:
            self._passes[id(option)] = self._passed(option)
        return self._passes[id(option)]

    def _passed(self, option: Option) -> Reals:
        if option.by is not None:
            assert isinstance(option.protection, Checksum)
            names = [layer.name for layer in self.campaign.network.layers]
            own = names.index(option.protection.layers[0])
            seen = self.under(option.by).detected & (self.struck.corruption.layer == own)
            return np.where(seen, 0.0, 1.0)
        stopped = stopped_by([option.protection], self.campaign.network, self.struck).harmless
        return np.where(
            stopped, 0.0, share_left([option.protection], self.plain)[self.faults.stratum]
        )

    def weight(self, guard: Watched, chosen: Sequence[Option]) -> float:
        """Weighted failures that are left; proportional to the rate."""
        left = self.under(guard).columns["sdc1"] * self.faults.weight
        for option in chosen:
            left = left * self.passes(option)
        return float(left.sum())

    def open_share(self, chosen: Sequence[Option]) -> float:
        """Share of all strikes that can still do something, whatever the faults have shown."""
        left = self.plain.probability
        for option in chosen:
            if id(option) not in self._left:
                found = left_open([option.protection], self.campaign, self.plain)
                self._left[id(option)] = found
            left = left * self._left[id(option)]
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

    def result(self, guard: Watched, tally: Tally, confidence: float = 0.95) -> Result:
        """A design's answer; failures are its ``sdc1``."""
        return Result(
            self.campaign.id, self.campaign.name, self.space, self.campaign.sampler, tally,
            self.clean(guard).accuracy, confidence, False, 0.0,
            images=self.campaign.windows.sample,
        )  # fmt: skip


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
