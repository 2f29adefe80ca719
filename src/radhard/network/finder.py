"""The layers of a program, found by their operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from radhard.network.layer import Layer
from radhard.network.operation import Geometry, line_geometry
from radhard.network.product import Sliding
from radhard.network.products import (
    Attending,
    Convolving,
    LookingUp,
    Multiplying,
    Transposing,
)
from radhard.network.program import Program, Ref, Step, references
from radhard.network.sharing import overlap

aten = torch.ops.aten

#: The shape of a step's value for one image.
Shapes = Callable[[int], tuple[int, ...]]

#: Padding in words is gone: export writes it in numbers.
_CONVOLUTIONS: Mapping[Any, int] = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
}
_TRANSPOSED: Mapping[Any, int] = {
    aten.conv_transpose1d.default: 1,
    aten.conv_transpose2d.input: 2,
    aten.conv_transpose3d.input: 3,
}
_ATTENTION = aten.scaled_dot_product_attention.default


def layers_of(program: Program, shapes: Shapes) -> tuple[Layer, ...]:
    """The layers of ``program`` in run order; ``shapes`` gives the shape of a step's value.

    Raises:
        ValueError: for a matrix product with scale factors of its own.
    """
    finders: dict[Any, Callable[[Program, int, Shapes], Layer]] = {
        **dict.fromkeys(_CONVOLUTIONS, _convolution),
        **dict.fromkeys(_TRANSPOSED, _transposed),
        aten.embedding.default: _embedding,
        aten.linear.default: _linear,
        aten.addmm.default: _addmm,
        aten.matmul.default: _matrix_product,
        aten.mm.default: _matrix_product,
        aten.bmm.default: _matrix_product,
        _ATTENTION: _attention,
    }
    return tuple(
        finders[step.op](program, index, shapes)
        for index, step in enumerate(program.steps)
        if step.op in finders and program.rows[index] is not None and _multiplies(program, step)
        if math.prod(shapes(index))  # without outputs there is nothing to strike
    )


def _multiplies(program: Program, step: Step) -> bool:
    """Whether a step is a layer: one of a sequence for each image, or a look-up in a weight."""
    if step.op is aten.embedding.default:
        return program.rows[step.args[0].step] is None
    if step.op in _CONVOLUTIONS and references((step.args[3:], step.kwargs or {})):
        return False  # as many groups as images, say: another operation for each batch
    if step.op in _TRANSPOSED:
        return program.rows[step.args[1].step] is None
    return True


def _convolution(program: Program, index: int, shapes: Shapes) -> Layer:
    step = program.steps[index]
    op = step.op
    assert op is not None
    axes = _CONVOLUTIONS[op]
    x, w, b = (*step.args[:3], None)[:3]
    geometry = [
        _argument(step, 3 + k, name, default)
        for k, (name, default) in enumerate((("stride", 1), ("padding", 0), ("dilation", 1)))
    ]
    stride, padding, dilation = (
        [part] * axes if isinstance(part, int) else part for part in geometry
    )
    sliding = stride, padding, dilation
    groups = _argument(step, 6, "groups", 1)
    weight, out, source = shapes(w.step), shapes(index), shapes(x.step)
    maps, channels = out[:2]
    *depth, e, f = (1, *out[2:]) if axes == 1 else out[2:]
    *thick, r, s = (1, *weight[2:]) if axes == 1 else weight[2:]
    bounds = {
        "m": channels, "c": weight[1], "e": maps * e * math.prod(depth), "f": f,
        "r": r * math.prod(thick), "s": s, "groups": groups,
    }  # fmt: skip

    product = Convolving(maps, weight, source[2:], sliding, groups)
    return Layer(
        name=_name(program, w, step),
        kind="conv",
        step=index,
        operands=(x.step, w.step),
        bias=b.step if b is not None else None,
        bounds=bounds,
        macs=math.prod(bounds[key] for key in "mcefrs"),
        inner=math.prod(out[2:]),
        weight_first=True,
        product=product,
        one_channel=product.one_channel,
        geometry=_plane_geometry(weight, sliding) if axes < 3 and maps == 1 else None,
        plane=(1, *source[2:]) if axes == 1 else source[2:],
        line=axes == 1,
    )


def _transposed(program: Program, index: int, shapes: Shapes) -> Layer:
    """A transposed convolution: its weight is (c, m / groups, ...)."""
    step = program.steps[index]
    op, (x, w, b) = step.op, (*step.args[:3], None)[:3]
    assert op is not None
    stride, padding, more, groups, dilation = (
        _argument(step, 3 + k, name, default)
        for k, (name, default) in enumerate(
            (("stride", 1), ("padding", 0), ("output_padding", 0), ("groups", 1), ("dilation", 1))
        )
    )
    weight, out, source = shapes(w.step), shapes(index), shapes(x.step)
    stride, padding, more, dilation = (
        [part] * _TRANSPOSED[op] if isinstance(part, int) else part
        for part in (stride, padding, more, dilation)
    )
    maps, channels = out[:2]
    own = weight[0] // groups
    bounds = {
        "m": channels, "c": own, "e": maps * math.prod(out[2:-1]), "f": out[-1],
        "r": math.prod(weight[2:-1]), "s": weight[-1], "groups": groups,
    }  # fmt: skip

    sliding = stride, padding, dilation
    product = Transposing(op, maps, out[1], weight, source[2:], sliding, more, groups)
    return Layer(
        name=_name(program, w, step),
        kind="transposed",
        step=index,
        operands=(x.step, w.step),
        bias=b.step if b is not None else None,
        bounds=bounds,
        macs=maps * math.prod(source[2:]) * math.prod(weight),
        inner=math.prod(out[2:]),
        weight_first=False,
        product=product,
        one_channel=product.one_channel,
    )


def _embedding(program: Program, index: int, shapes: Shapes) -> Layer:
    """A look-up, as the product of a table with rows that have one 1 each."""
    step = program.steps[index]
    w, x = step.args[:2]
    rows, width = shapes(w.step)

    product = LookingUp()
    return Layer(
        name=_name(program, w, step),
        kind="embedding",
        step=index,
        operands=(x.step, w.step),
        bias=None,
        bounds=_matrix_bounds(width, rows, math.prod(shapes(index)) // width, 1),
        macs=0,
        inner=1,
        weight_first=False,
        product=product,
        one_channel=product.one_channel,
    )


def _plane_geometry(weight: tuple[int, ...], sliding: Sliding) -> Geometry:
    """Over rows and columns; a line is one row."""
    stride, padding, dilation = sliding
    if len(weight) == 3:
        return line_geometry(weight[2], stride[0], padding[0], dilation[0])
    pairs = ((part[0], part[-1]) for part in (stride, padding, dilation))
    return Geometry((weight[2], weight[3]), *pairs)


def _linear(program: Program, index: int, shapes: Shapes) -> Layer:
    step = program.steps[index]
    x, w, b = (*step.args, None)[:3]
    return _dense(program, index, shapes, (x, w, b))


def _addmm(program: Program, index: int, shapes: Shapes) -> Layer:
    step = program.steps[index]
    b, x, w = step.args
    if any((step.kwargs or {}).get(name, 1) != 1 for name in ("alpha", "beta")):
        raise ValueError(f"step {step.name}: addmm with alpha or beta other than 1 can't be taken")
    return _dense(program, index, shapes, (x, w, b))


def _matrix_product(program: Program, index: int, shapes: Shapes) -> Layer:
    x, w = program.steps[index].args
    return _dense(program, index, shapes, (x, w, None))


def _dense(
    program: Program, index: int, shapes: Shapes, operands: tuple[Ref, Ref, Ref | None]
) -> Layer:
    """A matrix product: of a linear layer (weight (m, c)) or of two matrices (weight (c, m))."""
    x, w, b = operands
    step, out = program.steps[index], shapes(index)
    linear = step.op is aten.linear.default
    one = len(shapes(w.step)) == 1  # a vector: one output channel, which has no axis
    c, m = shapes(x.step)[-1], 1 if one else out[-1]
    groups = shapes(w.step)[0] if len(shapes(w.step)) == 3 and step.op is aten.bmm.default else 1
    constant = program.rows[w.step] is None and (groups > 1 or math.prod(shapes(w.step)) == c * m)
    constant &= program.rows[x.step] is not None
    e = math.prod(out) // (m * groups) if constant or linear or one else out[-2]
    groups = groups if constant else 1

    product = Multiplying(linear, groups, e, c, m)
    return Layer(
        name=_name(program, w, step),
        kind="linear" if linear else "matmul",
        step=index,
        operands=(x.step, w.step),
        bias=b.step if b is not None else None,
        bounds={
            **_matrix_bounds(m * groups, c, e, math.prod(out) // (m * groups * e)),
            "groups": groups,
        },
        macs=math.prod(out) * c,
        inner=1,
        weight_first=linear,
        product=product,
        one_channel=product.one_channel if constant else None,
        apart=groups,
    )


def _attention(program: Program, index: int, shapes: Shapes) -> Layer:
    step = program.steps[index]
    q, k, v = step.args[:3]
    mask, rest = _argument(step, 3, "attn_mask", None), step.args[4:]
    named = {key: part for key, part in (step.kwargs or {}).items() if key != "attn_mask"}
    out = shapes(index)
    if references(rest) | references(named):
        raise ValueError(
            f"step {step.name}: attention whose scale or settings are computed can't be taken: "
            "give them as numbers"
        )
    depth, length = shapes(q.step)[-1], shapes(k.step)[-2]
    return Layer(
        name=_name(program, k, step),
        kind="attention",
        step=index,
        operands=(q.step, k.step, v.step),
        bias=None,
        bounds=_matrix_bounds(out[-1], length, out[-2], math.prod(out[:-2])),
        macs=math.prod(out[:-1]) * length * (depth + out[-1]),
        inner=1,
        weight_first=False,
        product=Attending(rest, named),
        one_channel=None,
        mask=mask.step if mask is not None else None,
    )


def _matrix_bounds(m: int, c: int, e: int, f: int) -> dict[str, int]:
    return {"m": m, "c": c, "e": e, "f": f, "r": 1, "s": 1, "groups": 1}


def _argument(step: Step, position: int, name: str, default: Any) -> Any:
    if len(step.args) > position:
        return step.args[position]
    return (step.kwargs or {}).get(name, default)


def _name(program: Program, weight: Ref, step: Step) -> str:
    """The module that holds the weight; the step's own name where that isn't known."""
    held = program.steps[weight.step]
    if program.rows[weight.step] is not None:
        return step.name
    named = [other for other in program.steps if other.op is None and "weight" in other.name]
    views = (other for other in named if overlap(other.constant, held.constant))
    own = held if any(held is other for other in named) else next(views, None)
    if own is None:
        return step.name
    return own.name.removesuffix("weight").rstrip("._") or step.name
