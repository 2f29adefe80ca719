"""A question as plain data: what identifies a campaign, and from which it can be asked again.

Data is what TOML can hold. A frozen dataclass is a table of its fields with its ``type``: a name of
radhard, or ``module:Class``, which then comes with its ``meaning``, a hash of its code. A function
is a table of ``function`` and ``meaning``. Tensors are held by their hash and kept beside.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.campaign.meaning import meaning, name_of, of_library
from radhard.network.arithmetic import Formats

if TYPE_CHECKING:
    from radhard.campaign.campaign import Campaign

#: Counted up when the same question would get other faults or outcomes than before.
SEMANTICS = 6
#: What the fields of a `Campaign` are called in a campaign file, where it is something else.
_KEYS = {"model": "fault_model"}
#: Those that do not decide the answer, or stand under names of their own.
_APART = {"workload", "name"}

#: Arrays by their hash.
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """All that decides the answer of a campaign.

    Attributes:
        keys: the data, under the keys of a campaign file.
        arrays: what `keys` refers to by hash.
    """

    keys: dict[str, Any]
    arrays: Arrays = field(default_factory=dict)

    @classmethod
    def of(cls, campaign: Campaign) -> Question:
        """What ``campaign`` asks.

        Raises:
            ValueError: naming the first object in it that is no data, and the remedy.
        """
        arrays: Arrays = {}
        work = campaign.workload
        weight = work.formats.weight
        alike = Formats.of(weight) == work.formats
        keys = {
            "fingerprint": work.fingerprint(),
            "format": described(weight if alike else work.formats, "format", arrays),
        }
        for part in fields(campaign):
            if part.init and part.name not in _APART:
                value, name = getattr(campaign, part.name), _KEYS.get(part.name, part.name)
                keys[name] = _top(value, name, arrays)
        return cls(keys, arrays)

    @property
    def id(self) -> str:
        """A hash of the data, 32 hexadecimal digits."""
        return id_of(self.keys)


def id_of(keys: Mapping[str, Any]) -> str:
    """The identity of a question, from its data."""
    return digest({"semantics": SEMANTICS, **keys})[:32]


def digest(data: Any) -> str:
    """A hash of plain data: the same in every process, and after a turn through TOML."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _top(value: Any, where: str, arrays: Arrays) -> Any:
    """A part of a campaign; a mapping with names, such as criteria, is a plain table."""
    if isinstance(value, Mapping):
        return {str(k): described(v, f"{where}.{k}", arrays) for k, v in sorted(value.items())}
    return described(value, where, arrays)


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
            return {"type": _type_name(type(value)), "value": value.value}
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
    found: dict[str, Any] = {"type": _type_name(kind)}
    if not of_library(kind):
        found["meaning"] = _meaning(kind, where, arrays)
    for part in fields(value):
        if part.name in ("type", "meaning"):
            raise ValueError(f"{where}: a field can't be called {part.name!r}: rename it")
        own = getattr(value, part.name)
        if isinstance(own, Enum) and _enumeration(kind, part.name) is type(own):
            own = own.value
        if part.init and not (own is None and part.default is None):
            found[part.name] = described(own, f"{where}.{part.name}", arrays)
    return found


def _function(value: FunctionType, where: str, arrays: Arrays) -> dict[str, Any]:
    found = {"function": name_of(value)}
    return found if of_library(value) else {**found, "meaning": _meaning(value, where, arrays)}


def _meaning(thing: FunctionType | type, where: str, arrays: Arrays) -> str:
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


def array_name(array: NDArray[Any]) -> str:
    """The hash under which an array is kept."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _type_name(kind: type) -> str:
    """The short name of what `radhard` or `radhard.chips` shows, else the whole one."""
    places = (sys.modules.get("radhard"), sys.modules.get("radhard.accel.chips"))
    shown = any(getattr(place, kind.__name__, None) is kind for place in places)
    return kind.__name__ if shown else name_of(kind)


def rebuilt(data: Any, where: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The object that `described` gave the data of; people may leave fields with defaults out.

    Args:
        data: plain.
        where: it stands, for messages.
        arrays: what it refers to by hash.

    Raises:
        ValueError: where a class, a function or an array is missing, or is another one by now.
    """
    if isinstance(data, list | tuple):
        return tuple(rebuilt(part, f"{where}[{k}]", arrays) for k, part in enumerate(data))
    if not isinstance(data, Mapping):
        return data
    if "function" in data:
        return _named(str(data["function"]), where, data.get("meaning"), callable)
    if "type" not in data:
        raise ValueError(f"{where}: {dict(data)} lacks a type: use {{type = 'NAME', ...}}")
    kind, given = data["type"], {k: v for k, v in data.items() if k not in ("type", "meaning")}
    found: Any = None
    match kind:
        case "None":
            pass
        case "dict":
            items = given["items"]
            found = {_key(k): rebuilt(v, f"{where}[{k!r}]", arrays) for k, v in items}
        case "Tensor" | "ndarray":
            array = _learned_array(given["sha256"], where, arrays)
            found = torch.from_numpy(array.copy()) if kind == "Tensor" else array
        case "partial":
            parts = {key: rebuilt(given[key], where, arrays) for key in given}
            found = partial(parts["of"], *parts["args"], **parts["keywords"])
        case _:
            made = _named(str(kind), where, data.get("meaning"), _can_be_made)
            enum = issubclass(made, Enum)
            found = made(given["value"]) if enum else _made(made, given, where, arrays)
    return found


def _learned_array(name: str, where: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if name not in arrays:
        raise ValueError(
            f"{where}: learned numbers are missing: copy tensors.npz to where campaign.toml lies"
        )
    return arrays[name]


def _key(key: Any) -> Any:
    return tuple(_key(part) for part in key) if isinstance(key, list) else key


def _made(kind: Any, given: Mapping[str, Any], where: str, arrays: Mapping[str, Any]) -> Any:
    known: dict[str, Field[Any]] = {part.name: part for part in fields(kind) if part.init}
    name = kind.__name__
    unknown = given.keys() - known.keys()
    if unknown:
        raise ValueError(f"{where}: {name} has no {sorted(unknown)}: it has {', '.join(known)}")
    lacking = [
        n for n, part in known.items()
        if n not in given and part.default is part.default_factory is MISSING
    ]  # fmt: skip
    if lacking:
        raise ValueError(f"{where}: {name} needs {', '.join(lacking)}")
    values = {n: rebuilt(v, f"{where}.{n}", arrays) for n, v in given.items()}
    try:
        return kind(**{n: _as_hinted(kind, n, value) for n, value in values.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _as_hinted(kind: type, name: str, value: Any) -> Any:
    """The member of an enumeration where a field wants one and its value is given."""
    wanted = None if isinstance(value, Enum) else _enumeration(kind, name)
    return value if wanted is None else wanted(value)


def _enumeration(kind: type, name: str) -> type[Enum] | None:
    """The enumeration whose members a field of a class takes, as it is declared."""
    try:
        hint = get_type_hints(kind).get(name)
    except NameError:  # a name for type checkers alone
        return None
    return hint if isinstance(hint, type) and issubclass(hint, Enum) else None


def _can_be_made(found: Any) -> bool:
    """Whether a table may name it: importing is all that a name alone may cause."""
    if not isinstance(found, type):
        return False
    return issubclass(found, Enum) or (
        is_dataclass(found) and found.__dataclass_params__.frozen  # type: ignore[attr-defined]
    )


def _named(name: str, where: str, means: str | None, fits: Callable[[Any], bool]) -> Any:
    """What a name stands for.

    Raises:
        ValueError: where there is no such thing, or it is not what it was when it was stored.
    """
    module, _, path = name.partition(":")
    if not path:
        places = (importlib.import_module(p) for p in ("radhard", "radhard.accel.chips"))
        found = next((getattr(p, name) for p in places if hasattr(p, name)), None)
    elif module == "__main__" or "<" in path:
        raise ValueError(
            f"{where}: {path} was made in a script, a notebook or another function: put it into a "
            "module of its own, where it can be imported from, and ask anew"
        )
    else:
        found = _imported(module, path, where)
    if found is None or not fits(found):
        raise ValueError(
            f"{where}: {name!r} names nothing that can stand here: use a name of radhard, or "
            "module:name of a function or frozen dataclass of your own"
        )
    if means is not None and means != _meaning(found, where, {}):
        raise ValueError(
            f"{where}: {name} is not what it was when this was asked: its code, or Python's "
            "version, has changed; bring the old one back, or leave its `meaning` out to ask about "
            "the new one"
        )
    return found


def function_named(name: str) -> Any:
    """The function that ``module:function`` names.

    Raises:
        ValueError: where there is none.
    """
    return _named(name, name, None, callable)


def _imported(module: str, path: str, where: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{where}: no module {module!r} ({error}): run from the folder that holds it, or "
            "install it"
        ) from error
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


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
