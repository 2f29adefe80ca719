"""The exact figures of range checks on codes, as published analysis has them."""

import math

import numpy as np
import pytest

from radhard.foresight.rangecheck import range_check

X_MAX = 4.72
# width, scale, highest code, step, detected %, mean error: none, clamped, zeroed
TABLE = [
    (16, 1, 32767, X_MAX / 32767, 6.2500, 0.5900, 0.3199, 0.3199),
    (16, 2, 19333, 2**-12, 7.7237, 1.0000, 0.5163, 0.4852),
    (16, 3, 9667, 2**-11, 13.9729, 2.0000, 0.7864, 0.5102),
    (8, 1, 127, X_MAX / 127, 12.5000, 1.1846, 0.6399, 0.6399),
    (8, 2, 76, 2**-4, 15.2172, 1.9922, 1.0257, 0.9702),
    (8, 3, 38, 2**-3, 27.6037, 3.9844, 1.5618, 1.0158),
    (6, 1, 31, X_MAX / 31, 16.6667, 1.5987, 0.8531, 0.8531),
    (6, 2, 19, 2**-2, 19.8473, 2.6250, 1.3363, 1.2764),
    (6, 3, 9, 2**-1, 37.1119, 5.2500, 1.9677, 1.2818),
    (4, 1, 7, X_MAX / 7, 25.0000, 2.5286, 1.2778, 1.2778),
    (4, 2, 5, 1, 26.6702, 3.7500, 1.8273, 1.8138),
    (4, 3, 2, 2, 53.9664, 7.5000, 2.4207, 1.5820),
]


def rectified(width: int, step: float, high: int) -> np.ndarray:
    """Shares of the codes of a rectified standard normal variable."""

    def below(x: float) -> float:
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    shares, half = np.zeros(1 << width), 1 << (width - 1)
    for code in range(high + 1):
        lower = below((code - 0.5) * step) if code else 0.0
        upper = below((code + 0.5) * step) if code < high else 1.0
        shares[half + code] = upper - lower
    return shares


@pytest.mark.parametrize(
    ("width", "kind", "high", "step", "detected", "none", "clamp", "zero"), TABLE
)
def test_table(
    width: int, kind: int, high: int, step: float, detected: float, none: float, clamp: float,
    zero: float,
) -> None:  # fmt: skip
    found = range_check(rectified(width, step, high), 0, high)
    assert 100 * found.detected == pytest.approx(detected, abs=6e-5)
    for value, known in ((found.unprotected, none), (found.clamped, clamp), (found.zeroed, zero)):
        assert value * step == pytest.approx(known, abs=6e-5)


def test_twin_by_counting() -> None:
    random = np.random.default_rng(0)
    shares = np.zeros(64)
    shares[20:50] = random.dirichlet(np.ones(30))
    low, high = 20 - 32, 49 - 32
    moved = {"detected": 0.0, "unprotected": 0.0, "clamped": 0.0, "zeroed": 0.0}
    for place in range(20, 50):
        code = place - 32
        for bit in range(6):
            pattern = (code & 63) ^ (1 << bit)
            after = pattern - 64 if pattern >= 32 else pattern
            share = shares[place] / 6
            seen = not low <= after <= high
            moved["detected"] += share * seen
            moved["unprotected"] += share * abs(after - code)
            moved["clamped"] += share * abs(min(max(after, low), high) - code)
            moved["zeroed"] += share * (abs(code) if seen else abs(after - code))
    found = range_check(shares, low, high)
    for name, value in moved.items():
        assert getattr(found, name) == pytest.approx(value)


@pytest.mark.parametrize(
    ("shares", "low", "high"),
    [(np.ones(6) / 6, -3, 2), (np.ones(8), -4, 3), (np.ones(8) / 8, -4, 2)],
)
def test_refused(shares: np.ndarray, low: int, high: int) -> None:
    with pytest.raises(ValueError, match=r"can't be|outside"):
        range_check(shares, low, high)
