"""Errors at a rate: many wrong values in one inference, as much of the literature injects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def _check(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"an error rate of {rate!r} can't be: use a probability in [0, 1]")


@dataclass(frozen=True, slots=True)
class NeuronErrors:
    """Each output of each layer is wrong with a probability, anew in every inference.

    Attributes:
        rate: probability per value, or per bit.
        per_bit: ``rate`` is that of each bit; otherwise a wrong value has one random bit flipped.
            One flipped bit per value at rate p is a bit error rate of p over the width.
        after_activation: the values behind activation functions are struck, not those before.

    Raises:
        ValueError: for a rate outside [0, 1].
    """

    rate: float
    per_bit: bool = False
    after_activation: bool = False

    def __post_init__(self) -> None:
        _check(self.rate)


@dataclass(frozen=True, slots=True)
class WeightErrors:
    """Each bit of each stored weight is flipped with a probability, for a whole trial.

    Attributes:
        rate: bit error rate.

    Raises:
        ValueError: for a rate outside [0, 1].
    """

    rate: float

    def __post_init__(self) -> None:
        _check(self.rate)


class Words(NamedTuple):
    """Stored words after errors at a rate; columns are (k,).

    Attributes:
        before, after: codes as written, and as they are.
        width: bits of each.
        rate: of errors, in the bits that a code or a copy adds, too.
        rng: draws those.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    width: int
    rate: float
    rng: np.random.Generator

    @property
    def wrong(self) -> NDArray[np.int64]:
        """Wrong bits of each word."""
        own = (self.before ^ self.after) & ((1 << self.width) - 1)
        found: NDArray[np.int64] = np.bitwise_count(own).astype(np.int64)
        return found

    def wrong_of(self, bits: int) -> NDArray[np.int64]:
        """Wrong ones among so many bits more of each word."""
        places = hits(self.rate, len(self.before) * bits, self.rng)
        found: NDArray[np.int64] = np.bincount(places // max(bits, 1), minlength=len(self.before))
        return found

    def flips(self) -> NDArray[np.int64]:
        """The bits that are wrong in another copy of each word."""
        places, found = hits(self.rate, len(self.before) * self.width, self.rng), 0 * self.before
        np.bitwise_xor.at(found, places // self.width, np.left_shift(1, places % self.width))
        return found


class Read(NamedTuple):
    """What is read of words: codes, (k,), and whether a check has found one wrong."""

    codes: NDArray[np.int64]
    alarm: bool


def hits(rate: float, places: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which of ``places`` are hit, each with probability ``rate`` by itself, ascending.

    By the gaps between hits, which are geometric: the work is that of the hits, not of the places.

    >>> rng = np.random.default_rng(0)
    >>> hits(0.0, 10, rng).tolist(), hits(1.0, 3, rng).tolist()
    ([], [0, 1, 2])
    """
    if rate == 0 or places == 0:
        return np.zeros(0, np.int64)
    found: list[NDArray[np.int64]] = []
    last = -1
    while last < places:
        expected = rate * (places - last)
        gaps = rng.geometric(rate, int(expected + 4 * expected**0.5 + 16))
        ends = last + np.cumsum(np.minimum(gaps, places + 1))
        found.append(ends)
        last = int(ends[-1])
    together = np.concatenate(found)
    return together[together < places]
