"""The rule of neuron gradients: values whose differences from both neighbours are unusual."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from radhard.engine.guard import Window
from radhard.network.workload import HOST
from radhard.protect.beside import suppress

Places = NDArray[np.int64]


class Replacement(StrEnum):
    """What a wrong value becomes."""

    ZERO = "zero"
    #: The mean of its two neighbours.
    LOCAL_MEAN = "local mean"


class Differences(nn.Module):
    """Flags values whose differences from both neighbours are unusual, and replaces them.

    Buffers: ``before`` and ``after``, the neighbours of each place along ``axis`` of (n, m,
    positions), and ``low`` and ``high``, the bounds of a value less that of its neighbour before.
    """

    before: Tensor
    after: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, axis: int, before: Tensor, bounds: tuple[Tensor, Tensor], both_sides: bool,
        replacement: Replacement,
    ) -> None:  # fmt: skip
        super().__init__()
        self.axis, self.both_sides, self.replacement = axis, both_sides, replacement
        self.register_buffer("before", before)
        self.register_buffer("after", torch.argsort(before))
        self.register_buffer("low", bounds[0])
        self.register_buffer("high", bounds[1])

    def flagged(self, values: Tensor) -> Tensor:
        """Which finite values (n, m, positions) are taken to be wrong."""
        unlike = values - values.index_select(self.axis, self.before)
        odd = (unlike < self.low.to(values.dtype)) | (unlike > self.high.to(values.dtype))
        return odd & odd.index_select(self.axis, self.after) if self.both_sides else odd

    def forward(self, values: Tensor) -> Tensor:
        """Values with the wrong ones replaced; what is no finite number counts as 0 first."""
        finite = torch.where(torch.isfinite(values), values, 0.0)
        wrong = self.flagged(finite)
        if self.replacement == Replacement.ZERO:
            return torch.where(wrong, 0.0, finite)
        kept = torch.where(wrong, 0.0, finite)
        beside = kept.index_select(self.axis, self.before)
        return torch.where(wrong, (beside + kept.index_select(self.axis, self.after)) / 2, finite)

    def window(self, real: torch.dtype) -> Window:
        """See `radhard.protect.tap.Windowed`."""
        before, after = self.before.cpu(), self.after.cpu()
        reads = [torch.arange(len(before)), before, after]
        if self.replacement == Replacement.LOCAL_MEAN:
            reads += [before[before], after[after]]
        ends = [self._beside(place, real) for place in reads]
        return Window(self.axis, torch.stack(reads, 1), partial(self._judged, ends))

    def _beside(self, place: Tensor, real: torch.dtype) -> NDArray[Any]:
        """Bounds of the differences on both sides of other places, (4, positions or 1, m or 1)."""
        shape = [max(sizes) for sizes in zip(self.low.shape, self.high.shape, strict=True)]
        shape[self.axis - 1] = len(self.before)
        ends = [end.to(HOST, real).expand(shape) for end in (self.low, self.high)]
        found = [
            end.index_select(self.axis - 1, chosen).T
            for chosen in (place, self.after.cpu()[place])
            for end in ends
        ]
        return torch.stack(found).contiguous().numpy()

    def _judged(
        self, ends: Sequence[NDArray[Any]], values: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, of windows; see `Window`."""
        given = values.numpy(), position.numpy(), ends, self.both_sides
        found, wrong, changed = _kept((0, 1, 2), *given)
        if self.replacement == Replacement.ZERO:
            return found, changed
        total = _kept((1, 3, 0), *given)[0] + _kept((2, 0, 4), *given)[0]
        found = torch.where(wrong, total / 2, found)
        return found, (found != values[:, 0]).any(1)


def _kept(
    order: tuple[int, int, int], values: NDArray[Any], position: Places,
    ends: Sequence[NDArray[Any]], both: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """What is left of some values of windows, which are wrong, and in which rows any changes."""
    shape, real = (len(values), values.shape[2]), values.dtype
    into = np.empty(shape, real), np.empty(shape, np.bool_), np.empty(len(values), np.bool_)
    bounds = ends[order[0]]
    if bounds.shape[2] != shape[1]:  # all channels have the same
        bounds = np.repeat(bounds, shape[1], 2)
    suppress(values, order, position, bounds, both, into)
    found, wrong, changed = map(torch.from_numpy, into)
    return found, wrong, changed
