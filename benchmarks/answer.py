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
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

import radhard as rh
from benchmarks.engine import PLANS, pytorchfi, rate
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.network.source import subject

#: Half width wanted, relative to the rate, and its normal quantile.
RELATIVE, Z = 0.1, 1.96
#: Data set per network.
DATA = {"lenet5": "mnist", "resnet20": "cifar10"}


def main(arguments: list[str]) -> None:
    """Measure, and print a line per network or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='answer ...'", description=__doc__)
    names = "comma-separated: lenet5, resnet20, resnet18"
    parser.add_argument("--networks", default="lenet5", help=names)
    parser.add_argument("--weights", type=Path, help="checkpoint of resnet20")
    parser.add_argument("--images", type=int, default=64)
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
    chip = rh.chips.Software(("activation",))
    work = rh.capture(model, inputs, labels)
    n = _faults_needed(rh.Campaign(work, chip, sampler=rh.GradientImportance(), seed=1))
    campaign = rh.Campaign(work, chip, sampler=rh.GradientImportance(), seed=2)
    start = time.process_time()
    sdc = campaign.run(until=n)["sdc1"]
    ours = time.process_time() - start
    uniform = (Z / RELATIVE) ** 2 * (1 - sdc.value) / sdc.value
    shown = {
        "sdc1": sdc.value,
        "relative_half_width": sdc.half_width / sdc.value,
        "faults": n,
        "seconds": ours,
        "faults_uniform": uniform,
    }
    job = pytorchfi(model, inputs[:16], PLANS[name][2])
    if job is None:
        print("PyTorchFI is not installed: pip install 'radhard[bench]'")
        return shown
    job()
    theirs = uniform / rate(job)
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
    """Faults at which the interval is narrow enough, a fifth more each time."""
    n = 100
    while True:
        found = campaign.run(until=n)["sdc1"]
        if found.value > 0 and found.half_width <= RELATIVE * found.value:
            return n
        n = n * 6 // 5
