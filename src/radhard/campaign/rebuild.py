"""Objects made from the data that describes them."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray

from radhard.campaign.description import enumeration_of, meaning_of


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
    wanted = None if isinstance(value, Enum) else enumeration_of(kind, name)
    return value if wanted is None else wanted(value)


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
    if means is not None and means != meaning_of(found, where, {}):
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


#: ``package.module:object``, but not an array by its dataflow.
_OWN = re.compile(r"(?!(?:systolic|published|clocked):)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_own(name: str) -> bool:
    """Whether a name is that of a part of the user's own, ``package.module:object``."""
    return _OWN.fullmatch(name) is not None


def part_named(name: str, kind: type, listed: Callable[[str], Any]) -> Any:
    """What a catalogue has under ``name``, or what ``package.module:object`` stands for.

    Args:
        name: of a catalogue; or of an object of your own, or of a class of which one can be made
            without parameters.
        kind: what it has to be: a protocol.
        listed: looks a name up in the catalogue.

    Raises:
        ValueError: where there is nothing of this name, or nothing that fits.
    """
    if not is_own(name):
        return listed(name)
    found = _named(name, name, None, lambda found: True)
    if isinstance(found, type):
        try:
            found = found()
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} can't be made without parameters ({error}): name an object of it, or give "
                f"a table such as {{type = '{name}', PARAMETER = VALUE}} in a campaign file"
            ) from error
    if not isinstance(found, kind):
        lacking = [part for part in _parts(kind) if not hasattr(found, part)]
        raise ValueError(
            f"{name} is no {kind.__name__}: it lacks {', '.join(lacking)}; "
            f"help(radhard.{kind.__name__}) says what one has"
        )
    return found


def _parts(kind: type) -> list[str]:
    """What a protocol asks for."""
    return sorted(name for name in vars(kind) if not name.startswith("_"))


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
    except (Exception, SystemExit) as error:
        raise RuntimeError(
            f"{where}: module {module!r} raised {type(error).__name__}: {error}: mend it"
        ) from error
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
