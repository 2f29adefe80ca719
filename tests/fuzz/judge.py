"""Readers of outside files are given thousands of files that are damaged, crafted or none at all.

Each is read, or refused by an error that the command line ends with exit code 2 for, names the file
and is short. Nothing is written or run meanwhile, and nothing is accepted that means nothing.

    python tests/fuzz/judge.py --inputs 10000 --only onnx
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.inputs import damaged, spoiled
from fuzz.readers import READERS, Reader
from radhard.cli import shortened

#: What starts programs, connects or loads libraries.
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect",
         "pty.spawn", "shutil.rmtree")  # fmt: skip
#: Seconds that reading may take.
PATIENCE = 120

_seen: list[str] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _RUNS and _listening:
        _seen.append(f"{event}{arguments}"[:300])


_listening: list[bool] = []


def judge(reader: Reader, path: Path, content: bytes) -> str:
    """Whether a file was taken, or how it was refused.

    Raises:
        AssertionError: for an error that nobody is told the file by, for what was run or written,
            and for nonsense that was accepted.
    """
    path.write_bytes(content)
    before = _files(path)
    _seen.clear()
    _listening.append(True)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = reader.read(path)
        reader.sound(found)
        said, words = "taken", ""
    except (ValueError, TypeError, OSError) as error:
        said, words = type(error).__name__, str(error)
    finally:
        _listening.clear()
    named, words = reader.named or path.name, shortened(words)  # as it is printed
    assert said == "taken" or named in words, f"{named} is not named: {said}: {words:.300}"
    assert not _seen, f"something was run: {_seen}"
    assert _files(path) == before, "something was written"
    assert time.perf_counter() - start < PATIENCE, "it took too long"
    return said


def _files(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent)) + sorted(os.listdir())


def fuzz(name: str, inputs: int, folder: Path, seed: int | None = None) -> Counter[str]:
    """Give a reader so many files; tells what became of them.

    Hypothesis makes the first 1,000, and of these the shortest one that fails; the
    others are as random and made at once.

    Raises:
        Exception: the first one that is a mistake, with the shortest file that makes it.
    """
    reader, counts = READERS[name], Counter[str]()
    path = folder / reader.place
    path.parent.mkdir(parents=True, exist_ok=True)
    reader.beside(folder)
    samples = reader.samples()
    for sample in samples:  # as they are
        counts[judge(reader, path, sample)] += 1
    assert counts["taken"], f"no whole sample of {name} is taken"

    @settings(
        max_examples=min(1000, inputs), deadline=None, database=None, derandomize=seed is None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )  # fmt: skip
    @given(damaged(samples))
    def each(content: bytes) -> None:
        counts[judge(reader, path, content)] += 1

    each()
    chance = random.Random(seed)
    for _ in range(inputs - min(1000, inputs)):
        content = spoiled(samples, chance)
        try:
            counts[judge(reader, path, content)] += 1
        except Exception as error:
            error.add_note(f"the file was {content[:1500]!r}")
            raise
    return counts


def main() -> None:
    """Give readers damaged files, and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=list(READERS))
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))  # what is too much is told
    sys.addaudithook(_heard)
    failed = 0
    for name in asked.only:
        room = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with TemporaryDirectory(prefix="radhard-fuzz-", dir=room) as place:
            os.environ["RADHARD_DATA"] = place
            os.chdir(place)
            start = time.perf_counter()
            try:
                counts = fuzz(name, asked.inputs, Path(place), asked.seed)
                ways = ", ".join(f"{count} {way}" for way, count in sorted(counts.items()))
                print(f"{name}: {sum(counts.values())} files in "
                      f"{time.perf_counter() - start:.0f} s: {ways}", flush=True)  # fmt: skip
            except Exception as error:
                failed += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                said = f"{type(error).__name__}: {str(error)[:500]}"
                file = str(getattr(error, "__notes__", ""))[:1000]
                print(f"{name}: FAILED in {last.filename}:{last.lineno} {said} {file}", flush=True)
            os.chdir("/")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
