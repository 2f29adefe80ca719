"""Scaled integers, the encodings of quantised networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from radhard.formats.number import Fields
from radhard.formats.twos import patterns, signed


@dataclass(frozen=True, slots=True)
class IntegerFormat:
    """Integers of ``width`` bits with a scale: ``real = scale * (integer - zero)``.

    Codes are two's complement, or unsigned where the format is affine; `fit` gives the former a
    zero point of 0, while networks of others may have any. Rounding is to nearest, ties to even;
    values past the range saturate, not-a-number becomes 0. (Jacob et al., CVPR'18, equation 1.)

    Attributes:
        name: the listed name.
        width: bits, 2 to 16.
        affine: unsigned codes, whose zero point `fit` chooses, where ``True``.
        per_channel: one scale for each index of the first axis, chosen by ``fit``.
        scale: one value, or one per channel, kept as float32; empty until ``fit`` chooses it.
        zero: the integers that stand for 0, as many as there are scales.
        deployed: whether a network in this format is to have what runtimes run: this format for
            weights, unsigned activations of the same width, and normalisation and rectifiers
            inside the layers before them.

    Raises:
        ValueError: for a width outside 2 to 16, or when used before a scale is known.

    >>> import torch
    >>> fitted = IntegerFormat("int8", width=8).fit(torch.tensor([-1.27, 0.5]))
    >>> fitted.encode(torch.tensor([-1.27, 0.02])).tolist()
    [129, 2]
    """

    name: str
    width: int
    affine: bool = False
    per_channel: bool = False
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = ()
    deployed: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 16:
            raise ValueError(f"an integer format of {self.width} bits can't be: use 2 to 16 bits")
        single = tuple(torch.tensor(self.scale, dtype=torch.float32).tolist())
        object.__setattr__(self, "scale", single)  # so that float32 holds every product exactly

    @property
    def significant(self) -> int:
        return 24

    @property
    def fields(self) -> Fields:
        if self.affine:
            return {"integer": range(self.width)}
        return {"sign": range(self.width - 1, self.width), "integer": range(self.width - 1)}

    @property
    def spread(self) -> int:
        """Bits that an integer less its zero point needs in two's complement."""
        return self.width + (self.affine or any(self.zero))

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        if self.affine:
            return 0, (1 << self.width) - 1
        return -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1

    def scales(self, like: Tensor) -> Tensor:
        """The scale as float64, shaped to broadcast along the first axis of ``like``."""
        if not self.scale:
            raise ValueError(f"{self.name} has no scale yet: call fit(sample) first")
        return self._spread(self.scale, like)

    def integers(self, real: Tensor) -> Tensor:
        """The integers less their zero point that ``real`` is stored as, in its type."""
        low, high = self.limits
        steps = (real / self.scales(real).to(real.dtype)).round_().nan_to_num_(nan=0.0)
        if not any(self.zero):
            return steps.clamp_(low, high)
        zero = self._spread(self.zero, real).to(real.dtype)
        return steps.clamp_(low - zero, high - zero)

    def encode(self, real: Tensor) -> Tensor:
        integers = self.integers(real) + self._spread(self.zero, real)
        return patterns(integers.to(torch.int64), self.width)

    def decode(self, codes: Tensor) -> Tensor:
        integers = codes & ((1 << self.width) - 1) if self.affine else signed(codes, self.width)
        steps = integers.to(torch.float64) - self._spread(self.zero, codes)
        return (steps * self.scales(codes)).to(torch.float32)

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        return self.decode(self.encode(real) ^ mask)

    def round(self, real: Tensor) -> Tensor:
        return self.integers(real) * self.scales(real).to(real.dtype)

    def fit(self, sample: Tensor, channels: int = 0) -> IntegerFormat:
        """A copy whose scale covers ``sample``; ``channels`` rows get one scale each.

        Zero is always representable. A sample of nothing but zeros gets the scale 1.
        """
        if self.scale:
            return self
        rows = sample.detach().to(torch.float64)
        rows = rows.reshape(channels if self.per_channel and channels else 1, -1)
        low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
        if self.affine:
            scale = _positive((high - low) / self.limits[1])
            zero = torch.round(-low / scale).clamp(*self.limits)
        else:
            scale = _positive(torch.maximum(-low, high) / self.limits[1])
            zero = torch.zeros_like(scale)
        return replace(self, scale=tuple(scale.tolist()), zero=tuple(map(int, zero.tolist())))

    def of_channels(self, channels: Tensor) -> IntegerFormat:
        """The format of a tensor whose row i belongs to channel ``channels[i]``."""
        if len(self.scale) == 1:
            return self
        picked = channels.tolist()
        scale, zero = tuple(self.scale[c] for c in picked), tuple(self.zero[c] for c in picked)
        return replace(self, scale=scale, zero=zero)

    def _spread(self, values: tuple[float, ...] | tuple[int, ...], like: Tensor) -> Tensor:
        column = torch.tensor(values, dtype=torch.float64, device=like.device)
        if len(values) == 1:
            return column.reshape(())
        if like.dim() == 0 or like.shape[0] != len(values):
            raise ValueError(
                f"{self.name} has {len(values)} channel scales, but the tensor's first axis is "
                f"{tuple(like.shape)[:1]}: give one row per channel"
            )
        return column.reshape(-1, *[1] * (like.dim() - 1))


def _positive(scale: Tensor) -> Tensor:
    return torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)
