"""Systolic arrays of others: their text, and a file that says what is what in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radhard.rtl.design import ArrayDesign, Register, Value
from radhard.toml import read_toml

#: What a mapping file can say: keys of its top level, and of its tables.
_KEYS = (
    "module", "sources", "rows", "cols", "bits", "weight_bits", "psum_bits", "dataflow", "own",
    "pipelined", "latency", "unpacked", "signed", "ports", "constants", "registers", "others",
)  # fmt: skip
_PORTS = ("clk", "en", "load", "left", "top", "y")
_NEEDED = ("clk", "load", "left", "top", "y")
_REGISTERS = ("a", "w", "p", "product")
_OTHER = ("path", "width", "rows", "cols")
#: Edges by which results may leave later.
_LATEST = 64
#: What registers hold whose flips have no closed form.
OTHER = "other"

#: Kinds of values, and what they are called.
_KINDS: Mapping[str, type] = {
    "module": str, "rows": int, "cols": int, "bits": int, "weight_bits": int, "psum_bits": int,
    "dataflow": str, "own": bool, "pipelined": bool, "latency": int, "signed": bool,
    "unpacked": list,
}  # fmt: skip
_CALLED: Mapping[type, str] = {
    str: "a text", int: "an integer", bool: "true or false", list: "a list of ports",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
#: Names with dots between them, each with places behind it.
_PLACE = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]*(\[(\{row\}|\{col\}|[0-9]+)\])*"
    r"(\.[A-Za-z_][A-Za-z0-9_]*(\[(\{row\}|\{col\}|[0-9]+)\])*)*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ForeignArray(ArrayDesign):
    """An array whose text is somebody else's, where weights (``ws``) or inputs (``is``) stay.

    It computes what `ArrayDesign` does, edge by edge, but that its ports and registers have names
    of their own, and that it may keep other conventions, each of which makes sums an edge later.
    `read_foreign` reads one from its mapping file.

    Attributes:
        module: the top module.
        text: of all sources, one after the other.
        ports: what ``clk``, ``load``, ``left``, ``top``, ``y`` and, where there is one, ``en``
            are called, as pairs.
        unpacked: which of ``left``, ``top`` and ``y`` are unpacked arrays, a value per line.
        signed: whether the values of those are declared as signed.
        constants: other inputs, and what they are held at, as pairs.
        paths: where each register lies, with places for ``{row}`` and ``{col}``, as pairs: of
            ``a``, ``w``, ``p`` and, if pipelined, ``product``.
        others: registers of which no form is known, such as enables: name, path, width, rows and
            columns of each; `radhard.rtl.learn` tries what their flips do.
        own: whether an element multiplies what its own register holds of the operand that moves,
            rather than what comes in.
        pipelined: whether a product is held in a register before it is added.
        latency: edges by which ``y`` shows results after the last row has their sums.

    Raises:
        ValueError: for what can't be.
    """

    module: str = "top"
    text: str = field(default="", repr=False)
    ports: tuple[tuple[str, str], ...] = ()
    unpacked: tuple[str, ...] = ()
    signed: bool = True
    constants: tuple[tuple[str, int], ...] = ()
    paths: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str, int, int, int], ...] = ()
    own: bool = False
    pipelined: bool = False
    latency: int = 0

    def __post_init__(self) -> None:
        ArrayDesign.__post_init__(self)
        if not 0 <= self.latency <= _LATEST:
            raise ValueError(
                f"{self.module}: latency {self.latency} can't be: use 0 to {_LATEST} edges"
            )
        if self.dataflow == "os" or self.protect != "none" or self.multiplier:
            raise ValueError(
                f"{self.module}: an array of another's that is {self.dataflow}, protected or of "
                "approximate multipliers can't be: use ws or is, with exact products"
            )
        wanted = _REGISTERS if self.pipelined else _REGISTERS[:3]
        if {name for name, _ in self.paths} != set(wanted):
            raise ValueError(
                f"{self.module}: registers {[name for name, _ in self.paths]} can't be: say where "
                f"{', '.join(wanted)} lie"
            )

    @property
    def name(self) -> str:
        """Its module with its size."""
        return f"{self.module}-{self.rows}x{self.cols}-{self.dataflow}"

    @property
    def registers(self) -> tuple[Register, ...]:
        """Every register that the mapping names."""
        widths = {str(value): width for value, width in self.widths.items()}
        widths["product"] = self.product_bits
        mapped = [
            Register(name, name, self.rows, self.cols, widths[name], f"dut.{path}")
            for name, path in self.paths
        ]
        more = [
            Register(name, OTHER, rows, cols, width, f"dut.{path}")
            for name, path, width, rows, cols in self.others
        ]
        return (*mapped, *more)

    def wrapped(self) -> str:
        """Its text, and a module ``systolic`` around it with the ports of radhard's."""
        wide: dict[str, Value] = {"left": self.left, "top": self.top, "y": "p"}
        lines = {"left": self.rows, "top": self.cols, "y": self.cols}
        ports, named = dict(self.ports), [f".{name}({value})" for name, value in self.constants]
        body = list[str]()
        for name, port in ports.items():
            apart = name in self.unpacked
            named.append(f".{port}({name}{'_apart' if apart else ''})")
            if apart:
                width = self.widths[wide[name]]
                kind = "logic signed" if self.signed else "logic"
                body.append(f"{kind} [{width - 1}:0] {name}_apart [{lines[name]}];")
                ends = f"{name}_apart[k]", f"{name}[k*{width} +: {width}]"
                to, given = ends[::-1] if name == "y" else ends
                body.append(f"for (genvar k = 0; k < {lines[name]}; k++) assign {to} = {given};")
        packed = {name: f"[{lines[name] * self.widths[wide[name]] - 1}:0] {name}" for name in lines}
        wiring, inside = ", ".join(named), "\n    ".join(body)
        return f"""{self.text}

module systolic (
    input  logic clk, en, load,
    input  logic {packed["left"]},
    input  logic {packed["top"]},
    output logic {packed["y"]}
);
    {inside}
    {self.module} dut ({wiring});
endmodule
"""


def read_foreign(path: Path) -> ForeignArray:
    """The array that a mapping file describes; sources lie where the file does.

    Raises:
        ValueError: for a file that can't be read, keys that there are not, or what can't be.
    """
    held = read_toml(path, "mapping file")
    _check(path, "", held, _KEYS, ("module", "sources", "rows", "cols", "ports", "registers"))
    _check(path, "ports.", _table(path, "ports", held), _PORTS, _NEEDED)
    _check(path, "registers.", _table(path, "registers", held), _REGISTERS, _REGISTERS[:3])
    fields = dict(held)
    _check_kinds(path, held)
    others = _table(path, "others", held)
    fields["others"] = tuple(_other(path, name, one) for name, one in others.items())
    for name, value in _table(path, "constants", held).items():
        if type(value) is not int:
            raise ValueError(f"mapping file {path}: constants.{name} = {value!r} is no integer")
    for name, register in _table(path, "registers", held).items():
        _check_place(path, f"registers.{name}", register)
    fields["text"] = "\n".join(_sources(path, fields.pop("sources")))
    fields["unpacked"] = tuple(held.get("unpacked", ()))
    for name, field_of_it in (
        ("ports", "ports"),
        ("constants", "constants"),
        ("registers", "paths"),
    ):
        fields.pop(name, None)
        fields[field_of_it] = tuple(_table(path, name, held).items())
    try:
        return ForeignArray(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"mapping file {path}: {error}") from error


def _other(path: Path, name: str, given: Any) -> tuple[str, str, int, int, int]:
    """A register of which no form is known."""
    held = {"rows": 1, "cols": 1, **(given if isinstance(given, dict) else {"path": given})}
    _check(path, f"others.{name}.", held, _OTHER, _OTHER)
    place, width, rows, cols = (held[key] for key in _OTHER)
    if name in _REGISTERS:
        raise ValueError(f"mapping file {path}: others.{name} can't be: give it a name of its own")
    _check_place(path, f"others.{name}", place)
    for key, value in (("width", width), ("rows", rows), ("cols", cols)):
        if type(value) is not int or not 1 <= value <= 4096:
            raise ValueError(
                f"mapping file {path}: others.{name}.{key} = {value!r} can't be: use 1 or more"
            )
    return name, place, width, rows, cols


def _check_kinds(path: Path, held: Mapping[str, Any]) -> None:
    """Refuse values of another kind, and names that are none, which would stand in texts."""
    for name, value in held.items():
        wanted = _KINDS.get(name)
        if wanted is not None and type(value) is not wanted:
            raise ValueError(
                f"mapping file {path}: {name} = {value!r} can't be: give {_CALLED[wanted]}"
            )
    names = {"module": held["module"]}
    for table in ("ports", "constants"):
        part = _table(path, table, held)
        named = part.items() if table == "ports" else zip(part, part, strict=True)
        names |= {f"{table}.{key}": value for key, value in named}
    for where, name in names.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"mapping file {path}: {where} = {name!r} is no name of Verilog's")


def _check_place(path: Path, where: str, place: Any) -> None:
    """Refuse what is no path of names to a register."""
    if not isinstance(place, str) or not _PLACE.fullmatch(place):
        raise ValueError(
            f"mapping file {path}: {where} = {place!r} is no path: write names, dots between "
            "them, and [{row}], [{col}] or a number behind, such as rows[{row}].cols[{col}].acc"
        )


def _table(path: Path, name: str, held: Mapping[str, Any]) -> dict[str, Any]:
    found = held.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"mapping file {path}: {name} = {found!r} can't be: write [{name}]")
    return found


def _check(
    path: Path, where: str, held: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    """Refuse keys that there are not, and miss those that have to be."""
    for name in held:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4) or known
            raise ValueError(f"mapping file {path}: no key {where}{name}: use {', '.join(near)}")
    for name in needed:
        if name not in held:
            raise ValueError(f"mapping file {path}: {where}{name} is missing")


def _sources(path: Path, names: Any) -> Iterator[str]:
    if not isinstance(names, list) or not names:
        raise ValueError(f"mapping file {path}: sources = {names!r} can't be: list files")
    folder = path.parent.resolve()
    for name in names:
        own = path.parent / str(name)
        if not own.resolve().is_relative_to(folder):
            raise ValueError(
                f"mapping file {path}: source {name} lies outside its folder: put it there"
            )
        try:
            yield own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"mapping file {path}: source {name} can't be read: {error}"
            ) from error
