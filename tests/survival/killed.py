"""A campaign by two processes that are killed at random instants, and begun again each time.

python tests/survival/killed.py --rounds 100
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

import radhard as rh
from radhard.campaign import shard
from radhard.campaign.store import Folder

if __name__ in ("__main__", "__mp_main__"):  # and not where tests are collected
    # Short shards, so that files are begun, renamed and put together at every instant; processes
    # that share the work run these lines, too.
    shard.FIRST_SHARD = shard.SHARD = 40
    shard.PACK = 10
#: Faults that each round adds to what is stored, at most; more than it lives to make.
MORE = 20_000


def campaign() -> rh.Campaign:
    """A small network with a protection that has learned, so that all kinds of files are there."""
    random_ = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5)).eval()
    for value in model.parameters():
        value.data = torch.randn(value.shape, generator=random_) * 0.3
    images = torch.rand(24, 1, 8, 8, generator=random_)
    work = rh.capture(model, images, torch.arange(24) % 5, format=rh.FLOAT16, name="small")
    clamp = rh.RangeRestriction().learned(work)
    return rh.Campaign(work, rh.chips.SOFTWARE, protections=[clamp], seed=11, name="killed")


def survive(rounds: int, store: Path, seed: int = 0) -> int:
    """Kill and begin again; gives the number of rows, which are those of an undisturbed run.

    Raises:
        AssertionError: for a row that is lost, doubled or another one, and for what is left behind.
    """
    chance, folder, killed = random.Random(seed), store / "killed", 0
    while killed < rounds:
        running = _begun(store, _rows(folder) + MORE)
        if chance.random() < 0.5:
            _wait(running, folder, chance)
            killed += _worker_killed(running, chance)
        _wait(running, folder, chance)
        killed += running.poll() is None
        if chance.random() < 0.5:
            os.kill(running.pid, signal.SIGKILL)
        else:
            os.killpg(running.pid, signal.SIGKILL)
        said = running.communicate(timeout=60)[1]
        _alone(running.pid)
        assert "Traceback" not in said, said
    held = Folder(folder)
    shards = held.shards()
    assert shards == list(range(len(shards))), "a shard before the last one is lost"
    asked = campaign()
    count = len(shards) * shard.SHARD
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing was damaged, set aside or left behind
        found = next(rh.collect([asked], count, store))
    undisturbed = asked.run(until=count)
    for name in ("id", "stratum", "index", "image", "cell", "weight", "packed"):
        assert np.array_equal(getattr(found.runs, name), getattr(undisturbed.runs, name)), name
    assert np.array_equal(np.sort(found.runs.id), np.arange(count))
    for result in (found, held.result()):
        assert (result["sdc1"], result.ra) == (undisturbed["sdc1"], undisturbed.ra)
    left = [path.name for path in folder.iterdir() if path.suffix == ".partial"]
    assert not left, left
    return count


def _begun(store: Path, until: int) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, "--work", str(store), "--faults", str(until)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _wait(running: subprocess.Popen[str], folder: Path, chance: random.Random) -> None:
    """Wait for a random instant: any, or after rows were added."""
    before, patience = _rows(folder), 4 * chance.random() if chance.random() < 0.2 else 60
    start = time.perf_counter()
    while running.poll() is None and time.perf_counter() < start + patience:
        if _rows(folder) > before:
            time.sleep(chance.random() ** 2)
            return
        time.sleep(0.01)


def _worker_killed(running: subprocess.Popen[str], chance: random.Random) -> bool:
    """Kill one of the processes that share the work, if there are some by now."""
    others = [pid for pid in _session(running.pid) if pid != running.pid and _works(pid)]
    if others:
        os.kill(chance.choice(others), signal.SIGKILL)
    return bool(others)


def _session(leader: int) -> list[int]:
    """The processes that a campaign consists of."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended
            continue
        if int(session) == leader and state != "Z":
            found.append(int(place.name))
    return found


def _works(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _alone(leader: int) -> None:
    """Check that none of a campaign's processes outlives its first one for long."""
    for _ in range(300):
        if not (left := _session(leader)):
            return
        time.sleep(0.1)
    raise AssertionError(f"processes {left} go on after the first one was killed")


def _rows(folder: Path) -> int:
    return len(Folder(folder).shards()) * shard.SHARD


def main() -> None:
    """Run one round's campaign, or all rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--faults", type=int)
    asked = parser.parse_args()
    if asked.work is not None:
        torch.set_num_threads(1)
        next(rh.collect([campaign()], asked.faults, asked.work, workers=2))
        return
    with TemporaryDirectory(prefix="radhard-survival-") as place:
        start = time.perf_counter()
        rows = survive(asked.rounds, Path(place), asked.seed)
        took = time.perf_counter() - start
    print(
        f"killed {asked.rounds} times in {took:.0f} s: {rows:,} rows, none lost, doubled or changed"
    )


if __name__ == "__main__":
    main()
