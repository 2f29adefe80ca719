"""Files of ONNX, read as data: fields of a protocol buffer, and arrays.

Nothing but the fields that are named here is looked at, and no other file is opened.
(onnx/onnx.proto of the ONNX project; the wire format of Protocol Buffers.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radhard.network.layout import CaptureError

#: Largest file that is read.
_LARGEST = 2**31
#: Codes in a file: the type that holds them, their smallest and their largest number.
CODES = {
    2: (np.uint8, 0, 255), 3: (np.int8, -128, 127), 4: (np.uint16, 0, 2**16 - 1),
    5: (np.int16, -(2**15), 2**15 - 1), 6: (np.int32, -(2**31), 2**31 - 1),
    21: (np.uint8, 0, 15), 22: (np.int8, -8, 7),
}  # fmt: skip
_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
_OTHERS = {7: np.int64, 9: np.bool_}
#: Types of which two values share a byte.
_HALVES = (21, 22)


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A tensor of a file.

    Attributes:
        name: as the file has it.
        kind: number of the type, as of `CODES`.
        values: in the shape that the file says.
    """

    name: str
    kind: int
    values: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation of a file: names of what it reads and gives, and its attributes."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The network in a file.

    Attributes:
        nodes: in run order.
        arrays: by name.
        inputs: names of what is given, with the number of images where that is fixed.
        outputs: names of what it gives.
    """

    nodes: tuple[Node, ...]
    arrays: dict[str, Array]
    inputs: dict[str, int | None]
    outputs: tuple[str, ...]


def graph_in(path: Path) -> Graph:
    """The network in an ``.onnx`` file.

    Raises:
        FileNotFoundError: where there is no file.
        CaptureError: for what is no such file, or refers to others.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: torch.onnx.export makes one")
    if path.stat().st_size > _LARGEST:
        raise CaptureError(f"{path} is larger than 2 GiB, which no file of ONNX can be")
    try:
        model = _Fields(path.read_bytes())
        graph = _graph(model.part(7))
    except CaptureError as error:
        raise CaptureError(f"{path}: {error}") from error
    except Exception as error:  # a damaged file can fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise CaptureError(f"{path} is no file of ONNX ({reason})") from error
    if not graph.nodes:
        raise CaptureError(f"{path} is no file of ONNX: it has no operations")
    return graph


@dataclass(slots=True)
class _Fields:
    """The fields of a message, by number, in order; not taken apart until they are asked for."""

    data: bytes
    held: dict[int, list[int | bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place, data = 0, self.data
        while place < len(data):
            key, place = _number(data, place)
            kind = key & 7
            value: int | bytes
            if kind == 0:
                value, place = _number(data, place)
            else:
                size = {1: 8, 5: 4}.get(kind)
                if kind == 2:
                    size, place = _number(data, place)
                if size is None or place + size > len(data):
                    raise ValueError(f"a field of kind {kind} at byte {place}")
                value, place = data[place : place + size], place + size
            self.held.setdefault(key >> 3, []).append(value)

    def part(self, number: int) -> _Fields:
        return _Fields(self.bytes(number))

    def parts(self, number: int) -> Iterator[_Fields]:
        for value in self.held.get(number, []):
            yield _Fields(_bytes(value))

    def bytes(self, number: int) -> bytes:
        return _bytes(self.held.get(number, [b""])[-1])

    def text(self, number: int) -> str:
        return self.bytes(number).decode()

    def texts(self, number: int) -> tuple[str, ...]:
        return tuple(_bytes(value).decode() for value in self.held.get(number, []))

    def integer(self, number: int, missing: int = 0) -> int:
        value = self.held.get(number, [missing])[-1]
        if not isinstance(value, int):
            raise ValueError(f"field {number} is no integer")
        return _signed(value)

    def integers(self, number: int) -> list[int]:
        """Repeated integers, one by one or packed."""
        found: list[int] = []
        for value in self.held.get(number, []):
            place = 0
            if isinstance(value, int):
                found.append(_signed(value))
                continue
            while place < len(value):
                one, place = _number(value, place)
                found.append(_signed(one))
        return found

    def reals(self, number: int, kind: str = "f") -> list[float]:
        """Repeated numbers of fixed size, one by one or packed."""
        whole = b"".join(_bytes(value) for value in self.held.get(number, []))
        return list(struct.unpack(f"<{len(whole) // struct.calcsize(kind)}{kind}", whole))


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    found = shift = 0
    while shift < 70:
        byte = data[place]
        found |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return found, place
    raise ValueError(f"a number at byte {place} that does not end")


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes are expected")
    return value


def _graph(held: _Fields) -> Graph:
    arrays = {array.name: array for array in map(_array, held.parts(5))}
    inputs = {}
    for one in held.parts(11):
        if one.text(1) not in arrays:
            sizes = list(one.part(2).part(1).part(2).parts(1))
            fixed = sizes[0].integer(1, 0) if sizes and 1 in sizes[0].held else None
            inputs[one.text(1)] = fixed or None
    if held.held.get(15):
        raise CaptureError("it has sparse tensors, which are not read")
    nodes = tuple(map(_node, held.parts(1)))
    return Graph(nodes, arrays, inputs, tuple(one.text(1) for one in held.parts(12)))


def _node(held: _Fields) -> Node:
    attributes = {}
    for one in held.parts(5):
        kind = one.integer(20)
        if kind not in _ATTRIBUTES:
            raise CaptureError(
                f"operation {held.text(4)} has an attribute {one.text(1)} of kind {kind}: graphs "
                "within graphs, and lists of tensors, are not read"
            )
        attributes[one.text(1)] = _ATTRIBUTES[kind](one)
    return Node(held.text(4), held.text(3), held.texts(1), held.texts(2), attributes)


#: By kind of attribute, its value.
_ATTRIBUTES: dict[int, Callable[[_Fields], Any]] = {
    1: lambda one: one.reals(2)[0],
    2: lambda one: one.integer(3),
    3: lambda one: one.text(4),
    4: lambda one: _array(one.part(5)),
    6: lambda one: one.reals(7),
    7: lambda one: one.integers(8),
    8: lambda one: one.texts(9),
}


def _array(held: _Fields) -> Array:
    name, kind, shape = held.text(8), held.integer(2), held.integers(1)
    if held.integer(14) or held.held.get(13):
        raise CaptureError(
            f"tensor {name} is in another file: save the model as one file "
            "(save_as_external_data=False)"
        )
    types = {**{k: found[0] for k, found in CODES.items()}, **_FLOATS, **_OTHERS}
    if kind not in types:
        raise CaptureError(f"tensor {name} is of type {kind}, which is not read")
    dtype, size = np.dtype(types[kind]), prod(shape)
    raw = held.bytes(9)
    if kind in _HALVES:
        whole = np.frombuffer(raw or bytes(held.integers(5)), np.uint8)
        halves = np.stack([whole & 15, whole >> 4], 1).reshape(-1)[:size]
        values = ((halves.astype(np.int8) ^ 8) - 8) if kind == 22 else halves
    elif raw:
        values = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype)
    elif kind == 1:
        values = np.array(held.reals(4), dtype)
    elif kind == 11:
        values = np.array(held.reals(10, "d"), dtype)
    elif kind == 10:
        values = np.array(held.integers(5), np.uint16).view(np.float16)
    else:
        values = np.array(held.integers(7 if kind == 7 else 5), dtype)
    if values.size != size:
        raise CaptureError(f"tensor {name} has {values.size} values, not the {size} of its shape")
    return Array(name, kind, values.reshape(shape))
