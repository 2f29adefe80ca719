"""The application that verbs register with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from radhard.cli.again import results_in, say

if TYPE_CHECKING:
    import torch

    from radhard.campaign.progress import Watcher
    from radhard.stats.estimate import Estimate

app = typer.Typer(
    name="radhard",
    help="How a neural network behaves when the hardware that runs it is struck by faults.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from radhard.version import version as installed

        typer.echo(f"radhard {installed()}")
        raise typer.Exit


def show_notes(notes: tuple[str, ...]) -> None:
    """Print what should be known before any result."""
    for note in notes:
        say(f"note: {note}")


def show_page(page: Path, json: bool) -> None:
    """Print where the page lies, apart from a JSON object."""
    (say if json else print)(f"page: {page}")


@dataclass(frozen=True, slots=True)
class Way:
    """How a question is answered: the options of that name."""

    out: Path | None
    memory: str | None
    device: str
    json: bool
    trust: bool
    workers: str = "1"
    shards: str | None = None
    log: Path | None = None
    cluster: str | None = None


def refuse(context: typer.Context, options: str, why: str) -> None:
    """Refuse options that say nothing here.

    Args:
        context: of the command.
        options: their names, apart by blanks.
        why: such as ``with --model, which runs on ...``.

    Raises:
        ValueError: for one that was given.
    """
    for name in options.split():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            value = context.params[name]
            said = "" if isinstance(value, bool) else f" {getattr(value, 'value', value)}"
            raise ValueError(
                f"--{name.replace('_', '-')}{said} can't be {why}: it would change nothing, so "
                "leave it out"
            )


def workers_on(device: str, workers: str) -> tuple[int, torch.device]:
    """How many processes share the work, and where faults run.

    Args:
        device, workers: the options.

    Raises:
        ValueError: for what can't be, or several processes on a device, which has no share to give.
    """
    from radhard.campaign.pool import workers_of
    from radhard.engine.device import device_named

    crew, there = workers_of(workers), device_named(device)
    if crew > 1 and there.type != "cpu":
        raise ValueError(
            f"--workers {workers} on {there} can't be: they share processors; use one, or "
            "--device cpu"
        )
    return crew, there


def plain(found: Estimate) -> dict[str, float | int | None]:
    """An estimate as JSON has it, which knows no infinities; nothing stands for what is unknown."""
    ends = {name: getattr(found, name) for name in ("value", "low", "high")}
    if found.n == 0:
        ends["value"] = None
    known = {name: x if x is not None and isfinite(x) else None for name, x in ends.items()}
    return {**known, "n": found.n}


@contextmanager
def resumable(
    store: Path, log: Path | None = None, page: str | None = "report.html"
) -> Iterator[Watcher]:
    """What a run tells how far it is; Ctrl-C ends with a word on how to go on.

    Args:
        store: folder of the results.
        log: a file of lines about it, if any.
        page: of the store, which tells of the run while it goes on.
    """
    from radhard.view.watching import watching

    with stoppable(store), watching(store / page if page else None, log) as watch:
        yield watch


@contextmanager
def stoppable(store: Path) -> Iterator[None]:
    """Ctrl-C ends with a word on how to go on; what is compiled meanwhile is told."""
    from radhard.view.compiling import told_of_compiling

    results_in(store)
    try:
        with told_of_compiling():
            yield
    except KeyboardInterrupt:
        print(f"stopped; what is done is in {store}, the same command goes on", file=sys.stderr)
        sys.exit(130)
