"""Estimators against the enumerated truth of a tiny network."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

import radhard as rh
from radhard.faults.fault import Faults
from radhard.metrics.outcome import classify
from radhard.network.workload import Workload
from radhard.sampling.tally import Tally


@pytest.fixture(scope="module")
def work() -> Workload:
    random = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    for part in model.parameters():
        part.data = torch.randn(part.shape, generator=random)
    images = torch.randn(3, 1, 3, 3, generator=random)
    return rh.capture(model, images, torch.tensor([0, 1, 2]), format=rh.INT4)


def outcomes(work: Workload, space: rh.SiteSpace, faults: Faults) -> dict[str, np.ndarray]:
    run = rh.resume(rh.record(work), rh.chips.SOFTWARE.corrupt(work, space, faults))
    labels = work.labels[torch.from_numpy(faults.image)]
    found = classify(work.task, run.logits, run.golden, labels, run.detected)
    return {name: column.numpy() for name, column in found.columns.items()}


@pytest.fixture(scope="module")
def population(work: Workload) -> tuple[rh.SiteSpace, Faults, dict[str, np.ndarray]]:
    """Every fault there is: each stratum, each of its sites, each image."""
    space = rh.software_space(work)
    rows = [
        (stratum, index, image)
        for stratum, size in enumerate(space.sizes)
        for index in range(size)
        for image in range(space.images)
    ]
    stratum, index, image = (np.array(column) for column in zip(*rows, strict=True))
    flip = np.left_shift(1, np.array([s.bit for s in space.strata])[stratum])
    n = len(rows)
    faults = Faults(np.arange(n), stratum, index, image, np.full(n, -1), flip, np.ones(n))
    return space, faults, outcomes(work, space, faults)


def test_the_population_is_complete(population) -> None:
    space, faults, _ = population
    assert len(faults) == space.population == 3 * 4 * (8 + 24 + 8 + 3)


@pytest.mark.parametrize("metric", ["sdc1", "correct", "masked"])
def test_intervals_cover_the_truth_as_often_as_they_say(population, metric: str) -> None:
    """Of 200 campaigns' 95 % intervals at least 94 %; fewer than allowed happen once in 10^5."""
    space, faults, truth = population
    place = {
        key: k for k, key in enumerate(zip(faults.stratum, faults.index, faults.image, strict=True))
    }
    exact = float(truth[metric].mean())
    assert 0.02 < exact < 0.98
    covered = 0
    for seed in range(200):
        drawn = rh.Uniform().draw(space, 400, np.random.default_rng(seed))
        keys = zip(drawn.stratum, drawn.index, drawn.image, strict=True)
        hit = truth[metric][[place[key] for key in keys]]
        tally = Tally.of(drawn, {metric: hit}, len(space.strata))
        found = rh.Uniform().estimate(space, tally, metric, 0.95, anytime=False)
        covered += found.low <= exact <= found.high
    assert covered >= binom.ppf(1e-5, 200, 0.94)


def test_a_campaign_s_own_faults_tell_the_truth(work: Workload, population) -> None:
    """The whole path, id to interval, by the sampler that looks at slopes and proofs, and without.

    At 94 % coverage fewer than 32 of 40 happen once in 10^4.
    """
    truth = float(population[2]["sdc1"].mean())
    for sampler in (rh.Importance(), rh.GradientImportance()):
        covered = 0
        for seed in range(40):
            found = rh.Campaign(work, sampler=sampler, seed=seed).run(until=200)["sdc1"]
            covered += found.low <= truth <= found.high
        assert covered >= 32


@pytest.mark.parametrize("sampler", [rh.Importance(), rh.GradientImportance(candidates=20)])
def test_stopping_by_precision_is_honest(work: Workload, population, sampler) -> None:
    """Campaigns that stop by their own estimate: at least 36 of 40 cover the truth."""
    truth = float(population[2]["sdc1"].mean())
    covered = 0
    for seed in range(40):
        result = rh.Campaign(work, sampler=sampler, seed=seed).run(until=rh.Precision(0.03))
        found = result["sdc1"]
        assert found.half_width <= 0.03
        assert result.anytime
        covered += found.low <= truth <= found.high
    assert covered >= 36


def test_draws_follow_the_exposure(population) -> None:
    """Chi-square of 20,000 draws over strata; the bound is passed by chance once in 10^6."""
    space, *_ = population
    drawn = rh.Uniform().draw(space, 20_000, np.random.default_rng(0))
    expected = space.probability * 20_000
    chi2 = float((((np.bincount(drawn.stratum) - expected) ** 2) / expected).sum())
    freedom = len(expected) - 1
    assert chi2 < freedom + 4.9 * math.sqrt(2 * freedom) + 12
    assert set(drawn.image) == {0, 1, 2}
    assert all(drawn.index < space.sizes[drawn.stratum])
    assert set(drawn.weight) == {1.0}


def test_tallies_add_up(population) -> None:
    space, faults, truth = population
    strata = len(space.strata)
    whole = Tally.of(faults, truth, strata)
    cut = len(faults) // 3
    head = Tally.of(faults[:cut], {name: v[:cut] for name, v in truth.items()}, strata)
    tail = Tally.of(faults[cut:], {name: v[cut:] for name, v in truth.items()}, strata)
    for both in (head + tail, tail + head):
        assert both.total == whole.total
        assert np.array_equal(both.events["sdc1"], whole.events["sdc1"])
        assert both.groups.weighted["sdc1"] == pytest.approx(whole.groups.weighted["sdc1"])
