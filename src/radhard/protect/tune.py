"""Training a captured network on, with protections in place."""

from __future__ import annotations

import torch
from torch import Tensor

from radhard.engine.guard import StepGuard
from radhard.network.workload import HOST, Workload
from radhard.protect.module import run_steps_guarded

_BATCH = 128


def fine_tuned(
    training: Workload, guard: StepGuard | None, epochs: int, rate: float, seed: int
) -> dict[int, Tensor]:
    """Weights and biases of layers after some more training, by step of the program.

    By stochastic gradient descent with momentum 0.9 on cross-entropy, the rate falling to 0 along a
    cosine, gradients no longer than 1; statistics of batch normalisation stay as they are. It runs
    in the carrier type, on the host.
    """
    training = training.on(HOST)
    steps = training.source.steps
    learning: dict[int, Tensor] = {}
    for layer in training.layers:
        for step in (layer.operands[1], layer.bias):
            if step is not None and isinstance(steps[step].constant, Tensor):
                learning[step] = steps[step].constant.detach().clone().requires_grad_()
    constants = {k: learning.get(k, step.constant) for k, step in enumerate(steps)}
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(learning.values(), rate, 0.9)
    batches = -(-len(training.images) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(training.images), generator=random).split(_BATCH):
            logits = run_steps_guarded(training, guard, training.images[rows], constants)
            loss = training.task.loss(logits, training.labels[rows])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
            optimiser.step()
            schedule.step()
    return {step: tensor.detach() for step, tensor in learning.items()}
