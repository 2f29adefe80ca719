"""Differences against plain forward passes, over networks that hypothesis makes up."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import radhard as rh
from conftest import seeded
from engine.test_oracle import TOLERANCE, random_corruptions, relative, strike
from oracles.forward import plain_logits
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.metrics.outcome import classify
from radhard.network.source import subject


@dataclass(frozen=True)
class Block:
    """A convolution with what may stand around it."""

    kernel: int
    stride: int
    padding: int
    dilation: int
    groups: str
    normalised: bool
    activation: str
    join: str
    pool: str


BLOCKS = st.builds(
    Block,
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.sampled_from([1, 1, 1, 2, 3]),
    padding=st.integers(0, 3),
    dilation=st.sampled_from([1, 1, 2]),
    groups=st.sampled_from(["one", "two", "depthwise"]),
    normalised=st.booleans(),
    activation=st.sampled_from(["relu", "relu6", "tanh", "silu", "none"]),
    join=st.sampled_from(["none", "add", "cat", "slice and pad"]),
    pool=st.sampled_from(["none", "max", "average", "overlapping max", "padded average"]),
)
CHANNELS = 4
ACTIVATIONS = {"relu": torch.relu, "relu6": nn.functional.relu6, "tanh": torch.tanh,
               "silu": nn.functional.silu}  # fmt: skip
POOLS = {
    "max": lambda x: nn.functional.max_pool2d(x, 2),
    "average": lambda x: nn.functional.avg_pool2d(x, 2),
    "overlapping max": lambda x: nn.functional.max_pool2d(x, 3, 2, 1),
    "padded average": lambda x: nn.functional.avg_pool2d(x, 3, 1, 1),
}


class Made(nn.Module):
    """A chain of blocks, each joined to its own input where the sizes allow, then a classifier."""

    def __init__(self, blocks: list[Block], side: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.stem = nn.Conv2d(2, CHANNELS, 3, padding=1)
        groups = {"one": 1, "two": 2, "depthwise": CHANNELS}
        self.convs = nn.ModuleList(
            nn.Conv2d(
                CHANNELS, CHANNELS, b.kernel, b.stride, b.padding, b.dilation, groups[b.groups]
            )
            for b in blocks
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in blocks)
        self.mix = nn.ModuleList(nn.Conv2d(2 * CHANNELS, CHANNELS, 1) for _ in blocks)
        with torch.no_grad():
            size = self.eval().features(torch.zeros(1, 2, side, side)).flatten(1).shape[1]
        self.head = nn.Linear(size, 4)

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for k, block in enumerate(self.blocks):
            span = block.dilation * (block.kernel - 1) + 1
            if min(x.shape[2:]) + 2 * block.padding < span:
                continue
            x = self.joined(k, block, x)
            if block.pool != "none" and min(x.shape[2:]) >= 3:
                x = POOLS[block.pool](x)
        return x

    def joined(self, k: int, block: Block, x: Tensor) -> Tensor:
        y = self.convs[k](x)
        if block.normalised:
            y = self.norms[k](y)
        y = ACTIVATIONS[block.activation](y) if block.activation != "none" else y
        if block.join == "add" and y.shape == x.shape:
            return torch.relu(x + y)
        if block.join == "cat" and y.shape == x.shape:
            return self.mix[k](torch.cat([x, y], 1))
        if block.join == "slice and pad":
            short = nn.functional.pad(
                x[:, :2, :: block.stride, :: block.stride], (0, 0, 0, 0, 1, 1)
            )
            if short.shape == y.shape:
                return short + y
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))


def near_a_carry(trace: Trace, corruption: Corruption) -> bool:
    """Whether the struck value becomes quite another one where the golden one is off by few ulp."""
    number, image, element = (
        int(column[0]) for column in (corruption.layer, corruption.image, corruption.element)
    )
    golden = trace.values[trace.workload.layers[number].step][image, element]
    ulps = torch.arange(-8, 9, dtype=torch.int32)
    near = (golden.view(torch.int32) + ulps).view(torch.float32)
    fmt = trace.workload.arithmetic[number].output
    columns = (np.repeat(column, len(near)) for column in (corruption.keep, corruption.flip))
    keep, flip = map(torch.from_numpy, columns)
    struck = fmt.decode((fmt.encode(near) & keep) ^ flip)
    steps = (struck - struck[8]).abs()
    return bool((steps > 1e-5 * struck.abs().clamp(min=golden.abs())).any())


@pytest.mark.parametrize("name", ["int8", "fixed16_10", "fp32", "fp64", "fixed32_10"])
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    blocks=st.lists(BLOCKS, min_size=1, max_size=3),
    side=st.integers(5, 12),
    seed=st.integers(0, 99),
)
def test_made_up_networks(name: str, blocks: list[Block], side: int, seed: int) -> None:
    model = seeded(Made(blocks, side), seed)
    images = torch.randn(3, 2, side, side, generator=torch.Generator().manual_seed(seed))
    work = rh.capture(model, images, torch.tensor([0, 1, 2]), format=rh.format_named(name))
    corruption = random_corruptions(work, "output", 40, seed)
    trace = rh.record(work, rows=8)
    run = rh.resume(trace, corruption)
    for k in range(len(corruption)):
        plain = plain_logits(model, work, int(corruption.image[k]), strike(corruption, k))[0]
        if name in TOLERANCE:
            if name == "fp32" and near_a_carry(trace, corruption[k : k + 1]):
                continue  # the last bit of the golden value decides which bits the fault finds
            assert relative(run.logits[k], plain) <= TOLERANCE[name]
        else:
            assert torch.equal(run.logits[k], plain)


@pytest.fixture(scope="module")
def digits() -> tuple[rh.Workload, rh.SiteSpace]:
    whole = subject("digits-cnn")
    work = rh.capture(whole.model, whole.images[:64], whole.labels[:64], format=rh.FLOAT32)
    return work, rh.software_space(work, ("activation",))


def test_outcomes_of_differences_and_whole_tensors_agree(digits) -> None:
    """At least 99.99 % of 100,000 fp32 faults; the rest is printed with its logit margin."""
    work, space = digits
    trace = rh.record(work)
    faults = rh.Uniform().draw(space, 100_000, np.random.default_rng(4))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, faults)
    runs = [rh.resume(trace, corruption, patches=patches) for patches in (True, False)]
    labels = work.labels[torch.from_numpy(faults.image)]
    fast, slow = (classify(work.task, run.logits, run.golden, labels, run.detected) for run in runs)
    for name in ("sdc1", "sdc5", "sdc10", "sdc20", "correct", "nan"):
        differ = torch.nonzero(fast[name] != slow[name])[:, 0]
        top2 = runs[1].logits[differ].topk(2, dim=1).values
        margins = (top2[:, 0] - top2[:, 1]).tolist()
        assert len(differ) <= 10, f"{name}: margins {margins}"


def test_golden_infinities_leave_no_differences(residual: nn.Module, labels: Tensor) -> None:
    """A network that overflows fault-free has no differences to follow; whole tensors are right."""
    images = torch.full((6, 2, 8, 8), 3e4)
    with pytest.warns(UserWarning, match="are not numbers; this begins at layer head"):
        work = rh.capture(residual, images, labels, format=rh.FLOAT16)
    trace = rh.record(work)
    assert not trace.finite
    corruption = random_corruptions(work, "output", 50, seed=1)
    runs = [rh.resume(trace, corruption, patches=patches).logits for patches in (True, False)]
    assert torch.equal(runs[0].nan_to_num(), runs[1].nan_to_num())


def test_a_plan_made_for_some_images_serves_others(residual: nn.Module, images: Tensor) -> None:
    """Stages are planned once per workload; golden values are those of the images at hand."""
    labels = torch.zeros(len(images), dtype=torch.int64)
    work = rh.capture(residual, images, labels, format=rh.INT8)
    corruption = random_corruptions(work, "output", 200, seed=3)
    first = rh.resume(rh.record(work), corruption).logits
    others = work.with_(images.flip(0) * 0.5)
    assert others.learnt is work.learnt
    assert [key for key in work.learnt if key[0] == "plan"]
    found = rh.resume(rh.record(others), corruption).logits
    assert not torch.equal(found, first)
    assert torch.equal(found, rh.resume(rh.record(others), corruption, patches=False).logits)
    assert torch.equal(rh.resume(rh.record(work), corruption).logits, first)
