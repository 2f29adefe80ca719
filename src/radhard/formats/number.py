"""What every number format can do, whatever its encoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

#: Where each part of a code lies: its name to its bit positions, bit 0 the least significant.
Fields = Mapping[str, range]


@runtime_checkable
class NumberFormat(Protocol):
    """An encoding of real numbers as bit patterns of a fixed width.

    Codes are bit patterns held in int64 tensors, bit 0 the least significant; a code of a
    64-bit format is the same pattern read as a signed integer. Real values are float32
    tensors, or float64 where ``significant`` exceeds 24 bits.

    Every format keeps two promises: ``decode`` is total (each of the ``2**width`` codes has a
    value), and ``encode(decode(code))`` gives the code back, but for codes of not-a-number.

    >>> import torch, radhard as rh
    >>> rh.FLOAT16.encode(torch.tensor([1.0, -2.0])).tolist()
    [15360, 49152]
    >>> rh.FLOAT16.flip(torch.tensor([1.0]), torch.tensor([1 << 14])).tolist()
    [inf]
    """

    @property
    def name(self) -> str:
        """The name under which the format is listed, such as ``fp16``."""
        ...

    @property
    def width(self) -> int:
        """Bits per code."""
        ...

    @property
    def significant(self) -> int:
        """Significant bits that a real tensor must carry to hold every value exactly."""
        ...

    @property
    def fields(self) -> Fields:
        """The parts of a code and their bit positions."""
        ...

    def encode(self, real: Tensor) -> Tensor:
        """The codes (int64) of the values nearest to ``real``."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """The real values that ``codes`` stand for."""
        ...

    def flip(self, real: Tensor, mask: Tensor) -> Tensor:
        """``real`` with the bits of ``mask`` inverted in its codes."""
        ...

    def round(self, real: Tensor) -> Tensor:
        """The representable values nearest to ``real``, in the dtype of ``real``."""
        ...

    def fit(self, sample: Tensor, channels: int = 0) -> NumberFormat:
        """A copy whose range suits ``sample``; formats of a fixed range return themselves."""
        ...


def parts(fmt: NumberFormat) -> list[tuple[str, int, int]]:
    """Name, lowest and highest bit of the parts of a code."""
    return [(name, span[0], span[-1]) for name, span in fmt.fields.items() if len(span)]


def describe(fmt: NumberFormat) -> str:
    """One line on the layout of a format, high bits first: ``sign 15, exponent 14..10, ...``."""
    return ", ".join(
        f"{name} {high}" if low == high else f"{name} {high}..{low}"
        for name, low, high in sorted(parts(fmt), key=lambda part: -part[1])
    )
