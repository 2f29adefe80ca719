"""A layer in fixed point whose every product and sum is cut and saturated, in plain loops.

The loop nest of Li et al., SC'17: output channel, position, input channel, kernel row and column,
with the places at which a latch of products or sums can be struck. All values are integers of one
format.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn


@dataclass
class Latches:
    """Width and fraction bits of all values."""

    width: int
    fraction: int

    def held(self, value: int) -> int:
        top = 1 << (self.width - 1)
        return max(-top, min(top - 1, value))

    def product(self, one: int, other: int) -> int:
        whole = one * other
        cut = abs(whole) >> self.fraction
        return self.held(cut if whole >= 0 else -cut)

    def flipped(self, value: int, mask: int) -> int:
        pattern = (value & ((1 << self.width) - 1)) ^ mask
        return pattern - (1 << self.width) if pattern >> (self.width - 1) else pattern


@dataclass
class Struck:
    """A latch at one moment: ``kind`` is product, window, before or after; ``mask`` is inverted."""

    kind: str
    place: tuple[int, ...]
    mask: int


def layer(
    part: nn.Module, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, latches: Latches,
    struck: Struck | None = None,
) -> np.ndarray:  # fmt: skip
    """Outputs (m, e, f) or (m,) of one image's inputs (c, y, x) or (c,)."""

    def through(kind: str, value: int, *place: int) -> int:
        hit = struck is not None and struck.kind == kind and struck.place == place
        return latches.flipped(value, struck.mask) if hit else value

    if isinstance(part, nn.Linear):
        x, w, pad, stride, groups = x[:, None, None], w[:, :, None, None], (0, 0), (1, 1), 1
    else:
        pad, stride, groups = part.padding, part.stride, part.groups
    padded = np.pad(x, ((0, 0), (pad[0], pad[0]), (pad[1], pad[1])))
    rows, columns = w.shape[2:]
    e_count = (padded.shape[1] - rows) // stride[0] + 1
    f_count = (padded.shape[2] - columns) // stride[1] + 1
    out = np.zeros((len(w), e_count, f_count), np.int64)
    for m in range(len(w)):
        base = m // (len(w) // groups) * w.shape[1]
        for e in range(e_count):
            for f in range(f_count):
                total = 0
                for c in range(w.shape[1]):
                    total = through("before", total, m, e, f, c)
                    window = 0
                    for r in range(rows):
                        for s in range(columns):
                            value = padded[base + c, e * stride[0] + r, f * stride[1] + s]
                            product = latches.product(int(value), int(w[m, c, r, s]))
                            product = through("product", product, m, e, f, c, r, s)
                            window = latches.held(window + product)
                            window = through("window", window, m, e, f, c, r, s)
                    total = latches.held(total + window)
                    total = through("after", total, m, e, f, c)
                out[m, e, f] = latches.held(total + (int(b[m]) if b is not None else 0))
    return out.reshape(-1) if isinstance(part, nn.Linear) else out
