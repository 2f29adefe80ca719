"""What hardened modules tell, do and withstand."""

import copy
import io
import pickle
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from radhard.engine.noisy import run_noisy
from radhard.network.workload import Workload
from radhard.protect import quiet
from radhard.protect.checksum import checked_layers
from radhard.protect.module import harden
from radhard.protect.protected import Protected
from radhard.protect.protection import Protection, joined

GATED = rh.NeuronGradientSuppressor(gate=rh.Gate.ROW_CHECKSUM, tap=rh.Tap.OUTPUT)
PROTECTIONS = {
    "clamp": rh.RangeRestriction(),
    "clip": rh.ClippedActivation(),
    "detector": rh.RangeDetector(),
    "positions": rh.Checksum(),
    "channels": rh.Checksum(positions=False, channels=True),
    "corrected": rh.Checksum(channels=True, correct=True),
    "gate": GATED,
    "thresholds": rh.ValueThreshold(3.0, 3.0),
}


class Wide(nn.Module):
    """Strided, dilated, depthwise and pointwise convolutions of many channels; tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 10, 3, 2, 1)
        self.deep = nn.Conv2d(10, 10, 3, padding=2, dilation=2, groups=10, bias=False)
        self.point = nn.Conv2d(10, 12, 1)
        self.mix = nn.Linear(12, 9)
        self.head = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.point(torch.relu(self.deep(torch.relu(self.stem(x))))))
        return self.head(torch.relu(self.mix(x.flatten(2).transpose(1, 2))).mean(1))


@pytest.fixture(scope="module")
def wide() -> nn.Module:
    return seeded(Wide())


def faulty(module: Protected, seed: int) -> Iterator[tuple[str, Tensor]]:
    """The module with wrong weights, one after the other: a changed one, infinity, no number."""
    random = torch.Generator().manual_seed(seed)
    for layer in module.workload.layers:
        for wrong in (3.0, float("inf"), float("nan")):
            weight = module.weights(layer.name)
            at = int(torch.randint(weight.numel(), (), generator=random))
            held = weight.view(-1)[at].item()
            weight.view(-1)[at] = held + wrong
            yield layer.name, weight
            weight.view(-1)[at] = held


@pytest.mark.parametrize("name", PROTECTIONS)
def test_quick_looks_agree_with_guards_and_with_the_engine(
    residual: nn.Module, wide: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    for model in (residual, wide) if name in {"clamp", "corrected"} else (residual,):
        work = rh.capture(model, images, labels)
        learned = PROTECTIONS[name].learned(work)
        module = harden(model, [learned], images, labels, alarms=True)
        slow = copy.deepcopy(module)
        slow._scouts = {}
        guard, fired = joined([learned], work), 0
        (key,) = module(images)[1]
        assert not module(images)[1][key].any() or name == "thresholds"
        pairs = zip(faulty(module, 3), faulty(slow, 3), strict=True)
        for (layer, weight), _ in pairs:
            found, expected = module(images), slow(images)
            torch.testing.assert_close(found, expected, equal_nan=True, rtol=1e-5, atol=1e-5)
            assert torch.equal(found[1][key], expected[1][key])
            fired += int(found[1][key].sum())
            if not weight.isfinite().all():
                continue  # which the engine is tried with elsewhere
            number = [x.name for x in work.layers].index(layer)
            wrong = _with_weight(work, number, weight)
            engine = run_noisy(wrong, rh.NeuronErrors(0.0), {}, (0, 0), guard)
            assert torch.equal(engine.detected, found[1][key])
            torch.testing.assert_close(
                engine.logits, found[0], equal_nan=True, rtol=1e-4, atol=1e-4
            )
        assert fired


def _with_weight(work: Workload, number: int, weight: Tensor) -> Workload:
    return work.with_constants({work.layers[number].operands[1]: weight.clone()})


@pytest.mark.parametrize("large", [0, 2**40])
def test_sums_by_taps_are_those_of_a_convolution(
    residual: nn.Module, wide: nn.Module, images: Tensor, labels: Tensor, large: int, monkeypatch
) -> None:
    monkeypatch.setattr(quiet, "_LARGE", large)
    monkeypatch.setattr(quiet, "_MANY", 0 if not large else 8)
    random = torch.Generator().manual_seed(0)
    count = 0
    for model in (residual, wide):
        work = rh.capture(model, images, labels)
        values = work.program.values(work.images)
        for step, check in checked_layers(work).items():
            source = work.program.rows[work.layers[work.numbers[step]].operands[0]]
            shape = source.apart(source.split(values[work.layers[work.numbers[step]].operands[0]]))
            inputs = torch.randn(shape.shape, generator=random)
            found = quiet.at_positions(check.sums, inputs)
            torch.testing.assert_close(found, check.sums.at_positions(inputs))
            count += 1
    assert count == 9


def test_sums_of_strided_dilated_and_padded_windows(monkeypatch) -> None:
    monkeypatch.setattr(quiet, "_LARGE", 0)
    random = torch.Generator().manual_seed(0)
    for stride, padding, dilation, kernel in [
        ((1, 2), (0, 1), (1, 1), (3, 2)), ((2, 3), (2, 0), (2, 1), (3, 3)),
        ((3, 1), (4, 4), (1, 3), (2, 3)), ((1, 1), (0, 0), (1, 1), (1, 1)),
    ]:  # fmt: skip
        model = nn.Sequential(
            nn.Conv2d(8, 6, kernel, stride, padding, dilation, groups=2), nn.Flatten()
        )
        inputs = torch.randn(3, 8, 9, 8, generator=random)
        work = rh.capture(model, inputs, torch.zeros(3, dtype=torch.int64))
        (check,) = checked_layers(work).values()
        found = quiet.at_positions(check.sums, inputs)
        torch.testing.assert_close(found, check.sums.at_positions(inputs))


def test_alarms_have_names_and_come_image_by_image(residual, images, labels) -> None:
    told: list[dict[str, Tensor]] = []
    clamps = [rh.RangeRestriction(), rh.Parity(), rh.RangeRestriction(cushion=1.0)]
    module = harden(residual, clamps, images, labels, alarms=True, on_alarm=told.append)
    outputs, alarms = module(images)
    assert {name: own.tolist() for name, own in alarms.items()} == {
        "RangeRestriction": [False] * 6,
        "RangeRestriction-2": [False] * 6,
    }
    assert not told
    torch.testing.assert_close(outputs, residual(images), rtol=1e-5, atol=1e-5)
    loud = images.clone()
    loud[2] *= 100
    outputs, alarms = module(loud)
    assert alarms["RangeRestriction"].tolist() == [False, False, True, False, False, False]
    assert not alarms["RangeRestriction-2"].any()  # what the first leaves is within
    assert len(told) == 1
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(outputs[others], residual(images)[others], rtol=1e-5, atol=1e-5)

    def refuse(_: object) -> None:
        raise RuntimeError("stop the line")

    with pytest.raises(RuntimeError, match="stop the line"):
        harden(residual, clamps, images, on_alarm=refuse)(loud)


class Once:
    """An operation whose result is wrong the first time that it is asked."""

    def __init__(self, op, images: int, times: int = 1) -> None:
        self.op, self.images, self.left = op, images, times

    def __call__(self, *args, **kwargs):
        found = self.op(*args, **kwargs)
        if self.left:
            self.left -= 1
            found = found.clone()
            found[self.images] += 1e3
        return found


def _struck(module: Protected, image: int, times: int = 1) -> None:
    """Let the first layer give a wrong result for an image."""
    step = module.workload.layers[0].step
    own = module.workload.program.steps[step]
    object.__setattr__(own, "op", Once(own.op, image, times))


@pytest.mark.parametrize("policy", ["keep", "rerun", "reset"])
def test_policies_do_what_they_can(residual, images, labels, policy: str) -> None:
    golden = residual(images)
    told: list[dict[str, Tensor]] = []
    make = {"alarms": True, "on_alarm": told.append, "policy": policy}
    module = harden(residual, [rh.Checksum()], images, labels, **make)
    _struck(module, 4)
    outputs, alarms = module(images)
    gone = policy != "keep"
    assert alarms["Checksum"].tolist() == [False] * 4 + [not gone] + [False]
    assert torch.allclose(outputs, golden, atol=1e-4) == gone
    assert len(told) == 1
    assert told[0]["Checksum"].tolist() == [False] * 4 + [True, False]
    told.clear()
    module.weights("stem").view(-1)[3] += 50
    outputs, alarms = module(images)
    mended = policy == "reset"
    assert bool(alarms["Checksum"].any()) != mended
    assert torch.allclose(outputs, golden, atol=1e-4) == mended
    assert len(told) == (2 if gone else 1)
    if mended:
        told.clear()
        assert not module(images)[1]["Checksum"].any()  # the memory is as it was
        assert not told
    else:
        with pytest.raises(ValueError, match="no second copy"):
            module.restore()


def test_second_copies_are_of_the_weights_that_were_loaded(residual, images, labels) -> None:
    guards = [rh.RangeRestriction(cushion=100.0), rh.Checksum()]
    module = harden(residual, guards, images, labels, alarms=True, policy="reset")
    other = harden(seeded(copy.deepcopy(residual), 5), guards, images, labels)
    module.load_state_dict(other.state_dict())
    module.half().float()
    expected = module(images)[0]
    torch.testing.assert_close(expected, other.half().float()(images))
    module.weights("stem").view(-1)[0] = 1e6
    outputs, alarms = module(images)
    assert not alarms["Checksum"].any()
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["clamp", "corrected", "gate"])
def test_other_precisions_raise_no_alarms_and_see_wrong_weights(
    residual, wide, images, labels, name: str, dtype: torch.dtype
) -> None:
    for model in (residual, wide):
        plain = copy.deepcopy(model).to(dtype)
        module = harden(model, [PROTECTIONS[name]], images, labels, alarms=True).to(dtype)
        outputs, alarms = module(images.to(dtype))
        assert outputs.dtype == dtype
        (own,) = alarms.values()
        assert not own.any()
        reach = 40 * torch.finfo(dtype).eps * model(images).abs().max().item()
        torch.testing.assert_close(outputs, plain(images.to(dtype)), rtol=0, atol=max(reach, 1e-5))
        for layer in module.workload.layers:
            if layer.name != "stem" and (name == "clamp" or layer.name == "head"):
                continue  # not all layers have bounds behind them, or a gate
            weight = module.weights(layer.name)
            held = weight.view(-1)[1].clone()
            weight.view(-1)[1] = 1000.0
            assert module(images.to(dtype))[1][next(iter(alarms))].any(), layer.name
            weight.view(-1)[1] = held
        back = module.float()
        assert not next(iter(back(images)[1].values())).any()


def test_models_in_half_precision_give_modules_in_it(residual, images) -> None:
    half = copy.deepcopy(residual).half()
    module = rh.harden(half, [rh.RangeRestriction(), rh.Checksum()], images, alarms=True)
    outputs, alarms = module(images.half())
    assert outputs.dtype == torch.float16
    assert not any(own.any() for own in alarms.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that weights are rounded to float32
        module = rh.harden(copy.deepcopy(residual).double(), [rh.Checksum()], images)
    assert module(images.double()).dtype == torch.float64


@pytest.mark.parametrize("name", ["clamp", "detector", "corrected", "gate"])
def test_copies_and_pickles_are_the_same(residual, images, labels, name: str) -> None:
    module = harden(residual, [PROTECTIONS[name]], images, labels, alarms=True, policy="reset")
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ]
    golden = module(images)[0]
    module.weights("left").view(-1)[0] += 30
    wrong = images.clone()
    wrong[1] *= 50
    for other in copies:
        assert torch.equal(other(images)[0], golden)  # nothing is shared
        other.weights("left").view(-1)[0] += 30
    expected = module(wrong)
    for other in copies:
        found = other(wrong)
        assert torch.equal(found[0], expected[0])
        assert {k: v.tolist() for k, v in found[1].items()} == {
            k: v.tolist() for k, v in expected[1].items()
        }
    assert module.workload.images.numel() == 0  # the user's images are not in it


def test_arithmetic_of_multipliers_is_pickled_too(residual, images, labels) -> None:
    work = rh.capture(residual, images, labels, format=rh.INT8)
    work = work.with_(multiplier=rh.multiplier_named("mul8s_1L2H@v1"))
    module = rh.harden(work, [rh.RangeRestriction()])
    again = pickle.loads(pickle.dumps(module))
    assert torch.equal(again(work.images), module(work.images))
    with pytest.raises(TypeError, match="harden the network without that arithmetic"):
        module.half()
    with pytest.raises(ValueError, match="sums of integers in the accumulators"):
        rh.harden(rh.capture(residual, images, labels, format=rh.INT8).with_(array=rh.Array(4, 4)),
                  [rh.Checksum()])  # fmt: skip


def test_modules_run_as_modules_do(residual, images, labels) -> None:
    guards = [rh.RangeRestriction(), rh.Checksum(), GATED]
    module = harden(residual, guards, images, labels, alarms=True)
    expected = module(images)[0]
    for some in (images[:1], images[:0], images.repeat(3, 1, 1, 1)):
        outputs, alarms = module(some)
        assert all(own.shape == (len(some),) for own in alarms.values())
        torch.testing.assert_close(outputs, residual(some), rtol=1e-5, atol=1e-5)
    odd = images.to(memory_format=torch.channels_last)
    for other in (odd, images.transpose(2, 3).contiguous().transpose(2, 3)):
        torch.testing.assert_close(module(other)[0], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(module.train()(images)[0], module.eval()(images)[0])
    with torch.inference_mode():
        assert torch.equal(module(images)[0], expected)
    given = images.clone().requires_grad_()
    module(given)[0].sum().backward()
    assert given.grad is not None
    inside = nn.Sequential(harden(residual, guards, images), nn.Softmax(1)).double()
    assert inside(images.double()).dtype == torch.float64


def test_other_devices_see_the_same(
    residual, images, labels, device: torch.device, monkeypatch
) -> None:
    if device.type == "meta":
        pytest.skip("the stand-in has no modules")
    module = harden(residual, [rh.RangeRestriction(), rh.Checksum(True, True, True)], images,
                    labels, alarms=True)  # fmt: skip
    module.weights("left").view(-1)[0] += 30
    expected = module(images)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    outputs, alarms = module.to(device)(images.to(device))
    torch.testing.assert_close(outputs.cpu(), expected[0], rtol=1e-4, atol=1e-4)
    assert all(torch.equal(alarms[name].cpu(), own) for name, own in expected[1].items())


def test_what_can_not_be_is_refused(residual, images, labels) -> None:
    oracle = rh.NeuronGradientSuppressor(gate=rh.Gate.ORACLE, tap=rh.Tap.OUTPUT)
    with pytest.raises(TypeError, match=r"oracle gate .* Take NeuronGradientSuppressor"):
        rh.harden(residual, [oracle], images)
    with pytest.raises(ValueError, match="policy 'again' can't be: use keep, rerun, reset"):
        rh.harden(residual, [], images, policy="again")
    module = rh.harden(residual, [rh.Checksum()], images, policy="rerun")
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(TypeError, match=r"autocast .* enabled=False"),
    ):
        module(images)
    with pytest.raises(TypeError, match=r"images of torch.float16 can't be for a module in"):
        module(images.half())
    with pytest.raises(TypeError, match=r"torch.float8_e5m2 can't be"):
        module.to(torch.float8_e5m2)
    with pytest.raises(ValueError, match="no layer 'tail'"):
        module.weights("tail")
    with pytest.raises(Exception, match="a graph can't: export with policy='keep'"):
        torch.export.export(module, (images,))


def test_alarms_are_part_of_exported_graphs(residual, images, labels) -> None:
    protections: list[Protection] = [rh.RangeRestriction(), rh.Checksum(), GATED]
    module = harden(residual, protections, images, labels, alarms=True)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (images,), dynamic_shapes={"images": {0: batch}})
    loud = images[:4].clone()
    loud[2] *= 100
    found, expected = program.module()(loud), module(loud)
    torch.testing.assert_close(found[0], expected[0])
    assert expected[1]["RangeRestriction"].tolist() == [False, False, True, False]
    for name, own in expected[1].items():
        assert torch.equal(found[1][name], own)
    program.state_dict["constant_1"].view(-1)[0] += 30
    module.get_buffer("constant_1").view(-1)[0] += 30
    assert module(loud)[1]["Checksum"].any()
    assert torch.equal(program.module()(loud)[1]["Checksum"], module(loud)[1]["Checksum"])


@pytest.mark.parametrize("name", ["clamp", "corrected"])
def test_onnx_runs_what_the_module_runs(residual, images, labels, name: str) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module = harden(residual, [PROTECTIONS[name]], images, labels, alarms=True)
    program = torch.onnx.export(module, (images,), dynamo=True, verbose=False)
    assert program is not None
    held = io.BytesIO()
    program.save(held)
    session = runtime.InferenceSession(held.getvalue())
    loud = images.clone()
    loud[2] *= 100
    found = session.run(None, {session.get_inputs()[0].name: loud.numpy()})
    outputs, alarms = module(loud)
    torch.testing.assert_close(torch.from_numpy(found[0]), outputs, rtol=1e-4, atol=1e-4)
    assert torch.equal(torch.from_numpy(found[1]), next(iter(alarms.values())))
