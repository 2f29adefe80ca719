"""`radhard study`: a published study as one command."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app

if TYPE_CHECKING:
    from radhard.campaign.ask import Ask
    from radhard.campaign.propagation import Finding


class Study(StrEnum):
    """What can be studied."""

    error_propagation = "error-propagation"


@app.command()
def study(
    what: Annotated[Study, typer.Argument(help="Which study.")],
    models: Annotated[str, typer.Option(help="Zoo names, comma-separated.")] = "digits-cnn",
    data: Annotated[str | None, typer.Option(help="Data set of all models.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="MODEL=PATH of a checkpoint; may be repeated.")
    ] = None,
    images: Annotated[int, typer.Option(help="Input images: the first of the test set.")] = 64,
    chip: Annotated[str, typer.Option(help="A chip with latches and memories.")] = "eyeriss",
    until: Annotated[
        float, typer.Option(help="Half width of the 95 % interval of each SDC-1.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for results and page.")] = Path("runs/study"),
) -> None:
    """Strike latches and buffers in six number formats; table and page.

    Stopped with Ctrl-C, the same command goes on where it was.
    """
    from radhard.accel.chip import Chip
    from radhard.accel.chips import chip_named
    from radhard.campaign.propagation import study as run
    from radhard.engine.memory import keep_freed_memory
    from radhard.report.bar import ProgressBar
    from radhard.report.page import report
    from radhard.report.propagation import study_page
    from radhard.report.table import show_study
    from radhard.stats.stopping import Precision

    struck = chip_named(chip)
    if not isinstance(struck, Chip):
        raise ValueError(f"chip {chip} has neither latches nor memories: use eyeriss or a file")
    asks = _asks(models, data, weights or [], images, seed)
    keep_freed_memory()
    findings: list[Finding] = []
    try:
        with ProgressBar() as bar:
            findings += run(struck, asks, Precision(until), out, bar)
    except KeyboardInterrupt:
        print(f"stopped; what is done is in {out}, the same command goes on", file=sys.stderr)
        sys.exit(130)
    show_study(findings)
    print(f"page: {study_page(findings, out)}")
    print(f"campaigns one by one: {report(out)}")


def _asks(models: str, data: str | None, weights: list[str], images: int, seed: int) -> list[Ask]:
    from radhard.campaign.ask import validated

    names = [name for name in models.split(",") if name]
    paths = dict(pair.partition("=")[::2] for pair in weights)
    unknown = set(paths) - set(names)
    if unknown or not all(paths.values()) or not names:
        raise ValueError(
            f"weights {weights} for models {names}: give MODEL=PATH for models of the study"
        )
    return [
        validated(
            {
                "model": name,
                "data": data,
                "weights": paths.get(name),
                "images": images,
                "seed": seed,
            },
            "study",
        )
        for name in names
    ]
