"""Approximate multipliers of the literature, by what they compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radhard.arith.multiplier import Integers, Multiplier, check_width


class _Unsigned(Multiplier):
    """Of integers from 0 on."""

    @property
    def signed(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Drum(_Unsigned):
    """Multiplies the leading ``bits`` of each operand.

    The lowest of them is set where bits are left out, so that errors cancel. Unsigned. DRUM:
    Hashemi, Bahar and Reda, ICCAD 2015.

    Attributes:
        width: bits of each operand, up to 16.
        bits: that are multiplied, at least 2.

    Raises:
        ValueError: for other numbers of bits.
    """

    width: int = 8
    bits: int = 4

    def __post_init__(self) -> None:
        check_width("drum", self.width)
        _check_bits("drum", self.bits, self.width)

    @property
    def name(self) -> str:
        return f"mul{self.width}u_drum:bits={self.bits}"

    @property
    def terms(self) -> int:
        return 1

    def formula(self, a: Integers, b: Integers) -> Integers:
        return self._part(a) * self._part(b)

    def _part(self, x: Integers) -> Integers:
        shift = np.maximum(_leading(x) - self.bits + 1, 0)
        return np.where(shift > 0, ((x >> shift) | 1) << shift, x)


@dataclass(frozen=True, slots=True)
class StaticSegment(_Unsigned):
    """Multiplies the upper or the lower ``bits`` of each operand: the lower where no other is set.

    Unsigned. SSM: Narayanamoorthy et al., IEEE Trans. VLSI 2015.

    Attributes:
        width: bits of each operand, up to 16.
        bits: that are multiplied, at least half of the width.

    Raises:
        ValueError: for other numbers of bits.
    """

    width: int = 8
    bits: int = 4

    def __post_init__(self) -> None:
        check_width("ssm", self.width)
        _check_bits("ssm", self.bits, self.width, (self.width + 1) // 2)

    @property
    def name(self) -> str:
        return f"mul{self.width}u_ssm:bits={self.bits}"

    @property
    def terms(self) -> int:
        return 1

    def formula(self, a: Integers, b: Integers) -> Integers:
        return self._part(a) * self._part(b)

    def _part(self, x: Integers) -> Integers:
        shift = self.width - self.bits
        return np.where(x >> self.bits, x >> shift << shift, x)


@dataclass(frozen=True, slots=True)
class Roba(_Unsigned):
    """Leaves ``(a - r(a)) * (b - r(b))`` out, r being the nearest power of two.

    Unsigned; halfway is rounded up, but 3 to 2. RoBA: Zendegani et al., IEEE Trans. VLSI 2017.

    Attributes:
        width: bits of each operand, up to 16.

    Raises:
        ValueError: for another width.
    """

    width: int = 8

    def __post_init__(self) -> None:
        check_width("roba", self.width)

    @property
    def name(self) -> str:
        return f"mul{self.width}u_roba"

    @property
    def terms(self) -> int:
        return 2

    def formula(self, a: Integers, b: Integers) -> Integers:
        return a * b - (a - self._round(a)) * (b - self._round(b))

    def _round(self, x: Integers) -> Integers:
        power = np.int64(1) << _leading(x)
        up = (2 * x >= 3 * power) & (x != 3)
        return np.where(x == 0, 0, np.where(up, 2 * power, power))


@dataclass(frozen=True, slots=True)
class Kulkarni(_Unsigned):
    """Built of blocks of 2 x 2 bits that take 3 x 3 for 7, whose results are added exactly.

    Unsigned. Kulkarni, Gupta and Ercegovac, VLSI Design 2011.

    Attributes:
        width: bits of each operand, even, up to 16.

    Raises:
        ValueError: for another width.
    """

    width: int = 8

    def __post_init__(self) -> None:
        check_width("kulkarni", self.width)
        if self.width % 2:
            raise ValueError(f"kulkarni of {self.width} bits can't be: its blocks have 2 bits")

    @property
    def name(self) -> str:
        return f"mul{self.width}u_kulkarni"

    @property
    def terms(self) -> int:
        return 2

    def formula(self, a: Integers, b: Integers) -> Integers:
        return a * b - 2 * self._threes(a) * self._threes(b)

    def _threes(self, x: Integers) -> Integers:
        """A one for each digit of base 4 that is three."""
        every = ((1 << self.width) - 1) // 3
        return x & (x >> 1) & every


@dataclass(frozen=True, slots=True)
class Mitchell(_Unsigned):
    """Adds logarithms to base 2 whose fractions are taken for straight between powers of two.

    Unsigned, without rounding of the fractions. Mitchell, IRE Trans. Electronic Computers 1962.

    Attributes:
        width: bits of each operand, up to 16.

    Raises:
        ValueError: for another width.
    """

    width: int = 8

    def __post_init__(self) -> None:
        check_width("mitchell", self.width)

    @property
    def name(self) -> str:
        return f"mul{self.width}u_mitchell"

    def formula(self, a: Integers, b: Integers) -> Integers:
        first, second = _leading(a), _leading(b)
        one = np.int64(1) << (first + second)
        fraction = (a << second) + (b << first) - 2 * one
        found = np.where(fraction < one, one + fraction, 2 * fraction)
        return np.where((a == 0) | (b == 0), 0, found)


@dataclass(frozen=True, slots=True)
class ErrorTolerant(_Unsigned):
    """Multiplies the upper halves; of the lower ones only the highest bit that is set counts.

    With h bits in a half and that bit at place p, the lower part of the product is p + h + 1 ones.
    Where both upper halves are 0 the lower ones are multiplied instead. Unsigned. ETM: Kyaw, Goh
    and Yeo, EDSSC 2010, as public implementations in SystemVerilog and Chisel read it.

    Attributes:
        width: bits of each operand, even, up to 16.

    Raises:
        ValueError: for another width.
    """

    width: int = 8

    def __post_init__(self) -> None:
        check_width("etm", self.width)
        if self.width % 2:
            raise ValueError(f"etm of {self.width} bits can't be: it has two halves")

    @property
    def name(self) -> str:
        return f"mul{self.width}u_etm"

    def formula(self, a: Integers, b: Integers) -> Integers:
        half = self.width // 2
        low = (1 << half) - 1
        either = (a | b) & low
        ones = np.where(either > 0, (np.int64(1) << (_leading(either) + 1 + half)) - 1, 0)
        upper = ((a >> half) * (b >> half) << self.width) + ones
        return np.where((a | b) >> half, upper, (a & low) * (b & low))


@dataclass(frozen=True, slots=True)
class SignMagnitude(Multiplier):
    """Multiplies magnitudes by an unsigned multiplier and puts the sign to the product.

    Attributes:
        of: the unsigned multiplier.

    Raises:
        ValueError: where it is signed.
    """

    of: Multiplier

    def __post_init__(self) -> None:
        if self.of.signed:
            raise ValueError(f"{self.of.name} multiplies signed integers already: use it as it is")

    @property
    def name(self) -> str:
        return self.of.name.replace("u_", "s_", 1)

    @property
    def width(self) -> int:
        return self.of.width

    @property
    def signed(self) -> bool:
        return True

    @property
    def terms(self) -> int | None:
        return self.of.terms

    def formula(self, a: Integers, b: Integers) -> Integers:
        size = self.of.formula(np.abs(a), np.abs(b))
        return np.where((a < 0) ^ (b < 0), -size, size)


def _leading(x: Integers) -> Integers:
    """Place of the highest bit that is set; 0 for 0."""
    return np.frexp(np.maximum(x, 1).astype(np.float64))[1].astype(np.int64) - 1


def _check_bits(name: str, bits: int, width: int, least: int = 2) -> None:
    if not least <= bits <= width:
        raise ValueError(f"{name}: bits={bits} of {width} can't be: use {least} to {width}")
