"""One flipped bit anywhere in any file of a store: noticed, or without effect on any number.

python tests/survival/flipped.py --rounds 1000
"""

from __future__ import annotations

import argparse
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

import radhard as rh
from radhard.campaign import shard
from radhard.campaign.sealed import StoreError
from radhard.campaign.store import Folder
from radhard.campaign.union import held_in
from radhard.view.page import is_whole

FAULTS = 600
#: Seconds that anything may take with a damaged file.
PATIENCE = 60


class Store:
    """A store with every kind of file, made by campaigns that can be asked again."""

    def __init__(self, place: Path) -> None:
        random_ = torch.Generator().manual_seed(3)
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).eval()
        for value in model.parameters():
            value.data = torch.randn(value.shape, generator=random_) * 0.3
        images = torch.rand(24, 1, 6, 6, generator=random_)
        labels = torch.arange(24) % 4
        work = rh.capture(model, images, labels, format=rh.FLOAT16, name="small")
        clamp = rh.RangeRestriction().learned(work)
        sampler = rh.GradientImportance(candidates=5)
        self.campaign = rh.Campaign(work, sampler=sampler, protections=[clamp], name="it")
        coarse = rh.capture(model, images, labels, rh.INT8, name="coarse")
        stuck = rh.Permanent.parsed("product sa1 bit=14 rate=0.3")
        self.chips = rh.Chips(coarse, rh.Array(4, 3), stuck)
        self.place = place
        self.answer = self.run()
        rh.report(place)
        self.right = self.numbers()
        self.files = sorted(p for p in place.rglob("*") if p.is_file() and p.name != ".lock")
        self._whole = {path: path.read_bytes() for path in self.files}
        kinds = {path.suffix for path in self.files}
        assert kinds == {".toml", ".tar", ".parquet", ".npz", ".html", ".json"}, kinds

    def run(self) -> list[Any]:
        """Ask all again; gives the numbers."""
        found = next(rh.collect([self.campaign], FAULTS, self.place))
        under = rh.under_defects(self.chips, maps=3, store=self.place)
        return [*self._of(found), under.accuracy, under.golden_accuracy, under.correct.tolist()]

    def numbers(self) -> list[Any]:
        """All that is read, without a run."""
        return self._of(Folder(self.place / "it").result())

    @staticmethod
    def _of(found: rh.Result) -> list[Any]:
        parts = [(p.label, p.n, p["sdc1"], p.rate_fit) for p in found.strata]
        assert found.runs is not None
        rows = found.runs.id.tolist(), found.runs.packed.tolist(), found.runs.weight.tolist()
        whole = [found[name] for name in found.metrics]
        return [found.n, whole, found.golden, found.false_alarms, found.cost, parts, rows]

    def restore(self) -> None:
        """As it was before anything was damaged."""
        for path in self.place.rglob("*"):
            if path.is_file() and path not in self._whole:
                path.unlink()
        for path, content in self._whole.items():
            path.write_bytes(content)


def flip(store: Store, path: Path, bit: int) -> str:
    """Flip a bit of a file; tells how that was noticed.

    Raises:
        AssertionError: where another number is given, or the file is not named.
    """
    held = bytearray(path.read_bytes())
    held[bit // 8] ^= 1 << bit % 8
    path.write_bytes(held)
    words = f"bit {bit} of {path.name}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        checked = _found(lambda: _damaged(store.place), words)
        numbers = _found(store.numbers, words)
        again = _found(store.run, words)
    noticed = "by the run" if told else ""
    for found, right in ((numbers, store.right), (again, store.answer)):
        if isinstance(found, StoreError):
            noticed = "by name"
            assert _names(str(found), path), f"{words}: {found}"
        else:
            assert found == right, f"{words}: other numbers, and nothing is said"
    if isinstance(checked, StoreError) or checked:
        said = str(checked) if isinstance(checked, StoreError) else " ".join(checked)
        assert _names(said, path), f"{words}: {said}"
        noticed = noticed or "by check"
    for warning in told:
        assert _names(str(warning.message), path), f"{words}: {warning.message}"
    return noticed or "no effect"


def _damaged(place: Path) -> Sequence[str]:
    page = place / "report.html"
    wrong = [] if is_whole(page) else [f"{page} is damaged"]
    return wrong + [reason for held in held_in(place) for reason in held.damaged.values()]


def _names(said: str, path: Path) -> bool:
    """Whether the file is named; the folder where its record can't be trusted."""
    if path.name == "campaign.toml":
        return str(path.parent) in said
    return path.name in said or path.stem in said


def _found(ask: Callable[[], Any], words: str) -> Any:
    """What is found, or the store's own error; any other one, and a long time, are mistakes."""
    start = time.perf_counter()
    try:
        return ask()
    except StoreError as error:
        return error
    finally:
        assert time.perf_counter() - start < PATIENCE, f"{words}: it took too long"


def survive(rounds: int, place: Path, seed: int = 0) -> Counter[str]:
    """Flip so many bits, one at a time; tells how many were noticed in which way.

    Files take turns, so that short ones are struck as often as long ones.
    """
    store, chance = Store(place), random.Random(seed)
    found = Counter[str]()
    for number in range(rounds):
        path = store.files[number % len(store.files)]
        signal.alarm(3 * PATIENCE)
        found[flip(store, path, chance.randrange(8 * path.stat().st_size))] += 1
        signal.alarm(0)
        store.restore()
    return found


def _hung(number: int, frame: FrameType | None) -> None:
    raise AssertionError("it hangs")


def main() -> None:
    """Flip bits, and say how many were noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    shard.SHARD, shard.PACK = 100, 4
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    signal.signal(signal.SIGALRM, _hung)
    with TemporaryDirectory(prefix="radhard-survival-") as place:
        start = time.perf_counter()
        found = survive(asked.rounds, Path(place), asked.seed)
        took = time.perf_counter() - start
    ways = ", ".join(f"{count} {way}" for way, count in sorted(found.items()))
    print(f"{asked.rounds} bits flipped in {took:.0f} s, no number changed: {ways}")


if __name__ == "__main__":
    main()
