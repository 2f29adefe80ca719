"""`radhard list`: what there is by name."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app

if TYPE_CHECKING:
    from rich.table import Table


class Catalogue(StrEnum):
    """What can be listed."""

    models = "models"
    data = "data"
    formats = "formats"
    chips = "chips"
    samplers = "samplers"
    protections = "protections"


@app.command(name="list")
def listing(
    what: Annotated[Catalogue, typer.Argument(help="Which catalogue.")],
) -> None:
    """Print a catalogue."""
    from radhard.view.terminal import print_tables

    makers: dict[Catalogue, Callable[[], Table]] = {
        Catalogue.models: _models,
        Catalogue.data: _data,
        Catalogue.formats: _formats,
        Catalogue.chips: _chips,
        Catalogue.samplers: _samplers,
        Catalogue.protections: _protections,
    }
    print_tables(makers[what]())


#: Columns of names and commands, which no narrow terminal may break.
_WHOLE = ("model", "weights", "data", "format", "chip", "sampler", "protection")


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column in _WHOLE)
    return table


def _models() -> Table:
    from radhard.network.cache import weights_path
    from radhard.network.zoo import parameter_count, zoo

    table = _table("model", "data", "classes", "parameters", "weights", "source")
    for model in zoo():
        if model.name == "digits-cnn":
            weights = "in the package"
        elif weights_path(model.name, model.data).exists():
            weights = "trained"
        else:
            weights = "radhard train" if model.recipe else "--weights"
        count = f"{parameter_count(model):,}"
        table.add_row(model.name, model.data, str(model.classes), count, weights, model.source)
    return table


def _data() -> Table:
    from radhard.network.data import data_sources

    table = _table("data", "image", "classes", "what")
    for source in data_sources():
        image = " x ".join(map(str, source.shape))
        table.add_row(source.name, image, str(source.classes), source.note)
    table.add_row("FOLDER", "any", "any", "your own: one folder of images per class")
    return table


def _formats() -> Table:
    from radhard.formats.catalogue import aliases, formats
    from radhard.formats.number import describe

    table = _table("format", "also called", "bits", "layout, high bits first")
    for fmt in formats():
        table.add_row(fmt.name, ", ".join(aliases(fmt)), str(fmt.width), describe(fmt))
    return table


def _samplers() -> Table:
    from radhard.sampling.catalogue import SAMPLERS

    table = _table("sampler", "what")
    for sampler in SAMPLERS:
        table.add_row(sampler.name, (type(sampler).__doc__ or "").partition("\n")[0])
    return table


def _protections() -> Table:
    from radhard.protect.catalogue import PROTECTIONS

    table = _table("protection", "changes", "needs", "what")
    for entry in PROTECTIONS:
        table.add_row(entry.name, entry.changes, entry.needs, entry.about.replace("`", ""))
    return table


def _chips() -> Table:
    from radhard.accel.chips import chips

    table = _table("chip", "what")
    for chip in chips():
        table.add_row(chip.name, chip.about)
    return table
