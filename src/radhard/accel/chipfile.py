"""Chips as files: `chip.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radhard.accel.buffer import Buffer, Kept
from radhard.accel.chip import Chip
from radhard.accel.component import Component
from radhard.accel.dataflow import Held, RowStationary
from radhard.accel.published import Published
from radhard.toml import read_toml

_Rate = Annotated[float, Field(ge=0, le=1e12)]
#: How many there can be of what a chip has, and how large its memories, in KiB.
_MOST, _LARGEST = 2**31, 1e12


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Component(_Table):
    name: str
    kind: Literal["latch", "sram"]
    holds: Annotated[Held, Field(strict=False)]
    rate_fit_per_mbit: _Rate
    instances: Annotated[int, Field(ge=0, le=_MOST)] = 0
    kib: Annotated[float, Field(ge=0, le=_LARGEST)] = 0.0


class _Chip(_Table):
    """A row-stationary chip: processing elements, and the parts that can be struck."""

    name: str
    about: str = ""
    pes: Annotated[int, Field(ge=1, le=_MOST)]
    latches_per_pe: Annotated[float, Field(gt=0, le=_MOST)]
    resident_filters: Annotated[int, Field(ge=1, le=_MOST)] = 16
    component: list[_Component]

    def made(self) -> Chip:
        components = tuple(Component(**part.model_dump()) for part in self.component)
        flow = RowStationary(self.resident_filters)
        return Chip(self.name, self.about, self.pes, self.latches_per_pe, components, flow)


class _Buffer(_Table):
    name: str
    holds: Annotated[Kept, Field(strict=False)]
    kib: Annotated[float, Field(gt=0, le=_LARGEST)]
    rate_fit_per_mbit: _Rate | None = None
    instances: Annotated[int, Field(ge=1, le=_MOST)] = 1


class _Array(_Table):
    """A systolic array, and the memories around it."""

    name: Annotated[str, Field(min_length=1)]
    about: str = ""
    rows: Annotated[int, Field(ge=1, le=2**20)]
    cols: Annotated[int, Field(ge=1, le=2**20)]
    dataflow: Literal["os", "ws", "is"]
    rate_fit_per_mbit: _Rate | None = None
    control_share: Annotated[float, Field(ge=0, lt=1)] = Published().control_share
    control_accuracy: Annotated[float, Field(ge=0, le=1)] = Published().control_accuracy
    buffer: list[_Buffer] = []

    def made(self) -> Published:
        return Published(
            self.rows, self.cols, self.dataflow, self.rate_fit_per_mbit,
            tuple(Buffer(**part.model_dump()) for part in self.buffer),
            self.control_share, self.control_accuracy, title=self.name, line=self.about,
        )  # fmt: skip


#: Keys that only a systolic array has.
_OF_ARRAYS = {"rows", "cols", "dataflow", "buffer"}
_TABLES: dict[str, type[_Table]] = {"component": _Component, "buffer": _Buffer}


def read_chip(path: Path) -> Chip | Published:
    """The chip that a file describes; docs/chip-file.md has its keys.

    Raises:
        ValueError: when the file can't be read or says something impossible.
    """
    data = read_toml(path, "chip file")
    kind = _Array if _OF_ARRAYS & data.keys() else _Chip
    try:
        return kind(**data).made()
    except ValidationError as error:
        raise ValueError(f"chip file {path}: {_said(kind, error)}") from None
    except ValueError as error:
        raise ValueError(f"chip file {path}: {error}") from None


def _said(kind: type[_Table], error: ValidationError) -> str:
    """The first thing that is wrong, unknown keys before others, and what could stand there."""
    unknown = "extra_forbidden"
    first: Any = min(error.errors(), key=lambda found: found["type"] != unknown)
    place = [str(part) for part in first["loc"]]
    where, table = ".".join(place), _TABLES.get(place[0], kind) if len(place) > 1 else kind
    match first["type"]:
        case "extra_forbidden":
            return f"no key {where!r}: use {', '.join(table.model_fields)}"
        case "missing":
            what = "a systolic array" if kind is _Array else "a row-stationary chip"
            return f"key {where!r} is missing: {what} has {', '.join(table.model_fields)}"
    return f"{where}: {first['msg']} (got {first['input']!r})"
