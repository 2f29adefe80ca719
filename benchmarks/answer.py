"""Time to an answer: CPU seconds to know the SDC-1 rate of fp32 neuron faults to 10 %.

Goals, as ratios of PyTorchFI 0.6.0's seconds to ours: trained LeNet-5 and ResNet-20 200, ResNet-18
at 224 x 224 100. The half width is 10 % of the rate, at 95 %. Ours is a whole campaign with the
gradient sampler: golden run, gradients, draws, faults. PyTorchFI's is its rate at its best batch,
measured next to ours, times the binomial sample size for uniform faults; its golden run is not
counted. Neither tool's setup is: capturing the network, wrapping the model.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import radhard as rh
from benchmarks.engine import PLANS, pytorchfi, rate
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.network.source import subject
from radhard.study.comparison import compare

#: Half width wanted, relative to the rate, and its normal quantile.
RELATIVE, Z = 0.1, 1.96
#: Seeds that say how many faults that takes, and others whose runs are timed.
_SEEDS, _RUNS = 10, 7
#: Data set per network.
DATA = {"lenet5": "mnist", "resnet20": "cifar10"}


def main(arguments: list[str]) -> None:
    """Measure, and print a line per network or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='answer ...'", description=__doc__)
    names = "comma-separated: lenet5, resnet20, resnet18"
    parser.add_argument("--networks", default="lenet5", help=names)
    parser.add_argument("--weights", type=Path, help="checkpoint of resnet20")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Values", UserWarning)  # PyTorchFI's, on linear layers
    found = {}
    for name in asked.networks.split(","):
        found[name] = measure(name, asked.weights if name == "resnet20" else None, asked.images)
        if not asked.json:
            print(name, ", ".join(f"{key} {value:.4g}" for key, value in found[name].items()))
    if asked.json:
        print(json.dumps(found))


def measure(name: str, weights: Path | None, images: int) -> dict[str, float]:
    """Seconds of both, and what they follow from."""
    model, inputs, labels = _network(name, weights, images)
    campaign = rh.Campaign(
        rh.capture(model, inputs, labels),
        rh.chips.Software(("activation",)),
        sampler=rh.GradientImportance(),
    )
    n = _faults_needed(campaign)
    job = pytorchfi(model, inputs[:16], PLANS[name][2])
    if job is not None:
        job()
    seconds, found, rates = [], [], []
    for seed in range(_RUNS):
        one = campaign.with_(seed=100 + seed)
        start = time.process_time()
        found.append(one.run(until=n)["sdc1"])
        seconds.append(time.process_time() - start)
        rates.append(rate(job) if job is not None else 0.0)
    share = statistics.mean(sdc.value for sdc in found)
    uniform = (Z / RELATIVE) ** 2 * (1 - share) / share
    ours = statistics.median(seconds)
    shown = {
        "sdc1": share,
        "relative_half_width": statistics.mean(sdc.half_width for sdc in found) / share,
        "faults": n,
        "seconds": ours,
        "faults_uniform": uniform,
    }
    if job is None:
        print("PyTorchFI is not installed: pip install 'radhard[bench]'")
        return shown
    theirs = uniform / statistics.median(rates)
    return {**shown, "seconds_pytorchfi": theirs, "ratio": theirs / ours}


def _network(name: str, weights: Path | None, images: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with images and labels; ResNet-18 is untrained, and its images are noise."""
    if name in DATA:
        whole = subject(name, DATA[name], weights)
        return whole.model, whole.images[:images], whole.labels[:images]
    model, shape = network(name)
    torch.manual_seed(1)
    return model, torch.randn(images, *shape), torch.zeros(images, dtype=torch.long)


def _faults_needed(campaign: rh.Campaign) -> int:
    """Faults at which the interval is narrow enough, in the mean over seeds."""
    most, near = 50, campaign.run(until=50)["sdc1"]
    while True:
        most *= 2
        given = ("sdc1", RELATIVE, (campaign.sampler,), _SEEDS, most)
        (found,) = compare(campaign, *given, truth=near)
        aim = RELATIVE * statistics.mean(sdc.value for sdc in found.estimates)
        widths = found.half_widths.mean(0)
        wide = np.flatnonzero(~(widths <= aim))
        last = int(wide[-1]) if len(wide) else 0
        if last + 1 < len(widths):
            # from there the half width falls with the square root of the faults
            needed = math.ceil(found.sizes[last] * (widths[last] / aim) ** 2)
            return min(needed, int(found.sizes[last + 1]))
