"""The error-propagation study, small."""

from dataclasses import replace

import numpy as np
import pytest

import radhard as rh
from radhard.accel.chips import EYERISS
from radhard.campaign.ask import Ask
from radhard.campaign.prepare import prepare
from radhard.campaign.progress import Progress
from radhard.study import latches, propagation
from radhard.study.latches import Latches
from radhard.study.propagation import FORMATS, study
from radhard.view.propagation import study_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ep")


@pytest.fixture(scope="module")
def findings(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propagation, "_FOLLOWED", 1200)
        patch.setattr(propagation, "_FOLLOWED_FIRST", 100)
        patch.setattr(latches, "_DRAWS", 20)
        yield list(study(EYERISS, [Ask(model="digits-cnn", images=8)], 300, folder))


def test_formats_and_parts_are_all_there(findings) -> None:
    assert tuple(found.format for found in findings) == FORMATS
    for found in findings:
        latches = {s.component for s in found.datapath.space.strata}
        assert all(name.endswith("latch") for name in latches)
        assert len(latches) == 6
        assert len(found.buffers) == 4
        for name, result in found.buffers.items():
            assert {s.component for s in result.space.strata} == {name}
            assert result.n == 300
        assert found.datapath.n == found.guarded.n == 300
        assert len(found.guarded.space.strata) > len(found.datapath.space.strata)
        assert len(found.spread.faults) == 1200
        assert set(found.first.layer) == {next(iter(found.ranges))}
        n, hits = found.latches
        assert n.sum() == 1200
        assert hits.sum() == found.spread.outcomes["sdc1"].sum()
        parts = [result.fit("sdc1").value for result in found.buffers.values()]
        assert found.buffer_fit.value == pytest.approx(sum(parts))


def test_an_unneeded_range_is_worst_and_buffers_dominate(findings) -> None:
    by = {found.format: found for found in findings}
    wide = by["fixed32_10"]
    for other in ("fp32", "fixed32_26", "fixed16_10"):
        assert by[other].datapath["sdc1"].high < wide.datapath["sdc1"].low
        assert by[other].buffer_fit.high < wide.buffer_fit.low
    assert wide.buffer_fit.low > 10 * wide.datapath.fit("sdc1").high
    area = wide.hardening_area(100)
    assert 0 < area.low <= area.value <= area.high
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Latches, "area", None)  # what is kept is not chosen again
        assert wide.hardening_area(100) == area
    with np.load(wide.folder.path / "hardening.npz") as kept:
        (found,) = (kept[name].tolist() for name in kept.files if name != "radhard.seal")
        assert found == [area.value, area.low, area.high]


def test_flips_to_one_are_far_worse_in_floats(findings) -> None:
    for found in findings:
        if found.format in {"fp32", "fp16"}:
            rates = found.spread.rates(found.spread.direction, "sdc1")
            assert rates["1 to 0"].value < rates["0 to 1"].value / 3


def test_the_page_has_the_tables_and_figures(findings, folder) -> None:
    page = study_page(findings, folder)
    text = page.read_text()
    assert page == folder / "study.html"
    for title in (
        "A strike on a latch", "A strike on a buffer", "FIT of SDC-1", "By bit and direction",
        "By how far the value moved", "By layer", "Euclidean distance behind the first layer",
        "Still visible at the end", "Fault-free ranges", "Symptom-based detection",
        "How unequal latches are", "Area of hardened latches",
    ):  # fmt: skip
        assert title in text
    for found in findings:
        assert str(found.datapath["sdc1"]).partition(" [")[0] in text


def test_a_stopped_study_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("radhard.campaign.shard.SHARD", 50)
    monkeypatch.setattr(propagation, "_FOLLOWED", 120)
    monkeypatch.setattr(propagation, "_FOLLOWED_FIRST", 30)
    asks = [Ask(model="digits-cnn", images=4)]

    def stop(step: Progress) -> None:
        if "followed" in step.name and step.done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(study(EYERISS, asks, 100, tmp_path, watch=stop))
    folder = tmp_path / "digits-cnn-fp64-eyeriss-datapath"
    kept = sorted(path.name for path in folder.glob("followed*"))
    assert kept == ["followed-000000.parquet", "followed-000001.parquet"]

    seen: list[Progress] = []
    first = next(study(EYERISS, asks, 100, tmp_path, watch=seen.append))
    followed = [step for step in seen if step.name.endswith("followed")]
    assert [step.done for step in followed] == [50, 100, 120]
    assert [step.fresh for step in followed] == [0, 0, 20]
    campaign = rh.Campaign(*_latches(asks[0]))
    whole = rh.follow(campaign, 120)
    for name, column in whole.columns().items():
        np.testing.assert_array_equal(column, first.spread.columns()[name])

    monkeypatch.setattr(propagation, "follow_shard", None)  # what is kept is not run again
    seen.clear()
    again = next(study(EYERISS, asks, 100, tmp_path, watch=seen.append))
    assert again.datapath["sdc1"] == first.datapath["sdc1"]
    assert (again.spread.distance == first.spread.distance).all()
    assert all(step.fresh == 0 for step in seen)
    assert isinstance(first.guarded, rh.Result)


def test_damaged_followed_faults_are_followed_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(propagation, "_FOLLOWED", 60)
    monkeypatch.setattr(propagation, "_FOLLOWED_FIRST", 30)
    asks = [Ask(model="digits-cnn", images=4)]
    first = next(study(EYERISS, asks, 100, tmp_path))
    path = tmp_path / "digits-cnn-fp64-eyeriss-datapath" / "followed-000000.parquet"
    path.write_bytes(path.with_name("followed-first-000000.parquet").read_bytes())
    with pytest.warns(UserWarning, match=r"followed-first-000000.parquet under another name"):
        again = next(study(EYERISS, asks, 100, tmp_path))
    assert (again.spread.distance == first.spread.distance).all()


def _latches(ask: Ask) -> tuple[rh.Workload, rh.chips.Chip]:
    """The study's first network, and its chip with nothing but latches."""
    work = prepare(ask).campaign.workload.with_(format=rh.FLOAT64)
    latches = tuple(part for part in EYERISS.components if part.kind == "latch")
    return work, replace(EYERISS, name="eyeriss-datapath", components=latches)
