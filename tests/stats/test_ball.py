"""Intervals of outcomes in cells, against a twin, brute force and exact coverage."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from oracles.ball import Edge, largest
from radhard.stats import ball
from radhard.stats.ball import Cells, contrast, proportion, ratio, widened
from radhard.stats.edge import Radius, farthest, radius
from radhard.stats.estimate import Estimate
from radhard.stats.interval import clopper_pearson
from radhard.stats.moments import between
from radhard.stats.stopping import anytime_proportion

#: A ball whose size is the same everywhere.
FIXED = Radius(2.0, 2.0, False)


def random_cells(rng: np.random.Generator, outcomes: int) -> Cells:
    """Up to 9 cells; some have no run, some no event, and some outcomes can't be."""
    k = int(rng.integers(1, 10))
    n = np.where(rng.random(k) < 0.15, 0.0, 10 ** rng.uniform(0, 3.5, k))
    shares = rng.dirichlet(np.ones(outcomes + 1), k)[:, :outcomes] * (rng.random((k, 1)) < 0.6)
    shares[rng.random((k, outcomes)) < 0.2] = 0.0
    never = (rng.random((k, outcomes)) < 0.3) & (shares == 0)
    shares[n == 0] = 0.0
    return Cells(rng.dirichlet(np.ones(k)), n, shares, never, round(n.sum()))


@pytest.mark.parametrize("anytime", [False, True])
def test_the_compiled_search_finds_what_its_twin_finds(anytime: bool) -> None:
    rng = np.random.default_rng(3)
    for _ in range(80):
        outcomes = int(rng.integers(1, 3))
        cells, signs = random_cells(rng, outcomes), rng.choice([-1.0, -0.3, 0.4, 1.0], outcomes)
        rest = (1 - cells.shares.sum(1, keepdims=True)).clip(0, 1)
        shares = np.concatenate([cells.shares, rest], 1)
        allowed = np.concatenate([~cells.never, np.ones_like(rest, bool)], 1)
        rates, limit = np.zeros_like(shares), radius(0.95, anytime)
        farthest(cells.mass, cells.n, shares, allowed, np.append(signs, 0.0), limit, rates)
        assert rates.sum(1) == pytest.approx(1)
        assert not rates[:, :-1][cells.never].any()
        found = float(cells.mass @ (rates[:, :-1] @ signs))
        assert found == pytest.approx(largest(cells, signs, limit), abs=2e-6)


@pytest.mark.parametrize("anytime", [False, True])
def test_candidates_not_seen_may_be_worth_anything(anytime: bool) -> None:
    """The share of candidates is a ball of its own, which the twin finds too."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        cells = random_cells(rng, 1)
        some = replace(cells, runs=1, looked_at=float(rng.integers(5, 3000)))
        wide, narrow = (
            contrast(replace(some, looked_at=n), [1.0], 0.95, anytime)
            for n in (some.looked_at, math.inf)
        )
        mass, limit = cells.mass, radius(0.95, anytime)
        one = Cells(np.ones(1), np.array([some.looked_at]), mass[None], mass[None] < 0, 1)
        off = [0.0, 0.0]
        for side, sign in enumerate((-1.0, 1.0)):  # as they are, and as they are at that end
            for worth in (cells.shares[:, 0], Edge(cells, np.array([sign]), limit).rates()[:, 0]):
                least = -largest(one, -worth, limit) if worth.any() else 0.0
                most = 1 + largest(one, worth - 1, limit)  # what is not seen is the rest, worth 1
                off[side] = max(off[side], sign * ((least, most)[side] - mass @ worth))
        free = mass[(cells.n == 0) & ~cells.never[:, 0]].sum()  # any rate, and no chance in it
        high = narrow.value + free + math.hypot(narrow.high - narrow.value - free, off[1])
        low = narrow.value - math.hypot(narrow.value - narrow.low, off[0])
        assert wide.low == pytest.approx(max(low, 0.0), abs=1e-5)
        assert wide.high == pytest.approx(min(high, 1.0), abs=1e-5)


@pytest.mark.parametrize("n", [25, 175, 1000])
def test_what_was_not_run_may_all_fail(n: int) -> None:
    """Of n candidates 4 % are unproved, and none of these was run: each of their like may fail."""
    never = np.array([[True], [False]])
    few = Cells(np.array([0.96, 0.04]), np.array([3.0, 0.0]), np.zeros((2, 1)), never, 3)
    found = contrast(replace(few, looked_at=float(n)), [1.0])
    assert contrast(few, [1.0]).high == pytest.approx(0.04)
    assert found.low == 0
    assert found.high > 0.97 * clopper_pearson(round(0.04 * n), n).high


def test_few_candidates_do_not_tell_that_nothing_fails() -> None:
    """All of n were proved harmless: the rule of three says how many others may not be."""
    for n in (1, 10, 160):
        proved = Cells(np.ones(1), np.ones(1), np.zeros((1, 1)), np.ones((1, 1), bool), 1)
        assert contrast(proved, [1.0]).high == 0
        found = contrast(replace(proved, looked_at=float(n)), [1.0])
        assert found.high == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-3)
        never = replace(proved, looked_at=float(n), impossible=[True])
        assert contrast(never, [1.0]).high == 0


#: Rates to be tried.
GRID = np.linspace(1e-9, 1 - 1e-9, 1601)


def divergence(share: float) -> np.ndarray:
    """Kullback-Leibler, of one event from the rates of the grid."""
    parts = [p * np.log(p / r) for p, r in ((share, GRID), (1 - share, 1 - GRID)) if p > 0]
    return np.sum(parts, 0)


def both_inside(n: np.ndarray, shares: tuple[float, float]) -> np.ndarray:
    """Pairs of rates of two cells that are in the ball."""
    one, other = (runs * divergence(share) for runs, share in zip(n, shares, strict=True))
    return np.add.outer(one, other) <= FIXED.many


@pytest.mark.parametrize("share", [(0.1, 0.02), (0.0, 0.3), (0.0, 0.0), (1.0, 0.5)])
def test_two_cells_reach_as_far_as_a_grid_of_rates(
    share: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ball, "radius", lambda confidence, anytime: FIXED)
    mass, n = np.array([0.3, 0.7]), np.array([40.0, 90.0])
    cells = Cells(mass, n, np.array(share)[:, None], np.zeros((2, 1), bool), 130)
    sums = np.add.outer(mass[0] * GRID, mass[1] * GRID)[both_inside(n, share)]
    found = contrast(cells, [1.0])
    assert (found.low, found.high) == pytest.approx((sums.min(), sums.max()), abs=1e-3)


def test_a_difference_of_two_outcomes_reaches_as_far_as_a_grid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ball, "radius", lambda confidence, anytime: FIXED)
    one = Cells(np.ones(1), np.array([60.0]), np.array([[0.2, 0.05]]), np.zeros((1, 2), bool), 70)
    a, b = np.meshgrid(np.linspace(1e-6, 1, 1601), np.linspace(1e-6, 1, 1601))
    rest = (1 - a - b).clip(1e-9)
    far = 60 * sum(p * np.log(p / r) for p, r in ((0.2, a), (0.05, b), (0.75, rest)))
    inside = (far <= 2) & (a + b < 1)
    gaps, shares = (a - b)[inside], (a / (a + b))[inside]
    found, share = contrast(one, [1.0, -1.0]), ratio(one)
    assert (found.low, found.high) == pytest.approx((gaps.min(), gaps.max()), abs=2e-3)
    assert (share.low, share.high) == pytest.approx((shares.min(), shares.max()), abs=3e-3)


def test_a_ratio_of_cells_reaches_as_far_as_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """One outcome in each of two cells, and the other one proved to be impossible there."""
    monkeypatch.setattr(ball, "radius", lambda confidence, anytime: FIXED)
    mass, n, share = np.array([0.1, 0.9]), np.array([50.0, 80.0]), (0.3, 0.05)
    never = np.array([[False, True], [True, False]])
    cells = Cells(mass, n, np.diag(share), never, 130, (15, 4))
    a, b = np.meshgrid(mass[0] * GRID, mass[1] * GRID, indexing="ij")
    shares, found = (a / (a + b))[both_inside(n, share)], ratio(cells)
    assert found.value == pytest.approx(0.03 / 0.075)
    assert (found.low, found.high) == pytest.approx((shares.min(), shares.max()), abs=3e-3)


@pytest.mark.parametrize("n", [10, 20, 50, 100, 200, 1000])
def test_one_cell_covers_every_rate(n: int) -> None:
    """Exactly, by sums over the binomial law, at the rates where intervals begin or end."""
    found = [proportion(events, n) for events in range(n + 1)]
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    ends = np.concatenate([low, high])
    rates = np.concatenate([ends - 1e-7, ends + 1e-7])
    rates = rates[(rates > 0) & (rates < 1)]
    holds = (low <= rates[:, None]) & (rates[:, None] <= high)
    covered = (binom.pmf(np.arange(n + 1), n, rates[:, None]) * holds).sum(1)
    assert covered.min() >= 0.94


def test_a_cell_without_an_event_keeps_its_doubt() -> None:
    """What it may hide is by its mass and its runs, however much the other cell was tried."""
    for runs in (20.0, 200.0):
        n = np.array([runs, 1e6])
        cells = Cells(np.array([0.5, 0.5]), n, np.array([[0.0], [0.1]]), np.zeros((2, 1), bool), 9)
        doubt = contrast(cells, [1.0]).high - 0.05
        assert doubt == pytest.approx(0.5 * (1 - 0.05 ** (1 / runs)), rel=0.05)
        proved = Cells(cells.mass, n, cells.shares, np.array([[True], [False]]), 9)
        assert contrast(proved, [1.0]).high - 0.05 < doubt / 20


def test_no_runs_say_nothing_and_a_free_cell_may_hold_anything() -> None:
    none = Cells(np.ones(1), np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2), bool), 0)
    empty = contrast(none, [1.0, -1.0])
    assert math.isnan(empty.value)
    assert (empty.low, empty.high) == (-1.0, 1.0)
    half = Cells(np.array([0.5, 0.5]), np.array([0.0, 1e6]), np.array([[0.0], [0.2]]),
                 np.zeros((2, 1), bool), 10**6)  # fmt: skip
    found = contrast(half, [1.0])
    assert (found.low, found.high) == pytest.approx((0.1, 0.6), abs=2e-3)
    assert math.isnan(ratio(none).value)


def test_sequences_are_wider_and_exact_where_runs_are_alike() -> None:
    assert proportion(30, 1000, anytime=True) == anytime_proportion(30, 1000)
    shares, never = np.array([[0.02], [0.3]]), np.zeros((2, 1), bool)
    cells = Cells(np.array([0.8, 0.2]), np.array([300.0, 100.0]), shares, never, 400)
    fixed, always = contrast(cells, [1.0]), contrast(cells, [1.0], anytime=True)
    assert always.low < fixed.low < fixed.high < always.high
    assert "sequence" in always.method


def test_sources_of_variance_add() -> None:
    one = Estimate(0.3, 0.2, 0.5, 0.95, 10, "")
    assert widened(one, 0.0) == one
    wide = widened(one, (0.1 / 1.959964) ** 2)
    assert wide.low == pytest.approx(0.3 - math.hypot(0.1, 0.1))
    assert wide.high == pytest.approx(0.3 + math.hypot(0.2, 0.1))
    few = widened(one, (0.1 / 1.959964) ** 2, freedom=2)
    assert few.low == pytest.approx(0.3 - math.hypot(0.1, 0.1 * 4.302653 / 1.959964))


def test_variance_between_clusters_is_what_simulations_have() -> None:
    """2,000 samples of 300 weighted faults in 15 images whose rates differ."""
    rng, means, parts = np.random.default_rng(8), [], []
    for _ in range(2000):
        rate = rng.choice([0.02, 0.5], 15, p=[0.7, 0.3])
        image, weight = rng.integers(0, 15, 300), rng.choice([0.5, 1.5], 300)
        hit = rng.random(300) < rate[image]
        sums = [
            np.stack([np.bincount(image[some], weight[some] ** k, 15) for k in (1, 2)])
            for some in (slice(None), hit)
        ]
        own = weight[hit].sum() / weight.sum()
        alone = (weight**2 @ (hit - own) ** 2) / weight.sum() ** 2
        means.append(own)
        parts.append((between(sums[0], [sums[1]], [1.0]), alone))
    clusters, alone = np.mean(parts, 0)
    assert np.var(means) == pytest.approx(clusters + alone, rel=0.15)
    assert clusters > 3 * alone
