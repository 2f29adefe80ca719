"""What rectifiers and pooling make of not-a-number: PyTorch hands it on, a comparator drops it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from radhard.network.program import Program, Step

aten = torch.ops.aten

#: Whether not-a-number passes rectifiers and pooling, or gives 0 as in a comparator.
NanRule = Literal["propagate", "zero"]

_COMPARING = (
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.hardsigmoid.default,
    aten.threshold.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.maximum.default,
    aten.amax.default,
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
)


@dataclass(frozen=True, slots=True)
class Comparator:
    """An operation that keeps the larger of two values, as a comparator does it.

    Every comparison with a not-a-number is false, so it counts as minus infinity: a rectifier
    gives 0, a clamp its lower bound, a maximum the other value. A maximum of nothing but
    not-a-numbers is minus infinity.

    Attributes:
        op: the same as PyTorch does it, which hands not-a-number on.

    >>> Comparator(aten.relu.default)(torch.tensor([torch.nan, -1.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """

    op: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``op`` gives with minus infinity in place of not-a-number."""
        return self.op(*map(_dropped, args), **kwargs)

    def __str__(self) -> str:
        return f"{self.op} by comparators"

    @property
    def tags(self) -> Sequence[Any]:
        """Those of ``op``, which say whether it works value by value."""
        tags: Sequence[Any] = self.op.tags
        return tags


def plain(op: Any) -> Any:
    """The operation that a step does, whatever it makes of not-a-number."""
    return op.op if isinstance(op, Comparator) else op


def with_rule(program: Program, nan: NanRule) -> Program:
    """The program with this rule for not-a-number; the same one where that changes nothing."""
    steps = tuple(_ruled(step, nan) for step in program.steps)
    same = all(new is old for new, old in zip(steps, program.steps, strict=True))
    return program if same else replace(program, steps=steps)


def known_rule(nan: str) -> NanRule:
    """``nan``, where it is one of `NanRule`.

    Raises:
        ValueError: where it is not.
    """
    for known in get_args(NanRule):
        if nan == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"nan {nan!r} can't be: use {' or '.join(get_args(NanRule))}")


def _ruled(step: Step, nan: NanRule) -> Step:
    op = plain(step.op)
    unbounded = op is aten.clamp.default and (len(step.args) < 2 or step.args[1] is None)
    if nan == "zero" and op in _COMPARING and not unbounded:
        op = Comparator(op)
    return step if op is step.op else replace(step, op=op)


def _dropped(argument: Any) -> Any:
    if not isinstance(argument, Tensor) or not argument.is_floating_point():
        return argument
    return torch.nan_to_num(argument, nan=-math.inf, posinf=math.inf, neginf=-math.inf)
