"""Memories around a systolic array, against tiles that fetch from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import radhard as rh
from oracles.bench import NUMBERS, Bench
from oracles.held import Word
from oracles.tiles import tiled
from radhard.accel.chips import Buffer, Kept, Published, chip_named, read_chip
from radhard.accel.readers import activated
from radhard.testing import check_chip

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_array.toml"


def sums(bench: Bench, chip: Published, held: Kept, faults: rh.Faults, bits: np.ndarray):
    """Of each fault, tile by tile, (n, m, positions)."""
    array = chip.rows, chip.cols
    sites = zip(faults.image.tolist(), faults.index.tolist(), bits.tolist(), strict=True)
    return np.stack([
        tiled(bench, array, chip.dataflow, held, image, (index, bit)) for image, index, bit in sites
    ])  # fmt: skip


@pytest.mark.parametrize("held", list(Kept))
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("name", ["strided", "grouped", "depthwise", "sparse", "vectors"])
def test_a_struck_value_is_what_later_tiles_fetch(name: str, dataflow: str, held: Kept) -> None:
    changes = 0
    for numbers in NUMBERS:
        bench = Bench.of(name, numbers)
        chip = Published(2, 3, dataflow, buffers=(Buffer("it", held, 1, 1.0),))
        space = chip.sites(bench.work)
        space = space.only(np.array([s.component == "it" for s in space.strata]))
        faults = rh.Importance().draw(space, 60, np.random.default_rng(len(name)))
        corruption = chip.corrupt(bench.work, space, faults)
        found, golden = bench.outputs(corruption)
        bits = np.array([s.bit for s in space.strata])[faults.stratum]
        total = sums(bench, chip, held, faults, bits).reshape(60, -1, *bench.shape.out)
        expected = bench.elements(bench.how.result(total + bench.bias[:, None, None]))
        assert np.array_equal(found, expected), numbers
        changes += int((found != golden).any(1).sum())
        read = np.ones(60, bool)
        if held.operand == "input":  # it is read where weights of 1 let any change through
            ones = replace(bench, w=np.ones_like(bench.w))
            nothing = replace(ones, how=replace(bench.how, input=Unstruck(1)))
            parts = (sums(part, chip, held, faults, bits) for part in (ones, nothing))
            read = np.not_equal(*parts).any((1, 2))
        assert np.array_equal(activated(bench.work, corruption), read)
        if name == "sparse" and held is Kept.inputs_of_layer:
            assert not read.all()  # a stride leaves inputs out
    assert changes > 12


class Unstruck(Word):
    """Storage that nothing strikes."""

    def flipped(self, value: np.ndarray, bit: np.ndarray) -> np.ndarray:
        return value


def rates(space: rh.SiteSpace) -> dict[str, float]:
    """In FIT, of each component and of what is known."""
    found = {part.name: part.exposure for part in space.known}
    for stratum in space.strata:
        found[stratum.component] = found.get(stratum.component, 0.0) + stratum.exposure
    return found


def test_rates_follow_from_rows_columns_and_widths(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.INT8)
    space = chip_named("published:16x8:ws").sites(work)
    datapath = 16 * 8 * (8 + 8 + 32) * 75 / 2**20  # 600 FIT per 2^20 bytes, Tyagi et al.
    found = rates(space)
    assert found["control"] == pytest.approx(datapath * 0.1701 / 0.8299)
    assert space.rate_fit == pytest.approx(datapath / 0.8299)
    assert sum(found.values()) == pytest.approx(space.rate_fit)
    assert sum(map(space.known_share, space.known)) + space.tried == pytest.approx(1)


def test_the_example_has_rates_of_all_its_parts(residual, images, labels) -> None:
    chip = read_chip(EXAMPLE)
    space = chip.sites(rh.capture(residual, images, labels, format=rh.FIXED16_10))
    found, mbit = rates(space), {"input-buffer": 1.0, "weight-buffer": 0.5, "sum-buffer": 0.25}
    for name, size in mbit.items():
        assert found[name] == pytest.approx(20.49 * size)
    registers = 16 * 16 * (16 + 16 + 16) * 75 / 2**20 / (1 - chip.control_share)
    assert space.rate_fit == pytest.approx(registers + 20.49 * sum(mbit.values()))
    check_chip(chip)
    result = rh.Campaign(rh.capture(residual, images, labels), chip).run(until=100)
    assert 0 <= result.fit("sdc1").value <= result.space.rate_fit


def test_without_rates_there_are_probabilities_alone(residual, images, labels, tmp_path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("rate_fit"))
    (tmp_path / "own.toml").write_text(text)
    work = rh.capture(residual, images, labels, format=rh.FIXED16_10)
    result = rh.Campaign(work, read_chip(tmp_path / "own.toml")).run(until=100)
    assert 0 <= result["sdc1"].low <= result["sdc1"].high <= 1
    with pytest.raises(ValueError, match="no raw rates, so no FIT"):
        result.fit("sdc1")
    same = replace(read_chip(EXAMPLE), rate_fit_per_mbit=20.49).sites(work)
    assert np.allclose(same.probability, result.space.probability)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rows = 16", "row = 16", "no key 'row': use name, about, rows, cols, dataflow, rate_fit"),
        ("rows = 16", "", "key 'rows' is missing: a systolic array has name, about, rows"),
        ("rows = 16", 'rows = "16"', r"rows: .*integer.*got '16'"),
        ("rows = 16", "rows = 0", r"rows: .*greater than or equal to 1.*got 0"),
        ('"ws"', '"rs"', r"dataflow: .*'os', 'ws' or 'is'.*got 'rs'"),
        ('"sums-of-tile"', '"sums"', r"buffer.2.holds: .*'inputs-of-layer'.*got 'sums'"),
        ("kib = 128", "kb = 128", r"no key 'buffer.0.kb': use name, holds, kib, rate_fit_per_mbit"),
        ("kib = 128", "kib = 0", r"buffer.0.kib: .*greater than 0.*got 0"),
        ("rate_fit_per_mbit = 75", "", "registers: no rate_fit_per_mbit, .* give it for all"),
        ('"sum-buffer"', '"input-buffer"', "give each a name of its own"),
        ('"sum-buffer"', '"psum-register"', "give each a name of its own"),
        ('"sum-buffer"', '"sum buffer"', "use one without blanks"),
    ],
)
def test_a_file_that_says_something_impossible_is_told(old, new, said, tmp_path) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    (tmp_path / "own.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"own\.toml: .*{said}"):
        chip_named(str(tmp_path / "own.toml"))
