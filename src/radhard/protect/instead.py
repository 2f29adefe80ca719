"""What values out of range become in place of the nearer bound: fault-free means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from radhard.network.workload import Workload
from radhard.protect.tap import observed

#: What values outside become in place of the nearer bound.
Instead = Literal["mean"]


def ends(held: tuple[Tensor, ...], zero: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Low, high, and what others become, which is held behind these where it is no bound or 0."""
    low, high, *mean = held
    return low, high, torch.zeros_like(low) if zero else next(iter(mean), None)


def means(workload: Workload, steps: Mapping[int, int]) -> dict[int, Tensor]:
    """Fault-free means of steps that layers belong to, as the code of the layer's output has it."""
    sums, counts = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0)
    for values, _ in observed(workload, steps):
        for step, seen in values.items():
            sums[step] += float(seen.double().sum())
            counts[step] += seen.numel()
    return {
        step: workload.arithmetic[number].output.round(torch.tensor(sums[step] / counts[step]))
        for step, number in steps.items()
    }


def check_instead(zero: bool, instead: Instead | None) -> None:
    """Raise ValueError for more than one replacement, or an unknown one."""
    if instead not in (None, *get_args(Instead)):
        raise ValueError(f"instead {instead!r} can't be: use mean, or leave it out")
    if zero and instead:
        raise ValueError(f"values outside can't become 0 and {instead}: choose one")


def nearest(workload: Workload, step: int, steps: Mapping[int, int]) -> int:
    """The layer whose values a step hands on, or the first of them."""
    while step not in steps:
        rows = workload.program.rows
        step = next(s for s in workload.program.steps[step].inputs if rows[s] is not None)
    return steps[step]
