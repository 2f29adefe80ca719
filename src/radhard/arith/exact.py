"""Exact products of integer tensors on floating-point units.

Convolutions and matrix products of integers run fastest on the floating-point kernels of the
library, which are exact as long as every partial sum stays below the significand. Where it might
not, operands are cut into 16-bit halves and the partial results joined in 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: A map that is linear in both arguments, such as a convolution without bias.
Bilinear = Callable[[Tensor, Tensor], Tensor]

_HALF = 16
#: Sums beyond this are clamped; any format of at most 32 bits has saturated long before.
_CEILING = 1 << 30


def exact_product(product: Bilinear, x: Tensor, w: Tensor, bound: float) -> Tensor:
    """``product(x, w)`` of integers in floating-point tensors, exactly.

    The result is float32 where ``bound`` allows, else float64.

    Args:
        product: the bilinear map; its sums may run in any order.
        x, w: integers.
        bound: a bound on every partial sum's magnitude, at most 2**53.

    Raises:
        ValueError: for a larger bound.
    """
    if bound > 2**53:
        raise ValueError(f"partial sums up to {bound:g} don't fit float64: use wide_product")
    if bound <= 2**24:
        return product(x.to(torch.float32), w.to(torch.float32))
    return product(x.to(torch.float64), w.to(torch.float64))


def split_product(product: Bilinear, x: Tensor, w: Tensor) -> Tensor:
    """``product(x, w)`` of integers of at most 8 bits, exactly, as float64, by float32 products.

    The weight is cut into halves of 4 bits; sums of x times numbers up to 8 must stay within 2**24.
    """
    x, w = x.to(torch.float32), w.to(torch.float32)
    high = torch.round(w / 16)
    return product(x, high).to(torch.float64) * 16 + product(x, w - high * 16).to(torch.float64)


def wide_product(product: Bilinear, x: Tensor, w: Tensor) -> Tensor:
    """``product(x, w)`` of integers below 2**31 in magnitude, as int64, clamped at +-2**62.

    Exact for up to 2**20 terms per sum, but for the clamp.
    """
    x_high, x_low = _halves(x)
    w_high, w_low = _halves(w)
    high = product(x_high, w_high).to(torch.int64)
    cross = (product(x_high, w_low) + product(x_low, w_high)).to(torch.int64)
    low = product(x_low, w_low).to(torch.int64)
    cross = cross + (low >> _HALF)
    high = high + (cross >> _HALF)
    tail = ((cross & 0xFFFF) << _HALF) | (low & 0xFFFF)
    return (high.clamp(-_CEILING, _CEILING - 1) << (2 * _HALF)) + tail


def shift_toward_zero(integers: Tensor, bits: int) -> Tensor:
    """``trunc(integers / 2**bits)`` of int64 integers."""
    floor = integers >> bits
    inexact = (integers & ((1 << bits) - 1)) != 0
    return floor + ((integers < 0) & inexact).to(torch.int64)


def _halves(integers: Tensor) -> tuple[Tensor, Tensor]:
    high = torch.floor(integers / 2**_HALF)
    return high, integers - high * 2**_HALF
