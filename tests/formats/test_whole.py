"""Fixed point and scaled integers: formats whose codes are whole numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles.number import decode_fixed, decode_integer, encode_fixed, encode_integer
from radhard.formats import catalogue as c
from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat

FIXED = [
    c.FIXED16_10,
    FixedFormat("q1.6", 8, 6),
    FixedFormat("all fraction", 8, 7),
    FixedFormat("no fraction", 6, 0),
    FixedFormat("coarse", 8, -3),
    FixedFormat("fine", 8, 12),
]
INTEGERS = [
    IntegerFormat(f"int{width}", width, scale=(0.0371,), zero=(0,)) for width in range(2, 17)
] + [IntegerFormat("uint8", 8, affine=True, scale=(0.5,), zero=(100,))]


@pytest.mark.parametrize("fmt", FIXED, ids=lambda fmt: fmt.name)
def test_every_fixed_code(fmt: FixedFormat) -> None:
    codes = torch.arange(1 << fmt.width)
    values = fmt.decode(codes)
    assert values.double().tolist() == [decode_fixed(fmt, int(k)) for k in codes]
    assert torch.equal(fmt.encode(values), codes)


@pytest.mark.parametrize("fmt", [*FIXED, c.FIXED32_26, c.FIXED32_10], ids=lambda fmt: fmt.name)
@given(real=st.floats(-1e7, 1e7, width=32))
def test_fixed_point_cuts_toward_zero_and_saturates(fmt: FixedFormat, real: float) -> None:
    code = fmt.encode(torch.tensor([real], dtype=torch.float64))
    assert code.tolist() == [encode_fixed(fmt, real)]
    rounded = fmt.round(torch.tensor([real], dtype=torch.float64))
    assert rounded.tolist() == [decode_fixed(fmt, int(code))]


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda fmt: fmt.name)
def test_every_integer_code(fmt: IntegerFormat) -> None:
    codes = torch.arange(1 << fmt.width)
    values = fmt.decode(codes)
    oracle = torch.tensor([decode_integer(fmt, int(k)) for k in codes], dtype=torch.float64)
    assert torch.equal(values, oracle.float())
    assert torch.equal(fmt.encode(values), codes)


@pytest.mark.parametrize("fmt", INTEGERS, ids=lambda fmt: fmt.name)
@given(real=st.floats(-1e5, 1e5, width=32))
def test_integers_round_to_nearest_and_saturate(fmt: IntegerFormat, real: float) -> None:
    exact = encode_integer(fmt, real)
    found = int(fmt.encode(torch.tensor([real], dtype=torch.float64)))
    quotient = real / fmt.scale[0]
    near_tie = abs(quotient - round(quotient)) > 0.5 - 1e-9
    assert found == exact or (near_tie and abs(found - exact) == 1)


def test_not_a_number_and_infinity_have_a_meaning() -> None:
    odd = torch.tensor([torch.nan, torch.inf, -torch.inf])
    assert c.FIXED16_10.round(odd).tolist() == [0.0, 32767 / 1024, -32.0]
    assert INTEGERS[6].encode(odd).tolist() == [0, 127, 128]


def test_fit_covers_the_sample() -> None:
    sample = torch.tensor([-3.0, 1.0, 0.01])
    fixed = c.FIXED16.fit(sample)
    assert fixed.fraction == 13
    assert float(fixed.round(sample)[0]) == -3.0
    assert c.INT8.fit(sample).scale == pytest.approx((3.0 / 127,))
    assert c.UINT8.fit(sample).decode(c.UINT8.fit(sample).encode(torch.zeros(1))).item() == 0
    assert c.FIXED16_10.fit(sample) is c.FIXED16_10
    assert c.FLOAT16.fit(sample) is c.FLOAT16


def test_channels_have_scales_of_their_own() -> None:
    weight = torch.tensor([[1.0, -0.25], [100.0, 50.5]])
    fmt = c.INT8_CHANNEL.fit(weight, channels=2)
    assert fmt.scale == pytest.approx((1 / 127, 100 / 127))
    assert fmt.encode(weight).tolist() == [[127, 224], [127, 64]]
    assert fmt.of_channels(torch.tensor([1])).scale == (fmt.scale[1],)
    with pytest.raises(ValueError, match="2 channel scales"):
        fmt.encode(torch.zeros(3, 2))


def test_formats_without_a_range_say_so() -> None:
    with pytest.raises(ValueError, match=r"call fit\(sample\)"):
        c.INT8.encode(torch.zeros(1))
    with pytest.raises(ValueError, match=r"call fit\(sample\)"):
        c.FIXED16.encode(torch.zeros(1))


@pytest.mark.parametrize("width", [1, 54])
def test_impossible_fixed_widths(width: int) -> None:
    with pytest.raises(ValueError, match="use 2 to 53 bits"):
        FixedFormat("bad", width, 0)


@pytest.mark.parametrize("width", [1, 17])
def test_impossible_integer_widths(width: int) -> None:
    with pytest.raises(ValueError, match="use 2 to 16 bits"):
        IntegerFormat("bad", width)


def test_names_lead_to_formats() -> None:
    assert all(c.format_named(fmt.name) is fmt for fmt in c.formats())
    names = {"32b_rb26": c.FIXED32_26, "32b_rb10": c.FIXED32_10, "16b_rb10": c.FIXED16_10}
    assert all(c.format_named(name) is fmt for name, fmt in names.items())
    assert [c.aliases(fmt) for fmt in names.values()] == [(name,) for name in names]
    with pytest.raises(ValueError, match="did you mean fp16"):
        c.format_named("fp15")
    widths = [sum(len(span) for span in fmt.fields.values()) for fmt in c.formats()]
    assert widths == [fmt.width for fmt in c.formats()]
