"""Golden values as compiled kernels read them, turned channels-last when runs ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine import entry
from radhard.engine.trace import Trace, filled
from radhard.network.sums import whole

#: Channels, rows and columns of a feature map.
Plane = tuple[int, int, int]


@cache
def _numpy_type(kind: torch.dtype) -> np.dtype[Any]:
    return torch.empty(0, dtype=kind).numpy().dtype


class Read(NamedTuple):
    """What is read: the value of a step, a layer's sums before they are rounded, or what a guard
    has not seen yet.
    """

    step: int
    sums: bool = False
    unwatched: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Values of some of the images, channels-last.

    Attributes:
        rows: (images, channels, positions), as the golden run left them.
        values: (images, positions, channels), where ``held`` says so.
        held: (images,).
    """

    rows: NDArray[Any]
    values: NDArray[Any]
    held: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Tensor, plane: Plane) -> Map:
        """From rows (images, channels * positions), channel by channel."""
        channels, height, width = plane
        given = rows.view(-1, channels, height * width).numpy()
        images, alike = len(given), channels == 1 or height * width == 1
        shape = (images, height * width, channels)
        values = given.reshape(shape) if alike else np.empty(shape, given.dtype)
        return cls(given, values, np.full(images, alike))


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """The golden maps of a trace, made one by one and image by image."""

    trace: Trace

    @property
    def real(self) -> np.dtype[Any]:
        """The type of all values."""
        return _numpy_type(self.trace.logits.dtype)

    def plane(self, step: int) -> Plane | None:
        """Channels, rows and columns of a stored value; a line is one row, a vector one position.

        ``None`` where it is not stored, of another type, or none of these.
        """
        rows = self.trace.workload.program.rows[step]
        held = self.trace.values.get(step)
        if held is None or held.dtype != self.trace.logits.dtype:
            return None
        if rows is None or not rows.first or len(rows.sizes) not in {2, 3, 4}:
            return None
        channels, *extent = rows.shape(1)[1:]
        height, width = (1, 1, *extent)[-2:]
        return channels, height, width

    def values(self, read: Read, image: NDArray[np.int64]) -> NDArray[Any]:
        """(images, positions, channels), set for the images (n,) and perhaps for others.

        Raises:
            ValueError: for a value that `plane` does not know.
        """
        if read.unwatched and read.step not in self.trace.unwatched:
            read = Read(read.step)
        held = self.trace.maps
        if read not in held:
            held[read] = self._map(read)
        found: Map = held[read]
        missing = image[~found.held[image]]
        if len(missing):
            entry.turn(found.rows, missing, found.held, found.values)
        return found.values

    def _map(self, read: Read) -> Map:
        plane = self.plane(read.step)
        if plane is None:
            raise ValueError(f"step {read.step} has no map of golden values")
        if read.unwatched:
            return Map.of(self.trace.unwatched[read.step], plane)
        if not read.sums:
            return Map.of(self.trace.values[read.step], plane)
        number = self.trace.workload.numbers[read.step]
        return Map.of(golden_sums(self.trace, number), plane)


def plane_of(trace: Trace, step: int) -> Plane:
    """The plane of a value that some stage reads."""
    plane = Maps(trace).plane(step)
    assert plane is not None
    return plane


def golden_sums(trace: Trace, number: int) -> Tensor:
    """Golden sums of a layer before rounding, (images, elements)."""
    workload = trace.workload
    layer, how, given = (
        workload.layers[number], workload.arithmetic[number], workload.parameters[number],
    )  # fmt: skip
    if how.sums_are_outputs:
        return trace.values[layer.step]
    assert given is not None
    layout = workload.program.rows[layer.operands[0]]
    assert layout is not None
    golden = trace.values[layer.operands[0]]
    parts = [  # batches as in the golden run, for the same last bits
        how.sums(whole(layer, how), how.operand(layout.join(filled(part, trace.rows))), given)
        for part in golden.split(trace.rows)
    ]
    return torch.cat(parts).flatten(1)[: len(golden)]
