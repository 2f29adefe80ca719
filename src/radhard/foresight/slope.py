"""How strongly the decision hangs on each value: one pass backwards through the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radhard.foresight.straight import Straight
from radhard.foresight.tail import Tail
from radhard.network.layer import Layer
from radhard.network.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """How much the decision margin feels the values around one layer, whatever the image.

    Attributes:
        tail: elementwise steps behind the layer: what they hold back is not felt.
        inputs: root mean square over images of gradients in the layer's inputs, through this layer
            alone, (elements,).
        results: the same at the end of the tail, (elements,).
        typical: root mean square of the latter.
        held: root mean square of the layer's inputs.
        guessed: whether no gradient is seen of this layer's results, and the others are of a size
            that is a guess: a change of all values by as much as they are changes the margin by as
            much as it is.
    """

    tail: Tail
    inputs: Tensor
    results: Tensor
    typical: float
    held: float
    guessed: bool = False


def _tails(workload: Workload) -> tuple[Tail, ...]:
    """Of each layer; the same for all images."""
    users = workload.program.users()
    return tuple(Tail.of(workload, layer, users) for layer in workload.layers)


def slopes_of(workload: Workload, images: Tensor) -> tuple[Slopes, ...]:
    """Those of all layers; operations without a derivative are left out."""
    try:
        return _Backwards(workload, images).slopes()
    except RuntimeError:
        blind = _underivable(workload, images)
        if not blind:
            raise
        return _Backwards(workload, images, blind).slopes()


class _Backwards:
    """One pass backwards serves all images, which do not influence each other."""

    def __init__(self, workload: Workload, images: Tensor, blind: frozenset[int] = frozenset()):
        self.workload = workload
        self.tails = workload.once("tails", lambda: _tails(workload))
        self.ends = {tail.end for tail in self.tails}
        self.inputs: list[Tensor] = []
        self.straight = Straight(workload.program, blind)
        with torch.enable_grad():
            given = images.clone()
            given.requires_grad_(given.is_floating_point())
            self.values = workload.program.values(given, self._evaluate)
            self.margin = workload.task.lead(self.values[workload.program.output])
            if self.margin.requires_grad:
                self.margin.sum().backward()

    def slopes(self) -> tuple[Slopes, ...]:
        """Of all layers."""
        return tuple(map(self._of, self.workload.layers, self.tails, self.inputs))

    def _evaluate(self, index: int, values: Any) -> Any:
        number = self.workload.numbers.get(index)
        if number is None:
            found = self.straight.run(index, values)
        else:
            source = self.workload.layers[number].operands[0]
            own = self._taken(number, values(source))
            self.inputs.append(own)
            step = self.workload.program.steps[index]
            real = values(source).is_floating_point()
            found = step.run(lambda s: own if s == source and real else values(s))
            if not real:
                found = found + torch.zeros_like(found).requires_grad_(True)
        carrier = self.straight.carrier(index, found)
        if index in self.ends and carrier.requires_grad:
            carrier.retain_grad()
        return found

    def _taken(self, number: int, value: Tensor) -> Tensor:
        """A layer's input, whose gradient through this layer alone is wanted.

        Of a look-up: what rows with one 1 each have for a root mean square; nothing is felt there.
        """
        if not value.is_floating_point():
            rows = self.workload.layers[number].fan_in
            return torch.full(value.shape, rows**-0.5, dtype=self.workload.formats.carrier)
        own = value + torch.zeros_like(value).requires_grad_(True)
        own.retain_grad()
        return own

    def _of(self, layer: Layer, tail: Tail, own: Tensor) -> Slopes:
        end = self.values[tail.end]
        results = self._felt(tail.end, self.straight.carrier(tail.end, end))
        reached = self._felt(layer.operands[0], own)
        guessed = not results.any()
        if guessed:
            results, reached = self._guess(results, end), self._guess(reached, own)
        typical, held = _rms(results), _rms(own.detach())
        return Slopes(tail, reached, results, typical, held, guessed)

    def _felt(self, step: int, value: Tensor) -> Tensor:
        """Root mean square over images of gradients in a value, (elements,); 0 if it has none."""
        layout = self.workload.program.rows[step]
        assert layout is not None
        none = torch.zeros_like(value, dtype=self.margin.dtype)
        rows = layout.split(none if value.grad is None else value.grad)
        return rows.square().mean(0).sqrt()

    def _guess(self, felt: Tensor, value: Tensor) -> Tensor:
        """A slope for values that nothing is known of, (elements,)."""
        size = _rms(value.detach().to(self.margin.dtype)) or 1.0
        margin = float(self.margin.detach().mean())
        return torch.full_like(felt, margin / (size * len(felt) ** 0.5), dtype=self.margin.dtype)


def _underivable(workload: Workload, images: Tensor) -> frozenset[int]:
    """The steps that autograd can't derive, each tried on its own."""
    found = set()

    def evaluate(index: int, values: Any) -> Any:
        step = workload.program.steps[index]
        own = {k: _leaf(values(k)) for k in step.inputs}
        try:
            with torch.enable_grad():
                value = Straight(workload.program).run(index, own.__getitem__)
            if isinstance(value, Tensor) and value.requires_grad:
                value.sum().backward()
        except RuntimeError:
            found.add(index)
        with torch.no_grad():
            return step.run(values)

    workload.program.values(images, evaluate)
    return frozenset(found)


def _leaf(value: Any) -> Any:
    real = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().clone().requires_grad_(True) if real else value


def _rms(value: Tensor) -> float:
    return float(value.square().mean().sqrt())
