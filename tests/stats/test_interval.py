import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radhard.stats import interval as i
from radhard.stats.estimate import Estimate
from radhard.stats.moments import Moments
from radhard.stats.samplesize import leveugle
from radhard.stats.stopping import Precision, anytime_mean, anytime_proportion

#: Ends of 95 % intervals for x of n, computed apart from this code.
TABLE = {
    (0, 3000): ((0, 0.001279), (0, 0.001229), (0, 0.000837), (-0.000265, 0.001543)),
    (5, 3000): (
        (0.000712, 0.003896), (0.000541, 0.003885), (0.000636, 0.003649), (0.000589, 0.004018),
    ),
    (11, 3000): (
        (0.002049, 0.006554), (0.001832, 0.006551), (0.001950, 0.006337), (0.001961, 0.006642),
    ),
    (216, 3000): (
        (0.063287, 0.081807), (0.063005, 0.081840), (0.063161, 0.081664), (0.063271, 0.081823),
    ),
    (50, 100): (
        (0.403832, 0.596168), (0.398321, 0.601679), (0.403174, 0.596826), (0.403832, 0.596168),
    ),
}  # fmt: skip
METHODS = (i.wilson, i.clopper_pearson, i.jeffreys, i.agresti_coull)


@pytest.mark.parametrize(("counts", "rows"), TABLE.items())
def test_proportions_have_the_published_intervals(counts, rows) -> None:
    for method, (low, high) in zip(METHODS, rows, strict=True):
        found = method(*counts)
        assert (found.low, found.high) == pytest.approx((low, high), abs=6e-7)
        assert found.n == counts[1]


@pytest.mark.parametrize(
    ("events", "half"), [(0, 0), (5, 0.00146), (216, 0.00925), (1500, 0.017892)]
)
def test_normal_interval_is_wald_s(events: int, half: float) -> None:
    found = i.normal(Moments.of_counts(events, 3000))
    assert found.half_width == pytest.approx(half, abs=4e-6)


def test_no_trials_know_nothing() -> None:
    found = i.wilson(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5)])
@pytest.mark.parametrize("method", [*METHODS, anytime_proportion])
def test_impossible_counts_are_refused(method, counts) -> None:
    with pytest.raises(ValueError, match="can't be"):
        method(*counts)


def test_impossible_confidence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence 1\.5"):
        i.wilson(1, 2, 1.5)


def test_bounded_means_are_ordered_by_what_they_assume() -> None:
    sample = Moments.of(np.tile([0.2, 0.3], 500))
    bernstein, hoeffding = i.empirical_bernstein(sample), i.hoeffding(sample)
    assert i.student(sample).half_width < bernstein.half_width < hoeffding.half_width
    assert hoeffding.half_width == pytest.approx(math.sqrt(math.log(40) / 2000))
    doubled = i.hoeffding(sample, largest=2.0)
    assert doubled.half_width == pytest.approx(2 * hoeffding.half_width)
    assert math.isinf(i.student(Moments.of([0.5])).half_width)


samples = st.lists(st.floats(-1e3, 1e3), max_size=20)


@given(samples, samples, samples)
def test_moments_add_up_in_any_order(a, b, c) -> None:
    left = (Moments.of(a) + Moments.of(b)) + Moments.of(c)
    right = Moments.of(c) + (Moments.of(b) + Moments.of(a))
    whole = Moments.of([*a, *b, *c])
    for one in (left, right):
        assert one.n == whole.n
        assert one.mean == pytest.approx(whole.mean, abs=1e-6)
        assert one.m2 == pytest.approx(whole.m2, rel=1e-6, abs=1e-4)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.booleans()), min_size=2, max_size=30))
def test_weighted_moments_are_numpy_s(pairs) -> None:
    weights, values = zip(*pairs, strict=True)
    found = Moments.of(values, weights)
    assert found.mean == pytest.approx(np.average(values, weights=weights))
    reference = np.cov(values, aweights=weights)
    assert found.variance == pytest.approx(float(reference), abs=1e-9)


def test_sample_sizes_are_the_published_ones() -> None:
    assert leveugle(math.inf, 0.01, 0.99) == 16588  # 16,589 with z = 2.576
    population = 17_174_144
    assert leveugle(population, 0.01, 0.99) == pytest.approx(16_571, abs=2)
    assert leveugle(10, 0.01) == 10
    with pytest.raises(ValueError, match="margin 0"):
        leveugle(100, 0)


def test_precision_refuses_the_impossible() -> None:
    with pytest.raises(ValueError, match="half width 0"):
        Precision(0)
    with pytest.raises(ValueError, match="confidence 2"):
        Precision(0.1, confidence=2)
    narrow = Estimate(0.5, 0.495, 0.505, 0.95, 10, "x")
    assert Precision(0.006).reached(narrow)
    assert not Precision(0.004).reached(narrow)


@pytest.mark.parametrize("p", [0.003, 0.05, 0.4])
def test_looking_after_every_batch_keeps_the_confidence(p: float) -> None:
    """Of 600 campaigns looked at 60 times each, at most 5 % may ever exclude the truth.

    The bound holds with probability above 1 - 1e-6: 57 or more of 600 at a rate of 5 %.
    """
    rng = np.random.default_rng(7)
    runs, looks, batch = 600, 60, 50
    hits = rng.binomial(batch, p, (runs, looks)).cumsum(1)
    misses = 0
    for run in hits:
        ends = (anytime_proportion(int(x), (k + 1) * batch) for k, x in enumerate(run))
        misses += any(not e.low <= p <= e.high for e in ends)
    assert misses < 57


def test_peeking_at_wilson_spoils_its_confidence() -> None:
    """Why sequences are needed: the same looks at fixed-n intervals fail far more often."""
    rng = np.random.default_rng(7)
    hits = rng.binomial(50, 0.05, (300, 60)).cumsum(1)
    misses = 0
    for run in hits:
        ends = (i.wilson(int(x), (k + 1) * 50) for k, x in enumerate(run))
        misses += any(not e.low <= 0.05 <= e.high for e in ends)
    assert misses > 60


def test_anytime_mean_has_the_stated_width() -> None:
    n = 10_000
    sample = Moments.of(np.tile([0.0, 1.0], n // 2))
    ratio = anytime_mean(sample, tuned_for=n).half_width / i.student(sample).half_width
    assert ratio == pytest.approx(1.55, abs=0.01)
    assert math.isinf(anytime_mean(Moments.of([1.0])).half_width)


def test_quantile_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(5)
    for q, n in ((0.5, 25), (0.9, 200)):
        truth = -np.log(1 - q)
        found = [i.quantile(rng.exponential(size=n), q) for _ in range(1000)]
        held = sum(e.low <= truth <= e.high for e in found)
        assert held >= 940
        assert np.median([e.value for e in found]) == pytest.approx(truth, rel=0.1)
    assert i.quantile([1.0, np.inf], 0.5).high == np.inf
    with pytest.raises(ValueError, match="quantile can't be"):
        i.quantile([1.0, np.nan], 0.5)


def test_intervals_of_sums_hold_the_truth() -> None:
    rng = np.random.default_rng(6)
    rates = np.array([0.02, 0.3, 0.001])
    held = 0
    for _ in range(1000):
        parts = [i.wilson(int(k), 400) for k in rng.binomial(400, rates)]
        whole = i.total(parts)
        held += whole.low <= rates.sum() <= whole.high
        assert whole.value == pytest.approx(sum(part.value for part in parts))
    assert 930 <= held <= 985
    with pytest.raises(ValueError, match="different units"):
        i.total([i.wilson(1, 10), i.wilson(1, 10, 0.9)])
