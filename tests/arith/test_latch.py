"""Latches of products and sums, against plain Python integers."""

import numpy as np
import pytest

from radhard.arith.latch import struck_sums

WIDTH, WINDOW, TERMS = 8, 3, 12
LOW, HIGH = -(1 << WIDTH - 1), (1 << WIDTH - 1) - 1


def held(value: int) -> int:
    return max(LOW, min(HIGH, value))


def flipped(value: int, mask: int) -> int:
    code = (value % (1 << WIDTH)) ^ mask
    return code - (1 << WIDTH) if code >> (WIDTH - 1) else code


def by_hand(x: list[int], w: list[int], first: int, end: int, mask: int, bits: int) -> int:
    """A latch holds products ``first <= k < end``; its change joins the windows."""
    products = []
    for a, b in zip(x, w, strict=True):
        whole = a * b
        cut = abs(whole) >> bits if bits >= 0 else abs(whole) << -bits
        products.append(held(cut if whole >= 0 else -cut))
    own = 0
    for product in products[first:end]:
        own = held(own + product)
    total = 0
    for start in range(0, TERMS, WINDOW):
        part = 0
        for product in products[start : start + WINDOW]:
            part = held(part + product)
        total = held(total + part)
        if start < end <= start + WINDOW:
            total = held(total + flipped(own, mask) - own)
    return total


@pytest.mark.parametrize("bits", [-2, 0, 4])
def test_sums_that_end_anywhere(bits: int) -> None:
    """As in a column of an array, whose partial sums end where the array does."""
    rng, n = np.random.default_rng(bits + 9), 400
    x, w = rng.integers(-40, 40, (2, n, TERMS))
    first = rng.integers(1, TERMS - 2, n)
    first += first % WINDOW == 0  # those that begin a window are windows
    terms = np.stack([first, np.minimum(first + rng.integers(2, TERMS, n), TERMS)], 1)
    kept, masks = terms[:, 1] - terms[:, 0] > 1, np.left_shift(1, rng.integers(0, WIDTH, n))
    into = np.empty((n, 3), np.int64)
    keep = np.full(n, -1)
    struck_sums(x, w, terms, (keep, masks), WIDTH, WINDOW, (bits, LOW, HIGH), into)
    assert kept.sum() > 300
    for i in np.flatnonzero(kept):
        expected = by_hand(x[i].tolist(), w[i].tolist(), *terms[i].tolist(), int(masks[i]), bits)
        assert into[i, 0] == expected
    assert (np.abs(into[kept, 0]) >= HIGH).any()
