"""Training with codes in the loop: straight through rounding, with learned scales."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from radhard.formats.integer import IntegerFormat
from radhard.network.calibrate import Key, Stored
from radhard.network.format import Formats, LayerFormats
from radhard.network.fuse import Captured
from radhard.network.layer import Layer
from radhard.network.program import Program, Step
from radhard.network.quantisation import Quantisation
from radhard.network.workload import Workload

#: Told how many batches of how many are done.
Watch = Callable[[int, int], None]
#: Images that are held out for validation, at most; those that run at once there.
_HELD, _BATCH = 2000, 100


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """What a network is quantised to.

    Attributes:
        formats: of all layers.
        constants: weights, as codes stand for them, and biases, by step of the program.
    """

    formats: Formats
    constants: dict[int, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What training starts from: the network in real numbers, what shares a format, and codes."""

    whole: Captured
    stored: tuple[Stored, ...]
    plan: Quantisation
    codes: Codes


@dataclass(frozen=True, slots=True)
class LearnedSteps:
    """Training of weights, biases and scales with codes in the loop.

    Rounding has slope 1 and saturation slope 0, and the slope of a scale is that of both (learned
    step size: Esser et al., ICLR'20). Scales are learned as logarithms, so that one rate suits all;
    powers of two stay such. Adam on cross-entropy, the rate falling to 0 along a cosine. Scales of
    activations with headroom stay as they are. Normalisation is folded before, and its statistics
    stay. The best of all passes on held-out images, in integers, is kept, that without training
    among them.

    Attributes:
        epochs: passes over the images.
        rate: of the first steps.
        batch: images per step.
        seed: of their order.

    Raises:
        ValueError: for no pass, no rate or no batch.
    """

    epochs: int = 1
    rate: float = 1e-3
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or not 0 < self.rate < 1:
            raise ValueError(
                f"{self.epochs} epochs of batches of {self.batch} at rate {self.rate} can't be: "
                "use 1 or more, and a rate between 0 and 1"
            )

    def learned(
        self,
        start: Start,
        pairs: tuple[Tensor, Tensor],
        made: Callable[[Codes], Workload],
        watch: Watch | None = None,
    ) -> Codes:
        """The codes after training on images and labels, or those before, where these do better.

        Raises:
            ValueError: for fewer than ten images.
        """
        images, labels = pairs
        if len(images) < 10:
            raise ValueError(f"{len(images)} images are too few to train on: give 10 or more")
        random = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(images), generator=random)
        apart = min(_HELD, len(images) // 5)
        held, training = order[:apart], order[apart:]
        trained, best = _Trained(start), start.codes
        work = made(best)
        most = _right(work, images[held], labels[held])
        for _ in self._passes(trained, training, random, (images, labels, work.task.loss), watch):
            now = trained.codes()
            right = _right(made(now), images[held], labels[held])
            if right > most:
                best, most = now, right
        return best

    def _passes(
        self,
        trained: _Trained,
        rows: Tensor,
        random: torch.Generator,
        given: tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]],
        watch: Watch | None,
    ) -> Iterator[None]:
        """Train on rows of images and labels, by a loss; stops after each pass."""
        images, labels, loss = given
        batches, done = -(-len(rows) // self.batch), 0
        optimiser = torch.optim.Adam(trained.leaves, self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.epochs * batches)
        for _ in range(self.epochs):
            mixed = rows[torch.randperm(len(rows), generator=random)]
            for part in mixed.split(self.batch):
                optimiser.zero_grad()
                loss(trained.logits(images[part]), labels[part]).backward()
                torch.nn.utils.clip_grad_norm_(trained.leaves, 1.0)
                optimiser.step()
                schedule.step()
                done += 1
                if watch is not None:
                    watch(done, self.epochs * batches)
            yield


def _right(workload: Workload, images: Tensor, labels: Tensor) -> int:
    """How many images are rightly answered, in integers."""
    pairs = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
    return sum(int(workload.task.right(workload.logits(x), y).sum()) for x, y in pairs)


class _Scale:
    """A scale that is learned: what it started as, times two to the power of what is learned."""

    def __init__(self, fmt: IntegerFormat, powers: bool) -> None:
        self.fmt, self.powers = fmt, powers
        self.start = torch.tensor(fmt.scale)
        lower = 0.5 if powers else 0.0  # amid those that are rounded up to it
        self.leaf = torch.full_like(self.start, -lower).requires_grad_()

    def scale(self) -> Tensor:
        """The scale, (1,) or one for each channel; straight through what makes powers of two."""
        leaf = self.leaf
        if self.powers:
            leaf = leaf + (leaf.ceil() - leaf).detach()
        return self.start * torch.exp2(leaf)

    def coded(self, x: Tensor) -> Tensor:
        """The values of codes, with slopes."""
        scale = self.scale()
        if len(scale) > 1:
            scale = scale.reshape(-1, *[1] * (x.dim() - 1))
        low, high = (end - self.fmt.zero[0] for end in self.fmt.limits)
        steps = (x / scale).clamp(low, high)
        whole: Tensor = steps + (steps.round() - steps).detach()
        return whole * scale

    def format(self) -> IntegerFormat:
        """The format as learned."""
        return replace(self.fmt, scale=tuple(self.scale().detach().tolist()))


class _Trained:
    """Weights, biases and scales of a network while they are trained."""

    def __init__(self, start: Start) -> None:
        self.layers, self.stored = start.whole.layers, start.stored
        self.program, self.formats = start.whole.source, start.codes.formats
        self.values: dict[int, Tensor] = {}
        self.weights: dict[int, _Scale] = {}
        self.scales: dict[Key, _Scale] = {}
        self.fixed = start.plan.headroom > 0
        self.given = {held.output for held in self.stored}
        self.numbers = {layer.step: number for number, layer in enumerate(self.layers)}
        powers = start.plan.power_of_two
        for layer, held, own in zip(self.layers, self.stored, self.formats.layers, strict=True):
            step, bias = layer.operands[1], layer.bias
            if held.second is None:
                self.values.setdefault(step, _leaf(self.program.steps[step].constant))
                self.weights.setdefault(step, _Scale(own.weight, powers))
            if bias is not None:
                whole = self.program.steps[bias].constant
                self.values.setdefault(bias, _leaf(start.codes.constants.get(bias, whole)))
            keys = (held.input, own.input), (held.second, own.weight), (held.output, own.output)
            for key, fmt in keys:
                if key is not None:
                    self.scales.setdefault(key, _Scale(fmt, powers))

    @property
    def leaves(self) -> list[Tensor]:
        """What is learned."""
        scales = [*self.weights.values(), *([] if self.fixed else self.scales.values())]
        return [*self.values.values(), *(scale.leaf for scale in scales)]

    def logits(self, images: Tensor) -> Tensor:
        """The logits (b, classes) as codes give them, with slopes."""
        found: Tensor = self.program.output_of(images, evaluate=self._visited)
        return found

    def _visited(self, index: int, values: Callable[[int], Any]) -> Any:
        number = self.numbers.get(index)
        if number is None:
            return self.program.steps[index].run(values)
        layer, held = self.layers[number], self.stored[number]
        x = self._coded(values(layer.operands[0]), held.input)
        bias = self._bias(layer, held)
        found = layer.product(x, self._second(layer, held, values), bias)
        return found if held.logits else self.scales[held.output].coded(found)

    def _second(self, layer: Layer, held: Stored, values: Callable[[int], Any]) -> Any:
        """The weight, or what stands in its place."""
        step = layer.operands[1]
        if held.second is None:
            return self.weights[step].coded(self.values[step])
        others = [self._coded(values(other), held.second) for other in layer.operands[1:]]
        if layer.kind != "attention":
            return others[0]
        return *others, values(layer.mask) if layer.mask is not None else None

    def _bias(self, layer: Layer, held: Stored) -> Tensor | None:
        """The bias, rounded straight through to the unit of the sums."""
        if layer.bias is None:
            return None
        bias = self.values[layer.bias]
        if held.input is None or held.second is not None:
            return bias
        unit = (self.weights[layer.operands[1]].scale() * self.scales[held.input].scale()).detach()
        return bias + ((bias / unit).round() * unit - bias).detach()

    def _coded(self, value: Tensor, key: Key | None) -> Tensor:
        """A value that a layer reads; codes that a layer gave are codes already."""
        return value if key is None or key in self.given else self.scales[key].coded(value)

    def codes(self) -> Codes:
        """What was learned so far."""
        found, constants = [], {k: value.detach() for k, value in self.values.items()}
        for step, scale in self.weights.items():
            constants[step] = scale.format().round(constants[step])
        for layer, held in zip(self.layers, self.stored, strict=True):
            second = self.scales[held.second] if held.second else self.weights[layer.operands[1]]
            source = self.scales[held.input] if held.input else second
            parts = source, second, self.scales[held.output]
            found.append(LayerFormats(*(part.format() for part in parts)))
        return Codes(replace(self.formats, layers=tuple(found)), constants)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().clone().requires_grad_()


def with_constants(program: Program, constants: dict[int, Tensor]) -> Program:
    """A program with other constants, by step."""
    steps = tuple(
        Step(step.name, constant=constants[k]) if k in constants else step
        for k, step in enumerate(program.steps)
    )
    return replace(program, steps=steps)
