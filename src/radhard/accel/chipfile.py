"""Chips as files: `chip.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radhard.accel.chip import Chip
from radhard.accel.component import Component
from radhard.accel.dataflow import Held, RowStationary


class _Component(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Literal["latch", "sram"]
    holds: Held
    rate_fit_per_mbit: Annotated[float, Field(ge=0)]
    instances: int = 0
    kib: float = 0.0


class _Chip(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    about: str = ""
    pes: Annotated[int, Field(ge=1)]
    latches_per_pe: Annotated[float, Field(gt=0)]
    resident_filters: Annotated[int, Field(ge=1)] = 16
    component: list[_Component]


def read_chip(path: Path) -> Chip:
    """The chip that a file describes; docs/chip-file.md has its keys.

    Raises:
        ValueError: when the file can't be read or says something impossible.
    """
    try:
        held = _Chip(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"chip file {path} can't be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"chip file {path}: {where}: {first['msg']} (got {first['input']!r})"
        ) from None
    components = tuple(Component(**part.model_dump()) for part in held.component)
    flow = RowStationary(held.resident_filters)
    return Chip(held.name, held.about, held.pes, held.latches_per_pe, components, flow)
