"""How far work is in lines: one a minute where there is no terminal, and in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from radhard.campaign.progress import Pace, Progress
from radhard.view.units import duration, percent

#: Seconds from one line to the next.
_EVERY = 60.0


class Lines:
    """A line a minute for each thing that is on its way.

    Args:
        log: a file to which lines are added, with the time; also what is first and last heard.
            Standard error, without, where ``None``.
        clock: in seconds.
    """

    def __init__(
        self, log: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._paces = clock, dict[str, Pace]()
        self._at, self._open = clock(), ""
        self._log = None if log is None else log.open("a", encoding="utf-8", buffering=1)

    def __call__(self, step: Progress) -> None:
        """Hear how far a campaign is."""
        found = step.estimate
        interval = f"{percent(found.low)} to {percent(found.high)}"
        known = f"{step.metric} {percent(found.value)} ({interval}, {100 * found.confidence:g} %)"
        self.tell(step.name, step.done, step.goal, step.fresh, known)

    def tell(self, name: str, done: int, goal: int, fresh: int, known: str = "") -> None:
        """Hear how far anything is.

        Args:
            name: what it is.
            done, goal: of how many.
            fresh: those of ``done`` that were not known before.
            known: what is found so far, if anything.
        """
        now, first = self._clock(), name not in self._paces
        rate = self._paces.setdefault(name, Pace(now)).at(now, fresh)
        parts = [
            f"{name}: {done:,} of {goal:,}",
            f"{rate:,.3g}/s" if rate < 1 else f"{rate:,.0f}/s",
        ]
        parts = [*parts[: 2 if rate else 1], *[known] * bool(known)]
        parts += [f"{duration(max(0, goal - done) / rate)} left"] if rate and done < goal else []
        line = ", ".join(parts)
        if now >= self._at + _EVERY or (first and self._log) or (done == goal and self._log):
            self._say(line, now)
        else:
            self._open = line

    def _say(self, line: str, now: float) -> None:
        self._at, self._open = now, ""
        if self._log is None:
            print(line, file=sys.stderr, flush=True)
        else:
            at = time.strftime("%Y-%m-%d %H:%M:%S")
            try:
                print(at, line, file=self._log)
            except OSError as error:
                error.filename = self._log.name
                raise

    def close(self, why: str = "") -> None:
        """Say what was heard last, in a log, and why there is no more."""
        if self._log is None:
            return
        try:
            for line in filter(None, (self._open, why)):
                self._say(line, self._clock())
        finally:
            with suppress(OSError):  # what there was no room for
                self._log.close()
