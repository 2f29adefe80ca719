"""`radhard report`: make the page of a store anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radhard.cli.app import app


@app.command()
def report(
    store: Annotated[Path, typer.Argument(help="Folder given to --out, or to collect(store=...).")],
) -> None:
    """Write one self-contained page about all campaigns of a folder, and print its path."""
    from radhard.view.page import report as write

    print(f"page: {write(store)}")
