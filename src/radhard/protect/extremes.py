"""The lowest and highest fault-free values of steps, or those that a share lies beyond."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from radhard.network.workload import Workload
from radhard.protect.tap import observed


def extremes(
    workload: Workload, steps: Mapping[int, int], per_neuron: bool = False, outside: float = 0.0
) -> dict[int, tuple[Tensor, Tensor]]:
    """Lowest and highest fault-free values of some steps, of all or of each neuron.

    Args:
        workload: whose images are run.
        steps: of the program.
        per_neuron: over the images alone.
        outside: share of all values of a step that lies below the lowest, and above the highest, at
            most; of a neuron none does.

    Raises:
        ValueError: for a share that is not from 0 to below a half, or one of neurons.
    """
    if not 0 <= outside < 0.5 or (outside and per_neuron):
        raise ValueError(f"a share {outside!r} outside can't be: use one from 0 to below 0.5")
    ends: dict[int, tuple[Tensor, Tensor]] = {}
    for values, _ in observed(workload, steps) if steps else ():
        for step, seen in values.items():
            many = 1 + int(outside * seen[0].numel() * len(workload.images))
            low, high = _ends(seen, per_neuron, many)
            if step in ends:
                low, high = _joined(ends[step], (low, high), per_neuron, many)
            ends[step] = low, high
    if per_neuron:
        return ends
    return {step: (low.amax(), high.amin()) for step, (low, high) in ends.items()}


def _ends(seen: Tensor, per_neuron: bool, many: int) -> tuple[Tensor, Tensor]:
    """The so many lowest and highest of all values (n, m, positions); of each neuron one."""
    if per_neuron:
        return seen.amin(0), seen.amax(0)
    return _outer(seen.flatten(), many, False), _outer(seen.flatten(), many, True)


def _outer(values: Tensor, many: int, largest: bool) -> Tensor:
    return values.topk(min(many, len(values)), largest=largest, sorted=False).values


def _joined(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], per_neuron: bool, many: int
) -> tuple[Tensor, Tensor]:
    if per_neuron:
        return torch.minimum(one[0], other[0]), torch.maximum(one[1], other[1])
    low, high = (torch.cat(pair) for pair in zip(one, other, strict=True))
    return _outer(low, many, False), _outer(high, many, True)
