"""Batched tensors on every device at hand, against plain forward passes and the host's own runs."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from engine.test_networks import faults_of_all
from engine.test_oracle import TOLERANCE, random_corruptions, relative, strike
from oracles.calls import called_logits
from oracles.elsewhere import elsewhere
from oracles.forward import plain_logits
from radhard.engine import needs
from radhard.engine.device import device_named, exactly
from radhard.engine.guard import StepGuard
from radhard.engine.trace import Trace
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.network import product
from radhard.network.workload import Workload
from radhard.protect.protection import joined

FORMATS = ("fp32", "fp16", "bf16", "int8", "int8-channel", "fixed16_10", "fp64", "fp8-e4m3")
ALLOWED = {"bf16": 0.1, "fp8-e4m3": 0.3, **TOLERANCE}
#: Formats that all devices compute bit for bit alike, where what stands between layers is exact.
WHOLE = ("int8", "int8-channel", "fixed16_10", "uint8")


def traced(work: Workload, device: torch.device, guard: StepGuard | None = None) -> Trace:
    return rh.record(work.on(device), guard, batched=True)


def all_operands(work: Workload, each: int) -> Corruption:
    parts = [random_corruptions(work, operand, each, 5) for operand in OPERANDS]
    columns = [[getattr(part, name) for part in parts] for name in Corruption.__dataclass_fields__]
    return Corruption(*map(np.concatenate, columns))


@pytest.mark.parametrize("name", FORMATS)
def test_faults_are_those_of_plain_forward_passes(
    device: torch.device, residual: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    work = rh.capture(residual, images, labels, format=rh.format_named(name))
    corruption, trace = all_operands(work, 20), traced(work, device)
    found = rh.resume(trace, corruption).logits
    for k in range(len(corruption)):
        plain = plain_logits(residual, work, int(corruption.image[k]), strike(corruption, k))[0]
        if name in WHOLE:
            assert torch.equal(found[k], plain), strike(corruption, k)
        else:
            assert relative(found[k], plain) <= ALLOWED[name], strike(corruption, k)


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_attention_is_that_of_plain_forward_passes(
    device: torch.device, attention: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    work = rh.capture(attention, images, labels, format=rh.format_named(name))
    corruption = faults_of_all(work, 15, 2)
    found = rh.resume(traced(work, device), corruption).logits
    for k in range(len(corruption)):
        plain = called_logits(attention, work, int(corruption.image[k]), strike(corruption, k))
        assert relative(found[k], plain) <= TOLERANCE.get(name, 1e-4), strike(corruption, k)


@pytest.mark.parametrize("name", FORMATS)
def test_runs_without_a_fault_are_golden_bit_for_bit(
    device: torch.device, residual: nn.Module, images: Tensor, labels: Tensor, name: str
) -> None:
    work = rh.capture(residual, images, labels, format=rh.format_named(name))
    struck, trace = all_operands(work, 40), traced(work, device)
    none = np.zeros_like(struck.flip)
    columns = {field: getattr(struck, field) for field in Corruption.__dataclass_fields__}
    unstruck = Corruption(**{**columns, "keep": none - 1, "flip": none})
    run = rh.resume(trace, unstruck)
    assert torch.equal(run.logits, run.golden)
    order = np.random.default_rng(0).permutation(len(struck))
    one, other = rh.resume(trace, struck), rh.resume(trace, struck[order], pool=7)
    assert torch.equal(one.logits[order].nan_to_num(7), other.logits.nan_to_num(7))


GUARDS = {
    "ranges": [rh.RangeRestriction(0.01)],
    "checksum": [rh.Checksum(channels=True, correct=True)],
    "both, and thresholds": [rh.Checksum(), rh.ValueThreshold(), rh.RangeRestriction(0.01)],
    "detector": [rh.RangeDetector()],
    "gated gradients": [rh.NeuronGradientSuppressor(gate=rh.Gate.ROW_CHECKSUM, tap=rh.Tap.OUTPUT)],
    "medians and bounds": [rh.MedianFeature(), rh.BoundedNeuron()],
    "clipped": [rh.ClippedActivation()],
}
#: Clipping is a step where golden values reach what was learned: float32 has last bits there.
WATCHED = [(name, kind) for kind in GUARDS for name in ("int8", "fp32") if kind != "clipped"]


class Plain(nn.Module):
    """Nothing between its layers has last bits: in integers all devices compute alike."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.last, self.head = nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.Linear(72, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(self.last(torch.relu(self.conv(x)) + x)).flatten(1))


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return seeded(Plain())


@pytest.mark.parametrize(("name", "kind"), [*WATCHED, ("int8", "clipped")])
def test_guards_do_what_they_do_on_the_host(
    device: torch.device, plain: nn.Module, images: Tensor, labels: Tensor, name: str, kind: str
) -> None:
    work = rh.capture(plain, images, labels, format=rh.format_named(name))
    corruption, protections = all_operands(work, 30), GUARDS[kind]
    host = rh.resume(rh.record(work, joined(protections, work)), corruption)
    there = work.on(device)
    run = rh.resume(traced(work, device, joined(protections, there)), corruption)
    if name == "int8":
        assert torch.equal(run.detected, host.detected)
        assert torch.equal(run.logits, host.logits)
        return
    # beside huge values little is left of the others in a sum, and what depends on its order
    assert (run.detected != host.detected).double().mean() < 0.02
    both = torch.isfinite(run.logits).all(1) & torch.isfinite(host.logits).all(1)
    assert both.double().mean() > 0.5  # near the largest number the order decides what overflows
    pairs = zip(run.logits[both], host.logits[both], strict=True)
    assert np.mean([relative(found, expected) < 1e-3 for found, expected in pairs]) > 0.95


@pytest.mark.parametrize(
    "errors",
    [rh.NeuronErrors(0.01), rh.NeuronErrors(0.001, per_bit=True), rh.WeightErrors(0.02)],
    ids=["neuron", "bit", "weight"],
)
def test_errors_at_a_rate_are_those_of_the_host(
    device: torch.device, plain: nn.Module, images: Tensor, labels: Tensor, errors
) -> None:
    work = rh.capture(plain, images, labels, format=rh.INT8)
    protections = [rh.RangeRestriction().learned(work)]
    host = rh.under_errors(work, errors, protections, repetitions=3)
    there = rh.under_errors(work.on(device), errors, protections, repetitions=3)
    assert (there.correct == host.correct).all()
    assert (there.detected == host.detected).all()
    assert host.detected.any()


CHIPS = {chip.name: chip for chip in (rh.chips.EYERISS, rh.chips.SOFTWARE)}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radhard.campaign.shard.SHARD", 100)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", ["int8", "fp16"])
def test_campaigns_do_not_depend_on_the_device(
    device: torch.device, residual: nn.Module, images: Tensor, labels: Tensor, name: str, chip: str
) -> None:
    work = rh.capture(residual, images, labels, format=rh.format_named(name))
    protections = (rh.RangeDetector().learned(work.on(device)),)
    host = rh.Campaign(work, CHIPS[chip], protections=protections, images=3)
    there = host.with_(workload=work.on(device))
    assert there.id == host.id
    assert there.workload.fingerprint() == work.fingerprint()
    space = host.space()
    for shard in (0, 1):
        one, other = host.draw(space, shard), there.draw(space, shard)
        for column in ("stratum", "index", "image", "keep", "flip", "weight", "cell"):
            assert (getattr(one, column) == getattr(other, column)).all()
    expected, found = host.run(until=200), there.run(until=200)
    for metric in ("sdc1", "masked", "correct", "detected", "activated"):
        if name == "int8":
            assert found[metric] == expected[metric], metric
        else:
            assert abs(found[metric].value - expected[metric].value) < 0.02, metric


@pytest.mark.usefixtures("small_shards")
def test_faults_spread_as_they_do_on_the_host(
    device: torch.device, plain: nn.Module, images: Tensor, labels: Tensor
) -> None:
    work = rh.capture(plain, images, labels, format=rh.INT8)
    host, there = (
        rh.follow(rh.Campaign(one, rh.chips.EYERISS), 60) for one in (work, work.on(device))
    )
    np.testing.assert_allclose(there.changed, host.changed, rtol=1e-6)  # shares are divided
    assert (host.changed > 0).any()
    torch.testing.assert_close(torch.from_numpy(there.distance), torch.from_numpy(host.distance))


def test_batches_follow_the_room_of_a_device(
    monkeypatch: pytest.MonkeyPatch, residual: nn.Module, images: Tensor, labels: Tensor
) -> None:
    work = rh.capture(residual, images, labels)
    seen = []
    with elsewhere() as there:
        for room in (1 << 40, 1 << 20, 1):
            monkeypatch.setattr(needs, "room_on", lambda _, room=room: room)
            trace = rh.record(work.on(there))
            seen.append((trace.rows, trace.pool))
    assert seen[0] == (1024, 1 << 15)
    assert seen[1][0] < seen[0][0]
    assert seen[2] == (1, 1)


def test_what_depends_on_the_place_in_a_batch_is_told(
    monkeypatch: pytest.MonkeyPatch, residual: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """As from a kernel that adds up some rows of a batch in another order."""
    work, convolution = rh.capture(residual, images, labels, name="shaky"), product.convolution

    def shaky(*given) -> Tensor:
        found = convolution(*given)
        place = torch.arange(len(found), device=found.device).view(-1, *[1] * (found.dim() - 1))
        return found * (1 + 2.0**-20 * (place % 3))

    monkeypatch.setattr("radhard.network.products.convolution", shaky)
    with elsewhere() as there, pytest.warns(RuntimeWarning, match="where in a batch"):
        rh.record(work.on(there))


@pytest.fixture
def fast_products() -> Iterator[None]:
    """What users set for speed."""
    backends = torch.backends
    before = torch.get_float32_matmul_precision(), backends.cudnn.benchmark
    torch.set_float32_matmul_precision("medium")
    backends.cudnn.benchmark = True
    yield
    torch.set_float32_matmul_precision(before[0])
    backends.cudnn.benchmark = before[1]


@pytest.mark.usefixtures("fast_products")
def test_products_are_exact_and_settings_are_put_back(
    device: torch.device, residual: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """In float32, 2049 squared needs all of its 24 bits: TF32 and bfloat16 have not got them."""
    held: list[tuple[str, bool, bool]] = []

    class Watching:
        def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
            cudnn = torch.backends.cudnn
            kept = torch.get_float32_matmul_precision(), cudnn.deterministic, cudnn.benchmark
            held.append(kept)
            one = torch.full((64, 64), 2049.0, device=output.device)
            assert (one.tril().triu() @ one == 2049.0**2).all()
            return output, torch.zeros(len(output), dtype=torch.bool, device=output.device)

    work = rh.capture(residual, images, labels)
    trace = rh.record(work.on(device), Watching(), batched=True)
    rh.resume(trace, all_operands(work, 5))
    assert set(held) == {("highest", True, False)}
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.backends.cudnn.benchmark


def test_newer_settings_are_put_back() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"  # the older switch does not know of it
        with exactly():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


@pytest.mark.parametrize("name", ["cuda:97", "meta", "nonsense"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match=f"device '{name}' can't be: use auto or cpu"):
        device_named(name)


def test_names_of_devices() -> None:
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
