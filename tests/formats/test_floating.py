import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles.number import decode_float
from radhard.formats import catalogue as c
from radhard.formats.floating import FloatFormat

REFERENCES = [
    (c.FLOAT16, np.float16),
    (c.BFLOAT16, ml_dtypes.bfloat16),
    (c.FLOAT8_E4M3, ml_dtypes.float8_e4m3fn),
    (c.FLOAT8_E5M2, ml_dtypes.float8_e5m2),
    (FloatFormat("e4m3", 4, 3), ml_dtypes.float8_e4m3),
    (FloatFormat("e3m4", 3, 4), ml_dtypes.float8_e3m4),
]
SMALL = [
    *(fmt for fmt, _ in REFERENCES),
    FloatFormat("e2m1", 2, 1),
    FloatFormat("e5m10 fn", 5, 10, infinities=False),
    FloatFormat("biased", 4, 3, bias=3),
]
ids = [fmt.name for fmt, _ in REFERENCES]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit, zeros' signs included; any not-a-number equals any other."""
    both_nan = torch.isnan(a) & torch.isnan(b)
    return bool((both_nan | ((a == b) & (torch.signbit(a) == torch.signbit(b)))).all())


@pytest.mark.parametrize(("fmt", "dtype"), REFERENCES, ids=ids)
def test_every_code_has_the_reference_value(fmt: FloatFormat, dtype: type) -> None:
    codes = np.arange(1 << fmt.width)
    raw = codes.astype(np.uint16 if fmt.width == 16 else np.uint8).view(dtype)
    reference = torch.from_numpy(raw.astype(np.float32))
    assert same(fmt.decode(torch.from_numpy(codes)), reference)


@pytest.mark.parametrize(("fmt", "dtype"), REFERENCES, ids=ids)
def test_rounding_is_that_of_the_reference(fmt: FloatFormat, dtype: type) -> None:
    codes = torch.arange(1 << fmt.width)
    values = fmt.decode(codes)
    values = values[torch.isfinite(values)].unique()
    middles = (values[1:].double() + values[:-1].double()) / 2
    beyond = values.abs().max().double() * torch.tensor([1.01, 1.04, 1.07, 1.2, 4.0])
    probes = torch.cat([values.double(), middles, middles * (1 + 1e-7), beyond, -beyond])
    probes = torch.cat([probes.float(), torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0])])
    with np.errstate(over="ignore"):
        reference = torch.from_numpy(probes.numpy().astype(dtype).astype(np.float32))
    assert same(fmt.round(probes), reference)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
def test_every_code_has_the_oracle_s_value(fmt: FloatFormat) -> None:
    codes = torch.arange(1 << fmt.width)
    oracle = torch.tensor([decode_float(fmt, int(k)) for k in codes], dtype=torch.float64)
    assert same(fmt.decode(codes).double(), oracle)


@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
def test_encode_undoes_decode(fmt: FloatFormat) -> None:
    codes = torch.arange(1 << fmt.width)
    values = fmt.decode(codes)
    again = fmt.encode(values)
    number = ~torch.isnan(values)
    assert torch.equal(again[number], codes[number])
    assert torch.isnan(fmt.decode(again[~number])).all()


@pytest.mark.parametrize(("fmt", "dtype"), [(c.FLOAT32, torch.float32), (c.FLOAT64, torch.float64)])
def test_wide_formats_are_the_machine_s(fmt: FloatFormat, dtype: torch.dtype) -> None:
    real = torch.randn(1000, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fmt.decode(fmt.encode(real)), real)
    assert fmt.encode(real).data_ptr() != real.data_ptr()
    top = torch.tensor([1 << (fmt.width - 2)])
    assert fmt.flip(torch.ones(1, dtype=dtype), top).isinf().all()


def test_generic_rounding_agrees_with_the_machine_s() -> None:
    generic = FloatFormat("fp16 without a shortcut", 5, 10, bias=15, saturate=True)
    real = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 100
    assert torch.equal(generic.round(real), c.FLOAT16.round(real))
    assert generic.round(torch.tensor([1e9, -torch.inf])).tolist() == [65504.0, -65504.0]


@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
@given(data=st.data())
def test_flipping_twice_changes_nothing(fmt: FloatFormat, data: st.DataObject) -> None:
    code = data.draw(st.integers(0, (1 << fmt.width) - 1))
    mask = torch.tensor([data.draw(st.integers(0, (1 << fmt.width) - 1))])
    value = fmt.decode(torch.tensor([code]))
    once = fmt.flip(value, mask)
    if not (torch.isnan(value).any() or torch.isnan(once).any()):
        assert same(fmt.flip(once, mask), value)


@pytest.mark.parametrize(("exponent", "mantissa"), [(1, 3), (12, 3), (4, 0), (4, 53)])
def test_impossible_widths_are_refused(exponent: int, mantissa: int) -> None:
    with pytest.raises(ValueError, match="can't be: use 2 to 11 exponent bits"):
        FloatFormat("bad", exponent, mantissa)
