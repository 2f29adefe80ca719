"""Networks that come with codes: where their steps round to them, and in which formats.

Tools that quantise leave pairs of operations in a network, which round a value to codes and give
back what these stand for. Such a pair becomes one step, or a constant with a format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from radhard.formats.integer import IntegerFormat
from radhard.network.archive import ArchivedProgram
from radhard.network.layout import CaptureError
from radhard.network.onnxmodel import OnnxModel
from radhard.network.operation import Coded
from radhard.network.plain import is_exported
from radhard.network.program import Ref, Step

if TYPE_CHECKING:
    from torch.export import ExportedProgram

#: Of the operations that torch.export's quantisation writes, and importers of other files.
NAMESPACE = "quantized_decomposed"
_TO, _FROM = "quantize_per_", "dequantize_per_"


def holds_codes(model: nn.Module | ExportedProgram) -> bool:
    """Whether a model has operations that round values to codes and back."""
    if isinstance(model, ArchivedProgram):
        return any(_is(op, "") for op in model.operations)
    if isinstance(model, OnnxModel):
        return model.quantised
    parts: Iterable[Any] = model.modules() if isinstance(model, nn.Module) else [model]
    graphs = [part.graph for part in parts if is_exported(part) or isinstance(part, GraphModule)]
    return any(_is(node.target, "") for graph in graphs for node in graph.nodes)


class Codes(NamedTuple):
    """A program whose pairs of operations became one each, and the formats of its weights.

    Attributes:
        steps: with `Coded` where values are rounded to codes.
        weights: the formats of constants, by step.
    """

    steps: tuple[Step, ...]
    weights: dict[int, IntegerFormat]


def codes_of(steps: tuple[Step, ...]) -> Codes:
    """Take the operations that round to codes and back together.

    Raises:
        CaptureError: for codes that are computed with, whose scales depend on images, or that no
            format of integers has.
    """
    if not any(_is(step.op, "") for step in steps):
        return Codes(steps, {})
    found, weights = list(steps), dict[int, IntegerFormat]()
    for index, step in enumerate(steps):
        if _is(step.op, _FROM):
            found[index], own = _value(steps, index)
            if own is not None:
                weights[index] = own
    read = {source for step in found if not _is(step.op, _TO) for source in step.inputs}
    for index, step in enumerate(found):
        if not _is(step.op, ""):
            continue
        if not _is(step.op, _TO) or index in read:
            raise CaptureError(
                f"step {step.name} ({step.op}) computes with codes, or with scales that depend on "
                "the images: quantise with fixed scales (static), as pairs of quantize and "
                "dequantize"
            )
        found[index] = Step(step.name)
    for index in weights:
        found[index] = replace(found[index], name=_title(found, index))
    return Codes(tuple(found), weights)


def _value(steps: tuple[Step, ...], index: int) -> tuple[Step, IntegerFormat | None]:
    """What stands in place of a return from codes; and its format where it is a constant."""
    step = steps[index]
    source = steps[step.args[0].step]
    if not _is(source.op, _TO) and (held := _held(steps, step.args[0].step)) is not None:
        return _constant(steps, step, held)
    if not _is(source.op, _TO):
        raise CaptureError(
            f"step {source.name} ({source.op}) computes with codes: only pairs of quantize and "
            "dequantize around operations on real values are read"
        )
    before, fmt = source.args[0].step, _format(steps, step, narrow=False)
    if _format(steps, source, narrow=False) != fmt:
        raise CaptureError(f"step {step.name} reads codes with another scale than they were made")
    if (real := _held(steps, before)) is not None:
        return _constant(steps, step, _integers(steps, source, real))
    if len(fmt.scale) > 1:
        raise CaptureError(
            f"step {step.name} has activations with a scale for each channel: use one for all"
        )
    return Step(step.name, Coded(fmt), (Ref(before),), {}, (before,)), None


def _constant(
    steps: tuple[Step, ...], step: Step, held: Tensor
) -> tuple[Step, IntegerFormat | None]:
    """A constant that codes stand for, and their format; a bias has none of its own."""
    scale, zero, axis, low, high = _numbers(steps, step)
    shape = [-1 if k == axis else 1 for k in range(held.dim())] if axis is not None else []
    value = (held.double() - zero.double().reshape(shape)) * scale.double().reshape(shape)
    own = None if high - low >= 2**16 else _format(steps, step, narrow=True)
    source = steps[step.args[0].step].name
    name = source if source.endswith(("weight", "bias")) else step.name
    return Step(name, constant=value.to(torch.float32)), own


def _integers(steps: tuple[Step, ...], step: Step, value: Tensor) -> Tensor:
    scale, zero, axis, low, high = _numbers(steps, step)
    shape = [-1 if k == axis else 1 for k in range(value.dim())] if axis is not None else []
    found = (value / scale.float().reshape(shape)).round() + zero.reshape(shape)
    return found.clamp(low, high)


def _held(steps: tuple[Step, ...], index: int) -> Tensor | None:
    """The value of a step that depends on no image."""
    step = steps[index]
    if step.op is None:
        return step.constant if isinstance(step.constant, Tensor) else None
    values = {source: _held(steps, source) for source in step.inputs}
    if any(value is None for value in values.values()):
        return None
    found = step.run(values.__getitem__)
    return found if isinstance(found, Tensor) else None


def _numbers(steps: tuple[Step, ...], step: Step) -> tuple[Tensor, Tensor, int | None, int, int]:
    """Scale, zero point, axis of channels, and the ends of the codes."""
    _, scale, zero, *rest = step.args
    by_channel = "channel" in str(step.op)
    axis, (low, high) = rest[0] if by_channel else None, rest[by_channel : by_channel + 2]
    told = [
        _held(steps, one.step) if isinstance(one, Ref) else torch.tensor(one, dtype=torch.float64)
        for one in (scale, zero)
    ]
    if told[0] is None or told[1] is None:
        raise CaptureError(
            f"step {step.name} has a scale that depends on the images: quantise with fixed scales "
            "(static)"
        )
    return told[0].double().reshape(-1), told[1].long().reshape(-1), axis, low, high


def _format(steps: tuple[Step, ...], step: Step, narrow: bool) -> IntegerFormat:
    """The format of codes.

    Args:
        steps: all.
        step: to or from codes.
        narrow: whether the lowest code may be missing: of weights, which are what they are.
    """
    scale, zero, axis, low, high = _numbers(steps, step)
    signed, width = low < 0, (high + 1).bit_length() - (low >= 0)
    lows = {-high - 1, -high} if narrow else {-high - 1}
    if (signed and low not in lows) or (not signed and low) or high + 1 != 1 << (width - signed):
        raise CaptureError(
            f"step {step.name} has codes from {low} to {high}: formats of integers have all of so "
            "many bits, such as -128 to 127, or 0 to 127"
        )
    if axis not in {None, 0} and len(scale) > 1:
        raise CaptureError(
            f"step {step.name} has a scale for each index of axis {axis}: only the first axis, of "
            "output channels, is read"
        )
    if not bool((scale > 0).all() & torch.isfinite(scale).all()):
        raise CaptureError(f"step {step.name} has a scale of {float(scale.min())}: it must be > 0")
    if bool(((zero < low) | (zero > high)).any()):
        raise CaptureError(f"step {step.name} has a zero point that is no code: {zero.tolist()}")
    zeros = zero.expand(len(scale)).tolist()
    kind = "int" if signed else "uint"
    name = f"{kind}{width}"
    return IntegerFormat(name, width, not signed, len(scale) > 1, tuple(scale.tolist()),
                         tuple(zeros))  # fmt: skip


def _title(steps: list[Step], index: int) -> str:
    """A weight's name, after the bias beside it where its own was lost in quantisation."""
    name = steps[index].name
    for step in steps if not name.endswith("weight") else ():
        if Ref(index) in step.args[1:2] and len(step.args) > 2 and isinstance(step.args[2], Ref):
            bias = steps[step.args[2].step].name
            if bias.endswith("bias"):
                return bias.removesuffix("bias") + "weight"
    return name


def _is(op: Any, prefix: str) -> bool:
    """Whether an operation is one on codes whose name begins so."""
    return getattr(op, "namespace", "") == NAMESPACE and str(op).partition(".")[2].startswith(
        prefix
    )
