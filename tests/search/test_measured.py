"""What arrays can have against upsets, at the area that tools measured."""

import json

import pytest
import torch
from torch import nn

import radhard as rh
from radhard.protect.protection import Cost
from radhard.rtl.design import ArrayDesign
from radhard.rtl.hardware import MEASURED
from radhard.search.common import Common
from radhard.search.measured import added, array_of, measured_guards, measured_options
from radhard.search.offer import Offer, guards
from radhard.search.part import PLAIN


@pytest.fixture(scope="module")
def work() -> rh.Workload:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    images = torch.randn(8, 1, 3, 3)
    return rh.capture(model, images, model(images).argmax(1), rh.INT8, "tiny")


def asked(work: rh.Workload, chip: object) -> rh.Campaign:
    return rh.Campaign(work, chip, sampler=rh.Uniform(), images=8)  # type: ignore[arg-type]


def test_areas_are_those_of_the_table(work: rh.Workload) -> None:
    table = json.loads(MEASURED.read_text(encoding="utf-8"))
    campaign = asked(work, rh.chips.CLOCKED(4, 4, "ws"))
    design = array_of(campaign)
    assert design == ArrayDesign(4, 4, 8, 8, 32)
    sizes = {kind: table[f"ws-4x4-a8w8p32-{kind}"] for kind in ("none", "clamp", "msb", "psum")}
    cells = {kind: own["luts"] + 2 * own["carries"] + own["ffs"] for kind, own in sizes.items()}
    for kind in ("clamp", "msb", "psum"):
        assert added(design, kind) == pytest.approx(cells[kind] / cells["none"] - 1)
        assert added(design, kind) > 0
    clamp = next(g for g in measured_guards(campaign, work) if g.name.startswith("clamp"))
    assert clamp.cost == Cost(area=added(design, "clamp"))
    found = {option.slot: option for option in measured_options(campaign)}
    top = found["component input-register"].protection
    assert (top.bits, top.components) == ((6, 7), ("input-register",))
    whole = found["component psum-register"]
    assert whole.protection.bits == tuple(range(24, 32))
    assert whole.cost.area == added(design, "psum")


@pytest.mark.parametrize("chip", [rh.chips.EYERISS, rh.chips.CLOCKED(5, 3, "ws")])
def test_other_chips_have_the_usual_offers(work: rh.Workload, chip) -> None:
    campaign = asked(work, chip)
    assert list(measured_guards(campaign, work)) == []
    assert list(measured_options(campaign)) == []
    real = asked(work.with_(format=rh.FLOAT16), rh.chips.CLOCKED(4, 4, "ws"))
    assert array_of(real) is None


def test_they_are_offered_and_stop_what_they_should(work: rh.Workload) -> None:
    campaign = asked(work, rh.chips.CLOCKED(4, 4, "ws"))
    space = campaign.space()
    common = Common.drawn(campaign, space, space, 400)
    offered = guards(campaign, work)
    assert [guard.name for guard in offered[1:3]] == [
        "clamp at the columns, measured", "zero at the columns, measured",
    ]  # fmt: skip
    found = [one for one in Offer(common, work, False).to(PLAIN) if one.name.endswith("measured")]
    assert len(found) == 2
    before = common.weight(PLAIN, [])
    assert before > common.weight(PLAIN, found[1:]) > 0
    assert common.weight(offered[1], []) <= before
