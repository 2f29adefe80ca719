"""Neuron-gradient statistics: the rule, its statistics, its gates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import radhard as rh
from radhard.engine.guard import Sight
from radhard.engine.noisy import run_noisy
from radhard.protect.differences import Differences, Replacement
from radhard.protect.gradient import (
    Axis,
    Gate,
    Granularity,
    Neighbours,
    NeuronGradientSuppressor,
    Ordering,
    ordered,
)
from radhard.protect.protection import joined
from radhard.protect.tap import Tap, observed, tapped
from radhard.stats.moments import ArrayMoments


def differences(count: int, lag: int, both_sides: bool = True) -> Differences:
    before = torch.from_numpy(np.roll(np.arange(count), lag))
    bounds = torch.tensor(-1.0), torch.tensor(1.0)
    return Differences(1, before, bounds, both_sides, Replacement.ZERO)


@given(
    count=st.integers(3, 40), lag=st.sampled_from([1, 4]), seed=st.integers(0, 999),
)  # fmt: skip
def test_both_sides_are_the_shifted_conjunction(count: int, lag: int, seed: int) -> None:
    """Equation 10: shift(I & shift(I, a), -a) is I_j & I_(j+a)."""
    values = 3 * torch.randn(2, count, 1, generator=torch.Generator().manual_seed(seed))
    one = differences(count, lag, both_sides=False).flagged(values)
    both = differences(count, lag).flagged(values)
    shifted = torch.roll(one & torch.roll(one, lag, 1), -lag, 1)
    assert torch.equal(both, shifted)


@pytest.mark.parametrize("lag", [1, 4])
def test_a_large_error_is_marked_alone(lag: int) -> None:
    values = torch.zeros(1, 11, 1)
    values[0, 5] = 9.0
    assert torch.nonzero(differences(11, lag).flagged(values)[0, :, 0]).tolist() == [[5]]
    one_side = differences(11, lag, both_sides=False).flagged(values)[0, :, 0]
    assert torch.nonzero(one_side)[:, 0].tolist() == [5, 5 + lag]


def test_large_errors_are_found_exactly_in_fixed_point(work_of) -> None:
    """A high integer bit of one value: that value, and no other, is flagged besides."""
    work = work_of(rh.FIXED32_10)
    suppressor = NeuronGradientSuppressor(tap=Tap.OUTPUT).best(work)
    guard = joined([suppressor], work)
    rng = np.random.default_rng(0)
    step, number = next(iter(tapped(work, Tap.OUTPUT, last=False).items()))
    clean = next(observed(work, [step]))[0][step]
    fmt, exact, tried = work.arithmetic[number].output, 0, 0
    part = guard.corrections[str(step)]
    for _ in range(400):
        row, m, p = (int(rng.integers(0, size)) for size in clean.shape)
        wrong = clean.clone()
        mask = torch.tensor([1 << int(rng.integers(20, fmt.width - 1))])  # 2^10 and more
        wrong[row, m, p] = fmt.flip(clean[row, m, p].reshape(1), mask)[0]
        before, after = part.flagged(clean)[row], part.flagged(wrong)[row]
        tried += 1
        exact += bool(after[m, p]) and torch.equal(
            torch.nonzero(after & ~before), torch.tensor([[m, p]])
        )
    assert tried == 400
    assert exact >= 0.99 * tried


@pytest.fixture
def work_of(residual: nn.Module, images: Tensor, labels: Tensor):
    return lambda fmt: rh.capture(residual, images, labels, format=fmt)


def test_lags_that_cannot_locate_are_refused(work_of) -> None:
    work = work_of(rh.FLOAT32)  # six channels
    for lag in (3, 6):
        with pytest.raises(ValueError, match="can't tell"):
            NeuronGradientSuppressor(Neighbours(lag=lag)).learned(work)


@given(
    parts=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99),
)  # fmt: skip
def test_moments_of_arrays_add_up(parts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(sum(parts), 3, 2))
    pieces = np.split(values, np.cumsum(parts)[:-1])
    total = ArrayMoments.of(pieces[0])
    for piece in pieces[1:]:
        total = total + ArrayMoments.of(piece)
    np.testing.assert_allclose(total.mean, values.mean(0), atol=1e-12)
    if len(values) > 1:
        np.testing.assert_allclose(total.deviation, values.std(0, ddof=1), atol=1e-12)
        pooled = total.pooled((1,))
        flat = values.transpose(0, 2, 1).reshape(-1, 3)
        np.testing.assert_allclose(pooled.deviation[:, 0], flat.std(0, ddof=1), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_orders_are_permutations(seed: int) -> None:
    values = torch.randn(6, 9, 4, generator=torch.Generator().manual_seed(seed))
    for ordering in Ordering:
        assert sorted(ordered(values, 1, ordering).tolist()) == list(range(9))


def test_a_chain_puts_correlated_neurons_together() -> None:
    """Two neurons that follow each other closely end up side by side."""
    random = torch.Generator().manual_seed(3)
    values = torch.randn(200, 8, 1, generator=random)
    values[:, 6] = values[:, 1] + 0.01 * torch.randn(200, 1, generator=random)
    order = ordered(values, 1, Ordering.CHAIN).tolist()
    assert abs(order.index(6) - order.index(1)) == 1


def test_ratios_are_those_of_the_deviations_themselves(work_of) -> None:
    work = work_of(rh.FLOAT32)
    found = NeuronGradientSuppressor(Neighbours(Axis.CHANNEL)).ratios(work)
    step = next(iter(found))
    values = next(observed(work, [step]))[0][step].double()
    unlike = values - torch.roll(values, 1, 1)
    expected = unlike.std(0).mean() / values.std(0).mean()
    assert found[step] == pytest.approx(float(expected), rel=1e-5)


def test_the_best_neighbours_have_the_smallest_ratio(work_of) -> None:
    work = work_of(rh.FLOAT32)
    best = NeuronGradientSuppressor().best(work)
    for step, chosen in best.neighbours:
        own = NeuronGradientSuppressor(chosen).ratios(work)[step]
        others = (
            NeuronGradientSuppressor(Neighbours(axis)).ratios(work).get(step, np.inf)
            for axis in Axis
        )
        assert own <= min(others) + 1e-9


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("replacement", Replacement)
def test_it_suppresses_what_it_should(work_of, granularity, replacement) -> None:
    work = work_of(rh.FLOAT32)
    suppressor = NeuronGradientSuppressor(
        granularity=granularity, replacement=replacement, tap=Tap.OUTPUT
    ).best(work)
    trace = rh.record(work, joined([suppressor], work))
    space = rh.software_space(work, ("activation",))
    corruption = rh.chips.SOFTWARE.corrupt(
        work, space, rh.Uniform().draw(space, 500, np.random.default_rng(0))
    )
    bare = rh.resume(rh.record(work), corruption)
    safe = rh.resume(trace, corruption)
    gap = [(run.logits - run.golden).abs().nan_to_num(1e30).sum() for run in (bare, safe)]
    assert gap[1] < 1e-3 * gap[0]


@pytest.mark.parametrize("gate", [Gate.ROW_CHECKSUM, Gate.ROW_COLUMN_CHECKSUM, Gate.ORACLE])
def test_gated_suppression_leaves_fault_free_runs_alone(work_of, gate: Gate) -> None:
    work = work_of(rh.FLOAT32)
    guard = joined(
        [NeuronGradientSuppressor(gate=gate, tap=Tap.OUTPUT, kappa=0.1).best(work)], work
    )
    guarded, bare = rh.record(work, guard), rh.record(work)
    assert torch.equal(guarded.logits, bare.logits)
    assert not guarded.detected.any()
    noisy = run_noisy(work, rh.NeuronErrors(0.05), tapped(work, Tap.OUTPUT), (0, 0), guard)
    assert noisy.detected.any()


def test_the_oracle_fires_exactly_where_a_fault_is(work_of) -> None:
    work = work_of(rh.FLOAT32)
    guard = joined([NeuronGradientSuppressor(gate=Gate.ORACLE, tap=Tap.OUTPUT).learned(work)], work)
    step = next(iter(guard.steps))
    clean = next(observed(work, [step]))[0][step]
    wrong = clean.clone()
    wrong[2, 1, 3] = torch.nan
    none = torch.zeros(len(clean), dtype=torch.bool)
    _, fired = guard.look(Sight(step, wrong, clean, lambda: clean, none))
    assert torch.nonzero(fired)[:, 0].tolist() == [2]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Tap\.OUTPUT"):
        NeuronGradientSuppressor(gate=Gate.ORACLE)
    with pytest.raises(ValueError, match="kappa"):
        NeuronGradientSuppressor(kappa=0)
    with pytest.raises(ValueError, match="lag"):
        NeuronGradientSuppressor(Neighbours(lag=0))
