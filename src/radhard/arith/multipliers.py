"""The catalogue of multipliers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from radhard.arith.broken import BrokenArray, Exact
from radhard.arith.multiplier import Multiplier, full_name
from radhard.arith.netlist import read_netlist
from radhard.arith.published import EVOAPPROX
from radhard.arith.tabulated import read_table
from radhard.arith.textbook import (
    Drum,
    ErrorTolerant,
    Kulkarni,
    Mitchell,
    Roba,
    SignMagnitude,
    StaticSegment,
)

#: Unsigned ones, which magnitudes and a sign make signed.
_UNSIGNED: Mapping[str, type[Any]] = {
    "drum": Drum,
    "ssm": StaticSegment,
    "roba": Roba,
    "kulkarni": Kulkarni,
    "mitchell": Mitchell,
    "etm": ErrorTolerant,
}
#: Those that know how to treat a sign bit.
_EITHER: Mapping[str, type[Any]] = {"exact": Exact, "array": BrokenArray}
_HOW = "as in mul8u_drum:bits=4 or mul8u_array:b=2,columns=4"
_PAIR = re.compile(r"(\w+)=(\d+)")
_FORMULA = re.compile(r"mul(\d+)([us])_([a-z]+)(?::(.+))?")
_FILE = re.compile(r"(.+\.(?:bin|npy|v))(?:@(.*))?")

_LISTED: tuple[Multiplier, ...] = (
    Exact(),
    Exact(signed=True),
    *EVOAPPROX,
    *(BrokenArray(a=cut, b=cut) for cut in (1, 2, 3)),
    *(BrokenArray(columns=columns) for columns in (2, 4, 6, 8)),
    *(BrokenArray(b=b, columns=v) for b, v in ((2, 4), (4, 4), (2, 6))),
    *(Drum(bits=bits) for bits in (3, 4, 5, 6)),
    *(StaticSegment(bits=bits) for bits in (4, 5, 6)),
    Roba(),
    Kulkarni(),
    Mitchell(),
    ErrorTolerant(),
)


def multipliers() -> tuple[Multiplier, ...]:
    """All multipliers that have names of their own; `multiplier_named` makes others."""
    return _LISTED


def multiplier_named(name: str) -> Multiplier:
    """The multiplier of this name.

    It is listed, such as ``mul8s_1L2H@v1``, its release behind an @; or a formula with width and
    sign, such as ``mul16s_drum:bits=6`` or ``mul8u_array:b=2,columns=4``; or a file of products,
    ``mine.npy@signed``, ``mine.bin@unsigned,transposed``: see `read_table`; or of
    gates, ``mine.v@signed``: see `read_netlist`.

    Raises:
        ValueError: for an unknown name, with the nearest ones; for one whose release is not said.
        FileNotFoundError: for a file that is not there.

    >>> multiplier_named("mul8s_1KV8@v2022").errors().mae
    1.25
    """
    known = {full_name(one): one for one in _LISTED}
    if name in known:
        return known[name]
    if file := _FILE.fullmatch(name):
        return _from_file(name, *file.groups())
    if form := _FORMULA.fullmatch(name):
        return _from_formula(name, *form.groups())
    released = [full_name(one) for one in EVOAPPROX if one.name == name.partition("@")[0]]
    if released:
        raise ValueError(
            f"multiplier {name!r}: names were given anew between releases of EvoApproxLib: say "
            f"{' or '.join(released)}"
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise ValueError(
        f"no multiplier {name!r}: {hint}`radhard list multipliers` shows all; formulas are named "
        "like mul16s_drum:bits=6; one of your own is a file, mine.npy@signed, or module:object"
    )


def _from_formula(name: str, width: str, sign: str, family: str, given: str | None) -> Multiplier:
    made = {**_UNSIGNED, **_EITHER}.get(family)
    if made is None:
        every = ", ".join([*_EITHER, *_UNSIGNED])
        raise ValueError(f"no multiplier {name!r}: there is no {family!r}, but {every}")
    known = {part.name for part in fields(made)} - {"width", "signed"}
    values = {key: int(value) for key, value in _PAIR.findall(given or "")}
    if values.keys() - known or given not in (None, _joined(values)):
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise ValueError(f"multiplier {name!r}: parameters {given!r}: {has}, whole numbers: {_HOW}")
    values["width"] = int(width)
    if made in _EITHER.values():
        values["signed"] = sign == "s"
    found: Multiplier = made(**values)
    return SignMagnitude(found) if sign == "s" and not found.signed else found


def _joined(values: Mapping[str, int]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())


def _from_file(name: str, path: str, given: str | None) -> Multiplier:
    words = set((given or "").split(","))
    gates = path.endswith(".v")
    if words - (set() if gates else {"transposed"}) not in ({"signed"}, {"unsigned"}):
        more = ", with ,transposed behind it where the first index is that of the weight"
        raise ValueError(
            f"multiplier {name!r}: say how the file is read: {path}@signed or {path}@unsigned"
            f"{'' if gates else more}"
        )
    if gates:
        return read_netlist(Path(path), "signed" in words)
    return read_table(Path(path), "signed" in words, "transposed" in words)
