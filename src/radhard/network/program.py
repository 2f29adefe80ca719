"""A network as a list of steps in run order: what capture produces and the engine runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of an earlier step, where it stands among the arguments of a later one."""

    step: int


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


#: ``(step, its value, values of earlier steps)`` to the value to go on with.
Touched = Callable[[int, Any, Callable[[int], Any]], Any]


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

    def run(
        self, images: Tensor, evaluate: Callable[[int, Callable[[int], Any]], Any] | None = None
    ) -> list[Any]:
        """The values of all steps; ``evaluate(step, values)`` replaces plain execution."""
        run = evaluate or (lambda index, values: self.steps[index].run(values))
        values: list[Any] = []
        for index, step in enumerate(self.steps):
            if index == 0:
                values.append(images)
            elif step.op is None:
                values.append(step.constant)
            else:
                values.append(run(index, values.__getitem__))
        return values

    def output_of(
        self,
        images: Tensor,
        touched: Touched,
        evaluate: Callable[[int, Callable[[int], Any]], Any] | None = None,
        constant: Callable[[int], Any] | None = None,
    ) -> Any:
        """The logits alone; values are dropped after their last reader.

        Args:
            images: (b, ...).
            touched: sees each step's value, with access to the earlier ones, and gives what to go
                on with.
            evaluate: ``(step, values)`` replaces plain execution.
            constant: replaces the constants of the steps.
        """
        run = evaluate or (lambda index, values: self.steps[index].run(values))
        of_step = constant or (lambda index: self.steps[index].constant)
        last = [max(users, default=-1) for users in self.users()]
        held: dict[int, Any] = {0: images}

        def value(step: int) -> Any:
            if step not in held:
                size = self.sizes[step]
                held[step] = size[0] * images.shape[0] + size[1] if size else of_step(step)
            return held[step]

        for index in range(1, len(self.steps)):
            if self.rows[index] is None:
                continue
            held[index] = touched(index, run(index, value), value)
            for source in self.steps[index].inputs:
                if last[source] == index and source != self.output:
                    held.pop(source, None)
        return held[self.output]

    def to(self, device: torch.device, dtype: torch.dtype) -> Program:
        """A copy whose constants are on ``device``, those in floating point in ``dtype``.

        Operations that name a device, since they make a tensor of their own, name this one.
        """

        def moved(step: Step) -> Step:
            value, kwargs = step.constant, step.kwargs or {}
            if isinstance(kwargs.get("device"), torch.device):
                return replace(step, kwargs={**kwargs, "device": device})
            if not isinstance(value, Tensor):
                return step
            target = dtype if value.is_floating_point() else value.dtype
            return Step(step.name, constant=value.to(device, target))

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
