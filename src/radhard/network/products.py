"""What layers compute: sums of all channels, and those of one channel per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.network.product import Sliding, attention, convolution


@dataclass(frozen=True, slots=True)
class Convolving:
    """Convolutions.

    Attributes:
        maps: of an image that run beside each other.
        kernel: the shape of the weight, (m, c / groups, ...).
        plane: the extent of the input.
        sliding, groups: as `convolution`.
    """

    maps: int
    kernel: tuple[int, ...]
    plane: tuple[int, ...]
    sliding: Sliding
    groups: int

    def __call__(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `radhard.network.layer.Product`."""
        return convolution(x, w, b, self.sliding, self.groups)

    def one_channel(self, x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
        """See `radhard.network.layer.ChannelProduct`."""
        n, (channels, own, *_) = len(x), self.kernel
        group = channel // (channels // self.groups)
        each = torch.arange(n, device=group.device)
        parts = x.view(n, self.maps, self.groups, own, *self.plane)[each, :, group]
        kernels = weights.view(n, *self.kernel[1:])
        beside = parts.transpose(0, 1).reshape(self.maps, -1, *self.plane)
        sums = convolution(beside, kernels, None, self.sliding, n)
        return sums.view(self.maps, n, -1).transpose(0, 1).reshape(n, -1)


@dataclass(frozen=True, slots=True)
class Transposing:
    """Transposed convolutions by an operation, whose weight is (c, m / groups, ...)."""

    op: Any
    maps: int
    channels: int
    kernel: tuple[int, ...]
    plane: tuple[int, ...]
    sliding: Sliding
    more: Sequence[int]
    groups: int

    def __call__(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `radhard.network.layer.Product`."""
        return self._run(x, w, b, self.groups)

    def _run(self, x: Tensor, w: Tensor, b: Tensor | None, groups: int) -> Tensor:
        stride, padding, dilation = self.sliding
        found: Tensor = self.op(x, w, b, stride, padding, self.more, groups, dilation)
        return found

    def one_channel(self, x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
        """See `radhard.network.layer.ChannelProduct`."""
        n, own = len(x), self.kernel[0] // self.groups
        group = channel // (self.channels // self.groups)
        each = torch.arange(n, device=x.device)
        parts = x.view(n, self.maps, self.groups, own, *self.plane)[each, :, group]
        beside = parts.transpose(0, 1).reshape(self.maps, -1, *self.plane)
        kernels = weights.reshape(n * own, 1, *self.kernel[2:])
        sums = self._run(beside, kernels, None, n)
        return sums.view(self.maps, n, -1).transpose(0, 1).reshape(n, -1)


@dataclass(frozen=True, slots=True)
class LookingUp:
    """Rows of a table."""

    def __call__(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `radhard.network.layer.Product`."""
        return F.embedding(x.to(torch.int64), w)

    def one_channel(self, x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
        """See `radhard.network.layer.ChannelProduct`."""
        return weights.gather(1, x.to(torch.int64))


@dataclass(frozen=True, slots=True)
class Multiplying:
    """Matrix products, by a weight (m, c) where ``linear``, else by (c, m).

    Attributes:
        linear: which of them.
        groups, e, c, m: of which a channel's sums have e rows of c terms, of m channels each.
    """

    linear: bool
    groups: int
    e: int
    c: int
    m: int

    def __call__(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """See `radhard.network.layer.Product`."""
        if self.linear:
            return F.linear(x, w, b)
        return torch.matmul(x, w) if b is None else torch.matmul(x, w) + b

    def one_channel(self, x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
        """See `radhard.network.layer.ChannelProduct`."""
        rows = x.view(len(x), self.groups, self.e, self.c)
        own = rows[torch.arange(len(x), device=x.device), channel // self.m]
        return (own @ weights.unsqueeze(2)).squeeze(2)


@dataclass(frozen=True, slots=True)
class Attending:
    """Scaled dot products, whose second operand is keys, values and a mask."""

    rest: Sequence[Any]
    named: Mapping[str, Any]

    def __call__(self, q: Tensor, others: Sequence[Tensor | None], b: Tensor | None) -> Tensor:
        """See `radhard.network.layer.Product`."""
        return attention(q, others, self.rest, dict(self.named))
