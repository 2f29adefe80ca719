"""Latch hardening against the optimum on the truncated exponential, and against enumeration."""

import itertools

import numpy as np
import pytest

import radhard as rh
from radhard.protect.hardening import LATCH_TYPES, asymmetry, residual_rates

#: Classes along the curve; a step of one triplicated class of 400 would be 0.6 points of area.
STEPS, FINE_STEPS = 400, 2000
TRIPLE = (LATCH_TYPES[0], LATCH_TYPES[3])
NODE = (LATCH_TYPES[0], LATCH_TYPES[2])
#: beta: added area in % for 6.3x, 10x, 37x, 100x; triplication alone 100x, redundant node alone 30x
ORACLE = {
    2: (15.0, 35.8, 100.0, 159.2, 242.3, 98.0),
    4: (14.8, 27.3, 82.1, 131.4, 223.2, 92.5),
    6: (11.4, 21.0, 62.6, 100.6, 182.7, 78.6),
    8: (8.8, 16.1, 49.2, 79.7, 142.9, 62.4),
    10: (7.0, 12.9, 39.6, 64.4, 115.0, 50.3),
    15: (4.7, 8.6, 26.5, 43.0, 76.8, 33.6),
    20: (3.5, 6.5, 19.9, 32.3, 57.6, 25.2),
    30: (2.4, 4.3, 13.2, 21.5, 38.4, 16.8),
}


def exponential(beta: float, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    edges = np.exp(-beta * np.arange(steps + 1) / steps)
    return np.ones(steps), edges[:-1] - edges[1:]


@pytest.mark.parametrize("beta", ORACLE)
def test_least_area_is_that_of_the_oracle(beta: float) -> None:
    goals = [(t, LATCH_TYPES) for t in (6.3, 10, 37, 100)] + [(100, TRIPLE), (30, NODE)]
    for (target, types), expected in zip(goals, ORACLE[beta], strict=True):
        classes = exponential(beta, STEPS if types is LATCH_TYPES else FINE_STEPS)
        found = rh.HardenedLatches(target=target, types=types).choose(*classes)
        assert 100 * found.added_area == pytest.approx(expected, abs=0.5)
        assert found.reduction >= target * (1 - 1e-6)


def test_small_problems_agree_with_enumeration() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        count, rate = rng.integers(1, 9, 5).astype(float), rng.exponential(1.0, 5)
        area, best, most = [], [], np.inf
        for choice in itertools.product(LATCH_TYPES, repeat=5):
            added = sum(n * (t.area - 1) for n, t in zip(count, choice, strict=True)) / count.sum()
            left = sum(n * r / t.reduction for n, r, t in zip(count, rate, choice, strict=True))
            left /= count @ rate
            if left <= 1 / 20:
                area.append(added)
            if added <= 0.5:
                best.append(left)
        most = min(area)
        assert rh.HardenedLatches(target=20).choose(count, rate).added_area == pytest.approx(
            most, rel=1e-3
        )
        found = rh.HardenedLatches(budget=0.5).choose(count, rate)
        assert 1 / found.reduction == pytest.approx(min(best), rel=1e-3)


def test_beta_of_an_exponential_is_found_again() -> None:
    assert asymmetry(*exponential(12.0)) == pytest.approx(12.0, rel=1e-3)
    curve = residual_rates([1, 3], [0.1, 0.9])
    assert curve.tolist() == [[0, 1], [0.75, pytest.approx(0.1 / 2.8)], [1, pytest.approx(0)]]


def test_impossible_goals_are_named() -> None:
    with pytest.raises(ValueError, match="either a target or a budget"):
        rh.HardenedLatches()
    with pytest.raises(ValueError, match="best latch type reaches 37"):
        rh.HardenedLatches(target=100, types=NODE).choose([1.0], [1.0])
    with pytest.raises(ValueError, match="use 1 or more"):
        rh.LatchType("free", 0.5, 2.0)
