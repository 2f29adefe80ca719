"""Training a captured network on, with protections in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from radhard.engine.guard import StepGuard
from radhard.network.multiplied import Multiplied
from radhard.network.sums import per_group_of, whole
from radhard.network.workload import HOST, Workload
from radhard.protect.guarded import run_steps_guarded
from radhard.protect.held import applied, broken, with_learned
from radhard.protect.slopes import Sloped, Slopes, TableSlopes

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


class _Shadow:
    """Weights and bias of a layer in real values, of which the array has the rounded ones."""

    def __init__(
        self, workload: Workload, number: int, new: tuple[Tensor, ...], slopes: Slopes
    ) -> None:
        self.workload, self.number, self.kept = workload, number, new[1:4]
        how, given, _ = applied(workload, number, new[:4], new[4])
        self.weight = new[0].detach().clone().to(torch.float32).requires_grad_()
        shape = [-1, *[1] * (self.weight.dim() - 2)]
        channels = workload.layers[number].channels
        bias = given.bias if given.bias is not None else torch.zeros(channels).view(shape)
        self.unit = how.unit(given).expand(bias.shape)
        self.bias = (bias / self.unit).detach().clone().to(torch.float32).requires_grad_()
        self.first = self._plain_bias() if workload.parameters[number] else torch.zeros(())
        self.live, self.fixed = self._of_elements()
        self.plain = workload.weight(number).to(torch.float32)
        self.sloped: Sloped | None = None
        if isinstance(slopes, TableSlopes):
            assert isinstance(how.own, Multiplied)
            self.sloped = Sloped(workload, number, how.own, self.live, slopes.reach)

    def _plain_bias(self) -> Tensor:
        given = self.workload.parameters[self.number]
        assert given is not None
        if given.bias is None:
            return torch.zeros_like(self.bias)
        return (given.bias / self.unit).to(torch.float32)

    def _of_elements(self) -> tuple[Tensor, Tensor]:
        """1 for weights whose elements are not passed by, and which have faulty ones."""
        layer, how = self.workload.layers[self.number], self.workload.arithmetic[self.number]
        assert isinstance(how.own, Multiplied)
        array, (passed, terms, columns) = how.own.array, self.kept
        channel, place = layer.weight_place(torch.arange(self.weight.numel()))
        row, col = terms[place] % array.rows, columns[channel % per_group_of(layer)] % array.cols
        faulty = torch.from_numpy(broken(how.own))[row, col]
        live = (~passed[row * array.cols + col]).to(torch.float32)
        return live.view(self.weight.shape), faulty.view(self.weight.shape)

    def learned(self) -> tuple[Tensor, ...]:
        """As the array has them."""
        how = self.workload.arithmetic[self.number]
        weight = how.weight.round(self.weight.detach())
        off = torch.round(self.bias.detach() - self.first).reshape(-1).to(torch.float64)
        return (weight, *self.kept, off)

    def run(self, x: Tensor) -> Tensor:
        """The layer's output on the array, with slopes to train by."""
        layer = self.workload.layers[self.number]
        with torch.no_grad():
            new = self.learned()
            how, given, _ = applied(self.workload, self.number, new[:4], new[4])
            found = how.run(whole(layer, how), x.detach(), given)
        unit = self.unit.to(torch.float32)
        weight = torch.where(self.fixed, self.plain, self.weight) * self.live
        if self.sloped is None:
            smooth: Tensor = layer.product(x, weight, None)
        else:
            smooth = self.sloped.sums(x, weight, given.weight) * unit
        smooth = smooth + self.bias * unit
        return smooth + (found - smooth).detach()


def trained_in_loop(
    workload: Workload, learned: Mapping[int, tuple[Tensor, ...]], slopes: Slopes, epochs: int,
    seed: int, rate: float = 1e-3,
) -> dict[int, tuple[Tensor, ...]]:  # fmt: skip
    """What was learned of layers, trained on with the array in the loop.

    By Adam on cross-entropy, gradients no longer than 1, straight through rounding; weights on
    faulty elements stay what their rule made of them, which stands for the weight before. The best
    on a held-out fifth of the images is kept, that without training among them.
    """
    shadows = {number: _Shadow(workload, number, new, slopes) for number, new in learned.items()}
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(workload.images), generator=random)
    held, training = order[: len(order) // 5], order[len(order) // 5 :]
    leaves = [leaf for one in shadows.values() for leaf in (one.weight, one.bias)]
    optimiser = torch.optim.Adam(leaves, rate)

    def visited(index: int, values: Callable[[int], Any]) -> Any:
        number = workload.numbers.get(index)
        if number in shadows:
            return shadows[number].run(values(workload.layers[number].operands[0]))
        return workload.evaluate(index, values)

    best = dict(learned)
    most = _right(workload, best, held)
    for _ in range(epochs):
        for part in training[torch.randperm(len(training), generator=random)].split(_BATCH // 2):
            logits = workload.program.output_of(workload.images[part], evaluate=visited)
            optimiser.zero_grad()
            workload.task.loss(logits, workload.labels[part]).backward()
            torch.nn.utils.clip_grad_norm_(leaves, 1.0)
            optimiser.step()
        now = {number: shadow.learned() for number, shadow in shadows.items()}
        right = _right(workload, now, held)
        if right > most:
            best, most = now, right
    return best


def _right(workload: Workload, learned: Mapping[int, tuple[Tensor, ...]], rows: Tensor) -> int:
    """How many of some images are rightly answered."""
    own = with_learned(workload, learned)
    return int(own.task.right(own.logits(own.images[rows]), own.labels[rows]).sum())
