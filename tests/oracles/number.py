"""Number formats one value at a time, in exact rational arithmetic."""

from fractions import Fraction

from radhard.formats.fixed import FixedFormat
from radhard.formats.floating import FloatFormat
from radhard.formats.integer import IntegerFormat


def decode_float(fmt: FloatFormat, code: int) -> float:
    """The value of a code, by the definition of the format."""
    sign = -1 if code >> (fmt.width - 1) else 1
    field = (code >> fmt.mantissa) & ((1 << fmt.exponent) - 1)
    fraction = code & ((1 << fmt.mantissa) - 1)
    top = field == (1 << fmt.exponent) - 1
    if top and fmt.infinities:
        return sign * float("inf") if fraction == 0 else float("nan")
    if top and fraction == (1 << fmt.mantissa) - 1:
        return float("nan")
    scale = Fraction(2) ** (max(field, 1) - fmt.offset - fmt.mantissa)
    return sign * float((fraction + ((1 << fmt.mantissa) if field else 0)) * scale)


def decode_fixed(fmt: FixedFormat, code: int) -> float:
    """The value of a code of two's complement fixed point."""
    assert fmt.fraction is not None
    signed = code - (1 << fmt.width) if code >> (fmt.width - 1) else code
    return float(Fraction(signed) / Fraction(2) ** fmt.fraction)


def encode_fixed(fmt: FixedFormat, real: float) -> int:
    """The code nearest to zero's side of a finite value, saturated."""
    assert fmt.fraction is not None
    steps = int(Fraction(real) * Fraction(2) ** fmt.fraction)  # int() cuts toward zero
    top = 1 << (fmt.width - 1)
    return min(max(steps, -top), top - 1) & ((1 << fmt.width) - 1)


def encode_integer(fmt: IntegerFormat, real: float) -> int:
    """The code of a value: nearest integer, ties to even, saturated."""
    low, high = fmt.limits
    steps = round(Fraction(real) / Fraction(fmt.scale[0])) + fmt.zero[0]
    return min(max(steps, low), high) & ((1 << fmt.width) - 1)


def decode_integer(fmt: IntegerFormat, code: int) -> float:
    """The value of a code."""
    signed = code - (1 << fmt.width) if not fmt.affine and code >> (fmt.width - 1) else code
    return float((signed - fmt.zero[0]) * Fraction(fmt.scale[0]))
