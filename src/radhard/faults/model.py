"""What a fault does to the bits of a stored value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
#: Bits to keep and bits to invert: ``new = (old & keep) ^ flip``.
Masks = tuple[Integers, Integers]


@runtime_checkable
class FaultModel(Protocol):
    """An event that strikes bit ``bit`` of each of n values of ``width`` bits.

    >>> import numpy as np, radhard as rh
    >>> rng = np.random.default_rng(0)
    >>> keep, flip = rh.BitFlip().masks(np.array([3]), np.array([8]), rng)
    >>> (0b0000_1111 & keep) ^ flip
    array([7])
    """

    @property
    def name(self) -> str:
        """The name that tables and campaign files use."""
        ...

    def masks(self, bit: Integers, width: Integers, rng: np.random.Generator) -> Masks:
        """Masks of n faults: (n,), (n,) to (n,), (n,); bits above the width are kept."""
        ...


def single(bit: Integers) -> Integers:
    """The patterns with one bit set; bit 63 is the sign of int64."""
    return np.left_shift(np.uint64(1), bit.astype(np.uint64)).view(np.int64)


def _all_ones(n: int) -> Integers:
    return np.full(n, -1, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class BitFlip:
    """The struck bit is inverted: a single event upset."""

    @property
    def name(self) -> str:
        return "bit-flip"

    def masks(self, bit: Integers, width: Integers, rng: np.random.Generator) -> Masks:
        return _all_ones(len(bit)), single(bit)


@dataclass(frozen=True, slots=True)
class MultiBitFlip:
    """The struck bit and ``bits - 1`` others of the same value, at random places, are inverted.

    Values of fewer bits have all their bits inverted.

    Raises:
        ValueError: for fewer than 1 or more than 64 bits.
    """

    bits: int

    def __post_init__(self) -> None:
        _check_bits(self.bits)

    @property
    def name(self) -> str:
        return f"multi-bit-flip:{self.bits}"

    def masks(self, bit: Integers, width: Integers, rng: np.random.Generator) -> Masks:
        order = rng.random((len(bit), 64))
        place = np.arange(64)
        order[place >= width[:, None]] = np.inf
        order[np.arange(len(bit)), bit] = -1.0
        chosen = np.argsort(order, axis=1)[:, : self.bits]
        inside = chosen < width[:, None]
        flips = np.where(inside, single(chosen), 0)
        return _all_ones(len(bit)), np.bitwise_or.reduce(flips, axis=1)


@dataclass(frozen=True, slots=True)
class Burst:
    """The struck bit and the ``bits - 1`` above it, as far as the value reaches, are inverted.

    Raises:
        ValueError: for fewer than 1 or more than 64 bits.
    """

    bits: int

    def __post_init__(self) -> None:
        _check_bits(self.bits)

    @property
    def name(self) -> str:
        return f"burst:{self.bits}"

    def masks(self, bit: Integers, width: Integers, rng: np.random.Generator) -> Masks:
        places = bit[:, None] + np.arange(self.bits)
        flips = np.where(places < width[:, None], single(np.minimum(places, 63)), 0)
        return _all_ones(len(bit)), np.bitwise_or.reduce(flips, axis=1)


@dataclass(frozen=True, slots=True)
class StuckAt:
    """The struck bit reads as ``value``, whatever was stored.

    Raises:
        ValueError: for a value other than 0 and 1.
    """

    value: int

    def __post_init__(self) -> None:
        if self.value not in (0, 1):
            raise ValueError(f"stuck-at value {self.value!r} can't be: use 0 or 1")

    @property
    def name(self) -> str:
        return f"stuck-at:{self.value}"

    def masks(self, bit: Integers, width: Integers, rng: np.random.Generator) -> Masks:
        mask = single(bit)
        return ~mask, mask if self.value else np.zeros_like(mask)


@dataclass(frozen=True, slots=True)
class RandomValue:
    """All bits of the value become random, independent of each other and of what was stored."""

    @property
    def name(self) -> str:
        return "random-value"

    def masks(self, bit: Integers, width: Integers, rng: np.random.Generator) -> Masks:
        patterns = rng.integers(-(2**63), 2**63, len(bit), dtype=np.int64)
        below: Integers = np.where(width < 64, single(np.minimum(width, 63)) - 1, -1)
        return ~below, patterns & below


def fault_model_named(name: str) -> FaultModel:
    """The model whose ``name`` this is, such as ``bit-flip`` or ``burst:3``.

    Raises:
        ValueError: for any other name.

    >>> fault_model_named("stuck-at:1")
    StuckAt(value=1)
    """
    kind, _, number = name.partition(":")
    plain: dict[str, Callable[[], FaultModel]] = {"bit-flip": BitFlip, "random-value": RandomValue}
    sized: dict[str, Callable[[int], FaultModel]] = {
        "multi-bit-flip": MultiBitFlip,
        "burst": Burst,
        "stuck-at": StuckAt,
    }
    if kind in plain and not number:
        return plain[kind]()
    if kind in sized and number.isdecimal():
        return sized[kind](int(number))
    raise ValueError(
        f"no fault model {name!r}: use bit-flip, multi-bit-flip:2, burst:2, stuck-at:0, stuck-at:1 "
        "or random-value"
    )


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 64:
        raise ValueError(f"a fault of {bits!r} bits can't be: use 1 to 64")
