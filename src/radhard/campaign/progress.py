"""How far a run is, and the file in which it says so while it goes on, which anyone may read.

``progress.json`` lies beside the rows of a campaign. It is written anew about once a second, whole
or not at all, and has a hash of its own, so that a damaged one is told apart. It decides nothing:
what is done is what the rows say.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan
from pathlib import Path
from typing import Any

from radhard.campaign.sealed import StoreError, digest, read_file, replace_file
from radhard.stats.estimate import Estimate

#: Where a campaign's folder has it.
PROGRESS = "progress.json"
#: Seconds between two looks, and points of an estimate's history at most.
_EVERY, _POINTS = 1.0, 199


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
        workers: processes that share the work.
    """

    name: str
    done: int
    goal: int
    fresh: int
    metric: str
    estimate: Estimate
    workers: int = 1


#: What is called after each shard.
Watcher = Callable[[Progress], None]


class Pace:
    """How fast faults are run, and what is left of the time; those found stored count for neither.

    >>> pace = Pace(0.0)
    >>> pace.at(5.0, fresh=0)  # reading what is stored
    0.0
    >>> pace.at(9.0, fresh=2000)
    500.0
    """

    def __init__(self, now: float) -> None:
        self._begun = now

    def at(self, now: float, fresh: int) -> float:
        """Faults per second, of those that were run; 0 until there is one.

        Args:
            now: in seconds, by the clock that gave the first time.
            fresh: faults that this run has made.
        """
        if not fresh:
            self._begun = now
        return fresh / (now - self._begun) if now > self._begun else 0.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a run said of itself last.

    Attributes:
        step: how far it was.
        state: ``running``, ``finished`` or ``stopped``.
        rate: faults per second.
        begun, at: when it began and when it said this, in seconds since 1970.
        process, host: who it is.
        history: seconds since it began, faults, and the estimate's value, low and high end, from
            early to late.
    """

    step: Progress
    state: str
    rate: float
    begun: float
    at: float
    process: int
    host: str
    history: tuple[tuple[float, int, float, float, float], ...]

    @property
    def seconds_left(self) -> float | None:
        """Until the goal, by the rate; ``None`` where there is none, or the run is over."""
        if self.state != "running" or not self.rate:
            return None
        return max(0, self.step.goal - self.step.done) / self.rate

    def now(self) -> Told:
        """The same, but ``killed`` where its process ended without a word on this machine."""
        if self.state != "running" or self.host != platform.node():
            return self
        return self if _alive(self.process) else replace(self, state="killed")


def _alive(process: int) -> bool:
    """Whether there is such a process; on Windows, where asking ends it, it is taken to be."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


class Course:
    """A run as time goes by."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start, self._begun = clock, clock(), time.time()
        self._pace, self._history = Pace(clock()), list[tuple[float, int, float, float, float]]()
        self._apart = 0.0

    def told(self, step: Progress, state: str = "running") -> Told:
        """What is to be said of a step."""
        now, found = self._clock(), step.estimate
        passed = now - self._start
        last, point = self._history[-1:], (passed, step.done, found.value, found.low, found.high)
        newer = [point] if found.n and (not last or last[0][1] < step.done) else []
        if newer and (not last or passed >= last[0][0] + self._apart):
            self._history, newer = [*self._history, point], []
        if len(self._history) > _POINTS:
            self._history, self._apart = self._history[::2], 2 * passed / _POINTS
        history = *self._history, *newer
        at = self._begun + passed, os.getpid(), platform.node(), history
        return Told(step, state, self._pace.at(now, step.fresh), self._begun, *at)


class Journal:
    """Writes what a run says of itself into the folder of its campaign.

    Args:
        folder: of the campaign.
        id: of the campaign.
    """

    def __init__(self, folder: Path, id: str) -> None:
        self._path, self._id, self._course = folder / PROGRESS, id, Course()
        self._next: float | None = None

    @property
    def begun(self) -> bool:
        """Whether anything was written."""
        return self._next is not None

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return self._next is not None and time.monotonic() >= self._next

    def tell(self, step: Progress, state: str = "running") -> None:
        """Write how far the run is.

        Raises:
            OSError: with the name of the file, where it can't be written.
        """
        told = self._course.told(step, state)
        replace_file(self._path, _written(told, self._id))
        self._next = time.monotonic() + _EVERY

    def end(self, step: Progress, state: str) -> None:
        """The last word; where there is no room for it, what is wrong has been said already."""
        with suppress(OSError):
            self.tell(step, state)


def read_told(folder: Path, id: str) -> Told | None:
    """What the last run of a campaign said of itself; ``None`` where it said nothing.

    Args:
        folder: of the campaign.
        id: of the campaign.

    Raises:
        StoreError: for a damaged file, or that of another campaign.
    """
    path = folder / PROGRESS
    if not os.path.lexists(path):
        return None
    try:
        held = json.loads(read_file(path))
        seal, owner, step = held.pop("seal"), held.pop("id"), held.pop("step")
        whole = seal == digest({**held, "id": owner, "step": step})
        known: dict[str, Any] = {k: nan if v is None else v for k, v in step["estimate"].items()}
        estimate = Estimate(**known)
        history = tuple(tuple(nan if x is None else x for x in one) for one in held["history"])
        told = Told(**{**held, "step": Progress(**{**step, "estimate": estimate}),
                       "history": history})  # fmt: skip
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: it is no record of a run") from error
    if not whole:
        raise StoreError(f"{path} is damaged: it is not as it was written")
    if owner != id:
        raise StoreError(f"{path} belongs to campaign {owner[:8]}, not to {id[:8]} as the rest")
    return told


def _written(told: Told, id: str) -> bytes:
    held = _plain({**asdict(told), "id": id})
    return json.dumps({**held, "seal": digest(held)}, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    """With nothing for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
