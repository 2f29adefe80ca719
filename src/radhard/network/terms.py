"""Which products a layer's sums are made of: of all its outputs, of some positions, or of one.

Arithmetic of any kind is asked for all of these in the same way. Where it is exact, operations of
the library and differences serve; where it is not, the operands of every product are gathered into
matrices, many in a batch: rows of operands by rows of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.network.layer import Layer
from radhard.network.product import added_up

#: Products, and operands, that are held at once, about.
_AT_ONCE = 1 << 22
#: More channels than any layer has.
_ALL_CHANNELS = 1 << 62


class Place(NamedTuple):
    """Which products these are: output channel, position and term, which broadcast against them.

    The position is that in the map, or in the rows of operands; a term's number is its place in a
    weight's row, (input channel, kernel row, kernel column). Of matrices they have an axis less
    each: channels (b, m), positions (b, t), terms (b, k), where b may be 1 for all of the batch.

    Attributes:
        per_group: channels of a group, which lie together.
        kept: which products are added up, like ``term``; all where ``None``.
    """

    channel: Tensor
    position: Tensor
    term: Tensor
    per_group: int = _ALL_CHANNELS
    kept: Tensor | None = None


#: ``(operands, weights, place)``, which broadcast against each other, to products, element by
#: element. Zeros of padding are operands like others.
Multiply = Callable[[Tensor, Tensor, Place], Tensor]
#: ``(operands (b, t, k), weights (b, m, k), place)`` to sums of products (b, t, m); b may be 1.
MultiplyMatrices = Callable[[Tensor, Tensor, Place], Tensor]


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

    def multiplied(
        self, multiply: MultiplyMatrices, x: Tensor, w: Tensor, bias: Tensor | None = None,
        zero: int = 0,
    ) -> Tensor:  # fmt: skip
        """Sums that a function of matrices gives, in its type, and the bias.

        Operands and weights are of any type, such as codes, of which ``zero`` stands for 0.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Each:
    """One output each: operands (n, k) by weights (n, k), giving (n,).

    Attributes:
        place: channel and position (n, 1), term (k,) or (n, k).
        inside: (n, k) which operands are no padding; all where ``None``.
    """

    place: Place
    inside: Tensor | None = None

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """See `Terms`."""
        return self._added(_within(self.inside, x) * w, bias)

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """See `Terms`."""
        return self._added(multiply(x, w, self.place), bias)

    def multiplied(
        self, multiply: MultiplyMatrices, x: Tensor, w: Tensor, bias: Tensor | None = None,
        zero: int = 0,
    ) -> Tensor:  # fmt: skip
        """See `Terms`."""
        term = self.place.term
        place = self.place._replace(term=term if term.dim() > 1 else term[None])
        return _biased(multiply(x[:, None], w[:, None], place)[:, 0, 0], bias)

    def alone(self, term: Tensor) -> Each:
        """Of one product each, by number of its term (n, 1)."""
        inside = self.inside.gather(1, term) if self.inside is not None else None
        return Each(self.place._replace(term=term), inside)

    def only(self, kept: Tensor) -> Each:
        """Of some products, (n, k)."""
        return replace(self, place=self.place._replace(kept=kept))

    def with_inside(self, hit: Tensor) -> Each:
        """Where operands (n, k) are multiplied as they are, even where they stand for padding."""
        return self if self.inside is None else replace(self, inside=self.inside | hit)

    def _added(self, products: Tensor, bias: Tensor | None) -> Tensor:
        return _biased(added_up(_within(self.place.kept, products)), bias)


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
        return self.multiplied(by_products(multiply), x, w, bias)

    def multiplied(
        self, multiply: MultiplyMatrices, x: Tensor, w: Tensor, bias: Tensor | None = None,
        zero: int = 0,
    ) -> Tensor:  # fmt: skip
        """See `Terms`."""
        groups, k = x.shape[1:]
        rows = w.view(groups, -1, k)
        own = rows.shape[1]
        channel, term = torch.arange(len(w), device=w.device), torch.arange(k, device=w.device)
        place = Place(channel.view(groups, own), self.position[None], term[None], own)
        found = multiply(x.transpose(0, 1), rows, place)
        return _biased(found.transpose(0, 1).flatten(1), None if bias is None else bias.reshape(-1))


@dataclass(frozen=True, slots=True, eq=False)
class Along:
    """One channel of each run at all positions: (n, positions, k) by (n, k), giving (n, positions).

    Attributes:
        channel: (n,).
        inside: (positions, k) which operands are no padding; all where ``None``.
        per_group: channels of a group.
    """

    channel: Tensor
    inside: Tensor | None = None
    per_group: int = _ALL_CHANNELS

    def __call__(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        """See `Terms`."""
        sums = torch.bmm(_within(self.inside, x), w[:, :, None])[:, :, 0]
        return sums if bias is None else sums + bias

    def summed(
        self, multiply: Multiply, x: Tensor, w: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """See `Terms`."""
        return self.multiplied(by_products(multiply), x, w, bias)

    def multiplied(
        self, multiply: MultiplyMatrices, x: Tensor, w: Tensor, bias: Tensor | None = None,
        zero: int = 0,
    ) -> Tensor:  # fmt: skip
        """See `Terms`."""
        position, term = (torch.arange(size, device=x.device)[None] for size in x.shape[1:])
        place = Place(self.channel[:, None], position, term, self.per_group)
        return _biased(multiply(x, w[:, None], place)[:, :, 0], bias)


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
        return self.multiplied(by_products(multiply), x, w, bias)

    def multiplied(
        self, multiply: MultiplyMatrices, x: Tensor, w: Tensor, bias: Tensor | None = None,
        zero: int = 0,
    ) -> Tensor:  # fmt: skip
        """See `Terms`."""
        layer = self.layer
        if not layer.has_windows:
            return _biased(self._of_matrices(multiply, x, w), bias)
        rows = layer.weight_rows(w)
        if layer.geometry is None:
            operands = x.reshape(-1, 1, x.shape[-1])
            position = torch.arange(len(operands), device=x.device) % layer.positions
            found = Some(position).multiplied(multiply, operands, rows, bias)
            return found.view(*x.shape[:-1], len(rows))
        taps, sums = taps_of(layer, x.device), []
        position = torch.arange(len(taps), device=x.device)
        for part in x.flatten(1).split(max(1, _AT_ONCE // taps.numel())):
            windows = torch.where(taps >= 0, part[:, taps.clamp(min=0)], zero).flatten(0, 1)
            some = Some(position.repeat(len(part)))
            sums.append(some.multiplied(multiply, windows, rows, bias))
        return layer.shaped(torch.cat(sums).view(len(x), -1, len(rows))).contiguous()

    def _of_matrices(self, multiply: MultiplyMatrices, x: Tensor, w: Tensor) -> Tensor:
        """Of (..., e, c) by (..., c, m), or by (m, c) where the layer is linear, or by (c,)."""
        vector = w.dim() == 1
        rows = w if self.layer.kind == "linear" else w[None] if vector else w.transpose(-1, -2)
        (m, c), e = rows.shape[-2:], x.shape[-2] if x.dim() > 1 else 1
        operands = x.reshape(-1, e, c)
        rows = rows.expand(*x.shape[:-2], m, c).reshape(-1, m, c) if rows.dim() > 2 else rows[None]
        channel, position, term = (torch.arange(size, device=x.device)[None] for size in (m, e, c))
        found = multiply(operands, rows, Place(channel, position, term))
        return found.view(*x.shape[:-1]) if vector else found.view(*x.shape[:-1], m)


def by_products(multiply: Multiply) -> MultiplyMatrices:
    """Sums of the products that a function gives, as many at once as there is room for."""

    def multiplied(x: Tensor, w: Tensor, place: Place) -> Tensor:
        each = max(1, w.shape[-1] * w.shape[-2])
        found = []
        for some, rows, part in _batches(
            x, w, place, max(1, _AT_ONCE // (each * max(1, x.shape[1])))
        ):
            sums, many = [], max(1, _AT_ONCE // (each * len(some)))
            for x_part, at in zip(some.split(many, 1), part.position.split(many, 1), strict=True):
                where = (part.channel[:, None, :, None], at[:, :, None, None])
                own = part._replace(
                    channel=where[0], position=where[1], term=part.term[:, None, None]
                )
                sums.append(multiply(x_part[:, :, None], rows[:, None], own).sum(-1))
            found.append(torch.cat(sums, 1))
        return torch.cat(found)

    return multiplied


def _batches(
    x: Tensor, w: Tensor, place: Place, many: int
) -> Iterator[tuple[Tensor, Tensor, Place]]:
    """Parts of a batch; what is one for all of it stays."""

    def of(value: Tensor) -> Tensor:
        return value if len(value) == 1 else value[part]

    for start in range(0, max(1, len(x)), many):
        part = slice(start, start + many)
        channel, position, term = map(of, place[:3])
        yield of(x), of(w), place._replace(channel=channel, position=position, term=term)


def taps_of(layer: Layer, device: torch.device) -> Tensor:
    """Which input each product reads, (positions, groups, fan-in); -1: padding."""
    groups = layer.bounds["groups"]
    first = torch.arange(groups, device=device)[:, None] * (layer.channels // groups)
    position = torch.arange(layer.positions, device=device)[:, None, None]
    return layer.tap(first, position, torch.arange(layer.fan_in, device=device))


def _within(where: Tensor | None, values: Tensor) -> Tensor:
    return values if where is None else torch.where(where, values, 0)


def _biased(sums: Tensor, bias: Tensor | None) -> Tensor:
    return sums if bias is None else sums + bias.to(sums.dtype)
