"""Networks that come quantised: their own codes, and the integers that their runtimes compute."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from radhard.faults.corruption import Corruption
from radhard.network.archive import coding, program_in
from radhard.network.codes import holds_codes
from radhard.network.onnxfile import graph_in
from radhard.network.onnxmodel import onnx_model
from radhard.network.operation import Coded

ASSETS = Path(__file__).parent / "assets"
KINDS = ("signed", "channels", "unsigned")
LABELS = torch.arange(24) % 5


@pytest.fixture(scope="module")
def logits() -> dict[str, Tensor]:
    """Images, and what ONNX Runtime gives for them, by kind of quantisation."""
    with np.load(ASSETS / "logits.npz") as held:
        return {name: torch.from_numpy(held[name]) for name in held.files}


@pytest.fixture(scope="module")
def works(logits) -> dict[str, rh.Workload]:
    images = logits["images"]
    return {kind: rh.capture(onnx_model(ASSETS / f"{kind}.onnx"), images, LABELS) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_onnx_are_those_that_its_runtime_computes(kind: str, logits, works) -> None:
    work = works[kind]
    last = work.arithmetic[-1].output
    assert last.integers(work.logits(work.images)).equal(last.integers(logits[kind]))
    assert len(last.integers(logits[kind]).unique()) > 20
    assert [layer.name for layer in work.layers] == ["first", "second", "matmul_m", "last"]
    assert all(how.exact for how in work.arithmetic)


@pytest.mark.parametrize("kind", KINDS)
def test_scales_zero_points_and_weights_are_those_of_the_file(kind: str, works) -> None:
    graph, work = graph_in(ASSETS / f"{kind}.onnx"), works[kind]
    first, how = work.formats.layers[0], work.arithmetic[0]
    held = {name: array.values for name, array in graph.arrays.items()}
    assert first.input.scale == (float(held["x_scale"]),)
    assert first.input.zero == (int(held["x_zero_point"]),)
    assert first.input.affine == (kind != "signed")
    assert first.weight.scale == tuple(np.atleast_1d(held["first.weight_scale"]).tolist())
    zero = held["first.weight_zero_point"].astype(np.int64).reshape(-1, 1, 1, 1)
    codes = held["first.weight_quantized"] - zero
    assert how.weight.integers(work.weight(0)).numpy().tolist() == codes.tolist()
    turned = held["head_quantized"].astype(np.int64).T  # channels first
    zero = held["head_zero_point"].astype(np.int64).reshape(-1, 1)
    assert work.arithmetic[2].weight.integers(work.weight(2)).tolist() == (turned - zero).tolist()


def test_a_network_of_onnx_without_codes_computes_what_its_runtime_does(logits) -> None:
    model = onnx_model(ASSETS / "plain.onnx")
    work = rh.capture(model, logits["images"], LABELS)
    assert torch.allclose(work.logits(work.images), logits["plain"], rtol=1e-4, atol=1e-5)
    assert not holds_codes(model)
    assert holds_codes(onnx_model(ASSETS / "signed.onnx"))


def test_another_format_runs_the_same_weights_without_the_codes(logits, works) -> None:
    model = onnx_model(ASSETS / "channels.onnx")
    work = rh.capture(model, logits["images"], LABELS, rh.FLOAT32)
    assert work.formats.name == "fp32"
    assert torch.allclose(work.logits(work.images), logits["channels"], atol=0.3)
    assert not any(isinstance(step.op, Coded) for step in work.program.steps)
    codes = works["channels"]
    other = codes.with_(format=rh.FLOAT32)
    span = logits["channels"].max() - logits["channels"].min()
    assert float((other.logits(work.images) - work.logits(work.images)).abs().mean()) < span / 500
    finer = rh.quantise(codes, rh.Quantisation.parse("12"), logits["images"])
    assert float((finer.logits(work.images) - work.logits(work.images)).abs().mean()) < span / 500
    again = rh.capture(model, logits["images"], LABELS, codes.formats)
    campaigns = [rh.Campaign(one, rh.chips.EYERISS) for one in (codes, again)]
    assert campaigns[0].id == campaigns[1].id


STEP = 2.0**-6  # of all scales: sums in float32 are exact then


class Pairs(nn.Module):
    """What tools of torch.export write around operations, with parts that no layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = coding()
        random = torch.Generator().manual_seed(4)
        draw = lambda *shape: torch.randint(-90, 90, shape, generator=random, dtype=torch.int8)  # noqa: E731
        self.register_buffer("_frozen_param0", draw(4, 2, 3, 3))
        self.register_buffer("_frozen_param1", draw(4, 4, 3, 3))
        self.register_buffer("_frozen_param2", draw(5, 64))
        self.register_buffer("_scale", torch.tensor([STEP, STEP / 2, STEP * 2, STEP]))
        self.register_buffer("_zero", torch.zeros(4, dtype=torch.int64))
        self.conv1, self.conv2, self.fc = nn.Module(), nn.Module(), nn.Module()
        for part, size in ((self.conv1, 4), (self.conv2, 4), (self.fc, 5)):
            part.bias = nn.Parameter(torch.randint(-99, 99, (size,), generator=random) * STEP**2)

    def coded(self, x: Tensor, zero: int = -128, scale: float = STEP, low: int = -128) -> Tensor:
        kind = torch.uint8 if low == 0 else torch.int8
        told = scale, zero, low, low + 255, kind
        codes = self.ops.quantize_per_tensor.default(x, *told)
        return self.ops.dequantize_per_tensor.default(codes, *told)

    def channels(self, codes: Tensor) -> Tensor:
        told = self._scale, self._zero, 0, -127, 127, torch.int8
        return self.ops.dequantize_per_channel.default(codes, *told)

    def forward(self, x: Tensor) -> Tensor:
        x = self.coded(x, 3)
        y = nn.functional.conv2d(x, self.channels(self._frozen_param0), self.conv1.bias, padding=1)
        y = self.coded(nn.functional.max_pool2d(torch.relu(y), 2), 0, 4 * STEP, 0)
        z = nn.functional.conv2d(y, self.channels(self._frozen_param1), self.conv2.bias, padding=1)
        z = self.coded(z, 17, 64 * STEP)
        s = self.coded(torch.relu(z + y), -128, 32 * STEP)
        t = self.coded(s * 0.5 + y, 0, 32 * STEP, 0)
        weight = self.ops.dequantize_per_tensor.default(
            self._frozen_param2, STEP, 0, -127, 127, torch.int8
        )
        t = nn.functional.linear(t.flatten(1), weight, self.fc.bias)
        return self.coded(t, -5, 1024 * STEP)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return Pairs().eval()


@pytest.fixture(scope="module")
def quantised(pairs, images) -> rh.Workload:
    return rh.capture(pairs, images, LABELS, name="net")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(24, 2, 8, 8, generator=torch.Generator().manual_seed(8))


@pytest.fixture(scope="module")
def program(pairs, images) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(pairs, (images[:2],), dynamic_shapes=({0: batch},))


def test_codes_of_pairs_in_torch_are_those_that_torch_computes(
    pairs, quantised: rh.Workload, images: Tensor
) -> None:
    work = quantised
    with torch.no_grad():
        assert work.logits(images).equal(pairs(images))
    assert len(pairs(images).unique()) > 20
    assert [layer.name for layer in work.layers] == ["conv1", "conv2", "fc"]
    formats = work.formats.layers
    assert [one.input.zero for one in formats] == [(3,), (0,), (0,)]
    assert [one.output.name for one in formats] == ["uint8", "int8", "int8"]
    assert formats[0].weight.scale == (STEP, STEP / 2, STEP * 2, STEP)
    # a sum that another sum reads is rounded by itself; all else is what layers do
    assert sum(isinstance(step.op, Coded) for step in work.program.steps) == 1


def test_a_file_a_program_and_a_module_are_one_network(
    quantised: rh.Workload, program, images: Tensor, tmp_path: Path
) -> None:
    torch.export.save(program, tmp_path / "net.pt2")
    models = program, program.module(), program_in(tmp_path / "net.pt2")
    assert all(map(holds_codes, models))
    for model in models:
        work = rh.capture(model, images, LABELS, name="net")
        assert work.formats == quantised.formats
        assert work.logits(images).equal(quantised.logits(images))
        assert [layer.name for layer in work.layers] == ["conv1", "conv2", "fc"]


def test_flips_strike_the_codes_of_the_network(quantised: rh.Workload) -> None:
    work = quantised
    campaign = rh.Campaign(work, rh.chips.Software(("weight",)), sampler=rh.Uniform())
    found = rh.follow(campaign, 60)
    scales = {layer.name: own.weight.scale for layer, own in
              zip(work.layers, work.formats.layers, strict=True)}  # fmt: skip
    for name, bit, moved in zip(found.layer, found.bit, found.deviation, strict=True):
        assert abs(moved) in {scale * 2.0**bit for scale in scales[name]}
    assert campaign.run(until=60).n == 60
    sliced = rh.Campaign(work, rh.chips.EYERISS).run(until=100)
    assert sliced.n == 100


def test_a_struck_weight_does_what_torch_makes_of_the_struck_code(
    pairs, quantised: rh.Workload, images: Tensor
) -> None:
    work, n = quantised, 90
    rng = np.random.default_rng(5)
    layer, image = rng.integers(0, 3, n), rng.integers(0, len(images), n)
    element = rng.integers(0, np.array([work.weight(k).numel() for k in layer]))
    flip = np.left_shift(1, rng.integers(0, 8, n))
    whole = np.tile([0, 2**62], (n, 1))
    corruption = Corruption(
        layer, np.full(n, "weight"), element, image, np.full(n, -1), flip, whole, whole,
        np.zeros(n, np.int64), whole,
    )  # fmt: skip
    found = rh.resume(rh.record(work), corruption).logits
    moved = 0
    for k in range(n):
        held = getattr(pairs, f"_frozen_param{layer[k]}").view(-1)
        bit = int(np.array(flip[k]).astype(np.int8))
        held[element[k]] ^= bit
        with torch.no_grad():
            expected = pairs(images[image[k]][None])[0]
        held[element[k]] ^= bit
        assert found[k].equal(expected)
        moved += not expected.equal(work.logits(images[image[k]][None])[0])
    assert moved > 20


def broken(change: Callable[[Pairs], None]) -> nn.Module:
    model = Pairs().eval()
    change(model)
    return model


def narrow(model: Pairs) -> None:
    told = STEP, 0, -100, 100, torch.int8

    def coded(x: Tensor, *_: float) -> Tensor:
        codes = model.ops.quantize_per_tensor.default(x, *told)
        return model.ops.dequantize_per_tensor.default(codes, *told)

    model.coded = coded


def dynamic(model: Pairs) -> None:
    def coded(x: Tensor, *_: float) -> Tensor:
        told = x.abs().amax() / 127, torch.zeros((), dtype=torch.int64), -128, 127, torch.int8
        codes = model.ops.quantize_per_tensor.tensor(x, *told)
        return model.ops.dequantize_per_tensor.tensor(codes, *told)

    model.coded = coded


def weights_alone(model: Pairs) -> None:
    model.coded = lambda x, *_: x


def computed(model: Pairs) -> None:
    told = STEP, 0, -128, 127, torch.int8

    def coded(x: Tensor, *_: float) -> Tensor:
        codes = model.ops.quantize_per_tensor.default(x, *told)
        return model.ops.dequantize_per_tensor.default(codes + 1, *told)

    model.coded = coded


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (narrow, "codes from -100 to 100: formats of integers have all"),
        (dynamic, "depends on the images: quantise with fixed scales"),
        (weights_alone, "layer conv1 has codes for no input, while others have"),
        (computed, "computes with codes: only pairs of quantize and dequantize"),
    ],
)
def test_what_is_no_code_of_integers_is_refused(change, message: str, images: Tensor) -> None:
    with pytest.raises(rh.CaptureError, match=message):
        rh.capture(broken(change), images, LABELS)


def test_results_without_codes_get_16_bits_and_a_warning(images: Tensor) -> None:
    class Bare(Pairs):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.channels(self._frozen_param0)
            y = nn.functional.conv2d(self.coded(x, 3), weight, self.conv1.bias)
            return y.mean((2, 3))

    model = Bare().eval()
    with pytest.warns(UserWarning, match="results of conv1 have no codes in the model"):
        work = rh.capture(model, images, LABELS % 4)
    assert work.formats.layers[0].output.name == "int16"
    with torch.no_grad():
        assert torch.allclose(work.logits(images), model(images), atol=2e-3)


def test_damaged_files_of_onnx_end_in_words(tmp_path: Path) -> None:
    data = (ASSETS / "signed.onnx").read_bytes()
    bad = tmp_path / "bad.onnx"
    random = np.random.default_rng(2)
    for size in (0, 1, 100, len(data) - 3):
        bad.write_bytes(data[:size])
        with pytest.raises(rh.CaptureError, match=r"bad.onnx"):
            onnx_model(bad)
    for _ in range(200):
        struck = bytearray(data)
        for place in random.integers(0, len(data), 3):
            struck[place] ^= 1 << random.integers(8)
        bad.write_bytes(struck)
        with contextlib.suppress(rh.CaptureError):  # and nothing else
            onnx_model(bad)
    with pytest.raises(FileNotFoundError, match=r"no file .*none.onnx"):
        onnx_model(tmp_path / "none.onnx")


def test_operations_that_are_not_known_are_refused(tmp_path: Path) -> None:
    data = (ASSETS / "signed.onnx").read_bytes()
    for name, message in ((b"NonZero", "operation NonZero .* is not read: those are Add"),
                          (b"QLinear", r"quantise in QDQ form")):  # fmt: skip
        (tmp_path / "odd.onnx").write_bytes(data.replace(b"Flatten", name))
        with pytest.raises(rh.CaptureError, match=message):
            onnx_model(tmp_path / "odd.onnx")


def test_files_that_are_quantised_are_assessed_as_they_are(
    at_the_command_line, logits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ASSETS / "signed.onnx", "net.onnx")
    np.savez("images.npz", x=logits["images"], labels=LABELS)
    asked = ("assess", "net.onnx", "--data", "images.npz", "--faults", "60", "--images", "8")
    code, out, said = at_the_command_line(*asked, "--json", "--out", "r")
    assert code == 0, said
    assert "note: net.onnx holds codes: they and their scales are taken as they are" in said
    told = json.loads(out)
    assert told["format"] == "w8a8"
    (toml,) = tmp_path.glob("r/*/campaign.toml")
    code, out, said = at_the_command_line("run", str(toml), "--json", "--out", "again")
    assert code == 0, said
    assert json.loads(out)["id"] == told["id"]
    code, out, said = at_the_command_line(*asked, "--format", "fp32", "--json")
    assert json.loads(out)["format"] == "fp32"
    assert "has formats of its own, but is run in fp32, as asked" in said


@pytest.mark.parametrize("kind", ["xnnpack", "x86"])
def test_what_torchao_writes_is_what_torch_computes(kind: str, residual, images: Tensor) -> None:
    pe = pytest.importorskip(
        "torchao.quantization.pt2e.quantize_pt2e", reason="no torchao: hand-made pairs stand in"
    )
    if kind == "xnnpack":
        from torchao.testing.pt2e import _xnnpack_quantizer as made

        how = made.get_symmetric_quantization_config(is_per_channel=True)
        quantiser = made.XNNPACKQuantizer().set_global(how)
    else:
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as made

        how = made.get_default_x86_inductor_quantization_config()
        quantiser = made.X86InductorQuantizer().set_global(how)
    batch = torch.export.Dim("batch", min=1)
    graph = torch.export.export(residual, (images[:2],), dynamic_shapes=({0: batch},)).module()
    prepared = pe.prepare_pt2e(graph, quantiser)
    prepared(images)
    model = pe.convert_pt2e(prepared)
    work = rh.capture(model, images, LABELS)
    with torch.no_grad():
        whole = model(images)
    # biases are real numbers there, and become integers: some codes differ by one
    span = float(whole.max() - whole.min())
    assert float((work.logits(images) - whole).abs().mean()) < 0.004 * span
    # a weight's own name is lost there: it is that of the bias beside it
    assert [layer.name for layer in work.layers] == ["stem", "conv2d_1", "right", "head"]
