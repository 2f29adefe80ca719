"""Running campaigns until they are answered well enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radhard.accel.readers import activated
from radhard.campaign.campaign import FIRST_SHARD, Campaign, shards_of
from radhard.campaign.description import in_words
from radhard.campaign.result import Result
from radhard.campaign.runs import Runs, tallied
from radhard.campaign.store import Folder, shard_name
from radhard.engine.resume import Resumed
from radhard.engine.segment import Golden
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.metrics.outcome import classify, counted_as
from radhard.protect.protection import Stopped, Struck, stopped_by
from radhard.sampling.gradient import proof_of
from radhard.sampling.sampler import Score
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.stopping import Precision

#: When to stop: after a number of faults, or when the answer is precise enough.
Until = int | Precision


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign is.

    Attributes:
        name: of the campaign.
        done: faults so far.
        goal: faults at which it ends; with `Precision` a forecast from what is known.
        fresh: faults of ``done`` that this run made; the others were stored.
        metric: the outcome that is watched.
        estimate: what is known of it.
    """

    name: str
    done: int
    goal: int
    fresh: int
    metric: str
    estimate: Estimate


Watcher = Callable[[Progress], None]


def collect(
    campaigns: Sequence[Campaign],
    until: Until = 10_000,
    store: str | Path | None = None,
    watch: Watcher | None = None,
    about: Mapping[str, Any] | None = None,
    memory: int | None = None,
) -> Iterator[Result]:
    """Run campaigns one after the other; yields each result as it is reached.

    Faults that ``store`` holds already are not run again, so a stopped run continues where it
    was, and a larger budget adds to a smaller one.

    Args:
        campaigns: their names must differ.
        until: faults per campaign, or a `Precision`.
        store: folder in which each campaign has one of its own; in memory only where ``None``.
        watch: called after each shard.
        about: more for ``campaign.toml``, at its top level.
        memory: bytes for golden values and batches; ``None`` for what suits the network. With
            floating-point formats another batch size can change the last bits of logits.

    Raises:
        ValueError: for equal names or a budget below 1; nothing has run then.
        StoreError: when the store can't be read or holds other campaigns of these names.
    """
    names = [campaign.name for campaign in campaigns]
    if len(set(names)) < len(names):
        raise ValueError(f"campaigns {names} share a name: give each its own, Campaign(name=...)")
    if not isinstance(until, Precision) and (type(until) is not int or until < 1):
        raise ValueError(f"{until!r} faults can't be: ask for 1 or more, or for a Precision")
    prepared: list[_Run] = []
    for campaign in campaigns:
        space = campaign.space()
        folder = Folder(Path(store) / campaign.name, campaign.id) if store is not None else None
        golden = campaign.golden(memory)
        accuracy = folder.golden_accuracy(campaign.id) if folder is not None else None
        if accuracy is None:
            accuracy = campaign.golden_accuracy(golden)
        score = campaign.score(space, golden)
        flat = folder.flat(campaign.id) if folder is not None else None
        if flat is None:
            flat = score.flat if score is not None else ()
        if prepared:  # the values of one campaign at a time
            golden.forget()
        if folder is not None:
            more = {**(about or {}), **_goal(until), "budget": _budget(until)}
            folder.begin(campaign, space, accuracy, more, flat)
        prepared.append(_Run(campaign, space, golden, accuracy, folder, until, watch, flat, score))
    return (run.result() for run in prepared)


def outcomes(
    campaign: Campaign, space: SiteSpace, golden: Golden, faults: Faults
) -> dict[str, np.ndarray]:
    """What n faults do: outcome columns by name, (n,) of bool each.

    What is proved of faults is proved of the host's arithmetic, so those few of them that are run
    all the same run there, whatever the device of the others.
    """
    proved = proof_of(faults.cell) > 0
    if golden.host is None or not campaign.proofs_hold or not proved.any():
        return _outcomes(campaign, space, golden, faults)
    found: dict[str, np.ndarray] = {}
    for run, chosen in ((golden, ~proved), (golden.host, proved)):
        part = _outcomes(campaign, space, run, faults[chosen]) if chosen.any() else {}
        for name, column in part.items():
            found.setdefault(name, np.zeros(len(faults), bool))[chosen] = column
    return found


def _outcomes(
    campaign: Campaign, space: SiteSpace, golden: Golden, faults: Faults
) -> dict[str, np.ndarray]:
    work = campaign.network
    corruption = campaign.chip.corrupt(work, space, faults)
    stopped = stopped_by(campaign.protections, work, Struck.of(space, faults, corruption))
    run, otherwise = _resumed(golden, corruption, stopped)
    labels = work.labels[torch.from_numpy(faults.image)]
    given = (run.logits, run.golden, labels, run.detected, campaign.criteria)
    found = classify(*given, campaign.confidence_of, otherwise)
    columns = {name: column.cpu().numpy() for name, column in found.columns.items()}
    return {**columns, "activated": activated(work, corruption)}


def _resumed(
    golden: Golden, corruption: Corruption, stopped: Stopped
) -> tuple[Resumed, torch.Tensor]:
    """The runs, and their logits by the other rule for not-a-number.

    Those whose fault was stopped end as if there had been none.
    """
    if not (stopped.harmless | stopped.alarmed).any():
        run = golden.resume(corruption)
        return run, golden.otherwise(corruption, run)
    through = np.flatnonzero(~stopped.harmless)
    if not len(through):
        through = np.arange(1)  # one run, for the golden logits
    run = golden.resume(corruption[through])
    clean, detected = golden.fault_free(corruption)
    detected = detected | torch.from_numpy(stopped.alarmed)
    went = torch.from_numpy(~stopped.harmless[through])
    place = torch.from_numpy(through)[went]
    logits, otherwise = clean.clone(), clean.clone()
    otherwise[place] = golden.otherwise(corruption[through], run)[went]
    logits[place] = run.logits[went]
    detected[place] |= run.detected[went]
    return replace(run, logits=logits, golden=clean, detected=detected), otherwise


class _Run:
    """One campaign on its way."""

    def __init__(
        self,
        campaign: Campaign,
        space: SiteSpace,
        golden: Golden,
        golden_accuracy: float,
        folder: Folder | None,
        until: Until,
        watch: Watcher | None,
        flat: tuple[str, ...],
        score: Score | None,
    ) -> None:
        if isinstance(until, Precision):
            until = replace(until, metric=counted_as(until.metric))
        if isinstance(until, Precision) and until.metric not in campaign.metrics:
            raise ValueError(
                f"no outcome {until.metric!r} to be precise about: use one of {campaign.metrics}"
            )
        self.campaign, self.space, self.folder = campaign, space, folder
        self.golden_accuracy = golden_accuracy
        self.watch, self.golden, self.flat = watch, golden, flat
        self.precise = until if isinstance(until, Precision) else None
        self.most = until.most if isinstance(until, Precision) else until
        self.metric = until.metric if isinstance(until, Precision) else "sdc1"
        self.score = score
        self.fresh = 0
        self.cost = campaign.cost
        self.protections = tuple(map(in_words, campaign.question.keys["protections"]))

    def result(self) -> Result:
        """Run, or read, shard after shard until the budget or the precision is reached."""
        tally, seconds = Tally.nothing(self.campaign.metrics, len(self.space.strata)), 0.0
        self.runs: list[Runs] = []
        if self.watch:
            self.watch(self._progress(self._answer(tally, 0.0)[self.metric]))
        for shard, count in shards_of(self.most):
            more, took = self._shard(shard, count)
            tally, seconds = tally + more, seconds + took
            if not self.watch and not self.precise:
                continue
            estimate = self._answer(tally, seconds)[self.metric]
            if self.watch:
                self.watch(self._progress(estimate))
            if self.precise and self.precise.reached(estimate):
                break
        return replace(self._answer(tally, seconds), runs=Runs.joined(self.runs))

    def _shard(self, shard: int, count: int) -> tuple[Tally, float]:
        stored = self.folder.reusable(shard_name(shard)) if self.folder else None
        if stored is not None and len(stored[0]) >= count:
            faults, columns, seconds = stored
            part = {name: hits[:count] for name, hits in columns.items()}
            self.runs.append(Runs.of(faults[:count], part))
            return self._tally(faults[:count], part), seconds * count / len(faults)
        start = time.perf_counter()
        faults = self.campaign.draw(self.space, shard, count, self.score)
        columns = outcomes(self.campaign, self.space, self.golden, faults)
        took = time.perf_counter() - start
        if self.folder:
            self.folder.keep(shard_name(shard), faults, columns, took)
        self.fresh += count
        self.runs.append(Runs.of(faults, columns))
        return self._tally(faults, columns), took

    def _tally(self, faults: Faults, columns: Mapping[str, np.ndarray]) -> Tally:
        return tallied(faults, columns, self.space, self.campaign.proofs_hold)

    def _answer(self, tally: Tally, seconds: float) -> Result:
        return Result(
            id=self.campaign.id,
            name=self.campaign.name,
            space=self.space,
            sampler=self.campaign.sampler,
            tally=tally,
            golden_accuracy=self.golden_accuracy,
            confidence=self.precise.confidence if self.precise else 0.95,
            anytime=self.precise is not None,
            seconds=seconds,
            cost=self.cost,
            protections=self.protections,
            covered=self.campaign.workload.covered,
            images=self.campaign.windows.sample,
            flat=self.flat,
        )

    def _progress(self, estimate: Estimate) -> Progress:
        goal = self.most
        if self.precise:
            ratio = estimate.half_width / self.precise.half_width
            goal = min(self.most, max(FIRST_SHARD, round(estimate.n * max(ratio, 1) ** 2)))
        return Progress(self.campaign.name, estimate.n, goal, self.fresh, self.metric, estimate)


def _goal(until: Until) -> dict[str, Any]:
    """The same as keys of a campaign file."""
    if isinstance(until, int):
        return {"faults": until}
    return {
        "until": until.half_width,
        "metric": "ra" if until.metric == "correct" else until.metric,
        "confidence": until.confidence,
        "most": until.most,
    }


def _budget(until: Until) -> dict[str, Any]:
    if isinstance(until, int):
        return {"faults": until, "confidence": 0.95}
    return {
        "until": until.half_width,
        "confidence": until.confidence,
        "metric": until.metric,
        "most": until.most,
    }
