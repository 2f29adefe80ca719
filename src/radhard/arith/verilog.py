"""Combinational Verilog of gates, read and evaluated for many patterns at once.

What netlists of multipliers consist of, and no more: modules with ports, ``assign`` of ``~ & ^ |``,
constants, slices and concatenations, wires that are given an expression where they are declared,
sums of whole operands, and instances of modules of the same file with named ports. A net holds one
bit per pattern, eight patterns to a byte.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

#: One bit per pattern, packed.
Net = NDArray[np.uint8]
Nets = Mapping[str, Net]
#: Bits of a value, the least significant first.
Value = list[Net]
Expression = Callable[[Nets], Value]
_L = TypeVar("_L", str, Net)

#: Of Verilog and of C.
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_MODULE = re.compile(r"\bmodule\s+(\w+)\s*\((.*?)\)\s*;(.*?)\bendmodule\b", re.DOTALL)
_PORTS = re.compile(r"(input|output|wire)\b\s*(?:wire\b)?\s*(?:\[\s*(\d+)\s*:\s*0\s*\])?([^;]*)")
_INSTANCE = re.compile(r"(\w+)\s+\w+\s*\(\s*(\..*)\)", re.DOTALL)
_PIN = re.compile(r"\.(\w+)\s*\(")
_TOKEN = re.compile(r"\s*(1'b[01]|[A-Za-z_]\w*(?:\s*\[\s*\d+\s*(?::\s*\d+\s*)?\])?|\S)")
_SLICE = re.compile(r"(\w+)\[(\d+):(\d+)\]")
#: From the one that binds least.
_GATES: tuple[tuple[str, Callable[[Net, Net], Net]], ...] = (
    ("|", np.bitwise_or),
    ("^", np.bitwise_xor),
    ("&", np.bitwise_and),
)


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """What it drives by what.

    Attributes:
        name: in the file.
        inputs, outputs: bits of each port.
        drivers: the nets of each statement, and what gives their values.
    """

    name: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    drivers: tuple[tuple[tuple[str, ...], Expression], ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """All its nets."""
        given = (net for port, width in self.inputs.items() for net in nets_of(port, width))
        return (*given, *(net for nets, _ in self.drivers for net in nets))

    def run(self, given: Nets, stuck: Mapping[str, int]) -> Nets:
        """The values of all nets, some of them stuck at 0 or 1, whichever way they are driven.

        Raises:
            ValueError: where a net is driven by nothing, or by itself.
        """
        nets: dict[str, Net] = {}

        def drive(names: tuple[str, ...], value: Value) -> None:
            value = value + [np.zeros_like(value[0])] * (len(names) - len(value))
            for net, held in zip(names, value, strict=False):
                nets[net] = held if net not in stuck else np.full_like(held, -stuck[net] & 255)

        for name, held in given.items():
            drive((name,), [held])
        waiting = list(self.drivers)
        while waiting:
            later: list[tuple[tuple[str, ...], Expression]] = []
            for names, expression in waiting:
                try:
                    drive(names, expression(nets))
                except KeyError:
                    later.append((names, expression))
            if len(later) == len(waiting):
                raise ValueError(
                    f"module {self.name}: {', '.join(later[0][0])} can't be found: it depends on a "
                    "net that nothing drives, or on itself"
                )
            waiting = later
        return nets


def nets_of(port: str, width: int) -> tuple[str, ...]:
    """The nets of a port: itself, or one per bit.

    >>> nets_of("A", 2)
    ('A[0]', 'A[1]')
    """
    return tuple(f"{port}[{k}]" for k in range(width)) if width else (port,)


def _nets(token: str, widths: Mapping[str, int]) -> tuple[str, ...]:
    """The nets of a name, of one bit of it, or of a slice, the least significant first."""
    if found := _SLICE.fullmatch(token):
        return tuple(f"{found[1]}[{k}]" for k in range(int(found[3]), int(found[2]) + 1))
    return nets_of(token, widths.get(token, 0))


@lru_cache(maxsize=16)
def read_module(text: str) -> Module:
    """The module of a file that is no part of another one.

    Raises:
        ValueError: where there is none, or several, or one has what can't be read.
    """
    found = {name: (ports, body) for name, ports, body in _MODULE.findall(COMMENT.sub(" ", text))}
    if not found:
        raise ValueError("no module: Verilog of gates has `module NAME (...); ... endmodule`")
    made: dict[str, Module] = {}
    bodies = {name: {part.split()[0] for part in _parts(body)} for name, (_, body) in found.items()}
    waiting = dict(found)
    while waiting:
        ready = [name for name in waiting if not bodies[name] & waiting.keys()]
        if not ready:
            raise ValueError(f"modules {', '.join(waiting)} are parts of each other")
        for name in ready:
            ports, body = waiting.pop(name)
            try:
                made[name] = _module(name, ports, body, made)
            except RecursionError as error:
                raise ValueError(
                    f"module {name}: an expression is nested too deeply: give its parts wires"
                ) from error
    tops = [name for name in found if not any(name in parts for parts in bodies.values())]
    if len(tops) != 1:
        raise ValueError(f"modules {', '.join(tops)} are parts of no other: leave one of them")
    return made[tops[0]]


def _parts(text: str) -> list[str]:
    """Statements."""
    return [part.strip() for part in text.split(";") if part.strip()]


def _module(name: str, ports: str, body: str, others: Mapping[str, Module]) -> Module:
    kinds: dict[str, dict[str, int]] = {"input": {}, "output": {}, "wire": {}}
    head = _parts(re.sub(r",\s*(?=input|output)", ";", ports))
    drivers = []
    for statement in (*filter(_PORTS.fullmatch, head), *_parts(body)):
        if declared := _PORTS.fullmatch(statement):
            kind, high, names = declared.groups()
            width = int(high) + 1 if high else 0
            names, given, value = names.partition("=")
            kinds[kind].update({one.strip(): width for one in names.split(",")})
            if given:
                drivers.append(f"assign {names} = {value}")
        else:
            drivers.append(statement)
    widths = {**kinds["wire"], **kinds["input"], **kinds["output"]}
    read = tuple(_driver(name, one, widths, others) for one in drivers)
    driven = Counter(net for nets, _ in read for net in nets)
    wanted = [net for port in kinds["output"].items() for net in nets_of(*port)]
    wrong = [net for net in {*driven, *wanted} if driven[net] != 1]
    if wrong:
        raise ValueError(f"module {name}: {', '.join(sorted(wrong))} must be driven once")
    return Module(name, kinds["input"], kinds["output"], read)


def _driver(
    where: str, statement: str, widths: Mapping[str, int], others: Mapping[str, Module]
) -> tuple[tuple[str, ...], Expression]:
    if statement.startswith("assign"):
        left, _, right = statement.removeprefix("assign").partition("=")
        return _targets(left, widths), _Reader(right, widths).whole()
    found = _INSTANCE.fullmatch(statement)
    if not found or found[1] not in others:
        raise ValueError(
            f"module {where}: {' '.join(statement.split())!r} can't be read: a netlist has assigns "
            "and instances of modules of its file; of two files take the one without _pdk45"
        )
    return _instance(others[found[1]], dict(_pins(found[2])), widths)


def _instance(
    module: Module, pins: Mapping[str, str], widths: Mapping[str, int]
) -> tuple[tuple[str, ...], Expression]:
    lacking = module.inputs.keys() - pins.keys()
    if lacking:
        raise ValueError(f"an instance of {module.name} leaves {', '.join(lacking)} open")
    read = {port: _Reader(pins[port], widths).whole() for port in module.inputs}
    drive = {port: _targets(pins[port], widths) for port in module.outputs if port in pins}

    def outputs(nets: Nets) -> Value:
        given = {
            net: held
            for port, width in module.inputs.items()
            for net, held in _matched(nets_of(port, width), read[port](nets))
        }
        inner = module.run(given, {})
        return [inner[net] for port in drive for net in nets_of(port, module.outputs[port])]

    return tuple(net for nets in drive.values() for net in nets), outputs


def _pins(text: str) -> Iterator[tuple[str, str]]:
    """Names of ports, and what stands in the brackets behind each."""
    for pin in _PIN.finditer(text):
        depth, end = 1, pin.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield pin[1], text[pin.end() : end - 1]


def _targets(text: str, widths: Mapping[str, int]) -> tuple[str, ...]:
    names = [re.sub(r"\s", "", one) for one in text.strip().strip("{}").split(",")]
    found: list[str] = []
    for name in reversed(names):
        found.extend(_nets(name, widths))
    return tuple(found)


class _Reader:
    """Reads an expression, token by token."""

    def __init__(self, text: str, widths: Mapping[str, int]) -> None:
        self.text, self.widths = text.strip(), widths
        self.tokens = [re.sub(r"\s", "", token) for token in _TOKEN.findall(text)]

    def whole(self) -> Expression:
        """A sum of plain operands, or an expression of gates."""
        found = self._gates(0)
        if self.tokens[:1] != ["+"]:
            self._end()
            return found
        terms = self.text.split("+")
        parts = [_Reader(term, self.widths) for term in terms]
        if any(re.search(r"[&|^~]", part.text) for part in parts):
            raise ValueError(f"{self.text!r}: a sum is of nets and concatenations alone")
        read = [part.whole() for part in parts]
        return lambda nets: reduce(_sum, (one(nets) for one in read))

    def _end(self) -> None:
        if self.tokens:
            raise ValueError(f"{self.text!r} can't be read from {self.tokens[0]!r} on")

    def _gates(self, level: int) -> Expression:
        if level == len(_GATES):
            return self._single()
        symbol, gate = _GATES[level]
        parts = [self._gates(level + 1)]
        while self.tokens[:1] == [symbol]:
            self.tokens.pop(0)
            parts.append(self._gates(level + 1))
        if len(parts) == 1:
            return parts[0]

        def both(left: Value, right: Value) -> Value:
            return [gate(x, y) for x, y in _matched(left, right)]

        return lambda nets: reduce(both, (part(nets) for part in parts))

    def _single(self) -> Expression:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "~":
            inner = self._single()
            return lambda nets: [~net for net in inner(nets)]
        if token == "(":
            inner = self._gates(0)
            self._close(")")
            return inner
        if token == "{":
            return self._several()
        if token in ("1'b0", "1'b1"):
            level = -int(token[-1]) & 255
            return lambda nets: [np.full_like(next(iter(nets.values())), level)]
        if not re.match(r"[A-Za-z_]", token):
            raise ValueError(f"{self.text!r} can't be read at {token!r}")
        names = _nets(token, self.widths)
        return lambda nets: [nets[name] for name in names]

    def _several(self) -> Expression:
        """A concatenation, the most significant first."""
        parts = [self._gates(0)]
        while self.tokens[:1] == [","]:
            self.tokens.pop(0)
            parts.append(self._gates(0))
        self._close("}")
        return lambda nets: [net for part in reversed(parts) for net in part(nets)]

    def _close(self, bracket: str) -> None:
        if self.tokens[:1] != [bracket]:
            raise ValueError(f"{self.text!r} lacks {bracket!r}")
        self.tokens.pop(0)


def _matched(left: Sequence[_L], right: Value) -> list[tuple[_L, Net]]:
    if len(left) != len(right):
        raise ValueError(f"{len(left)} bits meet {len(right)}: operands of gates have equal widths")
    return list(zip(left, right, strict=True))


def _sum(left: Value, right: Value) -> Value:
    """With the carry as its highest bit."""
    carry = np.zeros_like(left[0])
    length, found = max(len(left), len(right)), []
    for x, y in zip(_padded(left, length), _padded(right, length), strict=True):
        found.append(x ^ y ^ carry)
        carry = (x & y) | (carry & (x ^ y))
    return [*found, carry]


def _padded(value: Value, length: int) -> Value:
    return value + [np.zeros_like(value[0])] * (length - len(value))
