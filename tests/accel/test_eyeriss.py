"""Eyeriss against a loop nest with struck storage, and against published sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import radhard as rh
from oracles import loopnest
from radhard.accel.chips import EYERISS, EYERISS_65NM, Chip, Component, chip_named
from radhard.accel.dataflow import Held, RowStationary

SHAPES = {
    "strided": (
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        loopnest.Shape(4, 2, 1, (5, 5), (3, 3), (3, 3), 2, 1),
    ),
    "grouped": (
        nn.Conv2d(4, 6, (3, 2), groups=2),
        loopnest.Shape(6, 2, 2, (4, 4), (2, 3), (3, 2), 1, 0),
    ),
    "linear": (nn.Linear(12, 5), loopnest.Shape(5, 12, 1, (1, 1), (1, 1), (1, 1), 1, 0)),
}
FILTERS = 2


def codes(values: torch.Tensor) -> np.ndarray:
    return torch.round(values.double() * 1024).to(torch.int64).numpy()


@pytest.mark.parametrize("held", list(Held))
@pytest.mark.parametrize("name", SHAPES)
def test_corruption_is_that_of_struck_storage(name: str, held: Held) -> None:
    layer, shape = SHAPES[name]
    torch.manual_seed(3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.7)
    size = (2, shape.c * shape.groups, *shape.plane)
    images = torch.randn(*size) * 1.5
    images = images.flatten(1) if name == "linear" else images
    model = nn.Sequential(layer, nn.Flatten())
    work = rh.capture(model, images, torch.tensor([0, 0]), format=rh.FIXED16_10)
    part = (
        Component("it", "latch", held, 20.0)
        if held in list(Held)[:6]
        else Component("it", "sram", held, 20.0, 1, 1.0)
    )
    chip = Chip("tiny", "", 4, 7, (part,), RowStationary(FILTERS))
    space = chip.sites(work)
    faults = rh.Importance().draw(space, 120, np.random.default_rng(5))
    run = rh.resume(rh.record(work), chip.corrupt(work, space, faults))
    how = work.arithmetic[0]
    weight = codes(how.weight.round(layer.weight.detach()))
    weight = weight.reshape(shape.m, shape.c, *shape.kernel)
    bias = torch.round(layer.bias.detach().double() * 2**20).to(torch.int64).numpy()
    changed = 0
    for k in range(len(faults)):
        x = codes(how.input.round(images[int(faults.image[k])]))
        x = x.reshape(shape.c * shape.groups, *shape.plane)
        strike = loopnest.site(held, shape, int(faults.index[k]), FILTERS)
        strike |= {"held": held.value, "bit": space.stratum(int(faults.stratum[k])).bit}
        expected = loopnest.run(shape, x, weight, bias, strike).reshape(-1)
        assert np.array_equal(codes(run.logits[k]), expected), (k, strike)
        changed += not torch.equal(run.logits[k], run.golden[k])
    assert changed >= 10


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
