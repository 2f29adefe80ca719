"""What the operation of a step does: said once, for all that follow values through a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.formats.integer import IntegerFormat
from radhard.network.comparator import plain
from radhard.network.program import Item, Ref, Step

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a sliding window moves over rows and columns: each (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)


def line_geometry(kernel: int, stride: int, padding: int, dilation: int = 1) -> Geometry:
    """That of a window that moves along a line: a map of one row."""
    return Geometry((1, kernel), (1, stride), (0, padding), (1, dilation))


class Verb(Enum):
    """What an elementwise operation does, as far as somebody wants to know."""

    #: Keeps values between two numbers.
    BETWEEN = auto()
    #: Normalises each channel by stored statistics.
    NORMALISE = auto()
    #: Adds two values.
    ADD = auto()
    #: With one number: multiplies by it, divides by it, adds it.
    TIMES = auto()
    PER = auto()
    PLUS = auto()
    #: Rounds to whole numbers; takes the sign.
    ROUND = auto()
    SIGN = auto()
    OTHER = auto()


class Takes(Enum):
    """What is made of the values that one result reads."""

    LARGEST = auto()
    MEAN = auto()


@dataclass(frozen=True, slots=True)
class Operation:
    """Any operation. By itself: one whose results may read all values, in a way not known here."""


@dataclass(frozen=True, slots=True)
class Elementwise(Operation):
    """A result reads the value at its own place of each operand.

    Attributes:
        verb: what it does.
        numbers: those that it does it with: two for ``BETWEEN``, infinite where there is no end;
            one for ``TIMES``, ``PER`` and ``PLUS``.
    """

    verb: Verb = Verb.OTHER
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Window(Operation):
    """A result reads a window of rows and columns of its own channel.

    Attributes:
        geometry: of the windows.
        takes: what is made of a window.
        even: whether all windows count alike: whole ones, and means over as many values.
    """

    geometry: Geometry
    takes: Takes
    even: bool = True


@dataclass(frozen=True, slots=True)
class Move(Operation):
    """A result is one of the values, or a constant; by itself: which one is not said here."""


@dataclass(frozen=True, slots=True)
class Reshape(Move):
    """Keeps values in their order."""


@dataclass(frozen=True, slots=True)
class Join(Move):
    """Puts values of several steps side by side along an axis."""

    axis: int


@dataclass(frozen=True, slots=True)
class Pad(Move):
    """Puts margins around, from the last axis on: (before, after) each; in all of one constant."""

    margins: tuple[tuple[int, int], ...]
    constant: bool


@dataclass(frozen=True, slots=True)
class Slice(Move):
    """Takes every so many places of an axis; ``stop`` is ``None`` where it goes to the end.

    Numbers below 0 count from the end, as in Python.
    """

    axis: int
    start: int
    stop: int | None
    stride: int


@dataclass(frozen=True, slots=True)
class Reduce(Operation):
    """Makes one value of all those along some axes."""

    takes: Takes


def batch_norm(x: Tensor, weight: Any, bias: Any, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """Batch normalisation with stored statistics, the operation that stands in programs."""
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def affine_of(steps: Sequence[Step], index: int) -> tuple[Tensor, Tensor]:
    """Slope and offset per channel of a `batch_norm`, as it computes them itself."""
    weight, bias, mean, variance = (
        steps[part.step].constant if part is not None else None for part in steps[index].args[1:5]
    )
    assert mean is not None
    assert variance is not None
    eps = steps[index].args[5]
    zero = torch.zeros_like(mean)[None, :, None, None]
    slope = batch_norm(zero + 1, weight, None, 0 * mean, variance, eps)
    return slope.reshape(-1), batch_norm(zero, weight, bias, mean, variance, eps).reshape(-1)


def cast(x: Tensor, held: torch.dtype, through: torch.dtype | None) -> Tensor:
    """Values in another type, rounded to a narrower one on the way where ``through`` names it.

    ``float32`` stands for the carrier in programs.
    """
    return (x if through is None else x.to(through)).to(held)


@dataclass(frozen=True, slots=True)
class Coded:
    """Rounds values to a format and hands them on, the operation that stands in programs.

    Attributes:
        format: its scale is known.
    """

    format: IntegerFormat

    def __call__(self, x: Tensor) -> Tensor:
        """The values that the codes of ``x`` stand for."""
        return self.format.round(x)


def operation_of(step: Step) -> Operation:
    """What a step's operation does; of layers, ask `radhard.network.finder`.

    >>> operation_of(Step("relu", aten.relu.default, (Ref(0),))).numbers
    (0.0, inf)
    """
    op: Any = plain(step.op)
    if isinstance(op, Item):
        return Move() if op.op in _SPLITTING else Operation()
    if isinstance(op, Coded):
        return Elementwise()
    found = _PARSED.get(op, _none)(step)
    if found is None:
        packet = getattr(op, "overloadpacket", None)
        alone = torch.Tag.pointwise in getattr(op, "tags", ()) or packet in _VALUE_BY_VALUE
        found = Elementwise() if alone else Operation()
    return found


def keeps_axes(step: Step) -> bool:
    """Whether results lie along the axes of operands, so that channels stay channels."""
    return isinstance(operation_of(step), Elementwise | Window | Slice | Pad | Join)


#: Operations that PyTorch does not tag as value by value in all their forms.
_VALUE_BY_VALUE = (aten.where, aten.__and__, aten.__or__)
#: Operations of several results, each of which is a part of the operand.
_SPLITTING = {
    aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.chunk.default,
    aten.unbind.int, aten.tensor_split.sections, aten.tensor_split.indices,
    aten.unsafe_split.Tensor, aten.unsafe_chunk.default,
}  # fmt: skip


def _none(step: Step) -> Operation | None:
    return None


def _numbers(step: Step) -> list[float | None] | None:
    """What follows the first argument, where that is all there is, and numbers."""
    numbers = list(step.args[1:])
    fits = all(part is None or isinstance(part, int | float) for part in numbers)
    first = bool(step.args) and isinstance(step.args[0], Ref)
    return numbers if fits and first and not step.kwargs else None


def _between(low: float | None, high: float | None) -> Callable[[Step], Operation | None]:
    """A rectifier between the numbers of a step, or these where it has none."""

    def parsed(step: Step) -> Operation | None:
        ends = _numbers(step)
        if ends is None:
            return None
        given = (*ends, low, high)[:2] if len(ends) != 1 else (ends[0], high)
        below, above = (
            far if end is None else float(end)
            for end, far in zip(given, (-math.inf, math.inf), strict=True)
        )
        return Elementwise(Verb.BETWEEN, (below, above))

    return parsed


def _add(step: Step) -> Operation | None:
    alone = not step.kwargs and len(step.args) == 2
    if alone and all(isinstance(arg, Ref) for arg in step.args):
        return Elementwise(Verb.ADD)
    return _with_number(Verb.PLUS)(step)


def _with_number(verb: Verb) -> Callable[[Step], Operation | None]:
    def parsed(step: Step) -> Operation | None:
        numbers = _numbers(step)
        if numbers is None or len(numbers) != 1 or numbers[0] is None:
            return None
        return Elementwise(verb, (float(numbers[0]),))

    return parsed


def _alone(verb: Verb) -> Callable[[Step], Operation | None]:
    return lambda step: Elementwise(verb) if _numbers(step) == [] else None


def _pairs(step: Step, defaults: tuple[Any, ...]) -> list[Any]:
    """Kernel, stride and what follows, each as (rows, columns)."""
    given = list(step.args[1:6]) + list(defaults)[len(step.args) - 2 :]
    kernel = given[0]
    pairs = [kernel if part is None or part == [] else part for part in given]
    return [tuple(part * 2)[:2] if isinstance(part, list) else (part, part) for part in pairs]


def _max_pool(step: Step) -> Operation:
    kernel, stride, padding, dilation, ceil = _pairs(step, (None, 0, 1, False))
    geometry = Geometry(kernel, stride, padding, dilation)
    return Window(geometry, Takes.LARGEST, ceil == (False, False))


def _mean_pool(step: Step) -> Operation:
    kernel, stride, padding, ceil, counted = _pairs(step, (None, 0, False, True))
    divisor = step.args[6] if len(step.args) > 6 else None
    even = ceil == (False, False) and (padding == (0, 0) or counted == (True, True))
    return Window(Geometry(kernel, stride, padding), Takes.MEAN, even and divisor is None)


def _along_line(pool: Callable[[Step], Operation]) -> Callable[[Step], Operation]:
    """Windows of one dimension: those of a map of one row."""

    def parsed(step: Step) -> Operation:
        found = pool(step)
        assert isinstance(found, Window)
        over = found.geometry
        ends = (pair[1] for pair in (over.kernel, over.stride, over.padding, over.dilation))
        return replace(found, geometry=line_geometry(*ends))

    return parsed


def _slice(step: Step) -> Operation:
    _, axis, start, stop, stride = (*step.args, *(None,) * 5)[:5]
    numbers = (axis or 0, start or 0, stride or 1)
    if not all(isinstance(part, int) for part in numbers) or isinstance(stop, Ref):
        return Move()
    axis, start, stride = numbers
    end = None if stop is None or stop >= 2**31 else stop
    return Slice(axis, start, end, stride)


def _join(step: Step) -> Operation:
    return Join(step.args[1] if len(step.args) > 1 else 0)


def _pad(step: Step) -> Operation:
    _, margins, *rest = step.args
    if not all(isinstance(margin, int) for margin in margins):
        return Move()
    constant = not rest or not isinstance(rest[0], str) or rest[0] == "constant"
    return Pad(tuple(zip(margins[::2], margins[1::2], strict=True)), constant)


_PARSED: Mapping[Any, Callable[[Step], Operation | None]] = {
    batch_norm: lambda step: Elementwise(Verb.NORMALISE),
    cast: lambda step: Elementwise(),
    aten.relu.default: _between(0.0, math.inf),
    aten.relu6.default: _between(0.0, 6.0),
    aten.hardtanh.default: _between(-1.0, 1.0),
    aten.clamp.default: _between(None, None),
    aten.clamp_min.default: _between(None, None),
    aten.add.Tensor: _add,
    aten.add.Scalar: _with_number(Verb.PLUS),
    aten.mul.Tensor: _with_number(Verb.TIMES),
    aten.mul.Scalar: _with_number(Verb.TIMES),
    aten.div.Tensor: _with_number(Verb.PER),
    aten.div.Scalar: _with_number(Verb.PER),
    aten.round.default: _alone(Verb.ROUND),
    aten.sign.default: _alone(Verb.SIGN),
    aten.max_pool2d.default: _max_pool,
    aten.avg_pool2d.default: _mean_pool,
    aten.max_pool1d.default: _along_line(_max_pool),
    aten.avg_pool1d.default: _along_line(_mean_pool),
    aten.slice.Tensor: _slice,
    aten.cat.default: _join,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
    **dict.fromkeys(
        (
            aten.mean.dim, aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default,
            aten._adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default,
            aten._adaptive_avg_pool3d.default,
        ),
        lambda step: Reduce(Takes.MEAN),
    ),
    **dict.fromkeys(
        (aten.amax.default, aten.max_pool3d.default),
        lambda step: Reduce(Takes.LARGEST),
    ),
    **dict.fromkeys(
        (
            aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int,
            aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
        ),
        lambda step: Reshape(),
    ),
    **dict.fromkeys(
        (
            aten.permute.default, aten.transpose.int, aten.select.int, aten.expand.default,
        ),
        lambda step: Move(),
    ),
}  # fmt: skip
