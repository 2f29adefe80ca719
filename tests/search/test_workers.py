"""Exploration by several processes: the same points, whatever happens to the processes."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

import pytest
import torch
from torch import nn

import radhard as rh
from radhard.network.workload import Workload
from radhard.search.explore import explore
from radhard.search.plan import Plan
from radhard.search.point import Point

PLAN = Plan(("6", "3"), ((2, 2),), ("none", "clamp"), faults=100, images=None)


def quantised(words: str) -> tuple[Workload, Workload]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    images = torch.randn(40, 1, 3, 3)
    work = rh.capture(model, images[:6], model(images[:6]).argmax(1), name="tiny")
    found = rh.quantise(work, rh.Quantisation.parse(words), images[6:])
    return found, found.with_(images[6:], torch.zeros(34, dtype=torch.int64))


@dataclass(frozen=True)
class Killed:
    """Kills the process that makes the network in 3 bits, as often as asked."""

    folder: Path
    often: int

    def __call__(self, words: str) -> tuple[Workload, Workload]:
        if words == "3" and parent_process() is not None:
            deaths = self.folder / "deaths"
            with deaths.open("a") as told:
                told.write("x")
            if len(deaths.read_text()) <= self.often:
                os.kill(os.getpid(), signal.SIGKILL)
        return quantised(words)


def shown(points: list[Point]) -> list[tuple[object, ...]]:
    return [(p.name, p.sdc1, p.ra, p.worst, p.stages, p.hardware, p.running) for p in points]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    return shown(list(explore(PLAN, quantised, tmp_path_factory.mktemp("alone"))))


def test_points_do_not_depend_on_processes_that_are_killed(alone, tmp_path: Path) -> None:
    said: list[str] = []
    make: Callable[[str], tuple[Workload, Workload]] = Killed(tmp_path, 1)
    with pytest.warns(UserWarning, match="a process was killed"):
        found = list(explore(PLAN, make, tmp_path / "two", tell=said.append, workers=2))
    assert shown(found) == alone
    assert said == ["1 of 2: 6 bits on 2x2, exact", "2 of 2: 3 bits on 2x2, exact"]
    kept = sorted(path.name for path in (tmp_path / "two" / "runs").iterdir())
    assert len(kept) == 4  # plain and clamped, in two widths
    again = list(explore(PLAN, quantised, tmp_path / "two"))
    assert shown(again) == alone


def test_processes_that_are_killed_again_and_again_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radhard.campaign.pool._TRIES", 1)  # each takes seconds to start
    plan = Plan(("3", "6"), ((2, 2),), ("none",), faults=100, images=None)
    with pytest.raises(RuntimeError, match="killed 1 times: there may be too little memory"):
        list(explore(plan, Killed(tmp_path, 9), tmp_path / "none", workers=2))
    with pytest.raises(ValueError, match="0 workers can't be"):
        list(explore(plan, quantised, tmp_path / "none", workers=0))
