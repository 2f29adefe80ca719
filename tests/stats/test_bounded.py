"""Means of bounded values: against a general optimiser, and known limits."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize

from radhard.stats.bounded import _tilted, bounded, crossed
from radhard.stats.interval import student, wilson
from radhard.stats.moments import Moments


@pytest.mark.parametrize("values", [[0.2, 0.5, 0.9], [0.0, 0.5, 1.0, 1.0], [0.7, 0.7], [1.0, 0.3]])
@pytest.mark.parametrize("budget", [0.05, 0.4, 1.5])
def test_the_least_mean_is_what_an_optimiser_finds(values: list[float], budget: float) -> None:
    """Over all weights of the values, and of 0, that are near enough to equal ones."""
    x = np.array(values)
    near = NonlinearConstraint(lambda w: -np.log(len(x) * w[:-1]).mean(), -np.inf, budget)
    whole = LinearConstraint(np.ones((1, len(x) + 1)), 1.0, 1.0)
    start = np.full(len(x) + 1, 1 / (len(x) + 1))
    found = minimize(
        lambda w: w[:-1] @ x, start, jac=lambda w: np.append(x, 0.0), method="SLSQP",
        bounds=[(1e-9, 1)] * len(x) + [(0, 1)],
        constraints=[near, whole], options={"maxiter": 500, "ftol": 1e-12},
    )  # fmt: skip
    assert _tilted(x, budget)[0] == pytest.approx(found.fun, abs=1e-5)


def test_where_nothing_varies_it_is_near_the_rule_of_three() -> None:
    for n in (2, 20, 1000):
        assert bounded(np.ones(n)).low == pytest.approx(0.05 ** (1 / n), rel=1e-2)
        assert bounded(np.zeros(n)).high == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-2)
        assert bounded(np.ones(n)).high == 1.0


def test_many_values_have_the_usual_intervals() -> None:
    rng = np.random.default_rng(0)
    flags = rng.random(2000) < 0.3
    mine, usual = bounded(flags), wilson(int(flags.sum()), 2000)
    assert (mine.low, mine.high) == pytest.approx((usual.low, usual.high), abs=1e-3)
    shares = rng.beta(20, 10, 2000)
    mine, usual = bounded(shares), student(Moments.of(shares))
    assert mine.half_width == pytest.approx(usual.half_width, rel=0.05)


def test_turning_and_stretching_values_does_the_same_to_the_interval() -> None:
    values = np.random.default_rng(1).beta(0.5, 0.1, 30)
    one, turned = bounded(values), bounded(1 - 2 * values, -1.0, 1.0)
    assert (turned.low, turned.high) == pytest.approx((1 - 2 * one.high, 1 - 2 * one.low), abs=1e-6)
    assert bounded(values, confidence=0.999).half_width > one.half_width


@pytest.mark.parametrize("values", [[], [1.2], [-0.1, 0.5], [float("nan")]])
def test_values_outside_the_range_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values must be in"):
        bounded(values)


def test_rows_count_as_a_sample_as_far_as_they_reach() -> None:
    table = np.random.default_rng(2).random((5, 40)) < 0.8
    widths = [crossed(table, reach).half_width for reach in (0.0, 0.01, 0.1, 1.0)]
    assert widths[0] == pytest.approx(bounded(table.mean(0)).half_width)
    assert widths == sorted(widths)
    assert widths[3] > 2 * widths[0]
