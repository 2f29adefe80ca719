"""Layers as runtimes of quantised networks store them: normalisation and rectifier inside.

A batch normalisation behind a layer goes into its weights and bias. A rectifier behind that goes
into the code of the result: codes that begin at 0 saturate there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from radhard.network.coverage import Covered
from radhard.network.layer import Layer
from radhard.network.operation import (
    Elementwise,
    Join,
    Move,
    Pad,
    Reduce,
    Takes,
    Verb,
    Window,
    affine_of,
    operation_of,
)  # fmt: skip
from radhard.network.program import Program, Ref, Step, references

#: Images that run at once while formats are fitted.
_CALIBRATION_BATCH = 32
#: Smallest and largest values of a layer's input, second operand and output, and of what a runtime
#: would store of it.
Extremes = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A network as captured: its steps, its layers, ranges of their values, their share of it."""

    source: Program
    layers: tuple[Layer, ...]
    extremes: tuple[Extremes, ...]
    covered: Covered


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """A layer's operation in real numbers, and the rectifier behind it.

    Attributes:
        op: of the layer.
        rectifier: the step that follows.
    """

    op: Any
    rectifier: Step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the rectifier makes of the layer's result."""
        value = self.op(*args, **kwargs)
        return self.rectifier.run(lambda _: value)

    def __str__(self) -> str:
        return f"{self.op}, {self.rectifier.op}{self.rectifier.args[1:]}"


@dataclass(frozen=True, slots=True)
class Follower:
    """What of the steps behind a layer becomes part of it.

    Attributes:
        normalisation: the step of a batch normalisation, if any.
        rectifier: that of a rectifier behind it, if any.
        end: the step whose value the layer gives then.
    """

    normalisation: int | None
    rectifier: int | None
    end: int


def follower(program: Program, layer: Layer) -> Follower:
    """Which steps become part of a layer: those that nothing else reads in between."""
    users, steps, end = program.users(), program.steps, layer.step
    found: list[int | None] = [None, None]
    constant = layer.one_channel is not None and program.rows[layer.operands[1]] is None
    for k, fits in enumerate((_foldable, _rectifies)):
        after = users[end][0] if constant and len(users[end]) == 1 else None
        if after is not None and end != program.output and fits(program, layer, after):
            found[k], end = after, after
    if found[0] is not None and not _apart(users, layer, steps[found[0]]):
        return Follower(None, None, layer.step)
    return Follower(found[0], found[1], end)


def extremes_of(
    program: Program, layers: tuple[Layer, ...], images: Tensor
) -> tuple[Extremes, ...]:
    """Ranges of the values of layers over some images, fault-free and in real numbers."""
    found: list[list[list[Tensor]]] = [[[], [], [], []] for _ in layers]
    ends = [follower(program, layer).end for layer in layers]
    for part in images.split(_CALIBRATION_BATCH):
        values = program.values(part)
        for layer, end, kept in zip(layers, ends, found, strict=True):
            groups = (layer.operands[:1], layer.operands[1:], (layer.step,), (end,))
            for place, steps in zip(kept, groups, strict=True):
                for step in steps:
                    place.extend(torch.aminmax(values[step]))
    return tuple(tuple(torch.stack(part) for part in kept) for kept in found)  # type: ignore[misc]


def _foldable(program: Program, layer: Layer, index: int) -> bool:
    normal = operation_of(program.steps[index]) == Elementwise(Verb.NORMALISE)
    return normal and layer.weight_first


def _rectifies(program: Program, layer: Layer, index: int) -> bool:
    return rectifies(program.steps[index])


def rectifies(step: Step) -> bool:
    """Whether a step cuts off at 0; what it cuts off above is beyond the range of the codes."""
    done = operation_of(step)
    if not isinstance(done, Elementwise) or done.verb is not Verb.BETWEEN:
        return False
    return done.numbers[0] == 0


def hands_on(step: Step) -> bool:
    """Whether an operation hands codes on as they are, or the larger ones of them."""
    done = operation_of(step)
    if isinstance(done, Window | Reduce):
        return done.takes is not Takes.MEAN
    return isinstance(done, Move) and not isinstance(done, Join | Pad)


def _apart(users: tuple[tuple[int, ...], ...], layer: Layer, norm: Step) -> bool:
    """Whether weight, bias and statistics belong to this layer and normalisation alone."""
    held = [layer.operands[1], layer.bias, norm.args[3].step]
    return all(len(users[step]) == 1 for step in held if step is not None)


def fused(captured: Captured) -> Captured:
    """The network in which followers are part of their layers; steps keep their numbers.

    Ranges of an input are those of the layer whose codes it is.
    """
    found = _joined(captured, [follower(captured.source, layer) for layer in captured.layers])
    ranges = _ranges(found.source, found.layers, captured.extremes)
    return replace(found, extremes=ranges)


def folded(captured: Captured) -> Captured:
    """The network in which normalisations are part of the layers before them, and nothing else."""
    found = []
    for layer in captured.layers:
        own = follower(captured.source, layer)
        end = layer.step if own.normalisation is None else own.normalisation
        found.append(Follower(own.normalisation, None, end))
    return _joined(captured, found)


def _joined(captured: Captured, followers: list[Follower]) -> Captured:
    program, layers = captured.source, captured.layers
    steps, rows, alias = list(program.steps), list(program.rows), {}
    biases: dict[int, int] = {}
    for layer, own in zip(layers, followers, strict=True):
        if own.normalisation is not None:
            biases[layer.step] = _fold(steps, program, layer, own.normalisation)
        if own.rectifier is not None:
            held = steps[layer.step]
            steps[layer.step] = replace(held, op=Fused(held.op, steps[own.rectifier]))
        for gone in (own.normalisation, own.rectifier):
            if gone is not None:
                alias[gone], rows[gone] = layer.step, None
                steps[gone] = Step(program.steps[gone].name)
    turned = [replace(step, args=_renamed(step.args, alias)) for step in steps]
    turned = [
        replace(s, inputs=tuple(sorted(references((s.args, s.kwargs or {}))))) for s in turned
    ]
    output = alias.get(program.output, program.output)
    found = Program(tuple(turned), tuple(rows), program.sizes, output)
    moved = tuple(
        replace(
            layer,
            operands=tuple(alias.get(step, step) for step in layer.operands),
            bias=biases.get(layer.step, layer.bias),
        )
        for layer in layers
    )
    return Captured(found, moved, captured.extremes, captured.covered)


def _fold(steps: list[Step], program: Program, layer: Layer, index: int) -> int:
    """Put a normalisation into weight and bias; gives the step of the bias."""
    slope, offset = affine_of(program.steps, index)
    held = steps[layer.operands[1]]
    weight: Tensor = held.constant
    steps[layer.operands[1]] = replace(
        held, constant=weight * slope.reshape(-1, *[1] * (weight.dim() - 1))
    )
    place = layer.bias if layer.bias is not None else program.steps[index].args[3].step
    bias = steps[layer.bias].constant * slope if layer.bias is not None else 0.0
    steps[place] = replace(steps[place], constant=bias + offset)
    own = steps[layer.step]
    steps[layer.step] = replace(own, args=(*own.args[:2], Ref(place), *own.args[3:]))
    return place


def _renamed(argument: Any, alias: Mapping[int, int]) -> Any:
    if isinstance(argument, Ref):
        return Ref(alias.get(argument.step, argument.step))
    if isinstance(argument, list | tuple):
        return type(argument)(_renamed(part, alias) for part in argument)
    return argument


def _ranges(
    program: Program, layers: tuple[Layer, ...], extremes: tuple[Extremes, ...]
) -> tuple[Extremes, ...]:
    results = {layer.step: seen[3] for layer, seen in zip(layers, extremes, strict=True)}
    found = []
    for layer, (x, w, _, y) in zip(layers, extremes, strict=True):
        step = layer.operands[0]
        while hands_on(program.steps[step]):
            step = program.steps[step].args[0].step
        found.append((results.get(step, x), w, y, y))
    return tuple(found)
