"""The error-propagation study, small."""

import pytest

import radhard as rh
from radhard.accel.chips import EYERISS
from radhard.campaign.ask import Ask
from radhard.campaign.propagation import FORMATS, hardening_area, study


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    asks = [Ask(model="digits-cnn", images=8)]
    return list(study(EYERISS, asks, 1500, tmp_path_factory.mktemp("ep")))


def test_formats_and_parts_are_all_there(findings) -> None:
    assert tuple(found.format for found in findings) == FORMATS
    for found in findings:
        latches = {s.component for s in found.datapath.space.strata}
        buffers = {s.component for s in found.buffers.space.strata}
        assert all(name.endswith("latch") for name in latches)
        assert len(latches) == 6
        assert len(buffers) == 4
        assert found.datapath.n == found.buffers.n == 1500


def test_an_unneeded_range_is_worst_and_buffers_dominate(findings) -> None:
    by = {found.format: found for found in findings}
    wide = by["fixed32_10"]
    for other in ("fp32", "fixed32_26", "fixed16_10"):
        for part in ("datapath", "buffers"):
            assert getattr(by[other], part)["sdc1"].high < getattr(wide, part)["sdc1"].low
    assert wide.buffers.fit("sdc1").low > 10 * wide.datapath.fit("sdc1").high
    # a latch class counts as 1 here; the area of a uniform rate is that of one type for all
    area = hardening_area(wide.datapath, target=100)
    assert 0 < area.low <= area.value <= area.high


def test_a_stopped_study_goes_on(tmp_path) -> None:
    asks = [Ask(model="digits-cnn", images=4)]
    seen = []
    first = next(study(EYERISS, asks, 100, tmp_path))
    again = next(study(EYERISS, asks, 100, tmp_path, watch=seen.append))
    assert again.datapath["sdc1"] == first.datapath["sdc1"]
    assert seen
    assert all(progress.fresh == 0 for progress in seen)
    assert isinstance(first.buffers, rh.Result)
