"""What the pages of all studies share: tables of estimates, sections, the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radhard.stats.estimate import Estimate
from radhard.view.page import written


def study_table(
    corner: str, rows: Iterable[Any], columns: Collection[Any], cell: Callable[[Any, Any], Any]
) -> dict[str, Any]:
    """A table of estimates, or of words, as the page shows it."""
    return {
        "heads": [corner, *columns],
        "rows": [[row, *(_cell(cell(row, column)) for column in columns)] for row in rows],
    }


def _cell(found: Estimate | str) -> tuple[str, str] | str:
    """Value and interval, which stand on two lines."""
    if isinstance(found, str):
        return found
    value, _, interval = str(found).partition(" [")
    return (value, f"[{interval}") if found.n else ("-", found.missing or "no faults seen")


def study_written(
    path: Path, sections: Sequence[Mapping[str, Any]], title: str, lead: str, note: str
) -> Path:
    """Write a page of sections and give its path.

    A section has a title and entries, each with a title, a note, and a table or a figure.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return written(path, "study.html", sections=sections, title=title, lead=lead, note=note)
