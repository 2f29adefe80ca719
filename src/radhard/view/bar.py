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
from rich.table import Column

from radhard.campaign.progress import Pace
from radhard.campaign.progress import Progress as Step
from radhard.view.lines import Lines
from radhard.view.units import duration, percent, speed


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; give the function the number done and the number of all."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    bar = Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    lines, first = None if console.is_terminal else Lines(), dict[str, int]()

    def watch(done: int, of: int) -> None:
        bar.update(task, completed=done, total=of)
        if lines:
            lines.tell(what, done, of, done - first.setdefault(what, done))

    with bar:
        task = bar.add_task(what)
        yield watch


class ProgressBar:
    """Give it to ``radhard.collect(watch=...)``; a bar per campaign on standard error.

    Use as a context manager, so that the terminal is left in order.

    Attributes:
        shown: whether standard error is a terminal; nothing is drawn elsewhere.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        name = Column(overflow="ellipsis")  # gives way in a narrow terminal, so numbers stay whole
        self._bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=name),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]} {task.fields[found]}"),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, tuple[TaskID, Pace]] = {}
        self.shown = console.is_terminal

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
            task = self._bar.add_task(step.name, pace="", found="", left="")
            self._tasks[step.name] = task, Pace(self._bar.get_time())
        task, pace = self._tasks[step.name]
        rate = pace.at(self._bar.get_time(), step.fresh)
        found = step.estimate
        self._bar.update(
            task,
            completed=step.done,
            total=step.goal,
            pace=speed(rate) if rate else "",
            found=f"{step.metric} {percent(found.value)} ± {percent(found.half_width)}",
            left=f"{duration((step.goal - step.done) / rate)} left" if rate else "",
        )
