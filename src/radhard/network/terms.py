"""Which products a layer's sums are made of: of all its outputs, of some positions, or of one.

Arithmetic of any kind is asked for all of these in the same way. Where it is exact, operations of
the library and differences serve; where it is not, the operands of every product are gathered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.network.layer import Layer
from radhard.network.product import added_up

#: Products that are held at once, about.
_AT_ONCE = 1 << 22


class Place(NamedTuple):
    """Which products these are: output channel, position and term, which broadcast against them.

    The position is that in the map, or in the rows of operands; a term's number is its place in a
    weight's row, (input channel, kernel row, kernel column).
    """

    channel: Tensor
    position: Tensor
    term: Tensor


#: ``(operands, weights, place)``, which broadcast against each other, to products, element by
#: element. Zeros of padding are operands like others.
Multiply = Callable[[Tensor, Tensor, Place], Tensor]


class Terms(Protocol):
    """The sums that are asked for."""

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """Sums of exact products; those of padding are 0, whatever became of operands."""
        ...

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Sums of the products that a function gives, in its type, and of the bias."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """One output each: operands (n, k) by weights (n, k), giving (n,).

    Attributes:
        place: channel and position (n, 1), term (k,) or (n, k).
        inside: (n, k) which operands are no padding; all where ``None``.
        kept: (n, k) which products are added up; all where ``None``.
    """

    place: Place
    inside: Tensor | None = None
    kept: Tensor | None = None

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """See `Terms`."""
        return self._added(_within(self.inside, x) * w, bias)

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """See `Terms`."""
        return self._added(multiply(x, w, self.place), bias)

    def alone(self, term: Tensor) -> Each:
        """Of one product each, by number of its term (n, 1)."""
        inside = self.inside.gather(1, term) if self.inside is not None else None
        return Each(self.place._replace(term=term), inside)

    def with_inside(self, hit: Tensor) -> Each:
        """Where operands (n, k) are multiplied as they are, even where they stand for padding."""
        return self if self.inside is None else replace(self, inside=self.inside | hit)

    def _added(self, products: Tensor, bias: Tensor | None) -> Tensor:
        sums = added_up(_within(self.kept, products))
        return sums if bias is None else sums + bias.to(sums.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """All channels at some positions: windows (t, groups, k) by weights (m, k), giving (t, m).

    Attributes:
        position: (t,).
        inside: (t, 1, k) which operands are no padding; all where ``None``.
    """

    position: Tensor
    inside: Tensor | None = None

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """See `Terms`."""
        x, groups = _within(self.inside, x), x.shape[1]
        if groups == 1:
            return F.linear(x[:, 0], w, bias)
        sums = torch.bmm(x.transpose(0, 1), w.view(groups, -1, w.shape[1]).transpose(1, 2))
        sums = sums.transpose(0, 1).flatten(1)
        return sums if bias is None else sums + bias

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """See `Terms`."""
        groups, k = x.shape[1:]
        rows = w.view(groups, -1, k)
        channel = torch.arange(len(w), device=w.device).view(groups, -1, 1)
        term, parts = torch.arange(k, device=w.device), max(1, _AT_ONCE // w.numel())
        sums = []
        for part, position in zip(x.split(parts), self.position.split(parts), strict=True):
            place = Place(channel, position[:, None, None, None], term)
            sums.append(multiply(part[:, :, None], rows, place).sum(-1))
        found = torch.cat(sums).flatten(1)
        return found if bias is None else found + bias.reshape(-1).to(found.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Along:
    """One channel of each run at all positions: (n, positions, k) by (n, k), giving (n, positions).

    Attributes:
        channel: (n,).
        inside: (positions, k) which operands are no padding; all where ``None``.
    """

    channel: Tensor
    inside: Tensor | None = None

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """See `Terms`."""
        sums = torch.bmm(_within(self.inside, x), w[:, :, None])[:, :, 0]
        return sums if bias is None else sums + bias

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """See `Terms`."""
        position, term = (torch.arange(size, device=x.device) for size in x.shape[1:])
        place = Place(self.channel[:, None, None], position[:, None], term)
        sums = multiply(x, w[:, None], place).sum(-1)
        return sums if bias is None else sums + bias.to(sums.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class All:
    """All outputs of a layer, in the shapes of its operation."""

    layer: Layer

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """See `Terms`."""
        return self.layer.product(x, w, bias)

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """See `Terms`."""
        if not self.layer.has_windows:
            return self._of_matrices(multiply, x, w, bias)
        layer, rows = self.layer, self.layer.weight_rows(w)
        if layer.geometry is None:
            operands = x.reshape(-1, 1, x.shape[-1])
            position = torch.arange(len(operands), device=x.device) % layer.positions
            found = Some(position).summed(multiply, operands, rows, bias)
            return found.view(*x.shape[:-1], len(rows))
        taps, sums = taps_of(layer, x.device), []
        position = torch.arange(len(taps), device=x.device)
        for part in x.flatten(1).split(max(1, _AT_ONCE // taps.numel())):
            windows = torch.where(taps >= 0, part[:, taps.clamp(min=0)], 0).flatten(0, 1)
            sums.append(Some(position.repeat(len(part))).summed(multiply, windows, rows, bias))
        found = torch.cat(sums).view(len(x), -1, layer.bounds["f"], len(rows))
        return found.permute(0, 3, 1, 2).contiguous()

    def _of_matrices(self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """Of (..., e, c) by (..., c, m), or by (m, c) where the layer is linear, or by (c,)."""
        if x.dim() > 2 and len(x) > 1 and x.numel() * w.shape[-1] > _AT_ONCE:
            parts = w.split(1) if w.dim() == x.dim() and len(w) > 1 else [w] * len(x)
            pairs = zip(x.split(1), parts, strict=True)
            return torch.cat([self._of_matrices(multiply, *pair, bias) for pair in pairs])
        vector = w.dim() == 1
        rows = w if self.layer.kind == "linear" else w[None] if vector else w.transpose(-1, -2)
        e, m, c = x.shape[-2] if x.dim() > 1 else 1, rows.shape[-2], x.shape[-1]
        channel, position, term = (torch.arange(size, device=x.device) for size in (m, e, c))
        place = Place(channel[:, None], position[:, None, None], term)
        found = multiply(x[..., None, :], rows[..., None, :, :], place).sum(-1)
        found = found.squeeze(-1) if vector else found
        return found if bias is None else found + bias.to(found.dtype)


def taps_of(layer: Layer, device: torch.device) -> Tensor:
    """Which input each product reads, (positions, groups, fan-in); -1: padding."""
    groups = layer.bounds["groups"]
    first = torch.arange(groups, device=device)[:, None] * (layer.channels // groups)
    position = torch.arange(layer.positions, device=device)[:, None, None]
    return layer.tap(first, position, torch.arange(layer.fan_in, device=device))


def _within(where: Tensor | None, values: Tensor) -> Tensor:
    return values if where is None else torch.where(where, values, 0)
