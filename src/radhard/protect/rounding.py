"""Room for values of other types than the one in which guards have learned."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch

from radhard.engine.guard import Sight

#: Types of fewer digits than float32.
NARROW = frozenset({torch.float16, torch.bfloat16})
#: By how many units of relative precision bounds are moved out: what values differ by behind some
#: layers.
_REACH = 4.0


@runtime_checkable
class Converting(Protocol):
    """A part of a guard that makes room when the network is converted to another type."""

    def convert(self, dtype: torch.dtype) -> None:
        """Change what it holds, which stays in the type that it has."""
        ...


def slack(dtype: torch.dtype) -> float:
    """By which share of its magnitude a bound moves outwards for values of a type.

    >>> slack(torch.bfloat16)
    0.03125
    """
    return _REACH * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def seen_as(sight: Sight, dtype: torch.dtype) -> Sight:
    """What a guard sees in the type that it computes in."""
    if sight.output.dtype == dtype:
        return sight
    output, clean = sight.output.to(dtype), sight.clean.to(dtype)
    return replace(sight, output=output, clean=clean, inputs=lambda: sight.inputs().to(dtype))
