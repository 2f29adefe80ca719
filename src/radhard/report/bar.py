"""A progress bar that shows rate, estimate and time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from radhard.campaign.collect import Progress as Step
from radhard.report.wording import percent


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; give the function the number done and the number of all."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    bar = Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what)
        yield lambda done, of: bar.update(task, completed=done, total=of)


class ProgressBar:
    """Give it to ``radhard.collect(watch=...)``; a bar per campaign on standard error.

    Use as a context manager, so that the terminal is left in order.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} {task.fields[found]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, step: Step) -> None:
        """Show how far a campaign is."""
        if step.name not in self._tasks:
            self._tasks[step.name] = self._bar.add_task(step.name, rate="", found="")
        task = self._tasks[step.name]
        elapsed = self._bar.tasks[task].elapsed or 0.0
        rate = f"{step.fresh / elapsed:,.0f}/s" if step.fresh and elapsed > 0 else ""
        found = step.estimate
        words = f"{step.metric} {percent(found.value)} ± {percent(found.half_width)}"
        self._bar.update(task, completed=step.done, total=step.goal, rate=rate, found=words)
