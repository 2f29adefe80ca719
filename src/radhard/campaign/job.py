"""A campaign that is ready to run, and how far it is."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from math import isfinite

from radhard.campaign.cluster import Cluster
from radhard.campaign.lock import writing
from radhard.campaign.pack import Summed
from radhard.campaign.pool import Made, Pool, timed
from radhard.campaign.progress import Journal, Progress, Watcher
from radhard.campaign.result import Result
from radhard.campaign.rows import Stored
from radhard.campaign.runs import Runs, tallied
from radhard.campaign.shard import (
    FIRST_SHARD,
    pack_of,
    shard_name,
    shards_of,
    shards_of_pack,
    span,
)
from radhard.campaign.store import Folder
from radhard.faults.fault import Faults
from radhard.metrics.outcome import OF_ALARMS, counted_as, metrics_of
from radhard.protect.protection import Flags
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.stopping import Precision

#: When to stop: after a number of faults, or when the answer is precise enough.
Until = int | Precision


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All that a run needs: which faults there are, and what they do.

    Attributes:
        nothing: the answer before the first fault.
        draw: the first faults of a shard: its number and how many.
        strike: the outcomes of faults, by name.
        proofs: whether what is proved of faults holds under what watches the runs.
        folder: where shards are kept; ``None`` for in memory only.
        pool: processes that draw and strike instead of this one.
        part: shards from the first of these numbers on, to before the second; all where ``None``.
    """

    nothing: Result
    draw: Callable[[int, int], Faults]
    strike: Callable[[Faults], dict[str, Flags]]
    proofs: bool
    folder: Folder | None = None
    pool: Pool[Made] | Cluster[Made] | None = None
    part: tuple[int, int] | None = None

    def result(self, until: Until, watch: Watcher | None = None) -> Result:
        """Run, or read, shard after shard until the budget or the precision is reached."""
        return _Run(self, until, watch).result()


def checked(until: Until, metrics: tuple[str, ...], watched: bool = False) -> None:
    """Whether there is such a goal among these outcomes, and ratios of alarms where one can be.

    Raises:
        ValueError: for a budget below 1, or an outcome that is not counted.
    """
    if not isinstance(until, Precision):
        if type(until) is not int or until < 1:
            raise ValueError(f"{until!r} faults can't be: ask for 1 or more, or for a Precision")
    elif until.metric in OF_ALARMS:
        if not watched:
            raise ValueError(f"no {until.metric} without a detector: add one that raises alarms")
    elif counted_as(until.metric) not in metrics:
        known = ", ".join(metrics_of(metrics))
        raise ValueError(f"no outcome {until.metric!r} to be precise about: use one of {known}")


class _Run:
    """A job on its way."""

    def __init__(self, job: Job, until: Until, watch: Watcher | None) -> None:
        self.job, self.watch, self.fresh = job, watch, 0
        self.precise = until if isinstance(until, Precision) else None
        self.most = until.most if isinstance(until, Precision) else until
        self.metric = counted_as(until.metric) if isinstance(until, Precision) else "sdc1"
        self.runs: list[Runs] = []
        self.taken: list[tuple[int, int]] = []
        self.tally, self.seconds = job.nothing.tally, 0.0
        self.journal = Journal(job.folder.path, job.nothing.id) if job.folder else None
        self.first, self.end = job.part or (0, sys.maxsize)
        self.plan = (one for one in shards_of(self.most) if self.first <= one[0] < self.end)
        self.later = deque[tuple[int, int]]()

    def result(self) -> Result:
        """Run, or read, shard after shard until the budget or the precision is reached."""
        held = writing(self.job.folder.path) if self.job.folder else nullcontext()
        with held:
            if self.job.folder:
                self.job.folder.check_own()
            self._tell()
            state = "stopped"
            try:
                with self.job.pool or nullcontext():
                    for pack, shards in groupby(self._shards(), lambda one: pack_of(one[0])):
                        if self._pack(pack, shards):
                            break
                state = "finished"
            finally:
                if self.journal and self.journal.begun:
                    self.journal.end(self._progress(self._answer[self.metric]), state)
        return replace(self._answer, rows=self._rows())

    def _pack(self, pack: int, shards: Iterator[tuple[int, int]]) -> bool:
        """Run, or read, a hundred shards; whether the answer is precise enough before their end."""
        noted = self._noted(pack)
        if noted is not None:
            self.taken += list(shards)
            self.tally, self.seconds = self.tally + noted.tally, self.seconds + noted.seconds
            return self._tell()
        before, own, enough = self.tally, self.job.nothing.tally, False
        for shard, count in shards:
            more, took = self._shard(shard, count)
            own = own + more
            self.tally, self.seconds = before + own, self.seconds + took
            enough = self._tell()
            if enough:
                break
        if self.job.folder:
            self.job.folder.pack(pack, self.job.nothing.space, self.job.proofs)
        return enough

    def _tell(self) -> bool:
        """Say how far it is, to those who want to know; whether it is precise enough."""
        due = self.journal is not None and self.journal.due
        if not (self.watch or self.precise or due):
            return False
        estimate = self._answer[self.metric]
        if self.watch:
            self.watch(self._progress(estimate))
        if self.journal and due:
            self.journal.tell(self._progress(estimate))
        return bool(self.tally.total and self.precise and self.precise.reached(estimate))

    def _rows(self) -> Callable[[], Runs]:
        if self.job.folder:
            return Stored(self.job.folder, tuple(self.taken))
        return partial(Runs.joined, self.runs)

    def _noted(self, pack: int) -> Summed | None:
        """What a hundred stored shards add up to, where all of them are asked for, at once."""
        shards = shards_of_pack(pack)
        within = self.first <= shards[0] and shards[-1] < self.end
        if self.job.folder is None or self.precise or not within:
            return None
        if sum(span(shards[-1])) > self.most:
            return None
        return self.job.folder.noted(pack, self.job.proofs)

    def _shards(self) -> Iterator[tuple[int, int]]:
        """Shards with their faults, in order."""
        while True:
            self._look(1)
            if not self.later:
                return
            yield self.later.popleft()

    def _look(self, ahead: int) -> None:
        """Have so many of the next shards as `later`."""
        self.later.extend(islice(self.plan, max(0, ahead - len(self.later))))

    def _made(self, shard: int, count: int) -> Made:
        if self.job.pool is None:
            return timed(self.job.draw, self.job.strike)(shard, count)
        self._look(self.job.pool.ahead)
        folder = self.job.folder
        lacking = [
            one for one in self.later if folder is None or not folder.holds(shard_name(one[0]))
        ]
        return self.job.pool.made((shard, count), lacking)

    def _shard(self, shard: int, count: int) -> tuple[Tally, float]:
        stored = self.job.folder.reusable(shard_name(shard)) if self.job.folder else None
        self.taken.append((shard, count))
        if stored is not None and len(stored[0]) >= count:
            faults, columns, seconds = stored
            part = {name: hits[:count] for name, hits in columns.items()}
            return self._tally(faults[:count], part), seconds * count / len(faults)
        if self.journal and not self.journal.begun:  # all before was stored
            self.journal.tell(self._progress(self._answer[self.metric]))
        faults, columns, took = self._made(shard, count)
        if self.job.folder:
            self.job.folder.keep(shard_name(shard), faults, columns, took)
        else:
            self.runs.append(Runs.of(faults, columns))
        self.fresh += count
        return self._tally(faults, columns), took

    def _tally(self, faults: Faults, columns: Mapping[str, Flags]) -> Tally:
        return tallied(faults, columns, self.job.nothing.space, self.job.proofs)

    @property
    def _answer(self) -> Result:
        level = self.precise.confidence if self.precise else 0.95
        return replace(
            self.job.nothing,
            tally=self.tally,
            confidence=level,
            anytime=self.precise is not None,
            seconds=self.seconds,
        )

    def _progress(self, estimate: Estimate) -> Progress:
        goal, workers = self.most, 1 if self.job.pool is None else self.job.pool.workers
        if self.precise:
            ratio = max(estimate.half_width / self.precise.half_width, 1)
            wanted = estimate.n * ratio**2
            if isfinite(wanted):
                goal = min(self.most, max(FIRST_SHARD, round(wanted)))
        elif self.job.part is not None:
            first, end = (span(shard)[0] for shard in self.job.part)
            goal = min(end, self.most) - first
        return Progress(
            self.job.nothing.name, estimate.n, goal, self.fresh, self.metric, estimate, workers
        )
