"""Resiliency accuracy in all its formulations, against enumerated populations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.campaign.result import Result
from radhard.campaign.store import Folder
from radhard.faults.fault import Faults
from radhard.faults.space import Known, SiteSpace
from radhard.metrics.outcome import classify
from radhard.sampling.tally import Tally

KNOWN = (
    Known("idle", 300.0, 1.0, idle=True),
    Known("local-control", 60.0, 0.5, bits=10, control=True),
    Known("global-control", 20.0, 0.0, crash=True, bits=2, control=True),
)


class Population:
    """Each fault of a small network on a chip, with what it does."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(5)
        model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        for part in model.parameters():
            part.data = torch.randn(part.shape, generator=random)
        images = torch.randn(3, 1, 3, 3, generator=random)
        labels = torch.tensor([0, 1, 2])
        self.work = rh.capture(model, images, labels, format=rh.INT4)
        self.chip = rh.chips.Published(2, 3)
        self.space = replace(self.chip.sites(self.work), known=KNOWN)
        sizes = self.space.sizes * self.space.images
        stratum = np.repeat(np.arange(len(sizes)), sizes)
        within = np.arange(len(stratum)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        index, image = np.divmod(within, self.space.images)
        flip = np.left_shift(1, np.array([s.bit for s in self.space.strata])[stratum])
        n = len(stratum)
        self.faults = Faults(np.arange(n), stratum, index, image, np.full(n, -1), flip, np.ones(n))
        self.first = np.cumsum(sizes) - sizes
        self.columns = self._outcomes()
        self.golden = float(rh.Campaign(self.work, self.chip).golden_accuracy())

    def _outcomes(self) -> dict[str, np.ndarray]:
        run = rh.resume(rh.record(self.work), self.chip.corrupt(self.work, self.space, self.faults))
        labels = self.work.labels[torch.from_numpy(self.faults.image)]
        found = classify(self.work.task, run.logits, run.golden, labels, run.detected)
        return {name: column.numpy() for name, column in found.columns.items()}

    def mean(self, metric: str, mass: np.ndarray) -> float:
        """Of an outcome, where strata have these masses."""
        share = np.bincount(self.faults.stratum, self.columns[metric]) / np.bincount(
            self.faults.stratum
        )
        return float((share * mass).sum() / mass.sum())

    def result(self, seed: int, n: int = 400) -> Result:
        drawn = rh.Importance().draw(self.space, n, np.random.default_rng(seed))
        place = self.first[drawn.stratum] + drawn.index * self.space.images + drawn.image
        columns = {name: hits[place] for name, hits in self.columns.items()}
        tally = Tally.of(drawn, columns, len(self.space.strata))
        return Result(
            "id", "name", self.space, rh.Importance(), tally, self.golden, 0.95, False, 0.0
        )


@pytest.fixture(scope="module")
def population() -> Population:
    return Population()


def truths(population: Population) -> dict[str, float]:
    """Each formulation as a sum over all sites, from its definition."""
    space, golden = population.space, population.golden
    live = np.array([s.exposure for s in space.strata])
    known = {part.name: part.exposure for part in KNOWN}
    datapath = population.mean("correct", live) * live.sum()
    every = live.sum() + sum(known.values())
    variables = np.array([float(s.variables) for s in space.strata])
    uniform = population.mean("correct", variables) * variables.sum()
    local = 0.5 * golden
    return {
        "ra": (datapath + 300 * golden + 60 * local) / every,
        "ra_without_control": (datapath + 380 * golden) / every,
        "ra_fully_used": (datapath + 60 * local) / (every - 300),
        "ra_uniform_sites": (uniform + 10 * local) / (variables.sum() + 12),
    }


@pytest.mark.parametrize("name", ["ra", "ra_without_control", "ra_fully_used", "ra_uniform_sites"])
def test_intervals_cover_the_enumerated_truth(population: Population, name: str) -> None:
    """Of 1,000 campaigns' 95 % intervals, 930 to 970 hold the sum over all sites."""
    exact = truths(population)[name]
    found = [getattr(population.result(seed), name) for seed in range(1000)]
    assert np.mean([one.value for one in found]) == pytest.approx(exact, abs=0.004)
    assert 930 <= sum(one.low <= exact <= one.high for one in found) <= 970


def test_the_drop_is_known_better_than_the_accuracy(population: Population) -> None:
    found = population.result(0)
    bare = replace(found, space=replace(found.space, known=()))
    plain = rh.Importance().estimate(bare.space, bare.tally, "correct", 0.95, anytime=False)
    assert bare.ra.half_width < 0.9 * plain.half_width


def test_utilisation_mixes_two_accuracies(population: Population) -> None:
    """RA = UF x RA(UF = 1) + (1 - UF) x SA, where nothing else is known (Tyagi et al., eq. 10)."""
    result = population.result(0)
    idle = replace(result, space=replace(result.space, known=KNOWN[:1]))
    used = idle.utilisation
    assert used.low == used.value == used.high == idle.space.tried
    mixed = used.value * idle.ra_fully_used.value + (1 - used.value) * idle.golden_accuracy
    assert idle.ra.value == pytest.approx(mixed)


def test_known_sites_enter_every_outcome(population: Population) -> None:
    result = population.result(0)
    tried, every = result.space.tried, result.space.known_share
    own = {name: result.tally.events[name].sum() / result.n for name in result.metrics}
    idle, local, crash = map(every, KNOWN)
    assert tried + idle + local + crash == pytest.approx(1)
    assert result["masked"].value == pytest.approx(tried * own["masked"] + idle)
    assert result["sdc5"].value == pytest.approx(tried * own["sdc5"] + local / 2)
    assert result["nan"].value == pytest.approx(tried * own["nan"])
    lost = (local / 2 + crash) * result.golden_accuracy
    assert result["lost"].value == pytest.approx(tried * own["lost"] + lost)
    assert sum(part.probability for part in result.strata) == pytest.approx(tried)


def test_a_store_keeps_what_is_known(population: Population, tmp_path: Path) -> None:
    campaign = rh.Campaign(population.work, population.chip)
    result = next(rh.collect([campaign], 500, store=tmp_path))
    again = Folder(tmp_path / campaign.name).result()
    assert again.ra == result.ra
    assert again.ra_uniform_sites == result.ra_uniform_sites
    assert again.utilisation == result.utilisation
    assert isinstance(again.space, SiteSpace)


@pytest.mark.parametrize("anytime", [False, True])
def test_a_verdict_agrees_with_the_interval_and_its_forecast_decides(
    residual, images, labels, anytime: bool
) -> None:
    """With known sites beside those that are tried, whose wrong answers count too."""
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    chip = rh.chips.Software(rate_fit_per_mbit=1e5)
    found = rh.Campaign(work, chip, rh.Importance()).run(until=300)
    known = (Known("control", 0.25 * float(found.space.exposure.sum()), 0.5),)
    found = replace(found, space=replace(found.space, known=known), anytime=anytime)
    rate = found.fit("sdc1")
    assert rate.low > found.space.rate_fit * 0.05
    inside = [rate.value + share * (rate.high - rate.value) for share in (0.1, 0.5, 0.9)]
    for budget in (0.9 * rate.low, *inside, 1.1 * rate.high):
        verdict = found.fit_verdict("sdc1", budget)
        assert verdict.budget_fit == budget
        if verdict.verdict != "undecided":
            assert verdict.verdict == ("met" if rate.high <= budget else "missed")
            assert verdict.more_faults == 0
            continue
        assert rate.low <= budget < rate.high
        grown = (found.n + verdict.more_faults) / found.n
        later = replace(found, tally=_grown(found.tally, 1.01 * grown))
        assert later.fit_verdict("sdc1", budget).verdict == "met"
        sooner = replace(found, tally=_grown(found.tally, 0.99 * grown))
        assert sooner.fit_verdict("sdc1", budget).verdict == "undecided"


def _grown(tally: Tally, factor: float) -> Tally:
    """The same shares from so many times the faults, as far as intervals can tell."""
    sums, factor = tally.groups, round(factor * tally.total) / tally.total
    weighted = {name: part * factor for name, part in sums.weighted.items()}
    return replace(tally, groups=replace(
        sums, n=sums.n * factor, weights=sums.weights * factor, weighted=weighted,
    ))  # fmt: skip
