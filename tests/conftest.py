"""Shared by all tests: small networks, workloads, and the place of real data."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from oracles.elsewhere import elsewhere
from radhard.engine.device import device_named

if not torch.cuda.is_available():  # before anything imports Triton
    os.environ["TRITON_INTERPRET"] = "1"
os.environ["RADHARD_ANSWERS"] = "no"  # what tests ask is run
torch.set_num_threads(1)
torch.manual_seed(0)  # for networks and images that are made while tests are collected

#: Makes files of tests anew, by tools that tests do not need.
collect_ignore = ["network/assets/make.py"]


class Residual(nn.Module):
    """Stride, padding, groups, batch normalisation, residual addition, concatenation, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.left = nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False)
        self.right = nn.Conv2d(6, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.left(x) + x)
        x = torch.cat([self.right(x), nn.functional.max_pool2d(x, 2)], 1)
        return self.head(nn.functional.avg_pool2d(x, 2).flatten(1))


class Attention(nn.Module):
    """A patch embedding and one block of self-attention; the batch is not always first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(2, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x).flatten(2).permute(2, 0, 1)
        z = self.norm(y)
        y = y + self.attention(z, z, z, need_weights=False)[0]
        return self.head(y.mean(0))


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in evaluation mode with weights, and normalisation statistics, from a seed."""
    random = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=random)
            positive = name.endswith("running_var")
            value.copy_(drawn.abs() + 0.5 if positive else drawn * 0.4)
    return model.eval()


@pytest.fixture(scope="session")
def residual() -> nn.Module:
    return seeded(Residual())


@pytest.fixture(scope="session")
def attention() -> nn.Module:
    return seeded(Attention())


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def labels() -> Tensor:
    return torch.tensor([0, 1, 2, 3, 4, 0])


#: Whether what takes long, and says little beside the rest, is run as well.
EXHAUSTIVE = "RADHARD_EXHAUSTIVE" in os.environ


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not EXHAUSTIVE and item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.skip(reason="slow: RADHARD_EXHAUSTIVE is not set"))


@pytest.fixture(params=["cpu", "elsewhere", "cuda"])
def device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[torch.device]:
    """Where batched tensors are run: the CPU, a strict stand-in for other devices, and CUDA."""
    if request.param == "elsewhere":
        few = {"name": "int8", "chip": "software", "kind": "gated gradients"}
        given = request.node.callspec.params
        if not EXHAUSTIVE and any(given.get(key, one) != one for key, one in few.items()):
            pytest.skip("slow: RADHARD_EXHAUSTIVE is not set")
        monkeypatch.setattr("radhard.engine.needs._MANY_ROWS", 16)
        with elsewhere() as stand_in:
            yield stand_in
    elif request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device, or this build of torch no CUDA")
    else:
        yield device_named(request.param)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where there is none."""
    root = os.environ.get("RADHARD_DATA")
    if not root:
        pytest.skip("RADHARD_DATA is not set: no real data at hand")
    return Path(root)


@pytest.fixture
def at_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """`radhard` with arguments, in this process: exit code, output, and what is said of it."""

    def run(*arguments: str) -> tuple[int, str, str]:
        from radhard.cli import main

        monkeypatch.setattr(sys, "argv", ["radhard", *arguments])
        monkeypatch.delenv("RADHARD_DEBUG", raising=False)
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run
