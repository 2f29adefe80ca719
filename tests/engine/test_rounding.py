"""Compiled rounding against the formats' own, bit for bit."""

from dataclasses import dataclass

import pytest
import torch
from examples.own_format import Posit8
from torch import Tensor

import radhard as rh
from radhard.engine.rounding import TO_FLOAT, TO_TABLE, as_operand, by_table, rounding_of
from radhard.formats.floating import FloatFormat
from radhard.formats.number import NumberFormat

FLOATS = (
    rh.FLOAT16,
    rh.BFLOAT16,
    rh.FLOAT8_E4M3,
    rh.FLOAT8_E5M2,
    FloatFormat("saturating", 5, 10, saturate=True),
    FloatFormat("no infinities", 6, 9, infinities=False),
    FloatFormat("saturating, no infinities", 4, 3, infinities=False, saturate=True),
    FloatFormat("biased", 4, 3, bias=11),
    FloatFormat("tf32", 8, 10),
)


def compiled(fmt: NumberFormat, values: Tensor) -> Tensor:
    how = rounding_of(fmt)
    assert how is not None
    if how.kind == TO_TABLE:
        found = [by_table(value, how) for value in values.numpy()]
    else:
        found = [as_operand(how.kind, value, how.numbers) for value in values.numpy()]
    return torch.tensor(found, dtype=torch.float32)


def telling(fmt: NumberFormat) -> Tensor:
    """Values of a format, the middles between them, and their neighbours; specials; any bits."""
    width = min(fmt.width, 16)
    codes = torch.arange(1 << width) << (fmt.width - width)
    held = fmt.decode(codes).float()
    held = held[torch.isfinite(held)].sort().values
    middles = (held[1:].double() + held[:-1].double()).float() / 2
    near = [torch.nextafter(part, torch.tensor(end))
            for part in (held, middles) for end in (torch.inf, -torch.inf)]  # fmt: skip
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-45, -1e-45, 3.4e38])
    any_bits = torch.randint(-(2**31), 2**31, (20_000,), dtype=torch.int32).view(torch.float32)
    return torch.cat([held, middles, *near, special, any_bits])


def same_bits(one: Tensor, other: Tensor) -> bool:
    alike = (one.view(torch.int32) == other.view(torch.int32)) | (one.isnan() & other.isnan())
    return bool(alike.all())


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_floats_round_by_arithmetic(fmt: FloatFormat) -> None:
    how, values = rounding_of(fmt), telling(fmt)
    assert how is not None
    assert how.kind == TO_FLOAT
    assert same_bits(compiled(fmt, values), fmt.round(values))


@dataclass(frozen=True)
class Relabelled:
    """A float of 16 bits that no kernel knows by name."""

    inner: FloatFormat
    name: str = "relabelled"
    width: int = 16
    significant: int = 11

    @property
    def fields(self) -> dict[str, range]:
        return dict(self.inner.fields)

    def decode(self, codes: Tensor) -> Tensor:
        return self.inner.decode(codes)

    def encode(self, real: Tensor) -> Tensor:
        return self.inner.encode(real)

    def round(self, real: Tensor) -> Tensor:
        return self.inner.round(real)

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        return self.inner.flip(real, mask)

    def fit(self, sample: Tensor, channels: int = 0) -> "Relabelled":
        return self


@pytest.mark.parametrize("fmt", [Posit8(), Relabelled(rh.FLOAT16), Relabelled(rh.BFLOAT16)],
                         ids=["posit8", "fp16", "bf16"])  # fmt: skip
def test_other_formats_round_by_their_steps(fmt: NumberFormat) -> None:
    """Ties, infinities, not-a-number and both zeros included."""
    how, values = rounding_of(fmt), telling(fmt)
    assert how is not None
    assert how.kind == TO_TABLE
    assert same_bits(compiled(fmt, values), fmt.round(values))


@dataclass(frozen=True)
class Odd(Relabelled):
    """Rounding that goes down where the values go up."""

    def round(self, real: Tensor) -> Tensor:
        return torch.where(real.abs() < 1, -self.inner.round(real), self.inner.round(real))


def test_what_is_no_staircase_has_no_table() -> None:
    assert rounding_of(Odd(rh.FLOAT16)) is None
