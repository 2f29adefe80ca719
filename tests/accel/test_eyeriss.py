"""Eyeriss against a loop nest with struck storage, and against published sizes."""

from dataclasses import replace

import numpy as np
import pytest

import radhard as rh
from oracles import loopnest
from oracles.bench import LAYERS, NUMBERS, Bench
from radhard.accel.chips import EYERISS, EYERISS_65NM, Chip, Component, chip_named
from radhard.accel.dataflow import Held, RowStationary
from radhard.accel.readers import activated

FILTERS = 2


def disagreements(bench: Bench, held: Held, count: int) -> tuple[int, float]:
    """Random faults whose outputs or reads differ from the oracle's; share with an effect."""
    latch = held in list(Held)[:6]
    size = () if latch else (1, 1.0)
    part = Component("it", "latch" if latch else "sram", held, 20.0, *size)
    chip = Chip("tiny", "", 4, 7, (part,), RowStationary(FILTERS))
    space = chip.sites(bench.work)
    counts = [number for _, number in loopnest.sizes(bench.shape, held)]
    assert space.strata[0].size == np.prod(counts)
    faults = rh.Importance().draw(space, count, np.random.default_rng(count))
    corruption = chip.corrupt(bench.work, space, faults)
    found, golden = bench.outputs(corruption)
    strike = loopnest.sites(bench.shape, held, faults.index)
    strike["bit"] = np.array([s.bit for s in space.strata])[faults.stratum]
    values = bench.x[faults.image], bench.w, bench.bias
    out, read = loopnest.execute(bench.shape, bench.how, values, held, strike, FILTERS)
    wrong = (found != bench.elements(out)).any(1) | (activated(bench.work, corruption) != read)
    return int(wrong.sum()), float((found != golden).any(1).mean())


@pytest.mark.parametrize("held", list(Held))
@pytest.mark.parametrize("name", LAYERS)
def test_corruption_is_that_of_struck_storage(name: str, held: Held) -> None:
    for numbers in NUMBERS:
        wrong, changed = disagreements(Bench.of(name, numbers), held, 250)
        assert wrong == 0, numbers
        assert changed > 0.05


@pytest.mark.exhaustive
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("held", list(Held))
@pytest.mark.parametrize("name", LAYERS)
def test_many_corruptions_are_those_of_struck_storage(name: str, held: Held, numbers: str) -> None:
    wrong, changed = disagreements(Bench.of(name, numbers), held, 20_000)
    print(f"{name} {held} {numbers}: {wrong} of 20,000 disagree, {changed:.1%} have an effect")
    assert wrong == 0


def test_raw_rates_are_those_of_the_published_sizes(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.FIXED16_10)
    space = EYERISS.sites(work)
    rate: dict[str, float] = {}
    for stratum in space.strata:
        rate[stratum.component] = rate.get(stratum.component, 0.0) + stratum.exposure
    published = {
        "global-buffer": 125.50,
        "filter-sram": 94.66,
        "image-register": 5.04,
        "psum-register": 10.08,
    }
    for component, expected in published.items():
        assert rate[component] == pytest.approx(expected, abs=0.006)
    # Li et al., SC'17, as the notes derive it: 1,344 x 7 latches of 32 bits are 5.883 raw FIT
    wide = EYERISS.sites(work.with_(format=rh.FLOAT32))
    latches = sum(s.exposure for s in wide.strata if s.component.endswith("latch"))
    assert latches == pytest.approx(5.883, abs=0.0005)
    assert wide.rate_fit == pytest.approx(sum(s.exposure for s in wide.strata))
    assert replace(EYERISS, latches_per_pe=6).sites(work).rate_fit < space.rate_fit


def test_cycles_are_those_of_busy_elements(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels)
    cycles = EYERISS_65NM.cycles(work)
    assert cycles == tuple(-(-layer.macs // 168) for layer in work.layers)


def test_a_layer_that_eyeriss_does_not_run_is_named(attention, images, labels) -> None:
    work = rh.capture(attention, images, labels)
    with pytest.raises(ValueError, match=r"attention.*use the chip software"):
        EYERISS.sites(work)


def test_a_chip_file_is_a_chip_and_says_what_is_wrong(tmp_path) -> None:
    path = tmp_path / "own.toml"
    latch = (
        '[[component]]\nname="sum"\nkind="latch"\nholds="product"\nrate_fit_per_mbit={}\n'.format
    )
    path.write_text('name="own"\npes=4\nlatches_per_pe=1\n' + latch(1.5))
    assert chip_named(str(path)).components[0].holds is Held.product
    path.write_text('name="own"\npes=4\nlatches_per_pe=1\n' + latch(-1))
    with pytest.raises(ValueError, match=r"own.toml.*rate_fit_per_mbit"):
        chip_named(str(path))
    with pytest.raises(ValueError, match="did you mean eyeriss"):
        chip_named("eyeris")


def test_faults_of_a_chip_survive_the_fault_list(residual, images, labels) -> None:
    space = EYERISS.sites(rh.capture(residual, images, labels, format=rh.FLOAT16))
    faults = rh.Importance().draw(space, 200, np.random.default_rng(1))
    again = rh.Faults.from_text(faults.to_text(space), space)
    assert np.array_equal(again.index, faults.index)
    assert np.array_equal(again.stratum, faults.stratum)


def test_a_site_is_struck_as_often_as_its_share_of_the_rate(residual, images, labels) -> None:
    space = EYERISS.sites(rh.capture(residual, images, labels, format=rh.FLOAT16))
    drawn = rh.Importance().draw(space, 20_000, np.random.default_rng(2))
    names = np.array([stratum.component for stratum in space.strata])
    for name in ("global-buffer", "filter-sram", "psum-register"):
        expected = space.probability[names == name].sum()
        deviation = (expected * (1 - expected) / 20_000) ** 0.5
        assert abs((names[drawn.stratum] == name).mean() - expected) < 5 * deviation
