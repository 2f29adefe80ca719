"""Integers as hardware holds them: operands of few bits, accumulators, results; struck bit by bit.

Values are arrays of int64, one per fault. Scales are powers of two, so that nothing is rounded but
results.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Word:
    """Codes of ``width`` bits: two's complement, or unsigned with a ``zero`` that stands for 0."""

    width: int
    zero: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest value."""
        if self.zero is None:
            return -(1 << self.width - 1), (1 << self.width - 1) - 1
        return -self.zero, (1 << self.width) - 1 - self.zero

    def flipped(self, value: np.ndarray, bit: np.ndarray) -> np.ndarray:
        """Values whose codes have a bit inverted."""
        code = (value + (self.zero or 0)) & ((1 << self.width) - 1)
        code = code ^ (1 << bit)
        if self.zero is not None:
            return code - self.zero
        return np.where(code >> (self.width - 1), code - (1 << self.width), code)


@dataclass(frozen=True)
class Numbers:
    """How a layer computes.

    ``shift`` bits of a sum are below the unit of a result. A ``wide`` accumulator wraps round, and
    results are rounded to nearest, ties to even; otherwise latches hold a sum cut toward zero to a
    result's unit, and saturated: what they cut off is not lost from the sum.
    """

    input: Word
    weight: Word
    output: Word
    shift: int
    wide: Word | None

    def struck(self, total: np.ndarray, part: np.ndarray, bit: np.ndarray) -> np.ndarray:
        """Totals after the latch that holds a part of each was struck."""
        if self.wide is not None:
            held = self.wrapped(part)
            return total - held + self.wide.flipped(held, bit)
        held = self._cut(part)
        return total + ((self.output.flipped(held, bit) - held) << self.shift)

    def result(self, total: np.ndarray) -> np.ndarray:
        """What is stored of sums."""
        if self.wide is None:
            return self._cut(total)
        steps = np.rint(self.wrapped(total) / 2.0**self.shift).astype(np.int64)
        return steps.clip(*self.output.limits)

    def wrapped(self, total: np.ndarray) -> np.ndarray:
        """Modulo the accumulator's range."""
        assert self.wide is not None
        half = 1 << self.wide.width - 1
        return (total + half) % (2 * half) - half

    def _cut(self, total: np.ndarray) -> np.ndarray:
        cut = np.abs(total) >> self.shift
        return np.where(total < 0, -cut, cut).clip(*self.output.limits)
