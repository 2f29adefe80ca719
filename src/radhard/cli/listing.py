"""`radhard list`: what there is by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app
from radhard.cli.assess import Json

if TYPE_CHECKING:
    from rich.table import Table

#: What is in a cell: several words are listed, ``None`` is not known.
Cell = str | int | float | tuple[str, ...] | None
Row = Mapping[str, Cell]


class Catalogue(StrEnum):
    """What can be listed."""

    models = "models"
    data = "data"
    formats = "formats"
    chips = "chips"
    samplers = "samplers"
    protections = "protections"
    multipliers = "multipliers"


@app.command(name="list")
def listing(
    what: Annotated[Catalogue, typer.Argument(help="Which catalogue.")],
    json: Json = False,
) -> None:
    """Print a catalogue."""
    from radhard.view.terminal import print_tables

    makers: dict[Catalogue, Callable[[], list[Row]]] = {
        Catalogue.models: _models,
        Catalogue.data: _data,
        Catalogue.formats: _formats,
        Catalogue.chips: _chips,
        Catalogue.samplers: _samplers,
        Catalogue.protections: _protections,
        Catalogue.multipliers: _multipliers,
    }
    rows = makers[what]()
    if json:
        _print_json(what, rows)
    else:
        print_tables(_table(rows))


#: Columns of names and commands, which no narrow terminal may break.
_WHOLE = ("model", "weights", "data", "format", "chip", "sampler", "protection", "multiplier")
#: What stands above a column, where it is not its key.
_HEADS = {
    "aliases": "also called",
    "layout": "layout, high bits first",
    "mae": "MAE",
    "wce": "WCE",
    "ep": "EP",
    "power_mw": "mW",
    "terms": "exact products",
}


def _print_json(what: Catalogue, rows: list[Row]) -> None:
    import json

    print(json.dumps({what.value: rows}, allow_nan=False))


def _table(rows: list[Row]) -> Table:
    from rich.table import Table

    table = Table()
    for key in rows[0]:
        table.add_column(_HEADS.get(key, key), no_wrap=key in _WHOLE)
    for row in rows:
        table.add_row(*(_shown(key, cell) for key, cell in row.items()))
    return table


def _shown(key: str, cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case tuple():
            return ", ".join(cell)
        case float():
            return f"{100 * cell:.2f} %" if key == "ep" else f"{cell:.7g}"
        case int():
            return f"{cell:,}"
    return cell


def _models() -> list[Row]:
    from radhard.network.zoo import zoo

    return [
        {
            "model": model.name,
            "data": model.data,
            "classes": model.classes,
            "parameters": model.parameters,
            "weights": _weights(model.name, model.data, model.recipe is not None),
            "source": model.source,
        }
        for model in zoo()
    ]


def _weights(name: str, data: str, trainable: bool) -> str:
    """Where the weights of a model come from."""
    from radhard.network.cache import weights_path

    if name == "digits-cnn":
        return "in the package"
    if weights_path(name, data).exists():
        return "trained"
    return "radhard train" if trainable else "--weights"


def _data() -> list[Row]:
    from radhard.network.data import data_sources

    rows: list[Row] = [
        {
            "data": source.name,
            "image": " x ".join(map(str, source.shape)),
            "classes": source.classes,
            "what": source.note,
        }
        for source in data_sources()
    ]
    own = "your own: one folder of images per class"
    return [*rows, {"data": "FOLDER", "image": "any", "classes": "any", "what": own}]


def _formats() -> list[Row]:
    from radhard.formats.catalogue import aliases, formats
    from radhard.formats.number import describe

    return [
        {"format": fmt.name, "aliases": aliases(fmt), "bits": fmt.width, "layout": describe(fmt)}
        for fmt in formats()
    ]


def _samplers() -> list[Row]:
    from radhard.sampling.catalogue import SAMPLERS

    return [
        {"sampler": sampler.name, "what": (type(sampler).__doc__ or "").partition("\n")[0]}
        for sampler in SAMPLERS
    ]


def _protections() -> list[Row]:
    from radhard.protect.catalogue import PROTECTIONS

    return [
        {
            "protection": entry.name,
            "changes": entry.changes,
            "needs": entry.needs,
            "what": entry.about.replace("`", ""),
        }
        for entry in PROTECTIONS
    ]


def _multipliers() -> list[Row]:
    from radhard.arith.multiplier import full_name
    from radhard.arith.multipliers import multipliers

    rows: list[Row] = []
    for one in multipliers():
        errors = one.errors()
        rows.append(
            {
                "multiplier": full_name(one),
                "release": one.release or None,
                "mae": errors.mae,
                "wce": errors.wce,
                "ep": errors.ep,
                "power_mw": one.power_mw,
                "terms": one.terms,
            }
        )
    return rows


def _chips() -> list[Row]:
    from radhard.accel.chips import chips

    return [{"chip": chip.name, "what": chip.about} for chip in chips()]
