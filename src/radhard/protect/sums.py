"""Sums of a layer's outputs, from its inputs and sums of its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radhard.network.layer import Layer
from radhard.network.operation import Geometry
from radhard.network.product import convolution

_DENSE = Geometry((1, 1), (1, 1), (0, 0))


class Sums(nn.Module):
    """What sums of a layer's outputs should be, from its inputs and sums of its weights.

    Huang and Abraham, IEEE TC 1984, for products; Hari et al., IEEE TDSC 2022, for convolutions: an
    extra filter that is the sum of all filters gives the sum over channels at each position; the
    sum of all windows of the input gives, with each filter, the sum over positions of each channel.
    Both hold for any stride, padding, dilation and groups.
    """

    kernels: Tensor
    summed: Tensor
    bias: Tensor

    def __init__(self, layer: Layer, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self._set(layer, layer.weight_rows(weight), bias)

    @classmethod
    def of_rows(cls, layer: Layer, rows: Tensor) -> Sums:
        """From weights (m, fan-in), without a bias."""
        found = cls.__new__(cls)
        nn.Module.__init__(found)
        found._set(layer, rows, None)
        return found

    def _set(self, layer: Layer, rows: Tensor, bias: Tensor | None) -> None:
        self.geometry = layer.geometry or _DENSE
        self.groups, self.dense = layer.bounds["groups"], layer.geometry is None
        kernels = rows.view(len(rows), -1, *self.geometry.kernel)
        self.register_buffer("kernels", kernels)
        self.register_buffer("summed", kernels.unflatten(0, (self.groups, -1)).sum(1))
        own = bias.reshape(-1) if bias is not None else rows.new_zeros(len(rows))
        self.register_buffer("bias", own)

    def convert(self, dtype: torch.dtype) -> None:
        """See `radhard.protect.rounding.Converting`: weights are rounded, so their sums change."""
        self.bias.copy_(self.bias.to(dtype))
        self.kernels.copy_(self.kernels.to(dtype))
        self.summed.copy_(self.kernels.unflatten(0, (self.groups, -1)).sum(1))

    def maps(self, inputs: Tensor) -> Tensor:
        """Inputs (n, c, h, w), of lines with one row; vectors (n, ..., c) become columns."""
        if not self.dense:
            return inputs if inputs.dim() == 4 else inputs[:, :, None]
        return inputs.flatten(1, -2).transpose(1, 2).unsqueeze(3) if inputs.dim() > 2 else (
            inputs[:, :, None, None]
        )  # fmt: skip

    def at_positions(self, inputs: Tensor) -> Tensor:
        """Sums over channels at each position, (n, positions)."""
        g = self.geometry
        sliding = g.stride, g.padding, g.dilation
        found = convolution(self.maps(inputs), self.summed, None, sliding, self.groups)
        return found.sum(1).flatten(1) + self.bias.sum()

    def of_channels(self, inputs: Tensor) -> Tensor:
        """Sums over positions of each channel, (n, m)."""
        g, maps = self.geometry, self.maps(inputs)
        pads = (g.padding[1], g.padding[1], g.padding[0], g.padding[0])
        padded = F.pad(maps, pads)
        ends = [
            size + 2 * pad - dilation * (kernel - 1)
            for size, pad, dilation, kernel in zip(
                maps.shape[2:], g.padding, g.dilation, g.kernel, strict=True
            )
        ]
        windows = [
            padded[
                :, :,
                r * g.dilation[0] : r * g.dilation[0] + ends[0] : g.stride[0],
                s * g.dilation[1] : s * g.dilation[1] + ends[1] : g.stride[1],
            ]
            for r in range(g.kernel[0])
            for s in range(g.kernel[1])
        ]  # fmt: skip
        positions = windows[0].shape[2] * windows[0].shape[3]
        summed = torch.stack([window.sum((2, 3)) for window in windows], 2)  # (n, c, taps)
        grouped = summed.unflatten(1, (self.groups, -1))
        kernels = self.kernels.flatten(2).unflatten(0, (self.groups, -1))
        found = torch.einsum("ngct,gmct->ngm", grouped, kernels).flatten(1)
        return found + positions * self.bias


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Sums that were found less those expected, with the scale of rounding, (n, places)."""

    gap: Tensor
    scale: Tensor

    @classmethod
    def of(cls, output: Tensor, expected: Tensor, axis: int) -> Difference:
        """Of outputs (n, m, positions) that are summed over an axis."""
        return cls(output.sum(axis) - expected, torch.linalg.vector_norm(output, dim=axis))

    def largest(self, terms: int) -> Tensor:
        """The largest relative gap, and a floor for the scale: a tenth of its mean.

        It is that of the rounding of so many ``terms`` at least: sums of one output happen to agree
        where both are formed alike.
        """
        floor = 0.1 * self.scale.mean()
        largest = (self.gap.abs() / (self.scale + floor)).max().nan_to_num(nan=0.0)
        least = torch.finfo(largest.dtype).eps * terms**0.5
        return torch.stack([largest.clamp(min=least), floor])

    def beyond(self, tolerance: Tensor, margin: float) -> Tensor:
        """Where the gap is larger than it may be, (n, places); not-a-number is."""
        allowed = margin * tolerance[0] * (self.scale + tolerance[1])
        return ~(self.gap.abs() <= allowed) | ~torch.isfinite(self.scale)
