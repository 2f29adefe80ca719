"""Differences of results: the same faults make pairs, and pairs tell more."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.campaign.result import Result
from radhard.campaign.runs import Runs, paired
from radhard.campaign.store import Folder
from radhard.engine.segment import Golden
from radhard.faults.fault import Faults
from radhard.sampling.tally import Tally

SEEDS, N = 300, 400
METRICS = ("sdc1", "correct", "masked")


def made(n: int, seed: int = 0, start: int = 0) -> tuple[Faults, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    places = (rng.integers(0, most, n) for most in (300, 70_000, 5, 2, 2))
    faults = Faults(np.arange(start, start + n), *places, rng.random(n), rng.integers(0, 9, n))
    return faults, {f"outcome {k}": rng.random(n) < 0.1 * k for k in range(11)}


def test_runs_hold_what_they_were_given() -> None:
    parts = [made(7, 1), made(300, 2, start=7)]
    runs = Runs.joined([Runs.of(*part) for part in parts])
    assert len(runs) == 307
    for name in ("id", "stratum", "index", "image", "weight", "cell"):
        expected = np.concatenate([getattr(faults, name) for faults, _ in parts])
        assert (getattr(runs, name) == expected).all()
        assert (getattr(runs.faults, name) == expected).all()
    for name in runs.names:
        expected = np.concatenate([columns[name] for _, columns in parts])
        assert (runs.column(name) == expected).all()
    assert (runs[5:9].column("outcome 3") == runs.column("outcome 3")[5:9]).all()
    assert runs.packed.nbytes == 307 * 2
    assert runs.index.itemsize == 4
    with pytest.raises(KeyError, match="no outcome 'sdc1'"):
        runs.column("sdc1")
    with pytest.raises(ValueError, match="0 parts"):
        Runs.joined([])


def test_pairs_are_of_the_same_faults() -> None:
    faults, columns = made(200)
    one = Runs.of(faults, columns)
    order = np.random.default_rng(3).permutation(150)
    other = Runs.of(faults[order], {"outcome 5": columns["outcome 5"][order] ^ (order < 20)})
    plus, minus = paired(one, other, "outcome 5")
    first = columns["outcome 5"][:150]
    assert (plus == first & (np.arange(150) < 20)).all()
    assert (minus == ~first & (np.arange(150) < 20)).all()
    moved = replace(faults, index=faults.index + (faults.id == 77))
    with pytest.raises(ValueError, match="not the same faults"):
        paired(one, Runs.of(moved, columns), "outcome 5")
    with pytest.raises(ValueError, match="0 numbers"):
        paired(one[:10], one[10:], "outcome 5")


@pytest.fixture(scope="module", params=["clamp", "threshold"])
def pair(request) -> tuple[rh.Campaign, rh.Campaign]:
    """A tiny network whose every fault can be run, plain and with a guard.

    One guard leaves fault-free answers alone, the other changes some.
    """
    random = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    for part in model.parameters():
        part.data = torch.randn(part.shape, generator=random)
    images = torch.randn(6, 1, 3, 3, generator=random)
    work = rh.capture(
        model, images, torch.tensor([0, 1, 2, 0, 1, 2]), format=rh.FLOAT16, name="tiny"
    )
    plain = rh.Campaign(work, rh.chips.Software(rate_fit_per_mbit=1e6), sampler=rh.Uniform())
    guards = {"clamp": rh.RangeRestriction(), "threshold": rh.ValueThreshold(1.0, 1.0)}
    guard = guards[request.param].learned(work)
    return plain, plain.with_(protections=[guard], name="guarded")


@pytest.fixture(scope="module")
def truth(pair) -> tuple[Faults, list[dict[str, np.ndarray]]]:
    """What every fault there is does, in both."""
    space = pair[0].space()
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
    return faults, [c.outcomes(space, Golden(c.network, c.guard()), faults) for c in pair]


@pytest.fixture(scope="module")
def golden(pair) -> list[float]:
    return [campaign.golden_accuracy() for campaign in pair]


def results(pair, truth, golden, seed: int, n: int = N) -> list[Result]:
    """Both campaigns with the same faults, their outcomes looked up."""
    space, (_, columns) = pair[0].space(), truth
    drawn = rh.Uniform().draw(space, n, np.random.default_rng(seed))
    starts = np.cumsum([0, *space.sizes[:-1] * space.images])
    place = starts[drawn.stratum] + drawn.index * space.images + drawn.image
    found = []
    for campaign, every, accuracy in zip(pair, columns, golden, strict=True):
        own = {name: every[name][place] for name in (*METRICS, "lost", "gained")}
        tally = Tally.of(drawn, own, len(space.strata))
        plain = Result(campaign.id, campaign.name, space, campaign.sampler, tally, accuracy,
                       0.95, False, 0.0)  # fmt: skip
        found.append(replace(plain, rows=partial(Runs.of, drawn, own)))
    return found


def test_paired_intervals_cover_the_enumerated_difference(pair, truth, golden) -> None:
    """Of 300 pairs of campaigns at least 279 hold it (93 %); unpaired ones are wider on average."""
    gaps = [{name: c[name].mean() for name in METRICS} for c in truth[1]]
    exact = {name: gaps[1][name] - gaps[0][name] for name in METRICS}
    held, widths, values = dict.fromkeys(METRICS, 0), [], []
    for seed in range(SEEDS):
        one, other = results(pair, truth, golden, seed)
        pairs, apart = other - one, replace(other, rows=None) - one
        assert (pairs.paired, apart.paired) == (True, False)
        found, wide = ([part[name] for name in METRICS] for part in (pairs, apart))
        assert all("paired" in one.method for one in found)
        assert all("independent" in one.method for one in wide)
        for name, one in zip(METRICS, found, strict=True):
            held[name] += one.low <= exact[name] <= one.high
        widths.append([[one.half_width for one in part] for part in (found, wide)])
        values.append([one.value for one in found])
    half, whole = np.mean(widths, 0)
    assert (half < whole).all()
    assert min(held.values()) >= 0.93 * SEEDS, held
    off = np.mean(values, 0) - list(exact.values())
    assert (np.abs(off) < 4 * np.std(values, 0) / SEEDS**0.5).all()


def test_rates_differ_by_the_rate_of_faults(pair, truth, golden) -> None:
    one, other = results(pair, truth, golden, 1)
    rate = one.space.rate_fit
    assert rate is not None
    assert (other - one).fit("sdc1").value == pytest.approx(rate * (other - one)["sdc1"].value)
    assert (other - one)["sdc1"].value == pytest.approx(other["sdc1"].value - one["sdc1"].value)
    assert (other - one).ra.value == pytest.approx(other.ra.value - one.ra.value)
    assert (one - one)["sdc1"].low <= 0 <= (one - one)["sdc1"].high


def test_another_population_is_another_sample(pair) -> None:
    """Tripled bits leave other faults over: nothing pairs, and the difference says so."""
    tripled = pair[0].with_(protections=[rh.BitTriplication((7,))], name="tripled")
    one, other = rh.collect([pair[0], tripled], until=400)
    assert not (one - other).paired
    assert "independent" in (one - other)["sdc1"].method
    assert not (one - pair[0].with_(seed=1, name="again").run(until=400)).paired


def test_results_keep_their_runs(pair, tmp_path) -> None:
    """In memory, from the store, and part of a longer campaign: the same faults, the same bits."""
    whole = next(rh.collect([pair[0]], until=400, store=tmp_path))
    again = Folder(tmp_path / pair[0].name).result()
    part = next(rh.collect([pair[0]], until=150, store=tmp_path))
    for found in (whole, again, part):
        assert found.runs is not None
        assert (found.runs.id == np.arange(found.n)).all()
        assert found.runs.column("sdc1").sum() == found.tally.events["sdc1"].sum()
        assert (found - whole).paired
        assert (found - whole)["sdc1"].value == 0
    elsewhere = whole.under(replace(whole.space.uniform, rate_fit=1.0))
    assert (elsewhere - elsewhere).paired
    assert not (elsewhere - whole).paired


def test_a_row_per_result(pair) -> None:
    three = [*pair, pair[0].with_(seed=3, name="other seed")]
    found = list(rh.collect(three, until=300))
    rows = rh.compare(found, "sdc1", baseline=1)
    assert [row.name for row in rows] == [campaign.name for campaign in three]
    assert rows[1].difference is None
    assert not rows[2].paired
    assert rows[0].difference == (found[0] - found[1])["sdc1"]
    assert rows[0].fit == (found[0] - found[1]).fit("sdc1")
    ra = rh.compare(found, "ra")
    assert ra[1].estimate == found[1].ra
    assert ra[1].fit is None
    with pytest.raises(ValueError, match="baseline 3 of 3 results"):
        rh.compare(found, baseline=3)
    with pytest.raises(ValueError, match="no results to compare"):
        rh.compare([])
    with pytest.raises(KeyError, match="no outcome 'sdc7'"):
        rh.compare(found, "sdc7")


def test_campaigns_that_differ_in_what_watches_meet_the_same_faults(pair) -> None:
    one, other = rh.collect(pair, until=300)
    assert (one - other).paired


def test_accuracy_under_fault_is_asked_for_by_either_name(pair) -> None:
    result = pair[0].run(until=rh.Precision(0.2, metric="ra"))
    assert result["ra"] == result["correct"] == result.ra
    assert (result - result)["ra"] == (result - result).ra
    assert result.by(lambda s: (s.component,))[0]["ra"].n > 0


def test_differences_say_what_they_are_of(pair, tmp_path) -> None:
    one = pair[0].run(until=700)
    gap = one - pair[0].run(until=600)
    assert gap.paired
    assert gap["sdc1"].method.endswith("paired, the first 600 faults of both")
    assert (one - one)["sdc1"].method.endswith("paired")
    with pytest.raises(TypeError, match="3 can't be taken from a result"):
        one - 3
    (tmp_path / "taken").write_text("something else")
    with pytest.raises(ValueError, match="taken is no folder"):
        next(rh.collect([pair[0]], 20, tmp_path / "taken"))


@pytest.mark.parametrize("n", [20, 100])
def test_a_difference_is_no_wider_than_its_parts(residual, images, labels, n: int) -> None:
    """A guard that corrects leaves nothing proved, and few faults to tell a difference by."""
    work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    plain = rh.Campaign(work, rh.chips.EYERISS)
    safe = plain.with_(protections=[rh.ClippedActivation()])
    for seed in range(3):
        one, other = (c.with_(seed=seed).run(until=n) for c in (safe, plain))
        for metric in ("sdc1", "ra"):
            gap, ends = (one - other)[metric], (one[metric], other[metric])
            assert (one - other).paired
            assert gap.low >= ends[0].low - ends[1].high - 1e-12
            assert gap.high <= ends[0].high - ends[1].low + 1e-12
