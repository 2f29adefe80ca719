"""The codes of a network that came with them, as formats of its layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from radhard.formats.integer import IntegerFormat
from radhard.network.calibrate import LOGITS
from radhard.network.fit import has_weight
from radhard.network.format import Formats, LayerFormats
from radhard.network.fuse import hands_on, rectifies
from radhard.network.layer import Layer
from radhard.network.layout import CaptureError
from radhard.network.operation import Coded, Elementwise, Verb, operation_of
from radhard.network.program import Program, Step

aten = torch.ops.aten
#: Images that run at once.
_BATCH = 32


class Own(NamedTuple):
    """A network whose layers round to codes, and its formats.

    Attributes:
        program: in which values behind layers keep to the range of their codes.
        formats: of the layers.
        missing: layers whose results have no codes in the network, and get 16 bits.
    """

    program: Program
    formats: Formats
    missing: tuple[str, ...]


def own_formats(
    program: Program,
    layers: tuple[Layer, ...],
    weights: Mapping[int, IntegerFormat],
    images: Tensor,
) -> Own:
    """Give the codes of a network to its layers.

    A layer's result is in the codes that are made of it, behind rectifiers, pooling of largest
    values and moves; what has none, such as logits, gets 16 bits, fitted to what is seen on images.
    Rounding elsewhere, as of sums, is what the layers do that read them, or stays as it is.

    Args:
        program: with `Coded` steps.
        layers: its layers.
        weights: formats of constants, by step.
        images: (b, ...).

    Raises:
        CaptureError: for a layer whose operands have no codes.
    """
    users = program.users()
    made = {layer.step: _result(program, users, layer.step) for layer in layers}
    missing = [layer for layer in layers if made[layer.step] is None]
    seen = _seen(program, [layer.step for layer in missing], images)
    found = []
    for layer in layers:
        second = layer.operands[1]
        weight = weights.get(second) if has_weight(program, layer) else _behind(program, second)
        source = weight if layer.kind == "embedding" else _behind(program, layer.operands[0])
        if source is None or weight is None:
            which = "weight" if source is not None else "input"
            raise CaptureError(
                f"layer {layer.name} has codes for no {which}, while others have: quantise weights "
                "and activations of all layers, or run the network as it was before"
            )
        output = made[layer.step]
        if output is None:
            wide = IntegerFormat(f"int{LOGITS}", LOGITS)
            output = wide.fit(torch.stack(seen[layer.step]))
        found.append(LayerFormats(source, weight, output))
    general = (replace(found[0].weight, scale=(), zero=()), replace(found[0].input, scale=(),
               zero=()))  # fmt: skip
    formats = Formats(*general, None, layers=tuple(found))
    needless = _needless(program, users, layers, made)
    found_in = unrounded(program, needless)
    last = program.steps[program.output]
    if program.output in needless and last.args[0].step in made:
        found_in = replace(found_in, output=last.args[0].step)  # which has these codes already
    return Own(found_in, formats, tuple(layer.name for layer in missing))


def unrounded(program: Program, steps: Collection[int] | None = None) -> Program:
    """The program with some of its `Coded` steps, or all, keeping to their range, but not rounding.

    Tools leave rectifiers out where codes begin at 0.
    """

    def kept(index: int, step: Step) -> Step:
        if not isinstance(step.op, Coded) or (steps is not None and index not in steps):
            return step
        fmt = step.op.format
        low, high = ((end - fmt.zero[0]) * fmt.scale[0] for end in fmt.limits)
        return replace(step, op=aten.clamp.default, args=(*step.args, low, high))

    return replace(program, steps=tuple(kept(k, step) for k, step in enumerate(program.steps)))


def _behind(program: Program, index: int) -> IntegerFormat | None:
    """The format of the codes that a step hands on."""
    step = program.steps[index]
    if isinstance(step.op, Coded):
        return step.op.format
    return _behind(program, step.args[0].step) if _exactly(step) else None


def _result(
    program: Program, users: tuple[tuple[int, ...], ...], index: int
) -> IntegerFormat | None:
    """The format of the codes that alone are made of a value."""
    while users[index]:
        steps = [program.steps[user] for user in users[index]]
        made = {step.op.format for step in steps if isinstance(step.op, Coded)}
        if len(made) == 1 and all(isinstance(step.op, Coded) for step in steps):
            return made.pop()
        if len(steps) > 1 or not (hands_on(steps[0]) or rectifies(steps[0])):
            return None
        (index,) = users[index]
    return None


def _needless(
    program: Program,
    users: tuple[tuple[int, ...], ...],
    layers: tuple[Layer, ...],
    made: Mapping[int, IntegerFormat | None],
) -> set[int]:
    """The `Coded` steps that change nothing where layers have their formats."""
    operands = {step for layer in layers for step in layer.operands}
    ends = {layer.step for layer in layers}

    def coded(index: int, fmt: IntegerFormat) -> bool:
        """Whether a value has these codes already."""
        step = program.steps[index]
        if index in ends:
            return made[index] == fmt
        if isinstance(step.op, Coded):
            return step.op.format == fmt
        return _exactly(step) and coded(step.args[0].step, fmt)

    def read(index: int, op: Coded) -> bool:
        """Whether nothing but layers reads a value, which then round it in the same way."""
        return index != program.output and all(
            (user in ends and index in operands)
            or ((_exactly(step := program.steps[user]) or step.op == op) and read(user, op))
            for user in users[index]
        )

    return {
        k
        for k, step in enumerate(program.steps)
        if isinstance(step.op, Coded)
        and (coded(step.args[0].step, step.op.format) or read(k, step.op))
    }


def _exactly(step: Step) -> bool:
    """Whether a step gives nothing but what it reads, or 0: a rectifier without an upper end."""
    return hands_on(step) or operation_of(step) == Elementwise(Verb.BETWEEN, (0.0, inf))


def _seen(program: Program, steps: list[int], images: Tensor) -> dict[int, list[Tensor]]:
    """The smallest and largest values of some steps."""
    found: dict[int, list[Tensor]] = {step: [] for step in steps}
    if steps:
        for part in images.split(_BATCH):
            values = program.values(part)
            for step in steps:
                found[step] += torch.aminmax(values[step])
    return found
