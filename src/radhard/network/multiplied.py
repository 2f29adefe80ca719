"""Layers whose products are those of a multiplier, in the elements of an array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.arith.array import Array
from radhard.arith.broken import Exact
from radhard.arith.elements import elements
from radhard.arith.multiplier import WIDEST_TABLE, Multiplier, full_name, limits
from radhard.arith.where import Where
from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.ondevice import sums_there
from radhard.network.terms import Place, Terms

#: One for all layers, or by their names.
Multipliers = Multiplier | Mapping[str, Multiplier]
Arrays = Array | Mapping[str, Array]

#: Elements that are all alike and healthy: an array of any size.
_HEALTHY = Array(1, 1)


class Port(NamedTuple):
    """How integers come to a port of a multiplier: ``code = (integer + zero) & mask``."""

    zero: int
    mask: int

    @property
    def integers(self) -> NDArray[np.int64]:
        """What codes stand for, at least 256; those that there are not stand for others."""
        codes = np.arange(max(256, self.mask + 1)) & self.mask
        if self.zero:
            return codes - self.zero
        half = (self.mask + 1) // 2
        return (codes ^ half) - half

    def codes(self, integers: Tensor) -> Tensor:
        """The bit patterns of integers."""
        found = (integers.to(torch.int32) + self.zero) & self.mask
        return found.to(torch.uint8) if self.mask < 1 << WIDEST_TABLE else found


@dataclass(frozen=True, slots=True)
class Placing:
    """Where an array takes the terms and channels of a layer, the same for each group.

    Attributes:
        terms: of each term, its place among the terms of the array; places between have zeros.
        channels: of each channel of a group, its place among the columns.

    Raises:
        ValueError: for places that are there twice, or below 0.
    """

    terms: tuple[int, ...]
    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, order in (("terms", self.terms), ("channels", self.channels)):
            if len(set(order)) < len(order) or min(order, default=0) < 0:
                raise ValueError(f"places of {name} must differ, from 0: got {order[:10]}")

    def where(self, where: Where) -> Where:
        """Where sums are on the array."""
        terms, channels = np.array(self.terms), np.array(self.channels)
        return where._replace(column=channels[where.column], term=terms[where.term])


@dataclass(frozen=True, slots=True)
class Multiplied:
    """A layer of integers by a multiplier; see `radhard.Workload.with_`.

    Operands of signed multipliers are integers in two's complement, which symmetric formats and
    fixed point are. Unsigned ones get codes that start at 0, and what their zero points add to
    the sum of products is subtracted, exactly (Vaverka et al., "TFApprox", DATE 2020). Port A has
    the activation, port B the weight. Sums are as wide as it takes, but within an array with stuck
    partial sums.

    Attributes:
        multiplier: of up to 8 bits by its table; of up to 16 by its formula, which is slow.
        array: whose elements it is in; of none, products are the multiplier's.
        placing: where on the array terms and channels are computed; in their own order where
            ``None``.

    >>> import radhard as rh
    >>> Multiplied(rh.multiplier_named("mul8s_1L2H@v1")).name
    'mul8s_1L2H@v1'
    """

    multiplier: Multiplier
    array: Array = _HEALTHY
    placing: Placing | None = None

    @property
    def name(self) -> str:
        """Of the multiplier, its release and the array: ``mul8s_1L2H@v1+128x128-ws``."""
        array = [self.array.name] if self.array != _HEALTHY else []
        return "+".join([full_name(self.multiplier), *array]).replace(":", "-")

    @property
    def linear(self) -> bool:
        """Whether products are exact."""
        return isinstance(self.multiplier, Exact) and self.alike

    @property
    def alike(self) -> bool:
        """Whether all its elements multiply as `table` says, and their sums hold any layer's."""
        array = self._array
        return not (
            array.defects or array.bypassed or array.psum_bits < psum_bits_of(self.multiplier)
        )

    def table(self, how: Arithmetic) -> tuple[NDArray[np.int64], tuple[int, int, int, int]]:
        """Single products of activations and weights by their codes, less what zero points add.

        Returns:
            the table, and what is added to an integer for its code, and the mask: of activations,
            and of weights.
        """
        a, b = port_of(self.multiplier, how.input), port_of(self.multiplier, how.weight)
        x, w = np.arange(a.mask + 1), np.arange(b.mask + 1)
        found = self.multiplier.table().astype(np.int64)
        less = b.zero * x[:, None] + a.zero * w - a.zero * b.zero
        return found - less, (a.zero, a.mask, b.zero, b.mask)

    @property
    def _array(self) -> Array:
        """The array that computes; of none, one whose sums hold any product."""
        if self.array != _HEALTHY:
            return self.array
        return replace(_HEALTHY, psum_bits=psum_bits_of(self.multiplier))

    def check(self, layer: Layer, how: Arithmetic, apart: bool) -> None:
        """Raise ``ValueError`` where a layer can't be computed so.

        That is where its operands don't fit the multiplier's ports, or where an array's elements
        depend on positions and the images of a batch do not lie ``apart``, one after the other.
        """
        if not how.exact:
            raise ValueError(
                f"layer {layer.name} has {how.input.name} and {how.weight.name}, which "
                f"{self.multiplier.name} does not multiply: use integers, such as radhard.INT8"
            )
        elements(self._array, self.multiplier)  # refuses what can't be
        for what, fmt in (("inputs", how.input), ("weights", how.weight)):
            try:
                port_of(self.multiplier, fmt)
            except ValueError as error:
                raise ValueError(f"layer {layer.name}, {what}: {error}") from None
        if self.array.dataflow != "ws" and self.array.rows * self.array.cols > 1 and not apart:
            raise ValueError(
                f"layer {layer.name}: positions of several images take turns in its input, so that "
                f"{self.array.name} would mix them: use a weight-stationary array (ws), or put the "
                "batch first"
            )

    def sums(self, how: Arithmetic, terms: Terms, operand: Tensor, given: Parameters) -> Tensor:
        """See `radhard.Datapath`."""
        if self.linear:
            return how.ordinary(terms, operand, given)
        a, b = port_of(self.multiplier, how.input), port_of(self.multiplier, how.weight)
        made = elements(self._array, self.multiplier)

        def multiply(x: Tensor, w: Tensor, place: Place) -> Tensor:
            where = _where(place)
            where = where if self.placing is None else self.placing.where(where)
            sums = sums_there(made, x, w, place, self.placing is not None)
            if sums is None:
                found = made.sums(x.cpu().numpy(), w.cpu().numpy(), where)
                sums = torch.from_numpy(found).to(x.device)
            if not (a.zero or b.zero):
                return sums
            if not self.array.bypassed:
                return sums - _surplus(x, w, place, a, b)
            live = torch.from_numpy(_live(self.array, where)).to(x.device)
            return sums - _surplus_of_live(x, w, live, a, b)

        codes = a.codes(operand), b.codes(given.weight)
        return terms.multiplied(multiply, *codes, how.bias(given), a.zero)


def _where(place: Place) -> Where:
    column = place.channel % place.per_group
    kept = None if place.kept is None else place.kept.cpu().numpy()
    position, channel, term = (part.cpu().numpy() for part in (place.position, column, place.term))
    return Where(position, channel, term, kept)


def _surplus(x: Tensor, w: Tensor, place: Place, a: Port, b: Port) -> Tensor:
    """What zero points add to sums of products of codes."""
    x, w = x.to(torch.int64), w.to(torch.int64)
    count: int | Tensor = x.shape[-1]
    if place.kept is not None:
        kept = place.kept[:, None].to(torch.int64)
        x, w, count = x * kept, w * kept, kept.sum(-1)[:, :, None]
    return b.zero * x.sum(-1)[:, :, None] + a.zero * w.sum(-1)[:, None] - count * a.zero * b.zero


def _live(array: Array, where: Where) -> NDArray[np.int64]:
    """1 for products of elements that are not passed by, and that are added up, (b, t, m, k)."""
    passed = np.zeros((array.rows, array.cols), np.bool_)
    rows, cols = zip(*array.bypassed, strict=True)
    passed[list(rows), list(cols)] = True
    other = (
        where.column[:, None, :, None]
        if array.dataflow == "ws"
        else (where.position[:, :, None, None])
    )
    live = ~passed[where.term[:, None, None] % array.rows, other % array.cols]
    if where.kept is not None:
        live = live & where.kept[:, None, None]
    found: NDArray[np.int64] = live.astype(np.int64)
    return found


def _surplus_of_live(x: Tensor, w: Tensor, live: Tensor, a: Port, b: Port) -> Tensor:
    """As `_surplus`, of some products (b, t, m, k), which are alike for all t, or for all m."""
    x, w, live = (part.to(torch.float64) for part in (x, w, live))
    if live.shape[1] == 1:
        own = live[:, 0]
        of_x, of_w, count = (
            x @ own.transpose(1, 2),
            (w * own).sum(-1)[:, None],
            own.sum(-1)[:, None],
        )
    else:
        own = live[:, :, 0]
        of_x, of_w = (x * own).sum(-1)[:, :, None], own @ w.transpose(1, 2)
        count = own.sum(-1)[:, :, None]
    return (b.zero * of_x + a.zero * of_w - a.zero * b.zero * count).to(torch.int64)


def psum_bits_of(multiplier: Multipliers | None) -> int:
    """Bits of partial sums that have room for any layer: 32, or 48 for more than 8 x 8 bits."""
    several = multiplier.values() if isinstance(multiplier, Mapping) else (multiplier,)
    wide = any(one is not None and one.width > WIDEST_TABLE for one in several)
    return 48 if wide else _HEALTHY.psum_bits


def port_of(multiplier: Multiplier, fmt: NumberFormat) -> Port:
    """How a format's integers, less their zero point, come to a multiplier.

    Raises:
        ValueError: for a format whose codes the multiplier does not have.
    """
    affine = isinstance(fmt, IntegerFormat) and fmt.affine
    zeros = fmt.zero if isinstance(fmt, IntegerFormat) else (0,)
    if not isinstance(fmt, IntegerFormat | FixedFormat) or len(set(zeros)) > 1:
        raise ValueError(f"{fmt.name} has no codes with one zero point: use radhard.INT8")
    shifted = multiplier.signed and (affine or any(zeros))
    if fmt.width > multiplier.width or shifted:
        low, high = limits(multiplier.width, multiplier.signed)
        raise ValueError(
            f"{fmt.name} has codes from {fmt.limits[0]} to {fmt.limits[1]}"
            + (f" with zero point {zeros[0]}" if zeros[0] else "")
            + f", {multiplier.name} operands from {low} to {high}: use a format of at most "
            f"{multiplier.width} bits"
            + (", signed and without a zero point, or an unsigned multiplier" if shifted else "")
        )
    half = 0 if multiplier.signed or affine else 1 << (fmt.width - 1)
    return Port(zeros[0] + half, (1 << multiplier.width) - 1)


def multiplied(
    multiplier: Multipliers | None, array: Arrays | None, names: tuple[str, ...],
    held: Mapping[str, object],
) -> dict[str, Multiplied] | Multiplied:  # fmt: skip
    """What computes layers, by their names, or all of them.

    Args:
        multiplier: of all layers or of some; those that there are where ``None``, or exact ones.
        array: likewise; those that there are where ``None``, or none.
        names: of all layers.
        held: what computes them so far.

    Raises:
        TypeError: for what is no multiplier or array.
    """
    exact = Exact(8, signed=True)
    before = {name: own for name, own in held.items() if isinstance(own, Multiplied)}
    if before and multiplier is None:
        multiplier = {name: own.multiplier for name, own in before.items()}
    if before and array is None:
        array = {name: own.array for name, own in before.items() if own.array != _HEALTHY}
    if not isinstance(multiplier, Mapping) and not isinstance(array, Mapping):
        return _made(exact if multiplier is None else multiplier, array)
    found = {}
    for name in dict.fromkeys([*names, *_keys(multiplier), *_keys(array)]):
        own = multiplier.get(name) if isinstance(multiplier, Mapping) else multiplier
        where = array.get(name) if isinstance(array, Mapping) else array
        if own is not None or where is not None:
            found[name] = _made(exact if own is None else own, where)
    return found


def _keys(given: Multipliers | Arrays | None) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, Mapping) else ()


def _made(multiplier: Multiplier, array: Array | None) -> Multiplied:
    if isinstance(multiplier, type) or not isinstance(multiplier, Multiplier):
        raise TypeError(
            f"multiplier {multiplier!r} is none: use one such as "
            'radhard.multiplier_named("mul8s_1L2H@v1")'
        )
    if array is not None and not isinstance(array, Array):
        raise TypeError(f"array {array!r} is none: use radhard.Array(128, 128)")
    return Multiplied(multiplier, _HEALTHY if array is None else array)
