"""What Python code does, as data: an edited function is another one, whatever its name.

Code of libraries, radhard included, is known by its name. Of a function of the user's own the
bytecode counts, with its constants, its defaults, its attributes, the values that it closes over
and the globals that it reads; of a class all its methods. So comments and blank lines make no
difference, and another minor version of Python does. Code that looks names up while it runs reads
what can't be told, and is refused.
"""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import inspect
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch

#: Data of a value that code refers to, given where it stands.
Describe = Callable[[Any, str], Any]

_LIBRARIES = tuple(
    f"{Path(place).resolve()}{os.sep}"
    for place in {
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(__file__).parents[1]),
    }
)
#: Methods that `dataclasses` writes itself.
_WRITTEN = {"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"}


#: What looks names up while it runs.
_LOOKING_UP = (globals, vars, eval, exec, compile, __import__, getattr, builtins)
#: Attributes through which code reaches all globals.
_REACHING = {"__globals__", "__builtins__", "f_globals", "f_builtins"}
#: Attributes of functions that say how they are shown.
_SHOWN = {"__signature__", "__annotations__"}


def name_of(thing: Any) -> str:
    """``module:qualname`` of a function or class."""
    return f"{thing.__module__}:{thing.__qualname__}"


def place_of(thing: FunctionType | type, where: str) -> str:
    """``module:name`` that leads to a function or class, whatever it is called.

    A wrapper is called what it wraps. What was made inside a function, or in a script, is named
    though nothing leads to it.

    Raises:
        ValueError: when its name leads to something else.
    """
    names, module = [name_of(thing)], thing.__module__
    if isinstance(thing, FunctionType):
        module = thing.__globals__.get("__name__", module)
        names.append(f"{module}:{thing.__code__.co_qualname}")
    for place in dict.fromkeys((thing.__module__, module)):
        held = vars(sys.modules[place]) if place in sys.modules else {}
        names[1:1] = [f"{place}:{name}" for name, value in held.items() if value is thing]
    for name in names:
        if _led_to(name) is thing:
            return name
    if module == "__main__" or "<" in names[-1]:
        return names[-1]
    raise ValueError(
        f"{where}: {names[-1]} leads to another object than the one asked about, so that it could "
        "not be found again: give it a name of its own at the top of its module"
    )


def _led_to(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def of_library(thing: Any) -> bool:
    """Whether a function, class or module is not the user's own."""
    if isinstance(thing, FunctionType):  # a wrapper around the user's function is the user's
        inner = inspect.unwrap(thing, stop=_is_own)
        return not _is_own(inner)
    name = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    if name == "__main__" or name not in sys.modules:
        return False
    file = getattr(sys.modules[name], "__file__", None)
    return file is None or _in_library(file)


def _is_own(thing: Any) -> bool:
    return isinstance(thing, FunctionType) and not _in_library(thing.__code__.co_filename)


@functools.cache
def _in_library(file: str) -> bool:
    return file.startswith("<frozen") or str(Path(file).resolve()).startswith(_LIBRARIES)


def meaning(thing: FunctionType | type, where: str, describe: Describe) -> str:
    """A hash of what a function or class does, 16 hexadecimal digits.

    Args:
        thing: of the user's own.
        where: it stands, for messages.
        describe: gives the data of values that it refers to, or raises ValueError.
    """
    parts = _Reader(describe).of(thing, where)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class _Reader:
    """One reading of some code; what is met again is not read again."""

    def __init__(self, describe: Describe) -> None:
        self.describe, self.met = describe, set[int]()

    def of(self, thing: Any, where: str) -> Any:
        """Data of anything that code can refer to."""
        match thing:
            case ModuleType() | BuiltinFunctionType():
                of_it = getattr(thing, "__self__", None)  # as in {...}.get
                plain = of_it is None or isinstance(of_it, ModuleType | type)
                held = [] if plain else [self.of(of_it, f"{where}, whose it is")]
                return [type(thing).__name__, thing.__name__, *held]
            case FunctionType() | type():
                return self._code(thing, where)
            case functools.partial():
                given = [self.of(part, where) for part in (thing.func, *thing.args)]
                named = {key: self.of(part, where) for key, part in thing.keywords.items()}
                return [given, named]
            case _ if hasattr(thing, "__wrapped__"):
                return [type(thing).__qualname__, self._held(thing, where)]
            case torch.dtype() | torch.device() | np.ufunc() | MethodDescriptorType():
                return repr(thing)
        return self.describe(thing, where)

    def _code(self, thing: FunctionType | type, where: str) -> Any:
        """A function or class: its name where it is a library's, or was met before."""
        if of_library(thing) or id(thing) in self.met:
            return name_of(thing)
        self.met.add(id(thing))
        place = f"{where}, {thing.__qualname__}"
        if isinstance(thing, type):
            return [name_of(thing), self._class(thing, place)]
        return [name_of(thing), self._function(thing, place)]

    def _function(self, function: FunctionType, where: str) -> list[Any]:
        if _in_library(function.__code__.co_filename):
            return [function.__code__.co_qualname, self._held(function, where)]
        _refuse_looking_up(function, where)
        held = self._held(function, where)
        closed = zip(
            function.__code__.co_freevars,
            (cell.cell_contents for cell in function.__closure__ or ()),
            strict=True,
        )
        return [
            _code(function.__code__),
            [self.of(value, f"{where}, a default") for value in function.__defaults__ or ()],
            [
                [name, self.of(value, f"{where}, default of {name!r}")]
                for name, value in sorted((function.__kwdefaults__ or {}).items())
            ],
            [[name, self.of(value, f"{where}, {name!r} around it")] for name, value in closed],
            [
                [name, self._global(name, function, where)]
                for name in sorted(set(_globals(function.__code__)))
                if name in function.__globals__
            ],
            *([held] if held else []),
        ]

    def _held(self, function: Any, where: str) -> list[Any]:
        """The attributes of a function, among them what it wraps."""
        held = {key: value for key, value in vars(function).items() if key not in _SHOWN}
        return [
            [key, self.of(value, f"{where}, attribute {key!r}")]
            for key, value in sorted(held.items())
        ]

    def _global(self, name: str, function: FunctionType, where: str) -> Any:
        value, place = function.__globals__[name], f"{where}, global {name!r}"
        if not isinstance(value, ModuleType) or of_library(value):
            return self.of(value, place)
        read = sorted(set(_attributes(function.__code__)) & vars(value).keys())
        return [value.__name__, [[key, self.of(vars(value)[key], place)] for key in read]]

    def _class(self, kind: type, where: str) -> list[Any]:
        found: list[Any] = []
        for base in kind.__mro__:
            if of_library(base):
                found.append([name_of(base)])
                continue
            found.append([[n, self._member(v, where)] for n, v in sorted(_members(base))])
        return found

    def _member(self, member: Any, where: str) -> Any:
        if isinstance(member, staticmethod | classmethod):
            return [type(member).__name__, self.of(member.__func__, where)]
        if isinstance(member, property):
            return [self.of(part, where) for part in (member.fget, member.fset)]
        return self.of(member, where)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class of the user's own defines, but for what Python and `dataclasses` add."""
    for name, member in vars(kind).items():
        if isinstance(member, FunctionType):
            written = name in _WRITTEN and member.__code__.co_filename == "<string>"
            added = written or of_library(member)
        else:
            special = name.startswith("__") and name.endswith("__")
            added = special or name.startswith(("_abc_", "_is_"))
        if not (added or isinstance(member, MemberDescriptorType)):
            yield name, member


def _code(code: CodeType) -> list[Any]:
    return [
        code.co_code.hex(),
        code.co_exceptiontable.hex(),
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
        [*code.co_names],
        [*code.co_varnames],
        [*code.co_freevars],
        [_constant(value) for value in code.co_consts],
    ]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, tuple):
        return [_constant(part) for part in value]
    if isinstance(value, frozenset):  # whose order differs from process to process
        return ["frozenset", sorted(repr(part) for part in value)]
    return repr(value)


def _inner(code: CodeType) -> Iterator[CodeType]:
    """The code of functions and classes inside."""
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield value
            yield from _inner(value)


def _instructions(code: CodeType) -> Iterator[dis.Instruction]:
    for part in (code, *_inner(code)):
        yield from dis.get_instructions(part)


def _globals(code: CodeType) -> Iterator[str]:
    return (i.argval for i in _instructions(code) if i.opname in {"LOAD_GLOBAL", "LOAD_NAME"})


def _attributes(code: CodeType) -> Iterator[str]:
    yield from (i.argval for i in _instructions(code) if i.opname in {"LOAD_ATTR", "LOAD_METHOD"})
    yield from (name for name in _asked_for(code) if name is not None)


def _refuse_looking_up(function: FunctionType, where: str) -> None:
    """Raise ValueError for code that reads what only shows while it runs."""
    code, known = function.__code__, {**vars(builtins), **function.__globals__}
    read = {name: known.get(name) for name in _globals(code)}
    found = [name for name, value in read.items() if any(value is one for one in _LOOKING_UP)]
    if None not in _asked_for(code):
        found = [name for name in found if read[name] is not getattr]
    found += _REACHING.intersection(_attributes(code))
    if sys in read.values() and "modules" in _attributes(code):
        found.append("sys.modules")
    own = [v for v in read.values() if isinstance(v, ModuleType) and not of_library(v)]
    if own and "__dict__" in _attributes(code):
        found.append("__dict__")
    if found:
        raise ValueError(
            f"{where}: it looks names up by {', '.join(sorted(found))}, so what it reads can't be "
            "told: name it in the code, as in LIMIT, function.limit or getattr(part, 'limit')"
        )


def _asked_for(code: CodeType) -> Iterator[str | None]:
    """The names that code gives to ``getattr``; ``None`` for one that is no text in it."""
    for inner in (code, *_inner(code)):
        steps = list(dis.get_instructions(inner))
        for k, step in enumerate(steps):
            if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"} and step.argval == "getattr":
                yield _second_argument(steps[k + 1 :])


def _second_argument(steps: list[dis.Instruction]) -> str | None:
    """The text that is the second argument of a call, from the steps that follow its function."""
    depth, second = 0, None
    for step in steps:
        if step.opname == "PRECALL":  # of Python 3.11, part of the call
            continue
        effect, given = dis.stack_effect(step.opcode, step.arg, jump=False), step.arg or 0
        if step.opname == "CALL":
            if depth == given:
                return second
            effect = -1 - given
        after = depth + effect
        if depth <= 1 < after:
            text = step.opname.startswith("LOAD_CONST") and isinstance(step.argval, str)
            second = step.argval if text else None
        depth = after
    return None
