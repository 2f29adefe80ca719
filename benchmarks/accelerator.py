"""The part of `benchmarks.engine` that is about other devices than the CPU; see there.

Goal, for neuron-uniform fp32 faults on one card: 5 times PyTorchFI's injections per second.

Times are those of the wall, until the device is done. PyTorchFI and plain inference have PyTorch's
own settings, with which convolutions of CUDA are cut to TF32 (19 bits); ours have all bits of
float32. Each has the best of some batch sizes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

import radhard as rh
from benchmarks.jobs import inference, pytorchfi
from benchmarks.networks import network
from radhard.engine.trace import Trace
from radhard.network.workload import Workload

#: Images, and faults per round.
PLANS = {
    "lenet5": (16, 65536),
    "resnet20": (16, 32768),
    "resnet18-32": (16, 16384),
    "resnet18": (4, 4096),
}
#: Batches of which plain inference and PyTorchFI have the best.
_BATCHES = (32, 128, 512, 2048)
#: What a job does: injections or images per call.
Job = Callable[[], int]
#: Median, least and most over rounds.
Spread = tuple[float, float, float]


@dataclass(frozen=True)
class Row:
    """Injections per second of one network, and ratios taken within a round."""

    network: str
    format: str
    device: str
    rows: int
    pool: int
    whole_per_second: Spread
    campaign_shard_per_second: Spread
    plain_per_second: Spread
    plain_batch: int
    pytorchfi_per_second: Spread | None
    pytorchfi_batch: int | None
    vs_plain: Spread
    vs_pytorchfi: Spread | None


def run(names: Sequence[str], formats: Sequence[str], device: torch.device, rounds: int,
        as_json: bool) -> None:  # fmt: skip
    """Measure, and print lines or one JSON object."""
    warnings.filterwarnings("ignore", "Values", UserWarning)  # PyTorchFI's, on linear layers
    rows = []
    for name in names:
        for fmt in formats:
            rows.append(measured(name, fmt, device, rounds))
            if not as_json:
                print(_line(rows[-1]), flush=True)
    if as_json:
        print(json.dumps({f"{row.network}/{row.format}": asdict(row) for row in rows}))


def measured(name: str, fmt: str, device: torch.device, rounds: int) -> Row:
    """Interleave ours, plain inference and PyTorchFI."""
    model, shape = network(name)
    count, faults = PLANS[name]
    images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))
    work = rh.capture(model, images, torch.zeros(count).long(), format=rh.format_named(fmt))
    work = work.on(device)
    trace = rh.record(work, batched=True)
    there = model.to(device)
    jobs = [
        injections(work, trace, faults),
        injections(work, trace, 2000),
    ]
    plain, plain_batch = _best(lambda batch: inference(there, images.to(device), batch), device)
    other, other_batch = None, None
    if fmt == "fp32":
        other, other_batch = _best(lambda batch: pytorchfi(there, images.to(device), batch), device)
    for job in jobs:
        _rate(job, device, 0.0)  # warm up
    rates = []
    for _ in range(rounds):
        rates.append([_rate(job, device) if job else 0.0 for job in (*jobs, plain, other)])
    whole, shard, alone, theirs = (spread([one[k] for one in rates]) for k in range(4))
    return Row(
        name, fmt, _name(device), trace.rows, trace.pool, whole, shard, alone,
        plain_batch, theirs if other else None, other_batch,
        spread([one[0] / one[2] for one in rates]),
        spread([one[0] / one[3] for one in rates]) if other else None,
    )  # fmt: skip


def injections(work: Workload, trace: Trace, count: int) -> Job:
    """Ours: fresh flips of neurons, their logits, and whether the top class is another one."""
    plain = work.on(torch.device("cpu"))
    space, rng = rh.software_space(plain, ("activation",)), np.random.default_rng(2)

    def job() -> int:
        faults = rh.Uniform().draw(space, count, rng)
        corruption = rh.chips.SOFTWARE.corrupt(plain, space, faults)
        run = rh.resume(trace, corruption)
        (run.logits.argmax(1) != run.golden.argmax(1)).sum().item()
        return count

    return job


def _best(make: Callable[[int], Job | None], device: torch.device) -> tuple[Job | None, int | None]:
    """The job with the batch that does most per second, and the batch."""
    found: tuple[float, Job | None, int | None] = (0.0, None, None)
    for batch in _BATCHES:
        job = make(batch)
        if job is None:
            break
        _rate(job, device, 0.0)
        found = max(found, (_rate(job, device, 0.2), job, batch), key=lambda one: one[0])
    return found[1:]


def _rate(job: Job, device: torch.device, seconds: float = 0.5) -> float:
    """Injections (or images) per second, over at least so many seconds; 0 out of memory."""
    done, start = 0, time.perf_counter()
    while not done or time.perf_counter() - start < seconds:
        try:
            done += job()
        except torch.OutOfMemoryError as error:
            print(f"out of memory: {error}", file=sys.stderr)
            torch.cuda.empty_cache()
            return 0.0
        _finish(device)
    return done / (time.perf_counter() - start)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def spread(values: list[float]) -> Spread:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


def _line(row: Row) -> str:
    other = "PyTorchFI not measured"
    if row.vs_pytorchfi:
        other = "{:.1f} x PyTorchFI ({:.1f} to {:.1f})".format(*row.vs_pytorchfi)
    return (
        f"{row.network:12} {row.format:5} {row.whole_per_second[0]:10,.0f}/s  "
        + "{:.1f} x plain ({:.1f} to {:.1f})  ".format(*row.vs_plain)
        + other
    )
