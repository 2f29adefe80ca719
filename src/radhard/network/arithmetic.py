"""How a layer computes in the chosen number formats."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from radhard.arith.exact import exact_product, shift_toward_zero, split_product, wide_product
from radhard.formats.catalogue import FLOAT32, FLOAT64
from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.format import WIDEST_SUM
from radhard.network.layer import Product
from radhard.network.terms import Terms

_CODES = (FixedFormat, IntegerFormat)
#: Bound from which sums of integers are of 64 bits; how far a datapath may exceed exact sums.
_WIDE, _ROOM = 2**52, 4


@dataclass(frozen=True, slots=True)
class Parameters:
    """A layer's weight and bias, ready for `Arithmetic.run`.

    Attributes:
        weight: integers where the arithmetic is exact, else rounded reals.
        bias: real; where the arithmetic is exact it broadcasts against the sums.
        scale: value of the weight's integer 1, broadcasting against the sums; unused for reals.
    """

    weight: Any
    bias: Tensor | None
    scale: Tensor

    def to(self, device: torch.device) -> Parameters:
        """Those of a stored weight on another device."""
        bias = self.bias.to(device) if self.bias is not None else None
        return Parameters(self.weight.to(device), bias, self.scale.to(device))


@runtime_checkable
class Datapath(Protocol):
    """Arithmetic of your own: an approximate multiplier, or a faulty one, for the whole run.

    A frozen dataclass of plain fields, so that a campaign can be asked again from its data.
    `radhard.testing.check_arithmetic` tries one. Everything that runs a network runs on it, fault-
    free and faulty: touched outputs are computed anew from faulty operands, as whole runs do.
    """

    @property
    def name(self) -> str:
        """For tables, pages and names of folders."""
        ...

    @property
    def linear(self) -> bool:
        """Whether sums are those of exact products: differences of operands then tell theirs."""
        ...

    def sums(self, how: Arithmetic, terms: Terms, operand: Tensor, given: Parameters) -> Tensor:
        """The sums of a layer's products, with the bias.

        Asked for all outputs, for some positions, and for single outputs or parts of their sums;
        each result must depend on its own operands alone.

        Args:
            how: the formats; `Arithmetic.ordinary` gives exact sums, of operands that were changed,
                and `Arithmetic.bias` the bias among sums.
            terms: which products are added up: called, ``terms(x, w, bias)``, exact ones; in
                ``terms.summed(multiply, x, w, bias)`` those of a function.
            operand: as `Arithmetic.operand` gives it: integers, in float64, where formats are
                integers (less their zero point) or fixed point, else reals.
            given: weight and bias likewise.
        """
        ...


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The fitted formats of one layer.

    Where sums are ``exact``, products and sums are those of the operands' integers, in any order;
    otherwise operands are rounded to their formats and the sum runs in the carrier type, with one
    rounding at the end. ``bound`` is the largest partial sum of integers that can occur;
    ``splits`` says that halves of the weight have sums which float32 holds. Where it rounds at
    ``each_step``, products are those of `radhard.network.stepwise` and sums are integers of the
    accumulator. With a datapath of its ``own``, sums are what that makes of them. Integers are
    accumulated in ``sum_bits``, or in as many as are usual where that is 0.
    """

    input: NumberFormat
    weight: NumberFormat
    output: NumberFormat
    accumulator: NumberFormat | None
    exact: bool
    bound: float
    splits: bool = False
    each_step: bool = False
    own: Datapath | None = None
    sum_bits: int = 0

    @property
    def linear(self) -> bool:
        """Whether sums change by the exact products of what operands change by.

        Where they do not, touched outputs are computed anew, and nothing is proved by differences.
        """
        return not self.each_step and (self.own is None or self.own.linear)

    @property
    def plain(self) -> bool:
        """Whether sums are those of this class, of which proofs are known: nobody's own."""
        return type(self) is Arithmetic and self.own is None and self.linear

    @property
    def gathers(self) -> bool:
        """Whether `sums` needs `radhard.network.terms.Terms`, not only an operation."""
        return self.own is not None or not self.linear

    def run(self, product: Product, x: Tensor, given: Parameters) -> Tensor:
        """The layer's output, rounded to its format; ``x`` holds any real values."""
        sums = self.sums(product, self.operand(x), given)
        found = self.finished(sums, given)
        return found.to(x.dtype) if x.is_floating_point() else found

    def operand(self, x: Tensor) -> Tensor:
        """The input as it is multiplied: integers, or reals rounded to the format.

        Of a look-up: which rows it reads, as they are.
        """
        if not self.exact:
            return self.input.round(x) if x.is_floating_point() else x
        assert isinstance(self.input, _CODES)
        return self._as_multiplied(self.input.integers(x))

    def sums(self, product: Product, operand: Tensor, given: Parameters) -> Tensor:
        """Sums of products and bias: of integers, in a type that holds them, or of reals."""
        if self.own is None:
            return self.ordinary(product, operand, given)
        found = self.own.sums(self, cast(Terms, product), operand, given)
        if not self.exact:
            return found
        return found.to(torch.float64 if self.bound < _WIDE else torch.int64)

    def ordinary(self, product: Product, operand: Tensor, given: Parameters) -> Tensor:
        """The same of exact products, whatever datapath there is."""
        if not self.exact:
            return product(operand, given.weight, given.bias)
        if self.each_step:
            return self.with_bias_added(product(operand, given.weight, None), given)
        sums = self._integer_products(product, operand, given.weight, self.bound)
        bias = self.bias(given)
        return sums if bias is None else sums + bias.to(sums.dtype)

    def bias(self, given: Parameters) -> Tensor | None:
        """The bias as it is added to sums: an integer where they are integers."""
        if given.bias is None or not self.exact:
            return given.bias
        return torch.round(given.bias / self.unit(given))

    def with_bias_added(self, sums: Tensor, given: Parameters) -> Tensor:
        """Sums of the accumulator's integers with the bias, saturated."""
        held = self.accumulator
        assert isinstance(held, FixedFormat)
        if given.bias is None:
            return sums
        return (sums + held.integers(given.bias).to(sums.dtype)).clamp(*held.limits)

    def change(self, product: Product, change: Tensor, given: Parameters) -> Tensor:
        """By how much sums change when the operand changes by ``change``."""
        if not self.exact:
            return product(change, given.weight, None)
        return self._integer_products(product, change, given.weight, 2 * self.bound)

    def finished(self, sums: Tensor, given: Parameters) -> Tensor:
        """The layer's output from its sums; those of integers are scaled and rounded in float64.

        So they become the same codes whatever type holds them.
        """
        if not self.exact:
            return self._rounded(sums)
        unit = self.unit(given)
        if sums.is_floating_point():
            return self._rounded(sums.to(torch.float64) * unit.to(torch.float64))
        return self._rounded(self._cut(sums, unit))

    @property
    def latch(self) -> NumberFormat:
        """In which partial sums are held: a wide accumulator of integers has 32 bits.

        Products of more than 16 bits would soon fill those: they get 48, as multipliers of
        programmable logic have them.
        """
        if self.accumulator is not None:
            return self.accumulator
        usual = 32 if self.input.width + self.weight.width <= 16 else WIDEST_SUM
        bits = self.sum_bits or usual
        return FixedFormat(f"int{bits}", bits, 0)

    def held(self, partial: Tensor, given: Parameters) -> Tensor:
        """Partial sums (n,), float64 or int64 as from `sums`, as `latch` holds them, float64."""
        unit = self._held_unit(given)
        if self.wraps:
            return self._wrapped(partial).to(torch.float64)
        real = partial * unit if partial.is_floating_point() else self._cut(partial, unit)
        return self.latch.round(real)

    def with_altered(
        self, sums: Tensor, held: Tensor, altered: Tensor, given: Parameters
    ) -> Tensor:
        """Sums after one of their partial sums was altered where it is held, in `latch`.

        The change of the held value is added: what a latch cuts off is not lost from the sum. A
        wide accumulator of integers wraps round, as adders do.

        Args:
            sums: (n,), from `sums`, as float64 or int64.
            held: (n,), a part of each, from `held`.
            altered: (n,), what that became.
            given: the layer's parameters.
        """
        change = self.moved(held, altered, given)
        if not sums.is_floating_point():
            change = torch.round(change).to(torch.int64)
        found = sums + change
        return torch.where(altered == held, sums, self._wrapped(found)) if self.wraps else found

    def moved(self, held: Tensor, altered: Tensor, given: Parameters) -> Tensor:
        """By how much sums move, in their units, when what is held in `latch` is altered, (n,)."""
        change = (altered - held) / self._held_unit(given)
        return torch.where(altered == held, 0.0, change)

    def wrapped(self, sums: Tensor) -> Tensor:
        """Integer sums as an accumulator holds them that wraps round; others as they are."""
        return self._wrapped(sums) if self.wraps else sums

    @property
    def wraps(self) -> bool:
        """Whether sums are integers in an accumulator as wide as it takes, which wraps round."""
        return self.exact and self.accumulator is None

    def _wrapped(self, sums: Tensor) -> Tensor:
        """Integers modulo the accumulator's range."""
        half = 1 << (self.latch.width - 1)
        return (sums + half).remainder(2 * half) - half

    def _held_unit(self, given: Parameters) -> Tensor:
        """What a sum of 1 stands for in `latch`; a wide accumulator of integers holds those."""
        if self.exact and self.accumulator is not None:
            return self.unit(given).to(torch.float64)
        return torch.ones((), dtype=torch.float64, device=given.scale.device)

    @property
    def sums_are_outputs(self) -> bool:
        """Whether `finished` changes nothing: all is in the carrier type itself."""
        formats = {self.input, self.weight, self.output, self.accumulator}
        return formats in ({FLOAT32}, {FLOAT64})

    def _rounded(self, sums: Tensor) -> Tensor:
        if self.accumulator is not None:
            sums = self.accumulator.round(sums)
        return sums if self.accumulator == self.output else self.output.round(sums)

    def unit(self, given: Parameters) -> Tensor:
        """The value of 1 among the sums of integers."""
        assert isinstance(self.input, _CODES)
        if self.each_step:
            assert isinstance(self.accumulator, FixedFormat)
            return self.accumulator.scales(given.scale)
        return given.scale * self.input.scales(given.scale)

    def with_bias(self, given: Parameters | None) -> Arithmetic:
        """The same with the bias in its bound."""
        if not self.exact or self.each_step or given is None or given.bias is None:
            return self
        return replace(self, bound=self.bound + float((given.bias / self.unit(given)).abs().max()))

    def with_bound(self, bound: float) -> Arithmetic:
        """The same with another bound, with room for what a datapath of its own makes of operands.

        Whatever that is, sums of integers have one type then, float64 or int64.
        """
        return replace(self, bound=bound if self.own is None else max(_ROOM * bound, 2.0**25))

    def integer_weight(self, weight: Tensor) -> Tensor:
        """The integers of a real weight, in the type in which they are multiplied."""
        assert isinstance(self.weight, _CODES)
        integers = self._as_multiplied(self.weight.integers(weight))
        return integers.to(torch.float32) if 2 * self.bound <= 2**24 else integers

    def _as_multiplied(self, integers: Tensor) -> Tensor:
        """In float64 for a datapath of its own, whose products may need it."""
        return integers if self.own is None else integers.to(torch.float64)

    def _integer_products(
        self, product: Product, x: Tensor, weight: Tensor, bound: float
    ) -> Tensor:
        def bilinear(x: Tensor, w: Tensor) -> Tensor:
            return product(x, w, None)

        if self.splits and bound > 2**24:
            return split_product(bilinear, x, weight)
        if self.bound < _WIDE:
            return exact_product(bilinear, x, weight, bound)
        return wide_product(bilinear, x, weight)

    def _cut(self, sums: Tensor, fine: Tensor) -> Tensor:
        """64-bit sums cut to the accumulator's fraction, since float64 may not hold them."""
        coarse = self.accumulator if self.accumulator is not None else self.output
        assert isinstance(coarse, FixedFormat)
        bits = round(math.log2(coarse.scale / float(fine)))
        if bits < 0:
            return sums.to(torch.float64) * fine
        low, high = coarse.limits
        return shift_toward_zero(sums, bits).clamp(low, high).to(torch.float64) * coarse.scale
