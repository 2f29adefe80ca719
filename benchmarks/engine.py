"""Faults per second of the engine, against plain inference and against PyTorchFI 0.6.0.

Goals, for neuron-uniform fp32 faults on one thread with raised allocator thresholds for all:

    network     against PyTorchFI, best batch    against plain inference
    LeNet-5     25                               12
    ResNet-20   5                                4
    ResNet-18   9                                8

One injection is a fresh random single bit flip, its faulty logits, and the comparison of the top
class with the golden one. Everything is interleaved within each round, and ratios are taken within
a round, since the machine may be shared. The golden run is not counted, for any of the tools.
PyTorchFI's list of hook handles is emptied between declarations; as installed it slows down by the
fault. `pip install "radhard[bench]"` installs it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import radhard as rh
from benchmarks import accelerator
from benchmarks.jobs import inference, pytorchfi
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.engine.trace import Trace

#: Images, faults per round of ours, best batch of plain inference and of PyTorchFI.
PLANS = {
    "lenet5": (16, 16000, 64),
    "resnet20": (16, 4000, 64),
    "resnet18": (4, 512, 8),
    "mobilenet_v2": (4, 512, 8),
}


@dataclass(frozen=True)
class Row:
    """What one configuration reached; ratios are medians over rounds, with their range."""

    network: str
    format: str
    kind: str
    threads: int
    per_second: float
    vs_plain: tuple[float, float, float]
    vs_pytorchfi: tuple[float, float, float] | None


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='engine ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fp32 activations only, few rounds")
    parser.add_argument("--json", action="store_true", help="one object of ratios")
    parser.add_argument("--networks", help="comma-separated; all by default")
    parser.add_argument("--device", default="cpu", help="or cuda: benchmarks/accelerator.py")
    parser.add_argument("--formats", default="fp32,int8", help="comma-separated")
    parser.add_argument("--rounds", type=int, default=0, help="rounds per configuration")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    device = rh.device_named(asked.device)
    if asked.device != "cpu":
        names = (asked.networks or ",".join(accelerator.PLANS)).split(",")
        formats = ["fp32"] if asked.quick else asked.formats.split(",")
        rounds = asked.rounds or (3 if asked.quick else 5)
        accelerator.run(names, formats, device, rounds, asked.json)
        return
    warnings.filterwarnings("ignore", "Values", UserWarning)  # PyTorchFI's, on linear layers
    rows = []
    for name in (asked.networks or ",".join(PLANS)).split(","):
        for fmt, kind, threads in _configurations(asked.quick, asked.formats.split(",")):
            torch.set_num_threads(threads)
            row = measure(name, fmt, kind, threads, asked.rounds or (3 if asked.quick else 5))
            rows.append(row)
            if not asked.json:
                print(_line(row), flush=True)
    if asked.json:
        print(json.dumps(_object(rows)))
    else:
        print(_versions())


def _configurations(quick: bool, formats: list[str]) -> list[tuple[str, str, int]]:
    if quick:
        return [("fp32", "activation", 1)]
    return [
        (fmt, kind, threads)
        for threads in (1, 2)
        for fmt in formats
        for kind in ("activation", "weight")
    ]


def measure(name: str, fmt: str, kind: str, threads: int, rounds: int) -> Row:
    """Interleave ours, plain inference and PyTorchFI; ratios per round."""
    model, shape = network(name)
    count, faults, batch = PLANS[name]
    images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    ours = _ours(model, images, fmt, kind, faults)
    plain = inference(model, images, batch)
    other = pytorchfi(model, images, batch) if kind == "activation" and fmt == "fp32" else None
    for job in (ours, plain, other):
        if job:
            job()  # warm up
    rates = []
    for _ in range(rounds):
        rates.append([rate(job) if job else None for job in (ours, plain, other)])
    return Row(
        name,
        fmt,
        kind,
        threads,
        statistics.median(rate[0] for rate in rates),
        accelerator.spread([rate[0] / rate[1] for rate in rates]),
        accelerator.spread([rate[0] / rate[2] for rate in rates]) if other else None,
    )


def neurons_struck(trace: Trace, faults: int, seed: int) -> Callable[[], int]:
    """A job that draws so many neuron faults anew and runs them."""
    work = trace.workload
    space, rng = rh.software_space(work, ("activation",)), np.random.default_rng(seed)

    def job() -> int:
        drawn = rh.Uniform().draw(space, faults, rng)
        rh.resume(trace, rh.chips.SOFTWARE.corrupt(work, space, drawn))
        return faults

    return job


def rate(job: Callable[[], int]) -> float:
    """Injections (or images) per second of process time, over at least half a second."""
    done, start = 0, time.process_time()
    while time.process_time() - start < 0.5:
        done += job()
    return done / (time.process_time() - start)


def _ours(model: nn.Module, images: Tensor, fmt: str, kind: str, count: int) -> Callable[[], int]:
    labels = torch.zeros(len(images), dtype=torch.int64)
    work = rh.capture(model, images, labels, format=rh.format_named(fmt))
    space = rh.software_space(work, (kind,))
    trace = rh.record(work)
    rng = np.random.default_rng(2)

    def job() -> int:
        faults = rh.Uniform().draw(space, count, rng)
        run = rh.resume(trace, rh.chips.SOFTWARE.corrupt(work, space, faults))
        (run.logits.argmax(1) != run.golden.argmax(1)).sum().item()
        return count

    return job


def _line(row: Row) -> str:
    other = "PyTorchFI not measured"
    if row.vs_pytorchfi:
        other = "{:6.1f} x PyTorchFI ({:.1f} to {:.1f})".format(*row.vs_pytorchfi)
    return (
        f"{row.network:13} {row.format:5} {row.kind:10} {row.threads} thread(s) "
        f"{row.per_second:10,.0f}/s  "
        + "{:6.1f} x plain ({:.1f} to {:.1f})  ".format(*row.vs_plain)
        + other
    )


def _object(rows: list[Row]) -> dict[str, dict[str, float | None]]:
    found = {}
    for row in rows:
        key = row.network
        if (row.format, row.kind, row.threads) != ("fp32", "activation", 1):
            key = f"{row.network}/{row.format}/{row.kind}/{row.threads}"
        found[key] = {
            "per_fault_vs_plain": round(row.vs_plain[0], 2),
            "per_fault_vs_pytorchfi": round(row.vs_pytorchfi[0], 2) if row.vs_pytorchfi else None,
        }
    return found


def _versions() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"radhard {commit}, torch {torch.__version__}, numpy {np.__version__}, Python "
        f"{sys.version.split()[0]}, {os.cpu_count()} cores"
    )
