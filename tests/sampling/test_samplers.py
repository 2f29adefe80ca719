"""Each sampler against three enumerated populations: common, rare, and with certain faults."""

import numpy as np
import pytest

import radhard as rh
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, Stratum
from radhard.sampling.catalogue import SAMPLERS, sampler_named
from radhard.sampling.proposals import rates_of
from radhard.sampling.sampler import Outlook
from radhard.sampling.tally import Tally


class Population:
    """Sites whose outcome is known, with a score that says something of it."""

    def __init__(self, rates: dict[str, float], exposures: dict[str, float], seed: int) -> None:
        random = np.random.default_rng(seed)
        strata, self.hit, self.hint = [], [], []
        for (name, rate), bit in ((kind, bit) for kind in rates.items() for bit in range(8)):
            size = 400 if name != "control" else 20
            own = rate if name == "control" else rate * (6.0 if bit == 6 else 2 / 7)
            strata.append(Stratum(name, "layer", bit, 8, size, exposures[name], size))
            hit = np.zeros(size * 2, dtype=bool)
            hit[random.permutation(len(hit))[: round(own * len(hit))]] = True
            self.hit.append(hit)
            noise = 10 ** random.normal(0, 0.7, len(hit))
            self.hint.append(0.9 / (1 + 1 / (np.where(hit, 1.0, 1e-3) * noise)))
        self.space = SiteSpace(tuple(strata), images=2)
        self.truth = float(self.space.probability @ [hit.mean() for hit in self.hit])
        start = np.cumsum([0] + [len(hit) for hit in self.hit])[:-1]
        self.start, self.hits = start, np.concatenate(self.hit)
        self.hints = np.concatenate(self.hint)

    def _place(self, faults: Faults) -> np.ndarray:
        return self.start[faults.stratum] + 2 * faults.index + faults.image

    def outcome(self, faults: Faults) -> np.ndarray:
        return self.hits[self._place(faults)]

    def score(self, faults: Faults) -> Outlook:
        return Outlook(self.hints[self._place(faults)], faults.image)


POPULATIONS = {
    "common": (Population({"weight": 0.08, "psum": 0.12}, {"weight": 3, "psum": 1}, 1), 600),
    "rare": (Population({"weight": 4e-4, "psum": 6e-4}, {"weight": 1, "psum": 3}, 2), 24_000),
    "control": (
        Population({"weight": 0.02, "psum": 0.05, "control": 0.9},
                   {"weight": 1, "psum": 1, "control": 0.4}, 3), 600,
    ),
}  # fmt: skip


#: Fewer candidates than usual, which is quicker.
FEW = rh.GradientImportance(candidates=40)


def campaign(sampler: rh.Importance, population: Population, n: int, seed: int) -> Tally:
    rng = np.random.default_rng(seed)
    faults = sampler.draw(population.space, n, rng, population.score)
    hit = population.outcome(faults)
    return Tally.of(faults, {"sdc1": hit}, len(population.space.strata))


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("sampler", [*SAMPLERS[:-1], FEW], ids=lambda sampler: sampler.name)
def test_intervals_cover_the_truth_as_often_as_they_say(sampler: rh.Importance, name: str) -> None:
    population, n = POPULATIONS[name]
    n = min(n, 4000) if sampler.scored else n
    runs = 300 if n > 1000 or sampler.scored else 1000
    found = []
    for seed in range(runs):
        tally = campaign(sampler, population, n, seed)
        found.append(sampler.estimate(population.space, tally, "sdc1", 0.95, anytime=False))
    covered = np.mean([e.low <= population.truth <= e.high for e in found])
    slack = 0.015 if runs < 1000 else 0  # 300 runs: one more standard error
    assert 0.93 - slack <= covered <= 0.97 + slack
    mean, error = np.mean([e.value for e in found]), np.std([e.value for e in found])
    assert mean == pytest.approx(population.truth, abs=4 * error / np.sqrt(runs))


def test_scores_save_faults_and_a_wrong_one_spoils_nothing() -> None:
    population, _ = POPULATIONS["rare"]
    clever, plain = rh.GradientImportance(candidates=100), rh.Importance()

    def spread(sampler: rh.Importance, score: object) -> tuple[float, float]:
        values = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            faults = sampler.draw(population.space, 4000, rng, score)
            tally = Tally.of(faults, {"sdc1": population.outcome(faults)}, 16)
            values.append(sampler.estimate(population.space, tally, "sdc1", 0.95, False).value)
        return float(np.mean(values)), float(np.std(values))

    told, blind = spread(clever, population.score), spread(plain, None)
    assert told[1] < blind[1] / 2.5

    def lie(faults: Faults) -> Outlook:
        told = population.score(faults)
        return Outlook(0.9 - told.chance, told.group)

    lied = spread(clever, lie)
    for mean, error in (told, blind, lied):
        assert mean == pytest.approx(population.truth, abs=4 * error / np.sqrt(60))


def test_weights_are_true_over_drawn_probability() -> None:
    space = POPULATIONS["control"][0].space
    for sampler in (rh.Uniform(), rh.MacWeighted(), rh.BitImportance()):
        drawn = sampler.draw(space, 200_000, np.random.default_rng(0))
        share = np.bincount(drawn.stratum, minlength=len(space.strata)) / 200_000
        assert share == pytest.approx(sampler.proposal(space), abs=0.004)
        mass = np.bincount(drawn.stratum, drawn.weight, minlength=len(space.strata)) / 200_000
        assert mass == pytest.approx(space.probability, abs=0.006)
    assert rh.Uniform().proposal(space) == pytest.approx(space.sizes / space.sizes.sum())


def test_neyman_s_allocation_helps_and_known_rates_are_checked() -> None:
    population, _ = POPULATIONS["control"]
    space = population.space
    pilot = campaign(rh.Importance(), population, 2000, 99)
    told = rh.Stratified(rates_of(space, pilot, "sdc1"))
    widths = []
    for sampler in (told, rh.Stratified(), rh.Importance()):
        tally = campaign(sampler, population, 2000, 7)
        widths.append(sampler.estimate(space, tally, "sdc1", 0.95, False).half_width)
    assert widths[0] < widths[1] < widths[2]
    with pytest.raises(ValueError, match="3 rates do not fit 24 strata"):
        rh.Stratified((0.1, 0.2, 0.3)).proposal(space)


def test_the_first_faults_do_not_depend_on_how_many_follow() -> None:
    population, _ = POPULATIONS["common"]
    longer, shorter, none = (
        FEW.draw(population.space, n, np.random.default_rng(4), population.score)
        for n in (600, 250, 0)
    )
    for name in ("stratum", "index", "image", "flip", "weight", "cell"):
        assert np.array_equal(getattr(longer, name)[:250], getattr(shorter, name))
    assert len(none) == 0


def test_a_few_faults_are_an_unbiased_sample_too() -> None:
    """Half a block, whose cells are not all reached."""
    population, _ = POPULATIONS["control"]
    values = [
        FEW.estimate(
            population.space, campaign(FEW, population, 100, seed), "sdc1", 0.95, False
        ).value
        for seed in range(400)
    ]
    error = np.std(values) / 20
    assert np.mean(values) == pytest.approx(population.truth, abs=4 * error)


def test_few_candidates_widen_the_interval() -> None:
    """What they tell of the population is a sample as well; half of the variance is theirs here."""
    population, n = POPULATIONS["common"]
    narrow, wide = (rh.GradientImportance(candidates=count) for count in (100, 5))
    found = {
        sampler: [
            sampler.estimate(
                population.space, campaign(sampler, population, n, seed), "sdc1", 0.95, False
            )
            for seed in range(seeds)
        ]
        for sampler, seeds in ((narrow, 20), (wide, 200))
    }
    widths = [np.mean([one.half_width for one in found[sampler]]) for sampler in (narrow, wide)]
    assert 1.5 < widths[1] / widths[0] < 2.2
    covered = np.mean([one.low <= population.truth <= one.high for one in found[wide]])
    assert 0.91 <= covered <= 0.985


def test_names_and_what_can_not_be() -> None:
    for sampler in SAMPLERS:
        assert sampler_named(sampler.name) == sampler
    with pytest.raises(ValueError, match="did you mean importance"):
        sampler_named("importanse")
    with pytest.raises(ValueError, match="use 2 or more candidates"):
        rh.GradientImportance(candidates=1)
    with pytest.raises(ValueError, match="needs the score"):
        rh.GradientImportance().draw(POPULATIONS["rare"][0].space, 5, np.random.default_rng())
