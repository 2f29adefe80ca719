"""CPU seconds from a command to its answer, each in a process of its own.

Goals: `list models` 0.4; ten faults with compiled kernels 4, and with none 12; the same command
again 1. What comes from the answer that was kept is told apart from what reads the store, as
`radhard` does where any file has changed.

    make bench ARGS="start --json"
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

_RADHARD = [str(Path(sys.executable).with_name("radhard"))]
_ASSESS = ["assess", "digits-cnn", "--format", "fp16", "--faults", "10"]


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='start ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once instead of the least of three")
    parser.add_argument("--json", action="store_true", help="one object, by command")
    asked = parser.parse_args(arguments)
    found = measure(1 if asked.quick else 3)
    if asked.json:
        print(json.dumps({name: {"cpu_s": round(s, 2)} for name, s in found.items()}))
    else:
        print("\n".join(f"{s:7.2f} CPU s  {name}" for name, s in found.items()))


def measure(times: int) -> dict[str, float]:
    """CPU seconds of each command, the least of so many."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place, kernels = Path(folder), {"NUMBA_CACHE_DIR": str(Path(folder, "kernels"))}
        run, fresh = [*_ASSESS, "--out", "run"], {"RADHARD_ANSWERS": "no"}
        found["assess, no kernels compiled"] = seconds(place, run, fresh | kernels)
        seconds(place, [*_ASSESS, "--out", "other"], fresh)  # kernels of this machine
        for _ in range(times):
            for name, words, more in (
                ("--version", ["--version"], {}),
                ("list models", ["list", "models"], fresh),
                ("assess of 10 faults", [*_ASSESS, "--out", "new"], fresh),
                ("assess, store finished", run, fresh),
            ):
                took = seconds(place, words, more)
                found[name] = min(took, found.get(name, took))
                subprocess.run(["rm", "-rf", str(place / "new")], check=True)
        for name, words in (("list models", ["list", "models"]), ("assess", run)):
            seconds(place, words, {})
            again = min(seconds(place, words, {}) for _ in range(times))
            found[f"{name}, the same again"] = again
    return found


def seconds(place: Path, words: list[str], more: dict[str, str]) -> float:
    """CPU seconds of one command, in user and system mode."""
    return cpu_seconds([*_RADHARD, *words], place, {"RADHARD_CACHE": str(place / "cache"), **more})


def cpu_seconds(command: list[str], place: Path, more: dict[str, str]) -> float:
    """CPU seconds of one process and its children."""
    around = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=place, env=around, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
