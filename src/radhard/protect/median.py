"""Median feature selection: every value is the median of a few neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.accel.chip import Accelerator
from radhard.engine.guard import StepGuard
from radhard.network.workload import Workload
from radhard.protect.bound import element_cost
from radhard.protect.gradient import Axis
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.tap import SmoothCorrection, Tap, TapGuard, tapped
from radhard.protect.tune import fine_tuned


class Median(SmoothCorrection):
    """The median of ``window`` neighbours along an axis of (n, m, positions), edges repeated."""

    def __init__(self, window: int, axis: int) -> None:
        super().__init__()
        self.window, self.axis = window, axis

    def forward(self, values: Tensor) -> Tensor:
        """Values; what is no number counts as 0."""
        finite = torch.where(torch.isnan(values), 0.0, values)
        if finite.shape[self.axis] < self.window:
            return finite
        half = self.window // 2
        turned = finite if self.axis == 2 else finite.transpose(1, 2)
        padded = F.pad(turned, (half, half), mode="replicate")
        found = padded.unfold(2, self.window, 1).median(-1).values
        return found if self.axis == 2 else found.transpose(1, 2)


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
        return TapGuard({step: Median(self.window, axis) for step in steps})

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Three comparisons per median of three; training."""
        steps = tapped(workload, Tap.ACTIVATION, last=False)
        compared = self.window * (self.window - 1) / 2
        return Cost(operations=element_cost(workload, steps, compared), retraining=True)
