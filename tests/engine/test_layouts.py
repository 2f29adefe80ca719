"""Images that do not lie along the first axis: attention, sequences, maps folded into a batch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import radhard as rh
from conftest import seeded
from engine.test_networks import agrees, faults_of_all
from engine.test_oracle import TOLERANCE, relative, strike
from oracles.calls import called_logits
from radhard.accel.chip import Accelerator
from radhard.engine.noisy import run_noisy
from radhard.engine.resume import Resumed
from radhard.network.workload import Workload
from radhard.protect.tap import Tap, observed, tapped

TOKENS, WIDTH = 5, 8


class Attending(nn.Module):
    """Attention modules, and what is handed to them."""

    def __init__(self, module: nn.Module, **named: object) -> None:
        super().__init__()
        self.module, self.named = module, named
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        attention = getattr(self.module, "self_attn", self.module)
        own = getattr(attention, "batch_first", True)
        x = x if own else x.transpose(0, 1)
        if isinstance(self.module, nn.MultiheadAttention):
            y, weights = self.module(x, x, x, **self.named)
            y = y if weights is None else y + weights.sum(-1, keepdim=True)
        elif isinstance(self.module, nn.TransformerDecoderLayer):
            y = self.module(x, x[:, :3] if own else x[:3], **self.named)
        else:
            y = self.module(x, **self.named)
        return self.head(y.mean(1 if own else 0))


class Heads(nn.Module):
    """Attention written out, two heads; keys and values may be fewer, in number and in heads."""

    def __init__(self, keys: int = TOKENS, heads: int = 2, **named: object) -> None:
        super().__init__()
        self.keys, self.heads, self.named = keys, heads, named
        self.q = nn.Linear(WIDTH, WIDTH)
        self.k, self.v = (nn.Linear(WIDTH, heads * WIDTH // 2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).unflatten(2, (2, -1)).transpose(1, 2)
        k, v = (part(x[:, : self.keys]).unflatten(2, (self.heads, -1)).transpose(1, 2)
                for part in (self.k, self.v))  # fmt: skip
        named = {key: value(x) if callable(value) else value for key, value in self.named.items()}
        mixed = F.scaled_dot_product_attention(q, k, v, **named)
        return mixed.transpose(1, 2).flatten(2)


class Queries(nn.Module):
    """Learned queries, the same for all images, with the images behind them or folded into them."""

    def __init__(self, fold: bool) -> None:
        super().__init__()
        self.fold, self.queries = fold, nn.Parameter(torch.randn(3, 1, WIDTH))
        self.own, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        q = self.queries.expand(-1, x.shape[0], -1)
        y = self.own(q.reshape(-1, WIDTH)) if self.fold else self.own(q)
        keys = (y.view(3, -1, WIDTH) if self.fold else y).transpose(0, 1)
        found = torch.matmul(torch.softmax(torch.matmul(keys, x.transpose(1, 2)), 2), x)
        return self.head((found + keys).mean(1))


LATER = torch.ones(TOKENS, TOKENS).triu(1).bool()
MODULES: dict[str, Callable[[], nn.Module]] = {
    "module": lambda: Attending(nn.MultiheadAttention(WIDTH, 2, batch_first=True)),
    "module, one head": lambda: Attending(nn.MultiheadAttention(WIDTH, 1), need_weights=False),
    "module, masked": lambda: Attending(
        nn.MultiheadAttention(WIDTH, 4), need_weights=False, attn_mask=LATER
    ),
    "encoder": lambda: Attending(nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True)),
    "encoder, second": lambda: Attending(
        nn.TransformerEncoderLayer(WIDTH, 2, 12), src_mask=LATER, is_causal=True
    ),
    "decoder": lambda: Attending(nn.TransformerDecoderLayer(WIDTH, 2, 12)),
    "heads": lambda: Attending(Heads()),
    "causal": lambda: Attending(Heads(is_causal=True, scale=0.2)),
    "boolean mask": lambda: Attending(Heads(attn_mask=~LATER, scale=0.7)),
    "float mask": lambda: Attending(Heads(attn_mask=-2.0 * LATER)),
    "mask of the image": lambda: Attending(Heads(attn_mask=lambda x: x[:, None, None, :, 0] > -1)),
    "bias of the image": lambda: Attending(Heads(attn_mask=lambda x: x[:, None, :, :TOKENS])),
    "fewer keys": lambda: Attending(Heads(keys=3)),
    "queries": lambda: Queries(fold=False),
    "queries, folded": lambda: Queries(fold=True),
    "fewer heads": lambda: Attending(Heads(heads=1, enable_gqa=True)),
}


def captured(model: nn.Module, name: str) -> tuple[nn.Module, Workload]:
    images = torch.randn(4, TOKENS, WIDTH, generator=torch.Generator().manual_seed(3))
    return model, rh.capture(model, images, torch.arange(4), format=rh.format_named(name))


@pytest.mark.parametrize(("place", "kind"), list(enumerate(MODULES)))
def test_attention_agrees_with_forward_passes(place: int, kind: str) -> None:
    model = seeded(MODULES[kind](), 1)
    for name in ("fp32", ("int8", "fp16", "fixed16_10")[place % 3]):
        _, work = captured(model, name)
        agrees(model, work, faults_of_all(work, 10, 1))


def test_attention_is_software_only() -> None:
    _, work = captured(seeded(MODULES["causal"]()), "fp32")
    result = rh.Campaign(work, rh.chips.SOFTWARE).run(until=100)
    assert 0 <= result["sdc1"].low <= result["sdc1"].high <= 1
    for chip in (rh.chips.EYERISS, rh.chips.Published(4, 4), rh.chips.NVDLA_SMALL):
        with pytest.raises(
            ValueError, match=r"layer \S+ \(attention\) is neither .* chip software"
        ):
            rh.Campaign(work, chip).run(until=100)


class Sequence(nn.Module):
    """Linear layers on (tokens, images, width), or the same with images first."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.second = second
        self.a, self.b = nn.Linear(WIDTH, 6), nn.Linear(6, 7, bias=False)
        self.head = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1) if self.second else x
        return self.head(self.b(torch.relu(self.a(x))).mean(0 if self.second else 1))


CHIPS = (
    rh.chips.SOFTWARE, rh.chips.EYERISS, rh.chips.Published(3, 4), rh.chips.Published(4, 2, "ws"),
    rh.chips.NVDLA_SMALL, rh.chips.SIMT,
)  # fmt: skip


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_chips_on_sequences_agree_with_forward_passes(name: str, chip: Accelerator) -> None:
    """Any number of faults, as many as there are tokens too."""
    model, work = captured(seeded(Sequence(second=True), 2), name)
    space, trace = chip.sites(work), rh.record(work)
    for count in (TOKENS, 4, 60):
        faults = rh.Uniform().draw(space, count, np.random.default_rng(count))
        corruption = chip.corrupt(work, space, faults)
        run = rh.resume(trace, corruption)
        for k in range(count):
            plain = called_logits(model, work, int(corruption.image[k]), strike(corruption, k))
            tolerance = TOLERANCE.get(name, 0.0)
            assert relative(run.logits[k], plain) <= tolerance, strike(corruption, k)


@pytest.mark.parametrize("protection", [rh.RangeDetector(), rh.RangeRestriction()], ids=repr)
def test_protections_do_not_feel_where_images_lie(protection: rh.Protection) -> None:
    first, second = (guarded(protection, order) for order in (False, True))
    assert first.detected.any()
    assert torch.equal(first.detected, second.detected)
    torch.testing.assert_close(first.logits, second.logits, equal_nan=True)


@pytest.mark.parametrize("both", [False, True])
def test_checksums_differ_by_rounding_alone(both: bool) -> None:
    """What is learned is a largest rounding, which another order of sums makes another."""
    one, other = (guarded(rh.Checksum(True, both, both), order) for order in (False, True))
    far = guarded(rh.Checksum(True, both, both, margin=32), False).detected
    near = guarded(rh.Checksum(True, both, both, margin=2), False).detected
    assert far.any()
    assert not near.all()
    assert (far <= other.detected).all()
    assert (other.detected <= near).all()
    same = one.detected == other.detected
    torch.testing.assert_close(one.logits[same], other.logits[same], equal_nan=True)


def guarded(protection: rh.Protection, second: bool) -> Resumed:
    """Sixty faults of each layer under a protection that learned from its own layout."""
    work = captured(seeded(Sequence(second), 2), "fp32")[1]
    corruption = faults_of_all(captured(seeded(Sequence(False), 2), "fp32")[1], 60, 5)
    return rh.resume(rh.record(work, protection.learned(work).guard(work)), corruption)


class Frames(nn.Module):
    """A convolution that runs on two maps per image, and what stands behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, groups=1), nn.BatchNorm2d(3)
        self.next = nn.Conv2d(3, 6, 2, groups=3)
        self.head = nn.Linear(2 * 6 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x.reshape(-1, 1, *x.shape[2:]))))
        return self.head(self.next(y).reshape(-1, 2 * 6 * 4))


@pytest.mark.parametrize("name", ["fp32", "int8", "int8-channel", "fixed16_10"])
def test_convolutions_of_several_maps_agree_with_forward_passes(name: str) -> None:
    model = seeded(Frames(), 1)
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(3))
    work = rh.capture(model, images, torch.arange(4), format=rh.format_named(name))
    assert [layer.macs for layer in work.layers] == [2 * 3 * 9 * 9, 2 * 6 * 4 * 4, 48 * 4]
    agrees(model, work, faults_of_all(work, 40, 1))
    with pytest.raises(ValueError, match="layer conv"):
        rh.Campaign(work, rh.chips.EYERISS).run(until=10)


@pytest.mark.parametrize("tap", Tap)
def test_guards_see_each_image_alone_channel_by_channel(tap: Tap) -> None:
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(3))
    frames = seeded(Frames(), 1)
    tokens = seeded(Sequence(second=True), 2)
    for model, module, work in (
        (frames, frames.conv, rh.capture(frames, images, torch.arange(4))),
        (tokens, tokens.a, captured(tokens, "fp32")[1]),
    ):
        step = next(iter(tapped(work, tap)))
        seen = next(observed(work, [step]))[0][step]
        for image in range(4):
            held: list[Tensor] = []
            handle = module.register_forward_hook(lambda _, __, out, held=held: held.append(out))
            with torch.no_grad():
                model(work.images[image : image + 1])
                handle.remove()
                value = held[0]
                if tap == Tap.ACTIVATION:
                    value = torch.relu(frames.norm(value) if module is frames.conv else value)
            channels = value.movedim(1 if module is frames.conv else -1, 0).flatten(1)
            torch.testing.assert_close(seen[image], channels)


@pytest.mark.parametrize("tap", Tap)
def test_errors_do_not_feel_where_images_lie(tap: Tap) -> None:
    works = [captured(seeded(Sequence(second), 2), "fp32")[1] for second in (False, True)]
    errors = rh.NeuronErrors(0.1)
    first, second = (run_noisy(work, errors, tapped(work, tap), (1, 2)).logits for work in works)
    torch.testing.assert_close(first, second, equal_nan=True)


@pytest.mark.parametrize("protection", [rh.RangeRestriction(), rh.Checksum(True, True, True)])
def test_hardened_modules_keep_their_layout(protection: rh.Protection) -> None:
    model, work = captured(seeded(Sequence(second=True), 2), "fp32")
    module = rh.harden(model, [protection.learned(work)], work.images, work.labels)
    torch.testing.assert_close(module(work.images), model(work.images))
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (work.images,), dynamic_shapes={"images": {0: batch}})
    torch.testing.assert_close(program.module()(work.images[:3]), model(work.images[:3]))
