"""Two's complement: signed integers as bit patterns and back."""

from __future__ import annotations

from torch import Tensor


def patterns(integers: Tensor, width: int) -> Tensor:
    """The ``width``-bit patterns (non-negative int64) of signed ``integers``."""
    return integers & ((1 << width) - 1)


def signed(codes: Tensor, width: int) -> Tensor:
    """The signed integers (int64) that ``width``-bit patterns stand for."""
    half = 1 << (width - 1)
    return ((codes & ((1 << width) - 1)) ^ half) - half
