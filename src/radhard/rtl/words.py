"""Values side by side in words of 64 bits, as programs of Verilator take and give them."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from numpy.typing import NDArray

from radhard.rtl.schedule import Integers

#: Words of inputs or outputs, 64 bits each.
Words = NDArray[np.uint64]


def words_of(bits: int) -> int:
    """Of 64 bits."""
    return ceil(bits / 64)


def given(target: str, bits: int, word: int) -> Iterator[str]:
    """How an input takes its words."""
    if bits <= 64:
        yield f"{target} = now[{word}];"
        return
    for half in range(ceil(bits / 32)):
        yield f"{target}[{half}] = (uint32_t)(now[{word + half // 2}] >> {32 * (half % 2)});"


def packed(lines: Integers, width: int) -> Words:
    """Lines (edges, lines) side by side in words, the first lowest, (edges, words)."""
    codes = (lines & ((1 << width) - 1)).astype(np.uint64)
    edges, count = lines.shape
    bits = (codes[:, :, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)
    whole = np.zeros((edges, 64 * words_of(count * width)), np.uint64)
    whole[:, : count * width] = bits.reshape(edges, -1)
    parts = whole.reshape(edges, -1, 64) << np.arange(64, dtype=np.uint64)
    return np.asarray(np.bitwise_or.reduce(parts, axis=2), np.uint64)


def picked(shown: Words, which: Integers | np.int64) -> Words:
    """The words of these numbers: one for all, or one for each of the axis before."""
    if np.ndim(which) == 0:
        return np.asarray(shown[..., which])
    return np.asarray(np.take_along_axis(shown, np.asarray(which)[None, :, None], 2)[..., 0])
