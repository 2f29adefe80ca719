"""A trained bound of each neuron: FitAct."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radhard.accel.chip import Accelerator
from radhard.engine.guard import StepGuard
from radhard.network.workload import HOST, Workload
from radhard.protect.area import guarding
from radhard.protect.bound import element_cost
from radhard.protect.extremes import extremes
from radhard.protect.guarded import run_guarded
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.tap import SmoothCorrection, TapGuard, placed, rectified


class SmoothlyBounded(SmoothCorrection):
    """``max(0, x * sigmoid(-20 (x - bound)))`` with a bound per neuron (FitAct, DATE'22)."""

    def __init__(self, bound: Tensor) -> None:
        super().__init__()
        self.bound = nn.Parameter(bound)

    def forward(self, values: Tensor) -> Tensor:
        """Values (n, m, positions); what is no number becomes 0."""
        kept = values * torch.sigmoid(-20 * (values - self.bound.to(values.dtype)))
        return torch.where(torch.isfinite(values), kept.clamp(min=0), 0.0)

    def touch(self, values: Tensor, place: Tensor) -> Tensor:
        """See `radhard.protect.tap.Pointwise`."""
        return SmoothlyBounded(placed(self.bound, place)).forward(values)


@dataclass(frozen=True, slots=True)
class BoundedNeuron(Protection):
    """A trained smooth upper bound per neuron (FitAct: Ghavami et al., DATE'22).

    Bounds begin at each neuron's largest value in training; `trained` lowers them by gradient
    descent on the loss with a small penalty on their size, while weights stay as they are. It takes
    the place of rectifiers, and leaves layers without one alone.

    Attributes:
        bounds: per neuron, from `learned` or `trained`; learned by `guard` where empty.

    Raises:
        ValueError: from `learned`, `guard` and `cost`, for a network without rectifiers.
    """

    bounds: Fitted = UNFITTED

    def learned(self, training: Workload) -> BoundedNeuron:
        """With each neuron's largest fault-free value, where training begins."""
        steps = rectified(training, "BoundedNeuron")
        found = extremes(training, steps, per_neuron=True)
        return BoundedNeuron(Fitted({step: (high.float(),) for step, (_, high) in found.items()}))

    def trained(
        self, training: Workload, epochs: int = 2, rate: float = 1e-2, penalty: float = 1e-3
    ) -> BoundedNeuron:
        """With bounds trained by Adam on cross-entropy plus ``penalty`` times their mean square."""
        held = (self.bounds or self.learned(training).bounds).tensors
        guard = TapGuard({step: SmoothlyBounded(high.clone()) for step, (high,) in held.items()})
        optimiser = torch.optim.Adam(guard.parameters(), rate)
        for _ in range(epochs):
            for logits, labels in guarded_batches(training, guard):
                size = torch.stack([(bound**2).mean() for bound in guard.parameters()]).mean()
                loss = training.task.loss(logits, labels) + penalty * size
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        trained = {
            step: guard.corrections[str(step)].get_parameter("bound") for step in guard.steps
        }
        bounds = {step: (bound.detach().clone(),) for step, bound in trained.items()}
        return BoundedNeuron(Fitted(bounds))

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        held = (self.bounds or self.learned(workload).bounds).tensors
        guard = TapGuard({step: SmoothlyBounded(high) for step, (high,) in held.items()})
        return guard.requires_grad_(False)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """A sigmoid, a product and a comparison, and a number in memory, per neuron."""
        steps = rectified(workload, "BoundedNeuron")
        values = element_cost(workload, steps, 1)
        return guarding(3 * values, 32 * values, chip, workload, training=True)


def guarded_batches(workload: Workload, guard: StepGuard) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits under a guard, with gradients, and labels, batch by batch, on the host."""
    workload = workload.on(HOST)
    for images, labels in zip(workload.images.split(64), workload.labels.split(64), strict=True):
        yield run_guarded(workload, guard, images), labels
