"""Arithmetic of your own: multipliers that leave the lowest bits out.

Run it anywhere: python examples/own_arithmetic.py
"""

from dataclasses import dataclass

import torch
from torch import Tensor

import radhard as rh
from radhard.network.source import subject
from radhard.testing import check_arithmetic


def without(bits: int, integers: Tensor) -> Tensor:
    """Integers whose lowest bits are cleared, in two's complement."""
    return torch.floor(integers / 2**bits) * 2**bits


@dataclass(frozen=True)
class ShortOperands:
    """The lowest bits of inputs are not multiplied; made for formats of integers.

    Attributes:
        bits: that are left out.
    """

    bits: int = 4

    @property
    def name(self) -> str:
        """Such as short-operands-4."""
        return f"short-operands-{self.bits}"

    @property
    def linear(self) -> bool:
        """No: whether a bit of a difference counts depends on the bits below it."""
        return False

    def sums(
        self, how: rh.Arithmetic, terms: rh.Terms, operand: Tensor, given: rh.Parameters
    ) -> Tensor:
        """Exact sums of shorter operands."""
        return how.ordinary(terms, without(self.bits, operand), given)


@dataclass(frozen=True)
class ShortProducts(ShortOperands):
    """The lowest bits of each product are not added up."""

    @property
    def name(self) -> str:
        """Such as short-products-4."""
        return f"short-products-{self.bits}"

    def sums(
        self, how: rh.Arithmetic, terms: rh.Terms, operand: Tensor, given: rh.Parameters
    ) -> Tensor:
        """Sums of what a function makes of two operands; a table look-up would do as well."""

        def product(x: Tensor, w: Tensor, place: object) -> Tensor:
            return without(self.bits, x * w)

        return terms.summed(product, operand, given.weight, how.bias(given))


if __name__ == "__main__":
    digits = subject("digits-cnn")
    work = rh.capture(digits.model, digits.images[:64], digits.labels[:64], format=rh.INT8)
    for own in (ShortOperands(4), ShortProducts(8)):
        check_arithmetic(own)
    for network in (work, work.with_(arithmetic=ShortOperands(4))):
        result = rh.Campaign(network).run(until=1000)
        print(f"{network.computing:22} golden {result.golden}, SDC-1 {result['sdc1']}")
