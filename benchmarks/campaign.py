"""Whole campaigns, from the command to the page, against PyTorchFI 0.6.0 at its best batch.

Both start a process, build the network, run FP32 faults on 16 images and say how often the top
class changes; ours also draws a page, with an interval for every part. Goals, in CPU seconds of
theirs over ours, kernels compiled:

    faults     1,000    10,000    100,000
    LeNet-5    1        4         10
    ResNet-20  1        8         15

PyTorchFI flips random bits of neurons, each as likely; ours are those of `--chip software`, weights
and neurons, drawn alike (`--sampler uniform`), and once more by the default sampler, which looks at
a hundred candidates for each fault and needs fewer of them. `pip install "radhard[bench]"` installs
PyTorchFI.

    make bench ARGS="campaign --json"
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.jobs import pytorchfi
from benchmarks.networks import network
from benchmarks.start import cpu_seconds, seconds

NETWORKS, FAULTS, IMAGES = ("lenet5", "resnet20"), (1_000, 10_000, 100_000), 16
SAMPLERS = ("uniform", "gradient-importance")
#: Of which PyTorchFI has the best, by the least time for a thousand faults.
BATCHES = (16, 64, 256)


def main(arguments: list[str]) -> None:
    """Measure, and print lines or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='campaign ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 faults")
    parser.add_argument("--json", action="store_true", help="one object, by network and faults")
    parser.add_argument("--theirs", nargs=3, metavar=("NETWORK", "FAULTS", "BATCH"),
                        help="run PyTorchFI alone, as this benchmark does")  # fmt: skip
    asked = parser.parse_args(arguments)
    if asked.theirs:
        name, faults, batch = asked.theirs
        print(theirs(name, int(faults), int(batch)))
        return
    found = {}
    for name in NETWORKS:
        batch = best(name)
        for faults in FAULTS[:2] if asked.quick else FAULTS:
            found[f"{name}/{faults}"] = row = measure(name, faults, batch)
            if not asked.json:
                print(f"{name:10} {faults:8,} faults: {row}", flush=True)
    if asked.json:
        print(json.dumps(found))


def measure(name: str, faults: int, batch: int | None) -> dict[str, float | None]:
    """CPU seconds of both, the least of two but for long ones, and their ratio."""
    times = 2 if faults < FAULTS[-1] else 1
    ours, scored = (min(_ours(name, faults, sampler) for _ in range(times)) for sampler in SAMPLERS)
    other = min(_theirs(name, faults, batch) for _ in range(times)) if batch else None
    found = {"cpu_s": ours, "scored_cpu_s": scored, "pytorchfi_cpu_s": other}
    found["ratio"] = other / ours if other else None
    return {key: None if value is None else round(value, 2) for key, value in found.items()}


def best(name: str) -> int | None:
    """The batch with which PyTorchFI is fastest; ``None`` where it is not installed."""
    if importlib.util.find_spec("pytorchfi") is None:
        return None
    return min(BATCHES, key=lambda batch: _theirs(name, 1000, batch))


def _ours(name: str, faults: int, sampler: str) -> float:
    words = ["assess", f"benchmarks.campaign:{name}", "--chip", "software", "--format", "fp32"]
    words += ["--target", "images", "--images", "all", "--faults", str(faults), "--out", "run"]
    with tempfile.TemporaryDirectory() as folder:
        more = {"PYTHONPATH": str(Path(__file__).parents[1])}
        return seconds(Path(folder), [*words, "--sampler", sampler], more)


def _theirs(name: str, faults: int, batch: int | None) -> float:
    words = ["-m", "benchmarks", "campaign", "--theirs", name, str(faults), str(batch)]
    return cpu_seconds([sys.executable, *words], Path(__file__).parents[1], {})


def subject(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with random weights, images, and labels that it answers."""
    model, shape = network(name)
    images = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model, images, model.eval()(images).argmax(1)


lenet5: Callable[[], tuple[nn.Module, Tensor, Tensor]] = partial(subject, "lenet5")
resnet20: Callable[[], tuple[nn.Module, Tensor, Tensor]] = partial(subject, "resnet20")


def theirs(name: str, faults: int, batch: int) -> int:
    """Run so many faults by PyTorchFI, each with its comparison of top classes; gives how many."""
    warnings.filterwarnings("ignore", "Values", UserWarning)  # its own, on linear layers
    torch.set_num_threads(1)
    model, images, _ = subject(name)
    job = pytorchfi(model, images, batch)
    assert job is not None
    return sum(job() for _ in range(-(-faults // batch)))
