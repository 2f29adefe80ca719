"""The formats that have names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from radhard.formats.fixed import FixedFormat
from radhard.formats.floating import FloatFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat

FLOAT64 = FloatFormat("fp64", exponent=11, mantissa=52)
FLOAT32 = FloatFormat("fp32", exponent=8, mantissa=23)
FLOAT16 = FloatFormat("fp16", exponent=5, mantissa=10)
BFLOAT16 = FloatFormat("bf16", exponent=8, mantissa=7)
#: OCP 8-bit floating point: no infinities, 448 the largest value; overflow gives NaN.
FLOAT8_E4M3 = FloatFormat("fp8-e4m3", exponent=4, mantissa=3, infinities=False)
FLOAT8_E5M2 = FloatFormat("fp8-e5m2", exponent=5, mantissa=2)

#: The fixed-point types of Li et al., SC'17: width, then bits right of the radix point.
FIXED32_26 = FixedFormat("fixed32_26", width=32, fraction=26)
FIXED32_10 = FixedFormat("fixed32_10", width=32, fraction=10)
FIXED16_10 = FixedFormat("fixed16_10", width=16, fraction=10)
#: Fixed point whose radix point ``fit`` chooses for each tensor.
FIXED16 = FixedFormat("fixed16", width=16)
FIXED8 = FixedFormat("fixed8", width=8)

INT2, INT3, INT4, INT5, INT6, INT7, INT8, INT9, INT10, INT11, INT12, INT13, INT14, INT15, INT16 = (
    IntegerFormat(f"int{width}", width=width) for width in range(2, 17)
)
#: Unsigned with a zero point, the usual encoding of activations in quantised networks.
UINT8 = IntegerFormat("uint8", width=8, affine=True)
UINT4 = IntegerFormat("uint4", width=4, affine=True)
#: One scale per output channel for weights (activations keep one per tensor).
INT8_CHANNEL = IntegerFormat("int8-channel", width=8, per_channel=True)
INT4_CHANNEL = IntegerFormat("int4-channel", width=4, per_channel=True)
#: What runtimes of ONNX models make of a network quantised statically with QuantizeLinear and
#: DequantizeLinear: weights per channel, unsigned activations, coded behind the fused rectifier.
INT8_ONNX = IntegerFormat("int8-onnx", width=8, per_channel=True, deployed=True)

_LISTED: tuple[NumberFormat, ...] = (
    FLOAT64,
    FLOAT32,
    FLOAT16,
    BFLOAT16,
    FLOAT8_E4M3,
    FLOAT8_E5M2,
    FIXED32_26,
    FIXED32_10,
    FIXED16_10,
    FIXED16,
    FIXED8,
    *(INT2, INT3, INT4, INT5, INT6, INT7, INT8, INT9, INT10, INT11, INT12, INT13, INT14, INT15),
    INT16,
    UINT8,
    UINT4,
    INT8_CHANNEL,
    INT4_CHANNEL,
    INT8_ONNX,
)

#: Names of the literature for formats that are listed under names of our own.
_ALIASES: Mapping[str, NumberFormat] = {
    "32b_rb26": FIXED32_26,
    "32b_rb10": FIXED32_10,
    "16b_rb10": FIXED16_10,
}


def formats() -> tuple[NumberFormat, ...]:
    """All formats that have names."""
    return _LISTED


def aliases(fmt: NumberFormat) -> tuple[str, ...]:
    """Other names under which `format_named` knows a listed format.

    >>> aliases(FIXED16_10)
    ('16b_rb10',)
    """
    return tuple(alias for alias, own in _ALIASES.items() if own == fmt)


def format_named(name: str) -> NumberFormat:
    """The format listed under ``name``, or under an alias of the literature.

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    >>> format_named("bf16").width, format_named("16b_rb10").name
    (16, 'fixed16_10')
    """
    known = {fmt.name: fmt for fmt in _LISTED} | dict(_ALIASES)
    if name.lower() in known:
        return known[name.lower()]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise ValueError(f"no number format {name!r}: {hint}`radhard list formats` shows all")
