"""All that watches a run from the command line, together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radhard.campaign.progress import Progress, Watcher
from radhard.view.bar import ProgressBar
from radhard.view.lines import Lines
from radhard.view.live import LivePage


@contextmanager
def watching(page: Path | None = None, log: Path | None = None) -> Iterator[Watcher]:
    """What a run is to tell how far it is: a bar on a terminal, or a line a minute elsewhere.

    Args:
        page: written every few seconds while the run goes on.
        log: file to which lines are added.

    Raises:
        OSError: for a log that can't be written.
    """
    noted = Lines(log) if log is not None else None
    with ProgressBar() as bar:
        live = LivePage(page) if page is not None else None
        heard: list[Watcher] = [bar] if bar.shown else [Lines()]
        heard += [one for one in (noted, live) if one is not None]

        def watch(step: Progress) -> None:
            for one in heard:
                one(step)

        why = "stopped"
        try:
            yield watch
            why = ""
        finally:
            if why and live:
                live.stopped()
            if noted:
                noted.close(why)
