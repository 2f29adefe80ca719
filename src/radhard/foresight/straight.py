"""Slopes through operations that have none: rounding, sign and comparisons.

A quantised network is flat nearly everywhere, so that a gradient says of every fault that it does
nothing. What it does on average over a small stretch is told by slopes straight through the steps,
as in training for quantisation (Bengio et al., "Estimating or Propagating Gradients Through
Stochastic Neurons", 2013, arXiv:1308.3432). Only gradients come from here, never values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from radhard.network.comparator import plain
from radhard.network.operation import Elementwise, operation_of
from radhard.network.program import Program, Step

aten = torch.ops.aten
Values = Callable[[int], Any]

#: Mean slope of the sign of a value that is normally distributed around 0 with deviation 1.
_SIGN = math.sqrt(2 / math.pi)


@dataclass(frozen=True, slots=True)
class Straight:
    """Runs a program's steps one by one, with slopes where they have none of their own.

    Values are those of the program, bit for bit.

    Attributes:
        program: the network.
        blind: steps whose slopes are left out.
        twins: of values that are no real numbers, such as results of comparisons: a real one of
            the same shape that has the slopes, by step; filled by `run`.
    """

    program: Program
    blind: Collection[int] = ()
    twins: dict[int, Tensor] = field(default_factory=dict)

    def run(self, index: int, values: Values) -> Any:
        """The value of a step that is no layer, given those of the steps before it."""
        step = self.program.steps[index]
        sloped = _SLOPED.get(plain(step.op))
        with torch.set_grad_enabled(sloped is None and index not in self.blind):
            value = step.run(values)
        if not isinstance(value, Tensor) or value.requires_grad or index in self.blind:
            return value
        if sloped is not None:
            slope = replace(step, op=sloped).run(lambda k: self.carrier(k, values(k)))
        else:
            slope = self._through(step, values)
        if slope is None or not slope.requires_grad:
            return value
        if value.is_floating_point():
            return _As.apply(value, slope.to(value.dtype))  # type: ignore[no-untyped-call]
        self.twins[index] = slope
        return value

    def carrier(self, index: int, value: Any) -> Any:
        """What has the slopes of a step's value: itself, or its twin."""
        return self.twins.get(index, value)

    def _through(self, step: Step, values: Values) -> Tensor | None:
        """The slopes of a step all of whose slopes come from twins; ``None`` where it has none."""
        parts = [self._part(step, values, k) for k in step.inputs if k in self.twins]
        found = [part for part in parts if part is not None]
        return torch.stack(found).sum(0) if found else None

    def _part(self, step: Step, values: Values, source: int) -> Tensor | None:
        """Those that come from one twin.

        By what a step makes of true and false, where it works value by value; where it moves
        values or sums them up, by what it makes of the twin.
        """
        held, twin = values(source), self.twins[source]
        try:
            alone = isinstance(operation_of(step), Elementwise)
            if held.dtype is not torch.bool or not alone:
                part: Tensor = step.run(_with(values, source, twin))
                return part if part.is_floating_point() else None
            true, false = (
                step.run(_with(values, source, torch.full_like(held, on))).to(twin.dtype)
                for on in (True, False)
            )
        except (RuntimeError, IndexError, TypeError):  # what must have integers, such as a table
            return None
        part = (true - false) * twin
        return part


class _As(torch.autograd.Function):
    """A value with the slopes of another one."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slope: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient[0]


def _with(values: Values, source: int, other: Tensor) -> Values:
    return lambda step: other if step == source else values(step)


def _same(x: Tensor, **_: Any) -> Tensor:
    return x


def _ratio(a: Any, b: Any, **_: Any) -> Any:
    return a / b


def _sign(x: Tensor) -> Tensor:
    """A line with the mean slope of the sign, were x normal around 0 with its root mean square."""
    size = x.detach().square().mean().sqrt()
    return x * (_SIGN / torch.where(size > 0, size, 1.0))


def _heaviside(x: Tensor, _: Tensor) -> Tensor:
    return _sign(x) / 2


def _copysign(size: Tensor, sign: Any) -> Tensor:
    own = torch.copysign(size, sign)
    return own + size.detach().abs() * _sign(sign) if isinstance(sign, Tensor) else own


def _above(a: Any, b: Any) -> Tensor:
    return _sign(a - b) / 2


def _below(a: Any, b: Any) -> Tensor:
    return _sign(b - a) / 2


#: What to take the slopes of in place of an operation, by operation.
_SLOPED: dict[Any, Callable[..., Any]] = {
    aten.round.default: _same,
    aten.round.decimals: _same,
    aten.floor.default: _same,
    aten.ceil.default: _same,
    aten.trunc.default: _same,
    aten.fix.default: _same,
    aten.div.Tensor_mode: _ratio,
    aten.div.Scalar_mode: _ratio,
    aten.floor_divide.default: _ratio,
    aten.floor_divide.Scalar: _ratio,
    aten.sign.default: _sign,
    aten.sgn.default: _sign,
    aten.heaviside.default: _heaviside,
    aten.copysign.Tensor: _copysign,
    aten.copysign.Scalar: _copysign,
    aten.gt.Scalar: _above,
    aten.gt.Tensor: _above,
    aten.ge.Scalar: _above,
    aten.ge.Tensor: _above,
    aten.lt.Scalar: _below,
    aten.lt.Tensor: _below,
    aten.le.Scalar: _below,
    aten.le.Tensor: _below,
}
