"""A network as a list of steps in run order: what capture produces and the engine runs."""

from __future__ import annotations

import copyreg
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload


def _overload(name: str) -> Any:
    """An operation by its name, as ``aten.relu.default``."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _by_name(op: OpOverload) -> tuple[Callable[[str], Any], tuple[str]]:
    return _overload, (str(op),)


copyreg.pickle(OpOverload, _by_name)  # which has no pickle of its own; copies stay the same object


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of an earlier step, where it stands among the arguments of a later one."""

    step: int


@dataclass(frozen=True, slots=True)
class Item:
    """One result of an operation that gives several: a step has one value.

    Attributes:
        op: gives the results.
        place: of this one among them.
    """

    op: Any
    place: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result at this place."""
        return self.op(*args, **kwargs)[self.place]

    def __str__(self) -> str:
        return f"{self.op}[{self.place}]"


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: ``op(*args, **kwargs)`` with each `Ref` replaced by that step's value.

    Attributes:
        name: unique within the program.
        op: the operation; ``None`` for the images and for constants.
        args, kwargs: its arguments, in which `Ref` stands for values of earlier steps.
        inputs: the steps that it reads, ascending.
        constant: the value, where it depends on no image.
    """

    name: str
    op: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    inputs: tuple[int, ...] = ()
    constant: Any = None

    def run(self, values: Callable[[int], Any]) -> Any:
        """The value of this step, given those of the steps before it."""
        assert self.op is not None
        args = tuple(_filled(arg, values) for arg in self.args)
        kwargs = {name: _filled(arg, values) for name, arg in (self.kwargs or {}).items()}
        return self.op(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the images of a batch lie in a step's value.

    In row-major order a value is ``(outer, batch, inner)``: ``outer`` is 1 for the usual layout
    with the batch first.

    Attributes:
        outer: blocks before the batch index.
        sizes: for each axis (slope, offset): its length is ``slope * batch + offset``.
    """

    outer: int
    sizes: tuple[tuple[int, int], ...]

    def shape(self, batch: int) -> tuple[int, ...]:
        """The shape of the value for a batch of this many images."""
        return tuple(slope * batch + offset for slope, offset in self.sizes)

    @property
    def elements(self) -> int:
        """Elements per image."""
        return math.prod(self.shape(1))

    @property
    def first(self) -> bool:
        """Whether the batch is the whole first axis."""
        return self.outer == 1 and self.sizes[0] == (1, 0)

    def split(self, value: Tensor) -> Tensor:
        """``value`` as (images, elements): a copy where the batch is not outermost."""
        batch = value.shape[0] if self.first else value.numel() // self.elements
        if self.outer == 1:
            return value.reshape(batch, -1)
        return value.reshape(self.outer, batch, -1).transpose(0, 1).reshape(batch, -1)

    def join(self, rows: Tensor) -> Tensor:
        """The inverse of `split`."""
        batch = rows.shape[0]
        if self.outer > 1:
            rows = rows.reshape(batch, self.outer, -1).transpose(0, 1)
        return rows.reshape(self.shape(batch))

    def apart(self, rows: Tensor) -> Tensor:
        """Rows (images, elements), each in the shape of one image's value without the batch."""
        shape = self.shape(1)
        return rows.reshape(rows.shape[0], *(shape[1:] if shape[0] == 1 else shape))

    def take(self, value: Tensor, images: Tensor) -> Tensor:
        """The value for the batch made of these images of the batch at hand."""
        return value[images] if self.first else self.join(self.split(value)[images])


#: ``(step, values of earlier steps)`` to the step's value.
Evaluate = Callable[[int, Callable[[int], Any]], Any]
#: ``(step, its value, values of earlier steps)`` to the value to go on with.
Touched = Callable[[int, Any, Callable[[int], Any]], Any]


@dataclass(frozen=True, slots=True)
class Span:
    """Which steps to run, and which values to keep.

    Attributes:
        first, end: the steps ``first <= step < end``.
        wanted: steps whose values are asked for; others are dropped after their last reader.
        last_reader: for each step, the last one that reads it.
    """

    first: int
    end: int
    wanted: Collection[int]
    last_reader: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in run order, the layout of each value, and which step gives the logits.

    Attributes:
        steps: the first reads the images; each refers only to earlier ones.
        rows: the layout of each step's value; ``None`` for constants and batch-dependent sizes.
        sizes: for each integer step (slope, offset), as in `Rows.sizes`; else ``None``.
        output: the step whose value is the logits, (images, classes).
    """

    steps: tuple[Step, ...]
    rows: tuple[Rows | None, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    output: int

    def users(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the later steps that read it."""
        found: list[list[int]] = [[] for _ in self.steps]
        for index, step in enumerate(self.steps):
            for source in step.inputs:
                found[source].append(index)
        return tuple(map(tuple, found))

    def last_readers(self) -> tuple[int, ...]:
        """For each step, the last one that reads it; -1 where none does."""
        return tuple(max(users, default=-1) for users in self.users())

    def run(
        self,
        start: Mapping[int, Any],
        batch: int,
        span: Span,
        evaluate: Evaluate | None = None,
        touched: Touched | None = None,
        constant: Callable[[int], Any] | None = None,
    ) -> dict[int, Any]:
        """Run some steps for one batch; values are dropped after their last reader.

        Args:
            start: values of earlier steps that are read, in the shapes that operations take.
            batch: images.
            span: which steps, and which values are wanted.
            evaluate: replaces plain execution.
            touched: sees each value, with access to earlier ones, and gives what to go on with: the
                one place where a value can be changed or watched.
            constant: replaces the constants of the steps.

        Returns:
            The wanted values by step.
        """
        run = evaluate or (lambda index, values: self.steps[index].run(values))
        held = dict(start)

        def value(step: int) -> Any:
            if step not in held:
                if (size := self.sizes[step]) is not None:
                    held[step] = size[0] * batch + size[1]
                else:
                    held[step] = constant(step) if constant else self.steps[step].constant
            return held[step]

        for index in range(span.first, span.end):
            if self.steps[index].op is None or self.sizes[index] is not None:
                continue
            found = run(index, value)
            held[index] = found if touched is None else touched(index, found, value)
            for source in self.steps[index].inputs:
                if span.last_reader[source] == index and source not in span.wanted:
                    held.pop(source, None)
        return {step: value(step) for step in span.wanted}

    def values(self, images: Tensor, evaluate: Evaluate | None = None) -> list[Any]:
        """The values of all steps."""
        every = range(len(self.steps))
        span = Span(1, len(self.steps), every, (-1,) * len(self.steps))
        return list(self.run({0: images}, images.shape[0], span, evaluate).values())

    def output_of(
        self,
        images: Tensor,
        touched: Touched | None = None,
        evaluate: Evaluate | None = None,
        constant: Callable[[int], Any] | None = None,
    ) -> Any:
        """The logits alone; see `run`."""
        span = Span(1, len(self.steps), (self.output,), self.last_readers())
        return self.run({0: images}, images.shape[0], span, evaluate, touched, constant)[
            self.output
        ]

    def to(self, device: torch.device, carrier: torch.dtype) -> Program:
        """A copy whose constants are on ``device``, those in floating point in ``carrier``.

        Operations that name a device, or float32, since they make a tensor of their own, name
        these.
        """

        def named(part: Any) -> Any:
            if isinstance(part, torch.device):
                return device
            return carrier if part is torch.float32 else part

        def moved(step: Step) -> Step:
            value = step.constant
            if isinstance(value, Tensor):
                target = carrier if value.is_floating_point() else value.dtype
                return Step(step.name, constant=value.to(device, target))
            kwargs = {name: named(part) for name, part in (step.kwargs or {}).items()}
            return replace(step, args=tuple(map(named, step.args)), kwargs=kwargs)

        return Program(tuple(map(moved, self.steps)), self.rows, self.sizes, self.output)


def references(arguments: Any) -> set[int]:
    """The steps that nested arguments refer to."""
    if isinstance(arguments, Ref):
        return {arguments.step}
    if isinstance(arguments, Mapping):
        arguments = arguments.values()
    elif not isinstance(arguments, Sequence) or isinstance(arguments, str):
        return set()
    return set().union(*(references(part) for part in arguments))


def _filled(argument: Any, values: Callable[[int], Any]) -> Any:
    if isinstance(argument, Ref):
        return values(argument.step)
    if isinstance(argument, list | tuple):
        return type(argument)(_filled(part, values) for part in argument)
    return argument
