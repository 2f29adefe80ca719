"""Networks as integer codes, against plain integer arithmetic and what calibration has seen."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from oracles.integers import Codes, logits
from radhard.network.archive import program_in
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.quantised import formats_in
from radhard.network.zoo import zoo_model

PLANS = {
    "w8a8": rh.Quantisation(),
    "channels": rh.Quantisation(rh.Bits(4, 6), per_channel=True, clip=rh.LeastSquares(10)),
    "powers": rh.Quantisation(rh.Bits(5, 5), power_of_two=True, headroom=1),
    "unsigned": rh.Quantisation(rh.Bits(3, 4), signed=False, clip=rh.Percentile(0.999)),
    "mixed": rh.Quantisation.parse("w4a8,0=8,7=w16a12,9=2"),
    "corrected": rh.Quantisation(rh.Bits(2, 16), bias_correction=True),
}


@pytest.fixture(scope="module")
def lenet() -> nn.Sequential:
    return seeded(zoo_model("lenet5").build(10), seed=3)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return torch.randn(12, 1, 28, 28, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def real(lenet, digits) -> rh.Workload:
    return rh.capture(lenet, digits[:4], torch.arange(4), name="lenet5")


def codes_of(how: Arithmetic, given: Parameters) -> Codes:
    source, weight, output = how.input, how.weight, how.output
    return Codes(
        given.weight.numpy().astype(np.int64),
        np.rint(given.bias.numpy().reshape(-1) / (np.array(weight.scale) * source.scale[0])),
        (source.scale[0], np.array(weight.scale), output.scale[0]),
        (source.zero[0], output.zero[0]),
        output.limits,
    )


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_runs_are_those_of_plain_integer_arithmetic(lenet, digits, real, plan) -> None:
    work = rh.quantise(real, plan, digits[4:])
    layers = [codes_of(h, g) for h, g in zip(work.arithmetic, work.parameters, strict=True)]
    last = work.arithmetic[-1].output
    for image, found in zip(work.images, work.logits(work.images), strict=True):
        first = work.arithmetic[0].input
        codes = first.integers(image).numpy().astype(np.int64) + first.zero[0]
        expected = logits(lenet, layers, codes)
        assert (last.integers(found).numpy() + last.zero[0]).tolist() == expected.tolist()
        assert len(set(expected.tolist())) > 3


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_layers_have_the_widths_that_were_asked_for(digits, real, plan) -> None:
    work = rh.quantise(real, plan, digits[4:])
    for layer, how, after in zip(work.layers, work.arithmetic, [*work.arithmetic[1:], None],
                                 strict=True):  # fmt: skip
        assert (how.weight.width, how.input.width) == (
            plan.of(layer.name).weight, plan.of(layer.name).activation,
        )  # fmt: skip
        assert how.output == after.input if after else how.output.width == 16
        assert how.exact
        assert how.input.affine is not plan.signed
        if plan.per_channel:
            assert len(how.weight.scale) == layer.channels
        if plan.power_of_two:
            scales = (*how.weight.scale, *how.input.scale, *how.output.scale)
            assert all(float(np.log2(scale)).is_integer() for scale in scales)


def test_codes_cover_what_calibration_has_seen_and_headroom_above(digits, real) -> None:
    top = {}
    for headroom in (0, 1, 2):
        work = rh.quantise(real, rh.Quantisation(headroom=headroom), digits[4:])
        seen = work.with_(digits[4:], torch.zeros(8, dtype=torch.int64))
        trace = rh.record(seen)
        how, layer = work.arithmetic[0], work.layers[0]
        codes = how.output.integers(trace.values[layer.step].double())
        top[headroom] = int(codes.max())
    assert top[0] == 127
    assert top[1] in {63, 64}
    assert top[2] in {31, 32}


def test_normalisation_is_folded_and_shared_inputs_have_one_format(
    residual, images, labels
) -> None:
    real = rh.capture(residual, images, labels)
    work = rh.quantise(real, rh.Quantisation(rh.Bits(12, 12)), images)
    by = dict(zip([layer.name for layer in work.layers], work.arithmetic, strict=True))
    assert list(by) == ["stem", "left", "right", "head"]
    assert not any("batch_norm" in str(step.op) for step in work.program.steps)
    assert by["stem"].output == by["left"].input  # through the rectifier
    assert by["left"].output != by["right"].input  # an addition lies between
    apart = (work.logits(work.images) - real.logits(real.images)).abs().max()
    assert 0 < apart < 0.02 * real.logits(real.images).abs().max()


def test_attention_and_products_of_activations_are_quantised(attention, images, labels) -> None:
    real = rh.capture(attention, images, labels)
    work = rh.quantise(real, rh.Quantisation(rh.Bits(10, 12)), images)
    apart = (work.logits(work.images) - real.logits(real.images)).abs().max()
    assert 0 < apart < 0.05 * real.logits(real.images).abs().max()


def test_bias_correction_brings_means_back() -> None:
    model = seeded(nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(180, 4)))
    images = torch.rand(50, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    real = rh.capture(model[:2], images, torch.zeros(50, dtype=torch.int64))
    off = {}
    for corrected in (False, True):
        plan = rh.Quantisation(rh.Bits(3, 16), bias_correction=corrected)
        work = rh.quantise(real, plan, images)
        apart = (work.logits(images) - real.logits(images)).reshape(50, 5, -1)
        off[corrected] = float(apart.mean((0, 2)).abs().max())
    assert off[True] < 1e-3
    assert off[False] > 0.02


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1", "1 bits can't be: use 2 to 16"),
        ("w4a17", "17 bits can't be"),
        ("eight", "bits 'eight' can't be read"),
        ("8,fc=4", "no layer 'fc': the layers are 0, 3, 7, 9, 11"),
    ],
)
def test_what_can_not_be_is_said(digits, real, text, words) -> None:
    with pytest.raises(ValueError, match=words):
        rh.quantise(real, rh.Quantisation.parse(text), digits)


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # torch.export of LSTM
def test_biases_are_corrected_wherever_the_batch_stands() -> None:
    """Recurrent and attention layers have it second; a bias that is read often has one value."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.cells(x)[0][:, -1])

    torch.manual_seed(0)
    model, images = Recurrent().eval(), torch.rand(60, 6, 4)
    work = rh.capture(model, images, torch.zeros(60, dtype=torch.int64))
    off = []
    for corrected in (False, True):
        plan = rh.Quantisation(rh.Bits(3, 16), bias_correction=corrected)
        found = rh.quantise(work, plan, images)
        off.append(float((found.logits(images) - work.logits(images)).mean(0).abs().mean()))
    assert off[1] < 0.5 * off[0]


def test_images_that_no_range_can_be_seen_of_are_refused(digits, real) -> None:
    for wrong in (torch.nan, torch.inf):
        odd = digits.clone()
        odd[3, 0, 0, 0] = wrong
        with pytest.raises(ValueError, match=r"1 of 12 calibration images \(such as number 3\)"):
            rh.quantise(real, rh.Quantisation(), odd)
    with pytest.raises(ValueError, match=r"calibration images of torch\.int64 can't be"):
        rh.quantise(real, rh.Quantisation(), digits.to(torch.int64))
    with pytest.raises(ValueError, match=r"1\.5 bits of headroom can't be"):
        rh.Quantisation(headroom=1.5)
    with pytest.raises(ValueError, match="layer 'a' has bits twice"):
        rh.Quantisation.parse("8,a=4,a=5")


def test_calibration_images_are_needed(digits, real) -> None:
    with pytest.raises(ValueError, match="no calibration images: give some of the training"):
        rh.quantise(real, rh.Quantisation(), digits[:0])
    with pytest.raises(ValueError, match="calibration images of shape"):
        rh.quantise(real, rh.Quantisation(), digits[:, :, :-1])
    with pytest.raises(ValueError, match="1 bits of headroom can't be in activations of 2"):
        rh.Quantisation(rh.Bits(4, 2), headroom=1)
    wide = rh.quantise(real, rh.Quantisation(), digits)
    with pytest.raises(ValueError, match="formats of 5 layers are given"):
        rh.capture(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), digits, torch.arange(12) % 3,
                   format=wide.formats)  # fmt: skip
    with pytest.raises(ValueError, match="has no scale: fit it"):
        rh.LayerFormats(rh.INT8, rh.INT8, rh.INT8)


def test_a_file_brings_its_codes_and_formats(
    digits, real, residual, images, labels, tmp_path
) -> None:
    other = rh.capture(residual, images, labels)
    plan = rh.Quantisation(rh.Bits(6, 7), per_channel=True, bias_correction=True)
    for model, calibration in ((real, digits), (other, images)):
        work = rh.quantise(model, plan, calibration)
        rh.save(work, tmp_path / "net.pt2")
        formats = formats_in(tmp_path / "net.pt2")
        assert formats == work.formats
        read = rh.capture(program_in(tmp_path / "net.pt2"), work.images, work.labels, formats)
        assert [layer.name for layer in read.layers] == [layer.name for layer in work.layers]
        assert torch.equal(read.logits(read.images), work.logits(work.images))


def rewritten(path: Path, change: Callable[[dict], None]) -> None:
    """Change the formats in a file."""
    with zipfile.ZipFile(path) as held:
        members = {name: held.read(name) for name in held.namelist()}
    name = next(name for name in members if name.endswith("radhard.json"))
    told = json.loads(members[name])
    change(told)
    members[name] = json.dumps(told).encode()
    with zipfile.ZipFile(path, "w") as held:
        for name, content in members.items():
            held.writestr(name, content)


DAMAGE: dict[str, Callable[[dict], None]] = {
    "version 2": lambda told: told.update(radhard=2),
    "width = 8.5": lambda told: told["layers"][0]["input"].update(width=8.5),
    "33 bits": lambda told: told["layers"][0]["input"].update(width=33),
    "scale = \\[0.0\\]": lambda told: told["layers"][1]["output"].update(scale=[0.0]),
    "scale = \\[inf\\]": lambda told: told["layers"][1]["output"].update(scale=[1e999]),
    "2 scales and 1": lambda told: told["layers"][1]["weight"].update(scale=[0.5, 0.25]),
    "KeyError: 'weight'": lambda told: told["layers"][2].pop("weight"),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damaged_formats_are_refused(digits, real, tmp_path, words) -> None:
    path = tmp_path / "net.pt2"
    rh.save(rh.quantise(real, rh.Quantisation(), digits), path)
    rewritten(path, DAMAGE[words])
    with pytest.raises(rh.CaptureError, match=f"can't be read .*{words}.*write it anew"):
        formats_in(path)


def test_only_what_has_formats_by_layer_is_written(real, digits, tmp_path) -> None:
    with pytest.raises(ValueError, match="lenet5 in fp32 is not as radhard"):
        rh.save(real, tmp_path / "net.pt2")
    with pytest.raises(ValueError, match=r"named .pt2"):
        rh.save(rh.quantise(real, rh.Quantisation(), digits), tmp_path / "net.pt")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.rand(2, 2),)), tmp_path / "a.pt2")
    assert formats_in(tmp_path / "a.pt2") is None
