"""Two's-complement fixed point."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from radhard.formats.number import Fields
from radhard.formats.twos import patterns, signed


@dataclass(frozen=True, slots=True)
class FixedFormat:
    """Two's-complement fixed point of ``width`` bits, ``fraction`` of them right of the point.

    A value is truncated toward zero to a multiple of ``2**-fraction`` and saturates at the ends
    of the range, as in Li et al., SC'17 (16b_rb10 is ``width=16, fraction=10``). Not-a-number
    becomes 0, infinities saturate.

    Attributes:
        name: the listed name.
        width: bits, sign included, 2 to 53 (a float64 must hold each value exactly).
        fraction: bits right of the radix point; ``None`` until ``fit`` chooses it from data.

    Raises:
        ValueError: for a width outside 2 to 53, or when used before ``fraction`` is known.

    >>> import torch
    >>> FixedFormat("q4.3", width=8, fraction=3).round(torch.tensor([1.99, -99.0])).tolist()
    [1.875, -16.0]
    """

    name: str
    width: int
    fraction: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 53:
            raise ValueError(f"fixed point of {self.width} bits can't be: use 2 to 53 bits")

    @property
    def significant(self) -> int:
        return self.width

    @property
    def fields(self) -> Fields:
        point = min(max(self.fraction or 0, 0), self.width - 1)
        return {
            "sign": range(self.width - 1, self.width),
            "integer": range(point, self.width - 1),
            "fraction": range(point),
        }

    @property
    def scale(self) -> float:
        """The value of one unit in the last place."""
        return 2.0**-self._point

    @property
    def _point(self) -> int:
        if self.fraction is None:
            raise ValueError(
                f"{self.name} has no radix point yet: call fit(sample), or state fraction"
            )
        return self.fraction

    def scales(self, like: Tensor) -> Tensor:
        """`scale` as a float64 scalar on the device of ``like``."""
        return torch.tensor(self.scale, dtype=torch.float64, device=like.device)

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        return -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1

    def integers(self, real: Tensor) -> Tensor:
        """The signed integers that ``real`` is stored as, in its own type or float64."""
        low, high = self.limits
        wide = real if self.width <= 24 else real.to(torch.float64)
        steps = (wide * 2.0**self._point).trunc_()
        return steps.nan_to_num_(nan=0.0).clamp_(low, high)

    def encode(self, real: Tensor) -> Tensor:
        return patterns(self.integers(real).to(torch.int64), self.width)

    def decode(self, codes: Tensor) -> Tensor:
        dtype = torch.float64 if self.significant > 24 else torch.float32
        return (signed(codes, self.width).to(torch.float64) * self.scale).to(dtype)

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        return self.decode(self.encode(real) ^ mask)

    def round(self, real: Tensor) -> Tensor:
        return (self.integers(real) * self.scale).to(real.dtype)

    def fit(self, sample: Tensor, channels: int = 0) -> FixedFormat:
        """A copy with as many fraction bits as the largest magnitude in ``sample`` leaves."""
        if self.fraction is not None:
            return self
        largest = float(sample.abs().max()) if sample.numel() else 0.0
        integer = math.frexp(largest)[1] if math.isfinite(largest) else self.width - 1
        return replace(self, fraction=self.width - 1 - integer)
