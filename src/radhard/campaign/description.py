"""Objects as plain data that TOML can hold.

A frozen dataclass is a table of its fields with its ``type``: a name of radhard, or
``module:Class``, which then comes with its ``meaning``, a hash of its code. A function is a table
of ``function`` and ``meaning``. Tensors are held by their hash and kept beside.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from types import FunctionType
from typing import Any, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.campaign.meaning import meaning, of_library, place_of

#: Arrays by their hash.
Arrays = dict[str, NDArray[Any]]


def described(value: Any, where: str, arrays: Arrays) -> Any:
    """The data of an object.

    Args:
        value: plain, a tensor, a function, or a frozen dataclass of such.
        where: it stands, for messages.
        arrays: to which tensors are added.

    Raises:
        ValueError: for anything else, whose meaning can't be told.
    """
    match value:
        case None:
            return {"type": "None"}
        case Enum():
            return {"type": _type_name(type(value), where), "value": value.value}
        case np.generic():
            return described(value.item(), where, arrays)
        case Tensor() | np.ndarray():
            return _held(value, where, arrays)
        case _ if type(value) in (bool, int, float, str):
            return value
    return _several(value, where, arrays)


def _several(value: Any, where: str, arrays: Arrays) -> Any:
    """The data of what has parts, or code."""
    if type(value) in (tuple, list):
        return [described(part, f"{where}[{k}]", arrays) for k, part in enumerate(value)]
    if isinstance(value, Mapping):
        items = [[k, described(v, f"{where}[{k!r}]", arrays)] for k, v in value.items()]
        return {"type": "dict", "items": items}
    if isinstance(value, FunctionType):
        return _function(value, where, arrays)
    if isinstance(value, partial):
        parts = {"of": value.func, "args": value.args, "keywords": value.keywords}
        found = {key: described(part, where, arrays) for key, part in parts.items()}
        return {"type": "partial", **found}
    if is_dataclass(value) and not isinstance(value, type):
        return _table(value, where, arrays)
    raise ValueError(
        f"{where}: {_shown(value)} can't be told from another one in the store: use a frozen "
        "dataclass of plain fields (numbers, texts, tuples, tensors), or a function"
    )


def _shown(value: Any) -> str:
    return f"an object of {type(value).__module__}.{type(value).__qualname__}"


def _table(value: Any, where: str, arrays: Arrays) -> dict[str, Any]:
    kind = type(value)
    if not kind.__dataclass_params__.frozen:
        raise ValueError(
            f"{where}: {_shown(value)} can change after it was asked about: make its class "
            "@dataclass(frozen=True)"
        )
    found: dict[str, Any] = {"type": _type_name(kind, where)}
    if not of_library(kind):
        found["meaning"] = meaning_of(kind, where, arrays)
    for part in fields(value):
        if part.name in ("type", "meaning"):
            raise ValueError(f"{where}: a field can't be called {part.name!r}: rename it")
        own = getattr(value, part.name)
        if isinstance(own, Enum) and enumeration_of(kind, part.name) is type(own):
            own = own.value
        if part.init and not (own is None and part.default is None):
            found[part.name] = described(own, f"{where}.{part.name}", arrays)
    return found


def _function(value: FunctionType, where: str, arrays: Arrays) -> dict[str, Any]:
    found = {"function": place_of(value, where)}
    return found if of_library(value) else {**found, "meaning": meaning_of(value, where, arrays)}


def meaning_of(thing: FunctionType | type, where: str, arrays: Arrays) -> str:
    """A hash of code of the user's own, 16 hexadecimal digits."""
    return meaning(thing, where, lambda value, place: described(value, place, arrays))


def _held(value: Tensor | NDArray[Any], where: str, arrays: Arrays) -> dict[str, Any]:
    kind = "Tensor" if isinstance(value, Tensor) else "ndarray"
    if isinstance(value, Tensor):
        if value.dtype == torch.bfloat16:
            raise ValueError(f"{where}: a bfloat16 tensor can't be kept: use float32")
        value = value.detach().cpu().numpy()
    array = np.ascontiguousarray(value).reshape(value.shape)
    if array.dtype.hasobject:
        raise ValueError(f"{where}: an array of objects can't be kept: use numbers")
    name = array_name(array)
    arrays[name] = array
    return {"type": kind, "sha256": name}


def enumeration_of(kind: type, name: str) -> type[Enum] | None:
    """The enumeration whose members a field of a class takes, as it is declared."""
    try:
        hint = get_type_hints(kind).get(name)
    except NameError:  # a name for type checkers alone
        return None
    return hint if isinstance(hint, type) and issubclass(hint, Enum) else None


def array_name(array: NDArray[Any]) -> str:
    """The hash under which an array is kept."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _type_name(kind: type, where: str) -> str:
    """The short name of what `radhard` or `radhard.chips` shows, else the whole one."""
    places = (sys.modules.get("radhard"), sys.modules.get("radhard.accel.chips"))
    shown = any(getattr(place, kind.__name__, None) is kind for place in places)
    return kind.__name__ if shown else place_of(kind, where)


def in_words(data: Any) -> str:
    """A line on described data: its name and what was chosen.

    >>> in_words({"type": "GradientImportance", "candidates": 5, "least": 1e-05})
    'GradientImportance(candidates=5, least=1e-05)'
    """
    if isinstance(data, list | tuple):
        return f"({', '.join(map(in_words, data))})"
    if not isinstance(data, Mapping):
        return str(data)
    if "function" in data:
        return str(data["function"]).rpartition(":")[2]
    if set(data) == {"type", "value"}:
        return str(data["value"])
    name = str(data["type"]).rpartition(":")[2]
    given = {k: v for k, v in data.items() if k not in ("type", "meaning") and v != []}
    parts = [f"{k}={in_words(v)}" for k, v in given.items() if not _learned(v)]
    parts += [f"{k} learned" for k, v in given.items() if _learned(v) and _arrays(v)]
    return f"{name}({', '.join(parts)})" if parts else name


def _learned(data: Any) -> bool:
    """Whether a field holds tensors, or a place for them."""
    if not isinstance(data, Mapping) or "type" not in data:
        return False
    fields_of_it = [v for k, v in data.items() if k not in ("type", "meaning")]
    return data["type"] in ("dict", "Tensor", "ndarray") or (
        bool(fields_of_it) and all(map(_learned, fields_of_it))
    )


def _arrays(data: Any) -> bool:
    """Whether data refers to an array."""
    if isinstance(data, Mapping):
        return "sha256" in data or any(map(_arrays, data.values()))
    return isinstance(data, list | tuple) and any(map(_arrays, data))
