"""Binary floating point of any exponent and mantissa width, with the special values as stated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from radhard.formats.number import Fields

#: Formats that torch converts to in hardware: (exponent, mantissa) to the float and integer dtypes.
_NATIVE = {
    (11, 52): (torch.float64, torch.int64),
    (8, 23): (torch.float32, torch.int32),
    (5, 10): (torch.float16, torch.int16),
    (8, 7): (torch.bfloat16, torch.int16),
}


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """A floating-point format: sign, ``exponent`` bits and ``mantissa`` bits, high to low.

    Rounding is to nearest, ties to even, subnormals included (IEEE 754-2019, section 4.3.1).

    Attributes:
        name: the listed name.
        exponent: exponent bits, 2 to 11.
        mantissa: stored fraction bits, 1 to 52.
        bias: exponent bias; ``2**(exponent - 1) - 1`` where ``None``.
        infinities: with ``True`` the top exponent holds infinities and NaNs as in IEEE 754; with
            ``False`` it holds numbers, and only the code of all ones is NaN ("fn" formats).
        saturate: what a value past the range becomes: the largest finite value where ``True``;
            otherwise infinity, or NaN in a format without infinities.

    Raises:
        ValueError: for widths outside the ranges above.

    >>> FloatFormat("fp6", exponent=3, mantissa=2).width
    6
    """

    name: str
    exponent: int
    mantissa: int
    bias: int | None = None
    infinities: bool = True
    saturate: bool = False

    def __post_init__(self) -> None:
        if not (2 <= self.exponent <= 11 and 1 <= self.mantissa <= 52):
            raise ValueError(
                f"a float of {self.exponent} exponent and {self.mantissa} mantissa bits can't be: "
                "use 2 to 11 exponent bits and 1 to 52 mantissa bits"
            )

    @property
    def width(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def significant(self) -> int:
        return self.mantissa + 1 if self.exponent <= 8 else max(self.mantissa + 1, 25)

    @property
    def fields(self) -> Fields:
        top = self.mantissa + self.exponent
        return {
            "sign": range(top, top + 1),
            "exponent": range(self.mantissa, top),
            "mantissa": range(self.mantissa),
        }

    @property
    def offset(self) -> int:
        """The exponent bias in use."""
        return 2 ** (self.exponent - 1) - 1 if self.bias is None else self.bias

    @property
    def largest(self) -> int:
        """The magnitude code of the largest finite value."""
        top = (1 << (self.exponent + self.mantissa)) - 1
        return top - (1 << self.mantissa) if self.infinities else top - 1

    @property
    def overflow(self) -> float:
        """What a value past the range becomes."""
        beyond = self.largest if self.saturate else self.largest + 1
        return float(self.decode(torch.tensor(beyond)))

    def encode(self, real: Tensor) -> Tensor:
        native = self.native
        if native:
            codes = real.to(native[0]).view(native[1]).to(torch.int64, copy=True)
            return codes if self.width == 64 else codes & ((1 << self.width) - 1)
        wide = real.to(torch.float64)
        magnitude = self._magnitude(wide.abs())
        return magnitude | (torch.signbit(wide).to(torch.int64) << (self.width - 1))

    def decode(self, codes: Tensor) -> Tensor:
        native = self.native
        if native:
            real = codes.to(native[1], copy=True).view(native[0])
            return real if self.width == 64 else real.to(torch.float32)
        return self._value(codes).to(torch.float64 if self.significant > 24 else torch.float32)

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        return self.decode(self.encode(real) ^ mask)

    def round(self, real: Tensor) -> Tensor:
        native = self.native
        if native:
            return real if real.dtype == native[0] else real.to(native[0]).to(real.dtype)
        return self.decode(self.encode(real)).to(real.dtype)

    def fit(self, sample: Tensor, channels: int = 0) -> FloatFormat:
        return self

    @property
    def native(self) -> tuple[torch.dtype, torch.dtype] | None:
        """The float and integer types of torch that are this format, if any."""
        standard = self.infinities and not self.saturate
        if standard and self.offset == 2 ** (self.exponent - 1) - 1:
            return _NATIVE.get((self.exponent, self.mantissa))
        return None

    def _magnitude(self, size: Tensor) -> Tensor:
        """Codes of non-negative values: count the quanta of each value's binade."""
        lowest = 1 - self.offset
        exponent = torch.frexp(size).exponent.to(torch.int64) - 1
        exponent = torch.where(size > 0, exponent, lowest).clamp(min=lowest)
        quanta = torch.round(torch.ldexp(size, self.mantissa - exponent))
        finite = torch.isfinite(size)
        quanta = torch.where(finite, quanta, 0).to(torch.int64)
        codes = ((exponent - lowest) << self.mantissa) + quanta
        beyond = self.largest if self.saturate else self.largest + 1
        codes = torch.where(finite & (codes <= self.largest), codes, beyond)
        return torch.where(torch.isnan(size), self._nan(), codes)

    def _nan(self) -> int:
        quiet = 1 << (self.mantissa - 1)
        return self.largest + 1 + (quiet if self.infinities else 0)

    def _value(self, codes: Tensor) -> Tensor:
        magnitude = codes & ((1 << (self.width - 1)) - 1)
        field = magnitude >> self.mantissa
        fraction = magnitude & ((1 << self.mantissa) - 1)
        quanta = torch.where(field > 0, fraction + (1 << self.mantissa), fraction)
        exponent = field.clamp(min=1) - self.offset - self.mantissa
        value = torch.ldexp(quanta.to(torch.float64), exponent)
        value = torch.where(magnitude > self.largest, torch.nan, value)
        if self.infinities:
            value = torch.where(magnitude == self.largest + 1, torch.inf, value)
        return torch.where((codes >> (self.width - 1)) & 1 == 1, -value, value)
