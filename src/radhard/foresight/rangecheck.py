"""What a range check sees of flips in quantised codes: exactly, without sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class RangeCheck:
    """What flips of one bit, any alike, do to a code, in steps of the code.

    Attributes:
        detected: share of the flips that leave the range.
        unprotected: how far a value moves, on average.
        clamped: the same where values outside are set to the nearer end of the range.
        zeroed: where they are set to 0.
    """

    detected: float
    unprotected: float
    clamped: float
    zeroed: float


def range_check(shares: ArrayLike, low: int, high: int) -> RangeCheck:
    """What a check of [low, high] does about single flips in codes of two's complement.

    Where the largest value fills the code, a rectified activation leaves its range by the sign bit
    alone: one flip of as many as there are bits. Headroom lets more be seen, and makes every flip
    that is not seen larger.

    Args:
        shares: of each code among the values, from the lowest integer to the highest,
            (2 ** width,); they sum to 1, and are of codes within the range.
        low, high: ends of the range, integers.

    Raises:
        ValueError: for shares that are none, or codes outside the range.

    >>> codes = np.zeros(16)
    >>> codes[8:] = 1 / 8  # 0 to 7, in 4 bits
    >>> range_check(codes, 0, 7).detected
    0.25
    """
    shares = np.asarray(shares, np.float64)
    width = len(shares).bit_length() - 1
    if len(shares) < 4 or len(shares) != 1 << width:
        raise ValueError(f"{len(shares)} shares can't be: give one for each code, a power of 2")
    if (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"shares that sum to {shares.sum():g} can't be: they are parts of 1")
    half = len(shares) // 2
    codes = np.arange(-half, half)
    if shares[(codes < low) | (codes > high)].any():
        raise ValueError(f"there are codes outside [{low}, {high}]: give a range that holds all")
    bits = np.arange(width)
    struck = ((codes[:, None] + half) ^ (1 << bits)) - half
    # the top bit of a code is its sign, which an offset of half inverts: the flip is the same
    outside = (struck < low) | (struck > high)
    moved = {
        "detected": outside,
        "unprotected": np.abs(struck - codes[:, None]),
        "clamped": np.abs(struck.clip(low, high) - codes[:, None]),
        "zeroed": np.where(outside, np.abs(codes)[:, None], np.abs(struck - codes[:, None])),
    }
    return RangeCheck(**{name: float(shares @ found.mean(1)) for name, found in moved.items()})
