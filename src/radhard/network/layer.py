"""The layers of a program: what multiplies and accumulates, and look-ups in tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.network.operation import Geometry

#: ``(input, weight, bias) -> output``, without rounding; the bias may be ``None``.
Product = Callable[[Any, Any, Tensor | None], Tensor]
#: ``(inputs, weights, channels) -> sums`` of one output channel per image, each image with a
#: weight of its own: (n, elements), (n, fan-in), (n,) -> (n, positions).
ChannelProduct = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Places of elements; of any shape.
Places = TypeVar("Places", Tensor, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Layer:
    """A step that multiplies and accumulates.

    Attributes:
        name: that of the module it came from, else of the step.
        kind: ``conv``, ``transposed`` (convolution), ``linear``, ``matmul``, ``attention``, or
            ``embedding``, which looks rows of its weight up and multiplies nothing.
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
        weight_first: the weight's first axis is the output channel; else it lies in memory as
            (groups, c, m / groups, r * s), of which most layers have the two in the middle alone.
        apart: groups whose outputs lie apart, each (positions / inner, m / apart, inner).
        product: the sums of products of all channels.
        one_channel: those of one channel per image; ``None`` where the weight is no constant.
        geometry: of a convolution of one or two dimensions, else ``None``.
        plane: the extent of the input of a convolution, such as (rows, columns); a line is one row.
        line: whether it is a convolution of one dimension, whose maps have no axis of rows.
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
    apart: int = 1
    line: bool = False

    @property
    def channels(self) -> int:
        """Output channels."""
        return self.bounds["m"]

    def weight_rows(self, weight: Tensor) -> Tensor:
        """The weight as (m, fan-in)."""
        if self.weight_first:
            return weight.reshape(self.channels, -1)
        groups, c, taps = self.bounds["groups"], self.bounds["c"], self._taps
        turned = weight.reshape(groups, c, -1, taps).transpose(1, 2)
        return turned.reshape(self.channels, -1)

    def weight_place(self, elements: Tensor) -> tuple[Tensor, Tensor]:
        """Output channel and place within the fan-in of elements of the (flattened) weight."""
        if self.weight_first:
            return elements // self.fan_in, elements % self.fan_in
        own, taps = self.channels // self.bounds["groups"], self._taps
        row, tap = elements // (own * taps), elements % taps
        group, c = row // self.bounds["c"], row % self.bounds["c"]
        return group * own + elements // taps % own, c * taps + tap

    @property
    def _taps(self) -> int:
        return self.bounds["r"] * self.bounds["s"]

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
        own = self.channels // self.apart
        group, place = elements // (own * self.positions), elements % (own * self.positions)
        block = place // (self.inner * own)
        channel = group * own + place // self.inner % own
        return channel, block * self.inner + place % self.inner

    def output_element(self, channel: Places, position: Places) -> Places:
        """The inverse of `output_place`; the two broadcast against each other."""
        if self.inner == self.positions:
            return channel * self.inner + position
        own = self.channels // self.apart
        block = position // self.inner * own + channel % own
        first = channel // own * own * self.positions
        return first + block * self.inner + position % self.inner

    @property
    def has_windows(self) -> bool:
        """Whether it is linear, or a convolution of one or two dimensions of one map per image.

        The weight must be constant.
        """
        if self.one_channel is None or self.apart > 1:
            return False
        return self.geometry is not None or self.kind in {"linear", "matmul"}

    def shaped(self, sums: Tensor) -> Tensor:
        """Outputs (n, positions, m) of a convolution with windows as it gives them, channels first.

        (n, m, rows, columns), or (n, m, columns) where it moves along a line.
        """
        found = sums.transpose(1, 2)
        return found if self.line else found.unflatten(2, (-1, self.bounds["f"]))

    def window(self, channel: Tensor, position: Tensor) -> Tensor:
        """Which elements of an image's input the outputs at these places read, (n, fan-in).

        In the order of the weight's rows; -1 stands for padding.

        Raises:
            ValueError: for a layer that is neither linear nor a convolution as in `has_windows`.
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
