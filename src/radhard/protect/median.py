"""Median feature selection: every value is the median of a few neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.accel.chip import Accelerator
from radhard.engine.guard import StepGuard, Window, blocks
from radhard.network.workload import Workload
from radhard.protect.area import guarding
from radhard.protect.beside import median
from radhard.protect.bound import element_cost
from radhard.protect.gradient import Axis
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.tap import SmoothCorrection, Tap, TapGuard, tapped
from radhard.protect.tune import fine_tuned


class Median(SmoothCorrection):
    """The median of ``size`` neighbours along an axis of (n, m, positions), edges repeated.

    ``count`` values lie along the axis; fewer than ``size`` are left as they are.
    """

    def __init__(self, size: int, axis: int, count: int) -> None:
        super().__init__()
        self.size, self.axis, self.count = size, axis, count

    def forward(self, values: Tensor) -> Tensor:
        """Values; what is no number counts as 0."""
        finite = torch.where(torch.isnan(values), 0.0, values)
        if self.count < self.size:
            return finite
        half = self.size // 2
        turned = finite if self.axis == 2 else finite.transpose(1, 2)
        padded = F.pad(turned, (half, half), mode="replicate")
        found = padded.unfold(2, self.size, 1).median(-1).values
        return found if self.axis == 2 else found.transpose(1, 2)

    def window(self, real: torch.dtype) -> Window:
        """See `radhard.protect.tap.Windowed`."""
        here, half = torch.arange(self.count)[:, None], self.size // 2
        beside = torch.tensor([k for k in range(-half, half + 1) if k])
        around = (here + beside).clamp(0, self.count - 1)
        reads = torch.cat([here, around], 1) if self.count >= self.size else here
        return Window(self.axis, reads, self._judged)

    def _judged(self, values: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, of windows; see `Window`."""
        found = torch.empty_like(values[:, 0])
        median(values.numpy(), found.numpy())
        return found, torch.zeros(len(found), dtype=torch.bool)


@dataclass(frozen=True, slots=True)
class MedianFeature(Protection):
    """Behind each activation, every value becomes the median of ``window`` neighbours.

    Ozen and Orailoglu, IEEE TCAD 2020. It needs training with the medians in place: see `trained`.
    Without, fault-free accuracy falls. The published group is not known; here it is neighbours in a
    row, along channels or along positions (row by row).

    Attributes:
        window: an odd number of neighbours, at least 3.
        axis: along which.
        weights: of the network trained with medians, from `trained`.

    Raises:
        ValueError: for an even or too small window.
    """

    window: int = 3
    axis: Axis = Axis.SPATIAL
    weights: Fitted = UNFITTED

    def __post_init__(self) -> None:
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"a median of {self.window} can't be: use an odd number from 3 on")

    def trained(
        self, training: Workload, epochs: int = 1, rate: float = 0.01, seed: int = 0
    ) -> MedianFeature:
        """With weights trained on, by gradient descent with the medians in place."""
        found = fine_tuned(training, self.guard(training), epochs, rate, seed)
        return replace(self, weights=Fitted({step: (w,) for step, w in found.items()}))

    def retune(self, workload: Workload) -> Workload:
        """The network with the trained weights."""
        if not self.weights:
            return workload
        return workload.with_constants({s: w for s, (w,) in self.weights.tensors.items()})

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        axis = 2 if self.axis == Axis.SPATIAL else 1
        steps = tapped(workload, Tap.ACTIVATION, last=False)
        parts = {}
        for step in steps:
            outer, channels, inner = blocks(workload, step)
            parts[step] = Median(self.window, axis, outer * inner if axis == 2 else channels)
        return TapGuard(parts)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Three comparisons per median of three; training."""
        steps = tapped(workload, Tap.ACTIVATION, last=False)
        compared = self.window * (self.window - 1) / 2
        return guarding(element_cost(workload, steps, compared), 0.0, chip, workload, training=True)
