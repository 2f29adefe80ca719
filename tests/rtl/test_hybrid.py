"""Campaigns whose struck tiles run on the emitted array."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from radhard.accel.clocked import ClockedArray
from radhard.rtl.agreement import network_agreement
from radhard.rtl.compiled import built, missing
from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.flip import Flips
from radhard.rtl.hybrid import OnArray
from radhard.rtl.schedule import Operands, schedule

FLOWS = ("ws", "os", "is")
TWIN = OnArray("twin")


def network(format: rh.NumberFormat = rh.INT8) -> rh.Workload:
    """Padding, groups, strides and a residual sum; several tiles a layer."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
            self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
            self.last = nn.Linear(64, 5)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.last((x + torch.relu(self.second(x))).flatten(1))

    torch.manual_seed(5)
    images = torch.randn(6, 2, 8, 8)
    return rh.capture(Small().eval(), images, torch.arange(6) % 5, format, "small")


@pytest.mark.parametrize("dataflow", FLOWS)
@pytest.mark.parametrize("format", [rh.INT8, rh.INT8_CHANNEL, rh.INT4])
def test_every_fault_of_a_network(dataflow: str, format: rh.NumberFormat) -> None:
    campaign = rh.Campaign(network(format), ClockedArray(3, 4, dataflow), seed=2)
    found = network_agreement(campaign, 600, TWIN, whole=True)
    assert found.disagreements == ()
    assert 0 < found.rtl["sdc1"].value < 1
    for metric in ("sdc1", "correct", "masked", "activated"):
        assert str(found.model[metric]) == str(found.rtl[metric])
    assert str(found.model.ra) == str(found.rtl.ra) == str(campaign.run(until=600).ra)
    assert found.software.n == 600
    assert found.seconds_whole is not None


def test_a_planted_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = ClockedArray.reads

    def wrong(self, register, layer, index):
        found = true(self, register, layer, index)
        if register == "weight-register":
            found.positions[:, 0] += found.positions[:, 0] < found.positions[:, 1]
        return found

    monkeypatch.setattr(ClockedArray, "reads", wrong)
    campaign = rh.Campaign(network(), ClockedArray(3, 4), sampler=rh.Uniform())
    found = network_agreement(campaign, 400, TWIN)
    assert found.disagreements
    assert all("weight-register" in line for line in found.disagreements)


def test_guards_see_what_hardware_computes() -> None:
    work = network()
    guard = rh.RangeRestriction().learned(work)
    campaign = rh.Campaign(work, ClockedArray(2, 2), protections=(guard,), seed=1)
    assert network_agreement(campaign, 300, TWIN).disagreements == ()


def test_the_same_faults_are_compared_in_pairs() -> None:
    campaign = rh.Campaign(network(), ClockedArray(2, 2))
    by_rtl = campaign.with_(engine=TWIN)
    assert by_rtl.id != campaign.id
    assert by_rtl.question.draws == campaign.question.draws
    difference = by_rtl.run(until=300) - campaign.run(until=300)
    assert difference["sdc1"].value == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chip": rh.chips.EYERISS}, "clocked:8x8:ws"),
        ({"model": rh.StuckAt(1)}, "bit-flip"),
    ],
)
def test_what_the_array_does_not_run(changed: dict[str, object], said: str) -> None:
    campaign = rh.Campaign(network(), ClockedArray(2, 2), engine=TWIN)
    with pytest.raises(ValueError, match=said):
        campaign.with_(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", [rh.FLOAT16, rh.FIXED16_10, rh.UINT8])
def test_formats_that_no_array_multiplies(format: rh.NumberFormat) -> None:
    with pytest.raises(ValueError, match="two's complement"):
        rh.Campaign(network(format), ClockedArray(2, 2), engine=TWIN)


def test_simulators_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="can't be"):
        OnArray("spice")  # type: ignore[arg-type]


def test_a_stopped_campaign_goes_on_from_its_file(at_the_command_line, tmp_path: Path) -> None:
    given = ("digits-cnn", "--format", "int8", "--chip", "clocked:4x4:os", "--engine", "rtl")
    out = ("--out", str(tmp_path), "--json", "--images", "4")
    code, first, _ = at_the_command_line("assess", *given, *out, "--faults", "20")
    assert code == 0
    file = next(tmp_path.glob("*/campaign.toml"))
    assert "rtl" in file.parent.name
    code, again, _ = at_the_command_line("run", str(file), "--out", str(tmp_path), "--json")
    assert code == 0
    first, again = json.loads(first), json.loads(again)
    assert (first["id"], first["metrics"]) == (again["id"], again["metrics"])


def test_the_verb(at_the_command_line) -> None:
    given = ("validate", "rtl", "--model", "digits-cnn", "--images", "4", "--engine", "twin")
    code, out, _ = at_the_command_line(*given, "--faults", "60", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["disagreements"] == 0
    assert found["ra_model"] == found["ra_rtl"]
    assert found["ra_software"]["n"] == 60
    for flags in (("--protect", "clamp"), ("--psum-bits", "20"), ("--faults", "no")):
        code, _, said = at_the_command_line(*given, *flags)
        assert (code, "can't be" in said) == (2, True)
    code, _, said = at_the_command_line("validate", "rtl", "--data", "mnist")
    assert (code, "without --model" in said) == (2, True)


@pytest.mark.skipif(bool(missing()), reason=missing() or "is there")
@pytest.mark.parametrize("protect", ["none", "clamp"])
def test_tiles_apart_by_verilator(protect: str) -> None:
    design = ArrayDesign(2, 3, 4, 3, 40, "os", protect)
    drawn = Operands.drawn(design, tiles=50, free=4, seed=1)
    operands = Operands(drawn.a, drawn.w, (-20, 15)) if design.checks else drawn
    edges = schedule(design, operands).cycles // 50
    flips = Flips.drawn(design, edges, 50, 1)
    expected = Twin(design, operands).each(flips)
    assert (built(design).each(operands, flips) == expected).all()
    assert (built(design).run(operands)[0] == Twin(design, operands).run()[0]).all()
    alone = [
        Twin(design, Operands(operands.a[k : k + 1], operands.w[k : k + 1], operands.bounds)).run(
            flips[np.array([k])]
        )[0, 0]
        for k in range(50)
    ]
    assert (expected == np.stack(alone)).all()


@pytest.mark.exhaustive
def test_agreement_does_not_depend_on_processes() -> None:
    campaign = rh.Campaign(network(), ClockedArray(3, 4, "ws"), seed=2)
    alone, found = (network_agreement(campaign, 400, TWIN, workers=n) for n in (1, 2))
    for one, other in ((alone.model, found.model), (alone.rtl, found.rtl)):
        assert (one["sdc1"], one.ra) == (other["sdc1"], other.ra)
    assert alone.software["sdc1"] == found.software["sdc1"]
    assert found.disagreements == ()
