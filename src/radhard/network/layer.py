"""The layers that multiply and accumulate, found in a program."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from radhard.network.product import Sliding, attention, convolution
from radhard.network.program import Program, Ref, Step, references

aten = torch.ops.aten

#: ``(input, weight, bias) -> output``, without rounding; the bias may be ``None``.
Product = Callable[[Any, Any, Tensor | None], Tensor]
#: ``(inputs, weights, channels) -> sums`` of one output channel per image, each image with a
#: weight of its own: (n, elements), (n, fan-in), (n,) -> (n, positions).
ChannelProduct = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Places of elements; of any shape.
Places = TypeVar("Places", Tensor, NDArray[np.int64])
#: The shape of a step's value for one image.
Shapes = Callable[[int], tuple[int, ...]]

#: Padding in words is gone: export writes it in numbers.
_CONVOLUTIONS: Mapping[Any, int] = {
    aten.conv1d.default: 1,
    aten.conv2d.default: 2,
    aten.conv3d.default: 3,
}
_ATTENTION = aten.scaled_dot_product_attention.default


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a sliding window moves over rows and columns: each (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Layer:
    """A step that multiplies and accumulates.

    Attributes:
        name: that of the module it came from, else of the step.
        kind: ``conv``, ``linear``, ``matmul`` or ``attention``.
        step: its place in the program.
        operands: the steps of its input and of its second operand (the weight, or for ``matmul``
            another activation; for ``attention`` the keys, with the values behind them).
        bias: the step of its bias, if any.
        mask: the step that says which keys ``attention`` reads, or what is added to its scores.
        bounds: its loop bounds by letter: m output channels, c input channels per group, e f
            output rows and columns (e holds depth too, and the maps of an image where a
            convolution runs on several), r s kernel rows and columns, groups. For
            ``linear`` e is the vectors per image; for ``matmul`` f is the matrices per image; for
            ``attention`` those of the second product, softmax(QK)V.
        macs: multiply-accumulates per image.
        inner: positions behind the channel: an image's output is (positions / inner, m, inner).
            All of them in a convolution of one map per image, 1 where channels are the last axis.
        weight_first: the weight's first axis is the output channel; else its last.
        product: the sums of products of all channels.
        one_channel: those of one channel per image; ``None`` where the weight is no constant.
        geometry: of a two-dimensional convolution, else ``None``.
        plane: the extent of the input of a convolution, such as (rows, columns).
    """

    name: str
    kind: str
    step: int
    operands: tuple[int, ...]
    bias: int | None
    bounds: Mapping[str, int]
    macs: int
    inner: int
    weight_first: bool
    product: Product
    one_channel: ChannelProduct | None
    geometry: Geometry | None = None
    plane: tuple[int, ...] = ()
    mask: int | None = None

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.bounds["m"]

    def weight_rows(self, weight: Tensor) -> Tensor:
        """The weight as (m, fan-in)."""
        turned = weight if self.weight_first else weight.movedim(-1, 0)
        return turned.reshape(self.channels, -1)

    def weight_place(self, elements: Tensor) -> tuple[Tensor, Tensor]:
        """Output channel and place within the fan-in of elements of the (flattened) weight."""
        if self.weight_first:
            return elements // self.fan_in, elements % self.fan_in
        return elements % self.channels, elements // self.channels

    @property
    def fan_in(self) -> int:
        """Products per output."""
        return self.bounds["c"] * self.bounds["r"] * self.bounds["s"]

    @property
    def positions(self) -> int:
        """Outputs per channel."""
        return self.bounds["e"] * self.bounds["f"]

    def output_place(self, elements: Places) -> tuple[Places, Places]:
        """Output channel and position of elements of an image's output."""
        if self.inner == self.positions:
            return elements // self.inner, elements % self.inner
        channel = elements // self.inner % self.channels
        block = elements // (self.inner * self.channels)
        return channel, block * self.inner + elements % self.inner

    def output_element(self, channel: Places, position: Places) -> Places:
        """The inverse of `output_place`; the two broadcast against each other."""
        if self.inner == self.positions:
            return channel * self.inner + position
        block = position // self.inner * self.channels + channel
        return block * self.inner + position % self.inner

    @property
    def has_windows(self) -> bool:
        """Whether it is linear or a two-dimensional convolution of one map per image.

        The weight must be constant.
        """
        return self.one_channel is not None and (self.kind != "conv" or self.geometry is not None)

    def window(self, channel: Tensor, position: Tensor) -> Tensor:
        """Which elements of an image's input the outputs at these places read, (n, fan-in).

        In the order of the weight's rows; -1 stands for padding.

        Raises:
            ValueError: for a layer that is neither linear nor a two-dimensional convolution.
        """
        if not self.has_windows:
            raise ValueError(f"layer {self.name}: {self.kind} has no windows to look into")
        taps = torch.arange(self.fan_in, device=channel.device)
        return self.tap(channel[:, None], position[:, None], taps)

    def variables(self, operand: str, inputs: int) -> int:
        """How many different weights, inputs (given) or outputs an image's run has."""
        weights, outputs = self.channels * self.fan_in, self.channels * self.positions
        held = {"weight": weights, "input": inputs, "psum": outputs, "product": outputs}
        return held[operand]

    def tap(self, channel: Tensor, position: Tensor, term: Tensor) -> Tensor:
        """Which element of an image's input product ``term`` of an output reads; -1: padding.

        The three broadcast against each other; the layer must have windows.
        """
        if self.geometry is None:
            return position * self.fan_in + term
        g, (r, s) = self.geometry, self.geometry.kernel
        group = channel // (self.channels // self.bounds["groups"])
        c = term // (r * s) + group * self.bounds["c"]
        f = self.bounds["f"]
        y = position // f * g.stride[0] - g.padding[0] + term // s % r * g.dilation[0]
        x = position % f * g.stride[1] - g.padding[1] + term % s * g.dilation[1]
        inside = (y >= 0) & (y < self.plane[0]) & (x >= 0) & (x < self.plane[1])
        return torch.where(inside, (c * self.plane[0] + y) * self.plane[1] + x, -1)


def layers_of(program: Program, shapes: Shapes) -> tuple[Layer, ...]:
    """The layers of ``program`` in run order; ``shapes`` gives the shape of a step's value.

    Raises:
        ValueError: for a matrix product with scale factors of its own.
    """
    finders: dict[Any, Callable[[Program, int, Shapes], Layer]] = {
        **dict.fromkeys(_CONVOLUTIONS, _convolution),
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
        if step.op in finders and program.rows[index] is not None
    )


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

    def one_channel(x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
        n = len(x)
        group = channel // (channels // groups)
        each = torch.arange(n, device=group.device)
        parts = x.view(n, maps, groups, weight[1], *source[2:])[each, :, group]
        kernels = weights.view(n, *weight[1:])
        beside = parts.transpose(0, 1).reshape(maps, -1, *source[2:])
        sums = convolution(beside, kernels, None, sliding, n)
        return sums.view(maps, n, -1).transpose(0, 1).reshape(n, -1)

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
        product=lambda x, w, b: convolution(x, w, b, sliding, groups),
        one_channel=one_channel,
        geometry=_plane_geometry(weight, sliding) if axes == 2 and maps == 1 else None,
        plane=source[2:],
    )


def _plane_geometry(weight: tuple[int, ...], sliding: Sliding) -> Geometry:
    stride, padding, dilation = ((part[0], part[-1]) for part in sliding)
    return Geometry((weight[2], weight[3]), stride, padding, dilation)


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
    constant = program.rows[w.step] is None and len(shapes(w.step)) <= 2
    constant &= program.rows[x.step] is not None
    e = math.prod(out) // m if constant or linear or one else out[-2]

    def one_channel(x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
        return (x.view(len(x), e, c) @ weights.unsqueeze(2)).squeeze(2)

    def product(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        if linear:
            return F.linear(x, w, b)
        return torch.matmul(x, w) if b is None else torch.matmul(x, w) + b

    return Layer(
        name=_name(program, w, step),
        kind="linear" if linear else "matmul",
        step=index,
        operands=(x.step, w.step),
        bias=b.step if b is not None else None,
        bounds=_matrix_bounds(m, c, e, math.prod(out) // (m * e)),
        macs=math.prod(out) * c,
        inner=1,
        weight_first=linear,
        product=product,
        one_channel=one_channel if constant else None,
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
        product=lambda q, others, _: attention(q, others, rest, named),
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
    if program.rows[weight.step] is None and held.name.endswith("weight"):
        return held.name.removesuffix("weight").rstrip("._") or step.name
    return step.name
