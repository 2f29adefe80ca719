"""Multipliers that add partial products in an array, all of them or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radhard.arith.multiplier import Integers, Multiplier, check_width


@dataclass(frozen=True, slots=True)
class Exact(Multiplier):
    """``a * b``.

    Attributes:
        width: bits of each operand, 2 to 16.
        signed: whether in two's complement.

    Raises:
        ValueError: for another width.
    """

    width: int = 8
    signed: bool = False

    def __post_init__(self) -> None:
        check_width("exact", self.width)

    @property
    def name(self) -> str:
        return f"mul{self.width}{'su'[not self.signed]}_exact"

    @property
    def terms(self) -> int:
        return 1

    def formula(self, a: Integers, b: Integers) -> Integers:
        return a * b


@dataclass(frozen=True, slots=True)
class BrokenArray(Multiplier):
    """Adds the partial products of bit i of ``a`` and bit j of ``b`` for which no cell is left out.

    Kept are those with ``i >= a``, ``j >= b`` and ``i + j >= columns``. With ``a`` and ``b`` alone
    operands are truncated; with ``columns`` alone it is the truncated array; otherwise the broken
    array of Mahdiani et al. (IEEE Trans. Circuits and Systems I, 2010). The sign bit of two's
    complement counts negative, as in the multiplier of Baugh and Wooley.

    Attributes:
        width: bits of each operand, 2 to 16.
        signed: whether in two's complement.
        a, b: how many low bits of each operand are not used.
        columns: how many low columns of the array are left out.

    Raises:
        ValueError: where nothing would be left, or for another width.

    >>> BrokenArray(columns=4).errors().mae
    12.25
    """

    width: int = 8
    signed: bool = False
    a: int = 0
    b: int = 0
    columns: int = 0

    def __post_init__(self) -> None:
        check_width("array", self.width)
        for key, value, end in (
            ("a", self.a, self.width),
            ("b", self.b, self.width),
            ("columns", self.columns, 2 * self.width - 1),
        ):
            if not 0 <= value < end:
                raise ValueError(
                    f"array: {key}={value} leaves nothing or is negative: 0 <= {key} < {end}"
                )

    @property
    def name(self) -> str:
        cuts = {"a": self.a, "b": self.b, "columns": self.columns}
        given = ",".join(f"{key}={value}" for key, value in cuts.items() if value)
        return ":".join(filter(None, (f"mul{self.width}{'su'[not self.signed]}_array", given)))

    @property
    def terms(self) -> int:
        return len({cut for _, cut in self.rows})

    def formula(self, a: Integers, b: Integers) -> Integers:
        total = np.zeros_like(a)
        for i, cut in self.rows:
            top = self.signed and i == self.width - 1
            total += ((a >> i) & 1) * ((b >> cut) << (cut + i)) * (-1 if top else 1)
        return total

    @property
    def rows(self) -> list[tuple[int, int]]:
        """Bits of ``a``, and how many low bits of ``b`` are left out of the row of each."""
        found = [(i, max(self.b, self.columns - i)) for i in range(self.a, self.width)]
        return [(i, cut) for i, cut in found if cut < self.width]
