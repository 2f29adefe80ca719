"""`radhard run`: ask what a campaign file asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radhard.cli.app import Way, app
from radhard.cli.assess import (
    Cluster,
    Device,
    Json,
    Log,
    Memory,
    Out,
    Shards,
    Trust,
    Workers,
    answer,
)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A campaign file, docs/campaign-file.md.")],
    model: Annotated[
        str | None,
        typer.Option(help="The network, as for assess, where the file names none."),
    ] = None,
    out: Out = None,
    memory: Memory = None,
    device: Device = "auto",
    trust: Trust = False,
    workers: Workers = "1",
    shards: Shards = None,
    cluster: Cluster = None,
    log: Log = None,
    json: Json = False,
) -> None:
    """Ask what a campaign file asks; its keys are the options of assess."""
    from radhard.campaign.ask import asked

    answer(asked(file, model), Way(out, memory, device, json, trust, workers, shards, log, cluster))
