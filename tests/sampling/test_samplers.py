"""Each sampler against populations that are known as a whole, by scores that are right or wrong."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.coverage import SAMPLERS as STUDIED
from benchmarks.coverage import samplers_of, study
from benchmarks.populations import POPULATIONS, Lie, Population, blind, lied_to, upside_down
from scipy.stats import binom

import radhard as rh
from radhard.faults.fault import Faults
from radhard.sampling.catalogue import SAMPLERS, sampler_named
from radhard.sampling.gradient import defence
from radhard.sampling.proposals import rates_of
from radhard.sampling.sampler import Asked, Outlook, Sampler
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate

MADE_UP = {name: POPULATIONS[name]() for name in ("common", "rare", "control")}
STUDY = [*MADE_UP, "common, blind", "control, blind", "control, upside down"]
#: Fewer candidates than usual, which is quicker.
FEW = rh.GradientImportance(candidates=40)


def estimates(
    sampler: Sampler, population: Population, n: int, seeds: int, metric: str = "sdc1"
) -> list[Estimate]:
    """What campaigns of n faults say."""
    found = []
    for seed in range(seeds):
        faults = sampler.draw(population.space, n, np.random.default_rng(seed), population.score)
        tally = population.tally(faults)
        found.append(sampler.estimate(population.space, tally, metric))
    return found


@pytest.fixture(scope="module", params=STUDY)
def answers(request: pytest.FixtureRequest) -> dict:
    """A share of the study of coverage: 80 campaigns of each sampler."""
    population = POPULATIONS[request.param]()
    samplers = samplers_of(request.param, population)
    return study(request.param, population, samplers, 80, sizes=(20, 100))


def test_intervals_hold_the_truth(answers: dict) -> None:
    """At least 93 % do: fewer than allowed here happen once in 10^4 for all cases together."""
    assert len(answers) < 1000 / len(STUDY)
    for case, one in answers.items():
        assert one.covered * one.shown >= binom.ppf(1e-7, one.shown, 0.93), case
    whole = [one.covered for (_, _, _, of), one in answers.items() if of in {"sdc1", "ra"}]
    assert np.mean(whole) >= 0.95


@pytest.mark.parametrize(("lie", "n"), [(None, 20), (None, 100), (blind, 100), (upside_down, 100)])
def test_no_score_biases_an_estimate(lie: Lie | None, n: int) -> None:
    """Within 4 standard errors, and 0.15 deviations that neighbours lend to cells without runs."""
    population = lied_to(MADE_UP["common"], lie) if lie else MADE_UP["common"]
    values = np.array([one.value for one in estimates(FEW, population, n, 150)])
    off = values.mean() - population.truth["sdc1"].value
    assert abs(off) < (4 / np.sqrt(150) + 0.15) * values.std()


def test_scores_save_faults() -> None:
    """Where they are honest, the interval is half as wide; where they lie, little wider."""
    honest = MADE_UP["common"]
    blinded = lied_to(honest, blind)
    told, lied, plain = (
        np.mean([one.half_width for one in estimates(sampler, population, 200, 25)])
        for sampler, population in (
            (rh.GradientImportance(), honest),
            (rh.GradientImportance(), blinded),
            (rh.Importance(), honest),
        )
    )
    assert told < plain / 2
    assert told < lied < 1.2 * plain


def with_proofs(proof: np.ndarray, hit: np.ndarray) -> Population:
    """The common population with other outcomes, of which something is proved."""
    columns = {**MADE_UP["common"].columns, "sdc1": hit}
    outlook = replace_proof(MADE_UP["common"].outlook, proof)
    return replace(MADE_UP["common"], columns=columns, outlook=outlook)


def replace_proof(outlook: Outlook, proof: np.ndarray) -> Outlook:
    return outlook._replace(proof=proof.astype(np.uint8))


def test_what_is_proved_is_not_doubted() -> None:
    """Without an event, the interval reaches as far as what is not proved may hide."""
    size = len(MADE_UP["common"].outlook.chance)
    none, half = np.zeros(size, bool), np.arange(size) % 2
    every = with_proofs(np.ones(size), none)
    asked = Asked(every.space, every.space.probability, [{"sdc1": 1}], [1])
    faults = FEW.draw(every.space, 100, np.random.default_rng(0), every.score)
    cells = FEW.cells(asked, every.tally(faults))
    assert cells.never[cells.mass > 0].all()
    doubting = rh.GradientImportance(candidates=40, proofs=False)

    def reach(population: Population, sampler: Sampler = FEW) -> float:
        faults = sampler.draw(population.space, 100, np.random.default_rng(0), population.score)
        result = population.result(population.tally(faults), sampler)
        assert result["sdc1"].value == 0
        return result["sdc1"].high

    doubt = 1 - 0.05**0.01
    unseen = 1 - 0.05 ** (1 / (100 * FEW.candidates))  # what no candidate has shown
    assert reach(every) == pytest.approx(unseen, rel=0.01)
    assert reach(every, doubting) == pytest.approx(doubt, rel=0.25)
    assert reach(with_proofs(half, none)) == pytest.approx(doubt / 2, rel=0.4)
    other = every.result(every.tally(faults), FEW)["detected"]  # which no proof rules out
    assert other.high > doubt


def test_proofs_that_do_not_hold_for_the_runs_are_doubted() -> None:
    size = len(MADE_UP["common"].outlook.chance)
    every = with_proofs(np.ones(size), np.zeros(size, bool))
    faults = FEW.draw(every.space, 100, np.random.default_rng(0), every.score)
    told = every.tally(faults)
    assert every.result(told, FEW)["sdc1"].high < 0.001
    assert every.result(replace(told, proofs=False), FEW)["sdc1"].high > 0.02


def test_a_wrong_proof_is_found_out() -> None:
    """A tenth of the runs tries what is proved; events there count as they are."""
    hit = MADE_UP["common"].columns["sdc1"]
    wrong = with_proofs(hit, hit)
    values, held = [], 0
    for seed in range(50):
        faults = FEW.draw(wrong.space, 200, np.random.default_rng(seed), wrong.score)
        found = wrong.result(wrong.tally(faults), FEW)["sdc1"]
        values.append(found.value)
        held += found.low <= hit_share(wrong) <= found.high
    assert np.mean(values) == pytest.approx(hit_share(wrong), rel=0.15)
    assert held >= 40


def hit_share(population: Population) -> float:
    """By the sum over strata."""
    rates = np.split(population.columns["sdc1"], np.cumsum(population.space.sizes)[:-1])
    return float(population.space.probability @ [rate.mean() for rate in rates])


@pytest.mark.parametrize("name", MADE_UP)
def test_the_truth_of_a_population_is_its_sum_over_strata(name: str) -> None:
    assert MADE_UP[name].truth["sdc1"].value == pytest.approx(hit_share(MADE_UP[name]))


@pytest.mark.parametrize("sampler", STUDIED, ids=lambda sampler: sampler.name)
def test_tallies_of_parts_add_up(sampler: Sampler) -> None:
    """Faults, candidates and what they say, in any order."""
    population = MADE_UP["control"]
    shards = [
        sampler.draw(population.space, 100, np.random.default_rng(k), population.score, 100 * k)
        for k in range(3)
    ]
    parts, whole = [population.tally(shard) for shard in shards], Faults.joined(shards)
    one, other = population.tally(whole), parts[2] + (parts[0] + parts[1])
    assert one.total == other.total == 300
    assert one.looked_at == other.looked_at
    assert np.array_equal(one.offered[0], other.offered[0])
    assert one.offered[1] == pytest.approx(other.offered[1])
    for mine, theirs in ((one.groups, other.groups), (one.images, other.images)):
        assert np.array_equal(mine.key, theirs.key)
        assert mine.weights == pytest.approx(theirs.weights)
    found = [sampler.estimate(population.space, tally, "sdc1") for tally in (one, other)]
    ends = [(e.value, e.low, e.high) for e in found]
    assert ends[0] == pytest.approx(ends[1])
    assert Tally.nothing(["sdc1"], 24).total == 0


def test_weights_are_true_over_drawn_probability() -> None:
    space = MADE_UP["control"].space
    for sampler in (rh.Uniform(), rh.MacWeighted(), rh.BitImportance()):
        drawn = sampler.draw(space, 200_000, np.random.default_rng(0))
        share = np.bincount(drawn.stratum, minlength=len(space.strata)) / 200_000
        assert share == pytest.approx(sampler.proposal(space), abs=0.004)
        mass = np.bincount(drawn.stratum, drawn.weight, minlength=len(space.strata)) / 200_000
        assert mass == pytest.approx(space.probability, abs=0.006)
    assert rh.Uniform().proposal(space) == pytest.approx(space.sizes / space.sizes.sum())


@pytest.mark.parametrize("name", ["common", "common, upside down"])
def test_weights_of_scored_faults_are_bounded(name: str) -> None:
    """A share follows the true probabilities, whatever the score; it falls with the faults."""
    population = POPULATIONS[name]()
    for start, share in ((0, 0.8), (3100, 0.4)):
        assert defence(start + 100) == pytest.approx(share, rel=1e-9)
        rng = np.random.default_rng(0)
        drawn = FEW.draw(population.space, 100, rng, population.score, start)
        assert drawn.weight.max() <= 1 / share + 1e-9
    rng = np.random.default_rng(1)
    drawn = FEW.draw(population.space, 6000, rng, population.score)
    mass = np.bincount(drawn.stratum, drawn.weight, minlength=16) / 6000
    assert mass == pytest.approx(population.space.probability, abs=0.02)


def test_neyman_s_allocation_helps_and_known_rates_are_checked() -> None:
    population = MADE_UP["control"]
    space = population.space
    pilot = population.tally(rh.Importance().draw(space, 2000, np.random.default_rng(99)))
    told = rh.Stratified(rates_of(space, pilot, "sdc1"))
    widths = [
        np.mean([one.half_width for one in estimates(sampler, population, 2000, 5)])
        for sampler in (told, rh.Stratified(), rh.Importance())
    ]
    assert widths[0] < widths[1] < widths[2]
    with pytest.raises(ValueError, match="3 rates do not fit 24 strata"):
        rh.Stratified((0.1, 0.2, 0.3)).proposal(space)


def test_the_first_faults_do_not_depend_on_how_many_follow() -> None:
    population = MADE_UP["common"]
    longer, shorter, few, none = (
        FEW.draw(population.space, n, np.random.default_rng(4), population.score)
        for n in (600, 250, 30, 0)
    )
    for name in ("stratum", "index", "image", "flip", "weight", "cell"):
        for part in (shorter, few):
            assert np.array_equal(getattr(longer, name)[: len(part)], getattr(part, name))
    assert len(none) == 0
    for part, blocks in ((shorter, 3), (few, 1)):
        ahead, own = longer[: len(part)].offered, part.offered
        assert ahead.looked_at == own.looked_at == 4000 * blocks
        for name in ("first", "stratum", "cell", "count"):
            assert np.array_equal(getattr(ahead, name), getattr(own, name))


def test_few_candidates_widen_the_interval() -> None:
    """What they tell of the population is a sample as well; half of the variance is theirs here."""
    population = MADE_UP["common"]
    found = {
        count: estimates(rh.GradientImportance(candidates=count), population, 600, seeds)
        for count, seeds in ((100, 8), (5, 100))
    }
    widths = {count: np.mean([one.half_width for one in some]) for count, some in found.items()}
    assert 1.2 < widths[5] / widths[100] < 2.2
    truth = population.truth["sdc1"].value
    assert sum(one.low <= truth <= one.high for one in found[5]) >= binom.ppf(1e-5, 100, 0.94)


def test_a_heavy_part_that_no_run_struck_is_not_taken_for_its_neighbours() -> None:
    """A sixth of the probability has few sites, which uniform draws of 20 often miss."""
    population = MADE_UP["control"]
    space, truth = population.space, population.truth["sdc1"].value
    heavy = np.array([stratum.component == "control" for stratum in space.strata])
    for seed in range(40):
        faults = rh.Uniform().draw(space, 20, np.random.default_rng(seed))
        found = rh.Uniform().estimate(space, population.tally(faults), "sdc1")
        if not heavy[faults.stratum].any():
            assert found.high - found.value > space.probability[heavy].sum() * 0.9
            assert found.low <= truth <= found.high


def test_names_and_what_can_not_be() -> None:
    for sampler in SAMPLERS:
        assert sampler_named(sampler.name) == sampler
    with pytest.raises(ValueError, match="did you mean importance"):
        sampler_named("importanse")
    with pytest.raises(ValueError, match="use 2 or more candidates"):
        rh.GradientImportance(candidates=1)
    with pytest.raises(ValueError, match="needs the score"):
        rh.GradientImportance().draw(MADE_UP["rare"].space, 5, np.random.default_rng())
