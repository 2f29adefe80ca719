"""Fast runs, whole runs and plain forward passes, over networks that are no chains of layers.

Gates, branches that meet again, recurrences, attention, reshapes, modules that run more than once,
and images that do not lie along the first axis; made up, or as their users have them.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import radhard as rh
from conftest import seeded
from engine.test_oracle import TOLERANCE, random_corruptions, relative, strike
from oracles.calls import called_logits
from radhard.engine import stage
from radhard.engine.layerstage import LayerStage
from radhard.engine.stage import Barrier
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.network.workload import Workload

SIDE, CHANNELS = 4, 4


class Mixed(nn.Module):
    """Operations one after the other on a map; some read one that an earlier operation left."""

    def __init__(self, parts: list[tuple[str, int]]) -> None:
        super().__init__()
        self.parts = parts
        self.convs = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.pair = nn.Conv2d(CHANNELS // 2, CHANNELS // 2, 3, padding=1)
        self.dense = nn.ModuleList(nn.Linear(CHANNELS, CHANNELS) for _ in range(4))
        self.row = nn.Linear(CHANNELS * SIDE, CHANNELS)
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.stem = nn.Conv2d(2, CHANNELS, 3, padding=1)
        self.head = nn.Linear(CHANNELS * SIDE * SIDE, 4)

    def forward(self, x: Tensor) -> Tensor:
        held = [self.stem(x * 0.5)]
        for name, which in self.parts:
            held.append(PARTS[name](self, held[-1], held[which % len(held)]))
        return self.head(held[-1].flatten(1))


def squeeze(net: Mixed, x: Tensor, _: Tensor) -> Tensor:
    gate = net.dense[1](torch.relu(net.dense[0](x.mean((2, 3)))))
    return x * torch.sigmoid(gate)[:, :, None, None]


def tokens(net: Mixed, x: Tensor, other: Tensor) -> Tensor:
    q, k, v = (net.dense[n](part.flatten(2).transpose(1, 2)).unflatten(2, (2, 2)).transpose(1, 2)
               for n, part in enumerate((x, other, x)))  # fmt: skip
    mixed = F.scaled_dot_product_attention(q, k[:, :, ::2], v[:, :, ::2], scale=0.3)
    return mixed.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, (SIDE, SIDE)) + x


def second(net: Mixed, x: Tensor, _: Tensor) -> Tensor:
    """Dense layers with the images on the second axis."""
    along = net.dense[3](x.flatten(2).permute(2, 0, 1))
    return along.permute(1, 2, 0).unflatten(2, (SIDE, SIDE))


def products(net: Mixed, x: Tensor, other: Tensor) -> Tensor:
    scores = torch.matmul(x.flatten(2).transpose(1, 2), other.flatten(2)) * 0.2
    mixed = torch.bmm(torch.softmax(scores, -1), net.dense[2](x.flatten(2).transpose(1, 2)))
    return mixed.transpose(1, 2).unflatten(2, (SIDE, SIDE))


def gru(net: Mixed, x: Tensor, _: Tensor) -> Tensor:
    h = x[:, :, 0, 0]
    for t in range(SIDE):
        step = net.row(x[:, :, t].flatten(1))
        r, z = torch.sigmoid(step + net.dense[0](h)), torch.sigmoid(step - net.dense[1](h))
        h = (1 - z) * torch.tanh(step + r * net.dense[2](h)) + z * h
    return x + h[:, :, None, None]


def lstm(net: Mixed, x: Tensor, _: Tensor) -> Tensor:
    h = c = torch.zeros_like(x[:, :, 0, 0])
    for t in range(3):
        step = net.row(x[:, :, t].flatten(1))
        i, f, o, k = (step + part(h) for part in net.dense)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(k)
        h = torch.sigmoid(o) * torch.tanh(c)
    return x * h[:, :, None, None]


def keep(net: Mixed, x: Tensor, other: Tensor) -> Tensor:
    positive = x > 0  # no floats
    return x * positive - other * ~positive


def folded(net: Mixed, x: Tensor, _: Tensor) -> Tensor:
    """A convolution of two maps per image."""
    return net.pair(x.reshape(-1, CHANNELS // 2, SIDE, SIDE)).reshape(x.shape)


PARTS: dict[str, Callable[[Mixed, Tensor, Tensor], Tensor]] = {
    "convolve": lambda net, x, _: net.convs[0](x),
    "branch": lambda net, x, other: x - net.convs[1](other),
    "meet": lambda net, x, other: torch.relu(x + other),
    "gate": lambda net, x, other: torch.sigmoid(x) * other,
    "largest": lambda net, x, other: torch.maximum(x, other),
    "choose": lambda net, x, other: torch.where(other > 0, x, 0.5 * x),
    "keep": keep,
    "activate": lambda net, x, _: nn.functional.silu(x),
    "normalise": lambda net, x, _: torch.relu(net.norm(x)),
    "pool": lambda net, x, _: nn.functional.max_pool2d(x, 3, 1, 1),
    "turn": lambda net, x, _: x.permute(0, 1, 3, 2),
    "shuffle": lambda net, x, _: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2),
    "reshape": lambda net, x, _: x.reshape(-1, SIDE, CHANNELS, SIDE).transpose(1, 2),
    "squeeze": squeeze,
    "tokens": tokens,
    "second": second,
    "products": products,
    "gru": gru,
    "lstm": lstm,
    "folded": folded,
}


def faults_of_all(work: Workload, each: int, seed: int) -> Corruption:
    """Random corruptions of weights, inputs and outputs, where layers have them."""
    parts = []
    for operand in ("weight", "input", "output"):
        able = [k for k, given in enumerate(work.parameters) if operand == "output" or given]
        parts.append(random_corruptions(work, operand, each, seed, able))
    columns = [[getattr(part, name) for part in parts] for name in Corruption.__dataclass_fields__]
    return Corruption(*map(np.concatenate, columns))


def agrees(model: nn.Module, work: Workload, corruption: Corruption, rows: int = 8) -> None:
    """Of each fault: the fast run, the whole run, and the plain forward pass."""
    trace = rh.record(work, rows=rows)
    fast = rh.resume(trace, corruption).logits
    whole = rh.resume(trace, corruption, patches=False).logits
    exact = work.formats.name not in TOLERANCE
    tolerance = TOLERANCE.get(work.formats.name, 1e-4)
    for k in range(len(corruption)):
        plain = called_logits(model, work, int(corruption.image[k]), strike(corruption, k))
        if exact:
            assert torch.equal(fast[k], whole[k]), strike(corruption, k)
        assert relative(whole[k], plain) <= tolerance, strike(corruption, k)
        assert relative(fast[k], plain) <= tolerance, strike(corruption, k)


def mixtures(seed: int, size: int = 5) -> list[list[tuple[str, int]]]:
    """All parts in some order, cut into networks; each with a number for what else it reads."""
    rng = np.random.default_rng(seed)
    order = [(str(name), int(rng.integers(0, size))) for name in rng.permutation(sorted(PARTS))]
    return [order[k : k + size] for k in range(0, len(order), size)]


@pytest.mark.parametrize(
    ("name", "seed"), [("fp32", 0), ("int8", 1), ("fixed16_10", 2), ("fp64", 3)]
)
def test_made_up_networks(name: str, seed: int) -> None:
    for parts in mixtures(seed):
        model = seeded(Mixed(parts), seed)
        images = torch.randn(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        work = rh.capture(model, images, torch.tensor([0, 1, 2]), format=rh.format_named(name))
        agrees(model, work, faults_of_all(work, 4, seed))


class Recurrent(nn.Module):
    """An LSTM cell written out with linear layers, which run at every step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.x = nn.ModuleList(nn.Linear(6, 8) for _ in range(4))
        self.y = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 8)
        for t in range(self.steps):
            i, f, o, k = (a(x[:, t]) + b(h) for a, b in zip(self.x, self.y, strict=True))
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(k)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


def recurrent(steps: int, name: str = "fp32") -> tuple[nn.Module, Workload]:
    model = seeded(Recurrent(steps))
    images = torch.randn(4, steps, 6, generator=torch.Generator().manual_seed(2))
    return model, rh.capture(model, images, torch.arange(4), format=rh.format_named(name))


@pytest.mark.parametrize("steps", [2, 3, pytest.param(12, marks=pytest.mark.exhaustive)])
def test_recurrences_of_any_length(steps: int) -> None:
    model, work = recurrent(steps)
    agrees(model, work, faults_of_all(work, 15, steps))


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_a_plan_that_forgets_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Barriers that take another's place without its sources lose differences, silently."""

    def forgetful(trace: Trace, found: list, barrier: Barrier) -> list:
        while not set(trace.live_after(barrier.first - 1)) <= trace.values.keys():
            last = found.pop()
            barrier = Barrier(last.first, last.sources)
        return [*found, barrier]

    monkeypatch.setattr(stage, "_with_barrier", forgetful)
    _, work = recurrent(2, name)
    corruption, trace = faults_of_all(work, 60, 0), rh.record(work)
    with pytest.warns(
        RuntimeWarning, match=r"Recurrent: following differences .* \(layer x.0, y.0"
    ):
        fast = rh.resume(trace, corruption).logits
    whole = rh.resume(trace, corruption, patches=False).logits
    assert torch.equal(fast.nan_to_num(), whole.nan_to_num())


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8"])
def test_a_layer_whose_weights_are_wrong_is_found_out(
    residual: nn.Module, images: Tensor, labels: Tensor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = LayerStage.packed

    def turned(self: LayerStage, weight: Tensor, exact: bool, sums: np.dtype) -> tuple:
        return packed(self, weight.flip(-1) if self.layer.name == "left" else weight, exact, sums)

    monkeypatch.setattr(LayerStage, "packed", turned)
    work = rh.capture(residual, images, labels, format=rh.format_named(name))
    corruption = faults_of_all(work, 20, 0)
    with pytest.warns(RuntimeWarning, match="Residual: following differences"):
        rh.resume(rh.record(work), corruption)


def test_networks_that_begin_with_no_layer() -> None:
    """What stands before the first layer is read by no run, and need not be stored."""
    model = seeded(nn.Sequential(Scaled(), nn.Conv2d(2, 4, 3), Means(), nn.Linear(4, 5)))
    images = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    work = rh.capture(model, images, torch.arange(4))
    agrees(model, work, faults_of_all(work, 40, 0))


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x * 2) - 0.5


class Means(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).mean((2, 3))
