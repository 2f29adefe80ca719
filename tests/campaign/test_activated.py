"""Rates per activated fault: those whose struck value something reads."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import radhard as rh
from radhard.campaign.result import Result
from radhard.cli.app import app
from radhard.engine.segment import Golden
from radhard.faults.fault import Faults
from radhard.metrics.outcome import ONLY_ACTIVATED, STANDARD
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally
from radhard.stats.interval import wilson
from radhard.view.summary import activated

SAMPLERS = (rh.Importance(), rh.Uniform(), rh.MacWeighted(), rh.Stratified())


@dataclass
class Population:
    """Every fault of a tiny network on a tiny array, with its probability and what it does."""

    campaign: rh.Campaign
    space: rh.SiteSpace
    columns: dict[str, np.ndarray]
    mass: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls) -> "Population":
        random = torch.Generator().manual_seed(5)
        model = nn.Sequential(
            nn.Conv2d(1, 2, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        )
        for part in model.parameters():
            part.data = torch.randn(part.shape, generator=random)
        images = torch.randn(1, 1, 3, 3, generator=random)
        work = rh.capture(model, images, torch.tensor([0]), format=rh.INT4)
        campaign = rh.Campaign(work, rh.chips.PUBLISHED(3, 4, "ws"))
        space = campaign.space()
        sizes = space.sizes * space.images
        stratum = np.repeat(np.arange(len(sizes)), sizes)
        first = np.cumsum(sizes) - sizes
        index, image = np.divmod(np.arange(len(stratum)) - first[stratum], space.images)
        flip = np.left_shift(1, space.bits[0][stratum])
        n = len(stratum)
        faults = Faults(np.arange(n), stratum, index, image, np.full(n, -1), flip, np.ones(n))
        columns = campaign.outcomes(space, Golden(work), faults)
        return cls(campaign, space, columns, (space.probability / sizes)[stratum], first)

    def result(self, sampler: Sampler, seed: int, n: int = 1000) -> Result:
        drawn = sampler.draw(self.space, n, np.random.default_rng(seed))
        place = self.first[drawn.stratum] + drawn.index * self.space.images + drawn.image
        columns = {name: hits[place] for name, hits in self.columns.items()}
        tally = Tally.of(drawn, columns, len(self.space.strata))
        return Result("id", "name", self.space, sampler, tally, 0.5, 0.95, False, 0.0)


@pytest.fixture(scope="module")
def population() -> Population:
    return Population.of()


def test_what_nothing_reads_changes_nothing(population: Population) -> None:
    unread = ~population.columns["activated"]
    assert 0.1 < unread.mean() < 0.9
    assert population.columns["masked"][unread].all()
    for name in ONLY_ACTIVATED:
        assert not population.columns[name][unread].any()


@pytest.mark.parametrize("chip", [rh.chips.EYERISS, rh.chips.PUBLISHED(4, 4), rh.chips.NVDLA_SMALL])
def test_so_it_is_on_every_chip(residual, images, labels, chip) -> None:
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    campaign = rh.Campaign(work, chip, rh.Importance())
    space = campaign.space()
    faults = campaign.draw(space, 0, 1500)
    columns = campaign.outcomes(space, Golden(campaign.network), faults)
    unread = ~columns["activated"]
    assert unread.any() == (chip != rh.chips.NVDLA_SMALL)
    assert columns["masked"][unread].all()
    assert not columns["masked"].all()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
@pytest.mark.parametrize("component", [None, "input-register"])
def test_intervals_cover_the_enumerated_ratio(population, sampler, component) -> None:
    """Of 300 campaigns' 95 % intervals at least 92 % hold it (2.4 standard deviations below)."""
    names = np.array([s.component for s in population.space.strata])
    own = np.repeat(names, population.space.sizes * population.space.images)
    mass = population.mass * (component is None or own == component)
    hits, read = (mass @ population.columns[name] for name in ("sdc1", "activated"))
    chosen = None if component is None else lambda stratum: stratum.component == component
    found = [population.result(sampler, seed).per_activated("sdc1", chosen) for seed in range(300)]
    held = sum(one.low <= hits / read <= one.high for one in found)
    assert held >= 276
    width = np.mean([one.half_width for one in found])
    assert np.mean([one.value for one in found]) == pytest.approx(hits / read, abs=width / 4)


def test_equal_weights_give_the_counts(population: Population) -> None:
    result = population.result(rh.Importance(), 3)
    found = result.per_activated("sdc5")
    n, hits = (int(result.tally.events[name].sum()) for name in ("activated", "sdc5"))
    assert (found.n, found.value) == (n, hits / n)
    assert found.low == pytest.approx(wilson(hits, n).low)


def test_idle_storage_is_never_read(population: Population) -> None:
    result = population.result(rh.Importance(), 3)
    idle, control = (result.space.known_share(part) for part in result.space.known)
    own = result.tally.events["activated"].sum() / result.n
    assert idle > 0
    assert result["activated"].value == pytest.approx(result.space.tried * own + control)


def test_only_outcomes_that_take_a_read_have_such_a_rate(population: Population) -> None:
    with pytest.raises(ValueError, match="'masked' is no outcome of activated faults alone: use"):
        population.result(rh.Importance(), 0).per_activated("masked")
    assert STANDARD.keys() > ONLY_ACTIVATED


def test_both_rates_are_printed(tmp_path) -> None:
    given = ["assess", "digits-cnn", "--chip", "published:4x4", "--format", "int8"]
    given += ["--images", "8", "--faults", "300", "--out", str(tmp_path)]
    given += ["--sampler", "importance"]
    table = CliRunner().invoke(app, given)
    assert "SDC-1 of faults that something reads" in table.stdout
    shown = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout.splitlines()[-1])
    for part in shown["components"]:
        read, plain, own = (part[name] for name in ("activated", "sdc1", "sdc1_activated"))
        assert read["low"] <= read["value"] <= read["high"]
        assert own["n"] == round(read["value"] * part["n"])
        assert own["value"] * own["n"] == pytest.approx(plain["value"] * part["n"])
    assert shown["metrics"]["sdc1_activated"]["n"] < shown["metrics"]["activated"]["n"]


def test_what_is_proved_and_was_not_tried_counts_like_the_rest() -> None:
    """On software everything is read, also where no fault of the proved mass was run."""
    random = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    for part in model.parameters():
        part.data = torch.randn(part.shape, generator=random)
    images = torch.randn(12, 1, 4, 4, generator=random)
    labels = model(images).argmax(1)
    campaign = rh.Campaign(rh.capture(model, images, labels, format=rh.FLOAT16))
    for seed in range(5):
        result = campaign.with_(seed=seed).run(until=150)
        for part in result.by(lambda s: (s.component,)):
            read = part["activated"]
            assert read.value == pytest.approx(1.0)
            assert read.low < 1.0  # nobody has looked
            name = part.label[0]
            sdc = result.per_activated("sdc1", lambda s, name=name: s.component == name)
            assert sdc.value == pytest.approx(part["sdc1"].value, rel=1e-6)
            assert sdc.low <= sdc.value <= sdc.high
        assert activated(result) == []
