"""What every multiplier can do: products of integers, and from these its table and its errors."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, overload, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Integers = NDArray[np.int64]

#: Widest operands whose pairs are enumerated: 65,536 of them.
WIDEST_TABLE = 8


@dataclass(frozen=True, slots=True)
class Errors:
    """How far products are off, over all pairs of operands; ``e`` is the product less ``a * b``.

    Attributes:
        mae: mean of ``|e|``.
        wce: the largest ``|e|``.
        ep: share of pairs with ``e != 0``.
        mre: mean of ``|e| / |a * b|`` over the pairs where ``a * b`` is not 0, as in EvoApproxLib.
        mse: mean of ``e ** 2``.
        bias: mean of ``e``.
    """

    mae: float
    wce: int
    ep: float
    mre: float
    mse: float
    bias: float


@runtime_checkable
class Multiplier(Protocol):
    """A circuit that multiplies two integers of ``width`` bits, exactly or not.

    ``a`` is what is on port A, in a network the activation; ``b`` the weight on port B. Many
    circuits tell them apart. Multipliers of your own inherit from this class and say their
    ``name``, ``width``, ``signed`` and ``formula``; they are frozen dataclasses of plain fields.
    What is known of their silicon is there, what is not is ``None``.

    >>> import radhard as rh
    >>> coarse = rh.multiplier_named("mul8s_1L2H@v1")
    >>> int(coarse.product(-3, 5)), coarse.errors().wce
    (-16, 255)
    """

    @property
    def name(self) -> str:
        """The name under which it is listed, without the release."""
        ...

    @property
    def width(self) -> int:
        """Bits of each operand."""
        ...

    @property
    def signed(self) -> bool:
        """Whether operands and product are in two's complement; else they are unsigned."""
        ...

    @abstractmethod
    def formula(self, a: Integers, b: Integers) -> Integers:
        """The products of operands that are in range, int64 arrays of one shape."""
        ...

    @property
    def release(self) -> str:
        """Of the library that it is from: names were given anew between releases; else empty."""
        return ""

    @property
    def power_mw(self) -> float | None:
        """Power in mW."""
        return None

    @property
    def area_um2(self) -> float | None:
        """Area in square micrometres."""
        return None

    @property
    def delay_ns(self) -> float | None:
        """Delay of the longest path in ns."""
        return None

    @property
    def terms(self) -> int | None:
        """Of how many exact products ``f(a) * g(b)`` its product is the sum, where few do."""
        return None

    @overload
    def product(self, a: Tensor, b: Tensor | int) -> Tensor: ...
    @overload
    def product(self, a: ArrayLike, b: ArrayLike) -> Integers: ...
    def product(self, a: Tensor | ArrayLike, b: Tensor | ArrayLike) -> Tensor | Integers:
        """What it makes of ``a * b``, elementwise in int64; a tensor where ``a`` is one.

        Raises:
            TypeError: where operands are no integers.
            ValueError: where one is out of range.
        """
        first, second = (_operand(self, port, given) for port, given in (("a", a), ("b", b)))
        found = self.formula(*np.broadcast_arrays(first, second))
        return torch.from_numpy(np.array(found)).to(a.device) if isinstance(a, Tensor) else found

    def table(self) -> NDArray[np.int32]:
        """All products, ``[a, b]`` by the bit patterns of the operands; read-only.

        Raises:
            ValueError: for operands of more than 8 bits.
        """
        return _table(self)  # type: ignore[arg-type]  # frozen dataclasses have a hash

    def errors(self) -> Errors:
        """How far its products are off, over all pairs.

        Raises:
            ValueError: for operands of more than 8 bits.
        """
        table = self.table().astype(np.int64)
        every = operands(self.width, self.signed)
        exact = np.multiply.outer(every, every)
        off = table - exact
        size, count, some = np.abs(off), off.size, exact != 0
        return Errors(
            mae=int(size.sum()) / count,
            wce=int(size.max()),
            ep=int((size > 0).sum()) / count,
            mre=float((size[some] / np.abs(exact[some])).mean()),
            mse=int((off**2).sum()) / count,
            bias=int(off.sum()) / count,
        )

    def digest(self) -> str:
        """Its identity: SHA-256 of the table as int32, little-endian, in hex.

        Raises:
            ValueError: for operands of more than 8 bits.
        """
        return hashlib.sha256(self.table().astype("<i4").tobytes()).hexdigest()


def full_name(multiplier: Multiplier) -> str:
    """With the release that the name is from: ``mul8s_1L2H@v1``."""
    return "@".join(filter(None, (multiplier.name, multiplier.release)))


def limits(width: int, signed: bool) -> tuple[int, int]:
    """The smallest and the largest operand."""
    return (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)


def operands(width: int, signed: bool) -> Integers:
    """All operands in the order of their bit patterns.

    >>> operands(2, True).tolist()
    [0, 1, -2, -1]
    """
    codes = np.arange(1 << width, dtype=np.int64)
    half = 1 << (width - 1)
    return (codes ^ half) - half if signed else codes


def check_width(name: str, width: int, least: int = 2) -> None:
    """Refuse operands whose products are not held here.

    Raises:
        ValueError: for a width outside ``least`` to 16.
    """
    if not least <= width <= 16:
        raise ValueError(f"{name} can't have operands of {width} bits: use {least} to 16")


def _operand(of: Multiplier, port: str, given: Tensor | ArrayLike) -> Integers:
    found = np.asarray(given.cpu().numpy() if isinstance(given, Tensor) else given)
    if found.dtype.kind not in "iu":
        raise TypeError(
            f"operand {port} of {of.name} is {found.dtype}, not integers: quantise it first"
        )
    low, high = limits(of.width, of.signed)
    if found.size and not (low <= found.min() and found.max() <= high):
        raise ValueError(
            f"operand {port} of {of.name} runs from {found.min()} to {found.max()}: "
            f"it must lie in {low} to {high}"
        )
    return found.astype(np.int64)


@lru_cache(maxsize=64)
def _table(of: Multiplier) -> NDArray[np.int32]:
    if of.width > WIDEST_TABLE:
        raise ValueError(
            f"{of.name} has 2**{2 * of.width} pairs of operands, too many for a table: ask for "
            f"single products, or use up to {WIDEST_TABLE} bits"
        )
    every = operands(of.width, of.signed)
    pairs = np.meshgrid(every, every, indexing="ij")
    table = np.array(of.formula(*pairs), dtype=np.int32)
    table.flags.writeable = False
    return table
