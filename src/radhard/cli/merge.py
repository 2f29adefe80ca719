"""`radhard check` and `radhard merge`: stores looked through, and parts of one united."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app

if TYPE_CHECKING:
    from radhard.campaign.union import Held

Parts = Annotated[list[Path], typer.Argument(help="Folders given to --out.")]


@app.command()
def check(stores: Parts) -> None:
    """Look through every file of stores, and say what can be kept. Nothing is changed."""
    from radhard.campaign.union import held_in
    from radhard.view.page import is_whole

    damaged = 0
    for store in stores:
        for held in held_in(store):
            print(_said(held))
            for path, reason in held.damaged.items():
                print(f"  {reason} ({path.name}: the campaign runs again what is not whole)")
            damaged += len(held.damaged)
        page = store / "report.html"
        if page.is_file() and not is_whole(page):
            print(f"  {page} is damaged, or of an earlier radhard: radhard report makes it anew")
    if damaged:
        raise ValueError(f"{damaged} damaged files: run the campaign again, which sets them aside")


@app.command()
def merge(
    stores: Parts,
    out: Annotated[Path, typer.Option(help="The united store, with its page.")],
) -> None:
    """Unite parts of campaigns, run with --shards in several places, into one store."""
    from radhard.campaign.union import merge as united
    from radhard.view.page import report

    for held in united(stores, out):
        print(_said(held))
    print(f"page: {report(out)}")


def _said(held: Held) -> str:
    count, path = sum(held.faults.values()), held.folder.path
    gaps = f", shards {_ranges(held.missing)} are missing" if held.missing else ""
    return f"{path}: {count:,} faults in {len(held.faults):,} shards{gaps}"


def _ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers as FROM:TO.

    >>> _ranges((1, 2, 3, 7))
    '1:4, 7:8'
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] += 1
        else:
            found.append([number, number + 1])
    return ", ".join(f"{first}:{end}" for first, end in found)
