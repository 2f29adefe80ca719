"""What a fault costs as networks, images, formats, chips and samplers grow.

Faults per second of whole shards (drawn, run and judged), as times the images per second of plain
inference at its best batch, on one thread. Goals, FP32 and `software`:

    LeNet-5 25, ResNet-20 10, ResNet-18 30 at 224 pixels and 10 at 64, MobileNetV2 25, DenseNet 8,
    transformers 6, squeeze and excitation 10, one dimension 6; Eyeriss 0.8 of software;
    gradient-importance 2, its scores included.

    make bench ARGS="growth --quick --json"
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

import radhard as rh
from benchmarks.engine import rate
from benchmarks.jobs import inference
from benchmarks.networks import network
from radhard.accel.chips import chip_named
from radhard.engine.memory import keep_freed_memory
from radhard.network.workload import Workload
from radhard.sampling.catalogue import sampler_named

#: Images, faults of a round, and the batches of which plain inference has the best.
_IMAGES, _BATCHES = 16, (16, 64)
_FAULTS = {"lenet5": 2000, "tcn": 2000, "resnet20": 2000, "resnet18": 300, "mobilenet_v2": 300}
_SMALL, _ROUNDS = 500, 3
#: A shard from which on each has 2,000 faults.
_WHOLE = 100


class Cell(NamedTuple):
    """One measurement: which network, with how many images, in what, struck where and how."""

    network: str
    images: int = _IMAGES
    format: str = "fp32"
    chip: str = "software"
    sampler: str = "uniform"


QUICK = [
    *(Cell(name) for name in ("lenet5", "resnet20", "resnet18-64", "densenet", "vit", "decoder",
                              "squeeze", "tcn")),
    *(Cell(name, chip="eyeriss") for name in ("lenet5", "resnet20")),
    *(Cell(name, sampler="gradient-importance") for name in ("lenet5", "resnet20")),
]  # fmt: skip
ALL = [
    *QUICK, Cell("resnet18", 4), Cell("mobilenet_v2", 4),
    *(Cell(name, images) for name in ("lenet5", "resnet20") for images in (1, 64, 256)),
    *(Cell(name, format=fmt) for name in ("lenet5", "resnet20", "vit", "squeeze")
      for fmt in ("fp16", "int8", "fixed16_10")),
    *(Cell("resnet20", chip=chip) for chip in ("systolic:16x16:ws", "nvdla", "gpu")),
]  # fmt: skip


def main(arguments: list[str]) -> None:
    """Measure, and print lines or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='growth ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="FP32, small networks")
    parser.add_argument("--json", action="store_true", help="one object, by cell")
    parser.add_argument("--networks", help="comma-separated; all by default")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    found = {}
    for cell in QUICK if asked.quick else ALL:
        if asked.networks and cell.network not in asked.networks.split(","):
            continue
        name = "/".join(map(str, cell))
        found[name] = measure(cell)
        if not asked.json:
            print(f"{name:50} {found[name]}", flush=True)
    if asked.json:
        print(json.dumps(found))


def measure(cell: Cell) -> dict[str, float]:
    """Medians over rounds, in which a shard and plain inference take turns."""
    model, shape = network(cell.network)
    images = torch.randn(cell.images, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = model(images).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work = rh.capture(model, images, labels, format=rh.format_named(cell.format))
        ours = _shards(work, cell)
    plain = [inference(model, images, batch) for batch in _BATCHES]
    for job in (ours, *plain):
        job()
    rates = [[rate(job) for job in (ours, *plain)] for _ in range(_ROUNDS)]
    ratios = [one[0] / max(one[1:]) for one in rates]
    return {
        "vs_plain": round(statistics.median(ratios), 2),
        "faults_per_second": round(statistics.median(one[0] for one in rates), 1),
    }


def _shards(work: Workload, cell: Cell) -> Callable[[], int]:
    """Fresh shards of a campaign, as it draws, scores and judges them."""
    chip, sampler = chip_named(cell.chip), sampler_named(cell.sampler)
    campaign = rh.Campaign(work, chip, sampler)
    golden, space, shards = campaign.golden(), campaign.space(), itertools.count(_WHOLE)
    score = campaign.score(space, golden)
    count = _FAULTS.get(cell.network, _SMALL)

    def job() -> int:
        faults = campaign.draw(space, next(shards), count, score)
        campaign.outcomes(space, golden, faults)
        return count

    return job
