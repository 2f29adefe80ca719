"""Campaigns about quantised networks: who they are, that they come back, and that all parts run."""

import tomllib
from dataclasses import replace

import pytest
import tomli_w
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from radhard.accel.chips import chip_named
from radhard.campaign.description import described
from radhard.campaign.rebuild import rebuilt
from radhard.engine.trace import record
from radhard.network.zoo import zoo_model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return seeded(zoo_model("digits-cnn").build(10), seed=2)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def work(model, digits) -> rh.Workload:
    real = rh.capture(model, digits[:10], torch.arange(10), name="digits")
    return rh.quantise(real, rh.Quantisation.parse("w4a6,0=8,8=w16a12"), digits[10:])


def test_formats_of_layers_are_data_and_come_back(work: rh.Workload) -> None:
    arrays: dict = {}
    data = described(work.formats, "format", arrays)
    read = tomllib.loads(tomli_w.dumps({"format": data}))["format"]
    assert rebuilt(read, "format", arrays) == work.formats
    assert (arrays, work.formats.name) == ({}, "w4-16a6-12")


def test_each_scale_and_width_is_part_of_the_question(work: rh.Workload, digits) -> None:
    first, *rest = work.formats.layers
    (scale,) = first.output.scale
    other = replace(first, output=replace(first.output, scale=(scale * 1.001,)))
    moved = work.with_(format=replace(work.formats, layers=(other, *rest)))
    real = rh.capture(seeded(zoo_model("digits-cnn").build(10), 2), digits[:10], torch.arange(10))
    wider = rh.quantise(real, rh.Quantisation.parse("w4a6,0=8,8=w16a13"), digits[10:])
    asked = [rh.Campaign(one, rh.chips.EYERISS) for one in (work, moved, wider)]
    assert len({one.id for one in asked}) == 3
    assert rh.Campaign(work, rh.chips.EYERISS).id == asked[0].id


GUARDS = [rh.RangeRestriction(), rh.RangeDetector(), rh.Checksum(), rh.BitTriplication((3,))]


CHIPS = [rh.chips.SOFTWARE, rh.chips.EYERISS, chip_named("systolic:8x8:ws")]


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_campaigns_and_guards_run(work: rh.Workload, chip) -> None:
    plain = rh.Campaign(work, chip, sampler=rh.Uniform())
    result = plain.run(until=150)
    held = {stratum.width for stratum in plain.space().strata}
    assert held >= {4, 6, 8, 12, 16}
    assert result.n == 150
    for guard in GUARDS:
        assert plain.with_(protections=[guard]).run(until=60).n == 60


def test_a_flip_moves_a_weight_by_its_bit_in_the_code_of_its_layer(work: rh.Workload) -> None:
    campaign = rh.Campaign(work, rh.chips.Software(("weight",)), sampler=rh.Uniform())
    found = rh.follow(campaign, 200)
    how = {one.name: fit for one, fit in zip(work.layers, work.arithmetic, strict=True)}
    scale = [how[name].weight.scale[0] for name in found.layer]
    assert found.deviation.tolist() == pytest.approx((scale * 2.0**found.bit).tolist(), rel=1e-3)
    assert {how[name].weight.width for name in found.layer} == {4, 8, 16}


def test_resumed_runs_are_whole_runs(work: rh.Workload) -> None:
    trace = record(work)
    assert torch.equal(trace.logits, work.logits(work.images))


def test_arrays_and_multipliers_take_the_codes_as_they_are(model, digits) -> None:
    real = rh.capture(model, digits[:10], torch.arange(10))
    work = rh.quantise(real, rh.Quantisation(), digits[10:])
    exact = work.with_(multiplier=rh.multiplier_named("mul8s_exact"), array=rh.Array(8, 8))
    assert torch.equal(exact.logits(work.images), work.logits(work.images))
    assert exact.computing == "w8a8+mul8s_exact+8x8-ws"
    stuck = rh.Array(8, 8, defects=(rh.Defect(0, 1, "product", 1, bit=14),))
    assert not torch.equal(work.with_(array=stuck).logits(work.images), exact.logits(work.images))
