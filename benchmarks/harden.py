"""Seconds per run of a hardened module, over those of the model alone.

Goals on LeNet-5 at batch 64: at most 1.2 for clamps (Ranger), 1.6 for checksums, 1.8 for gradients
behind a checksum. One thread, networks with random weights; guards learn from other images than
those that are run, and the share of these with an alarm is printed, as alarms take time of their
own. All take turns within each round, ratios are taken within a round, and time is that of the
processor, since the machine may be shared.

    make bench ARGS="harden --json"
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

import radhard as rh
from benchmarks.networks import network
from radhard.engine.memory import keep_freed_memory
from radhard.protect.protection import Protection

#: Images that guards learn from.
LEARNED = 512
PROTECTIONS: Mapping[str, tuple[Protection, ...]] = {
    "nothing": (),
    "range-restriction": (rh.RangeRestriction(),),
    "range-detector": (rh.RangeDetector(),),
    "clipped-activation": (rh.ClippedActivation(),),
    "checksum": (rh.Checksum(),),
    "row-gate": (rh.NeuronGradientSuppressor(gate=rh.Gate.ROW_CHECKSUM, tap=rh.Tap.OUTPUT),),
    "clamp-and-checksum": (rh.RangeRestriction(), rh.Checksum()),
    "checksum-corrects": (rh.Checksum(channels=True, correct=True),),
    "bounded-neuron": (rh.BoundedNeuron(),),
    "median-feature": (rh.MedianFeature(),),
    "value-threshold": (rh.ValueThreshold(),),
    "neuron-gradient": (rh.NeuronGradientSuppressor(),),
}


def main(arguments: list[str]) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='harden ...'", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seven rounds instead of 41")
    parser.add_argument("--json", action="store_true", help="one object, by network and protection")
    parser.add_argument("--networks", default="lenet5", help="comma-separated")
    parser.add_argument("--batches", default="64", help="comma-separated numbers of images")
    parser.add_argument("--protections", default=",".join(PROTECTIONS), help="comma-separated")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    found = {
        f"{name}-{batch}": measure(name, int(batch), asked.protections.split(","), asked.quick)
        for name in asked.networks.split(",")
        for batch in asked.batches.split(",")
    }
    if asked.json:
        print(json.dumps(found))
        return
    for case, each in found.items():
        for name, one in each.items():
            print(f"{case:12} {name:20} {one['ratio']:6.2f} x   alarms {one['alarms']:6.1%}")


def measure(
    name: str, batch: int, protections: list[str], quick: bool
) -> dict[str, dict[str, float]]:
    """Modules in turns; the median of their ratios, and the share of images with an alarm."""
    model, shape = network(name)
    random = torch.Generator().manual_seed(0)
    learned, images = (torch.rand(n, *shape, generator=random) for n in (LEARNED, batch))
    modules = {key: rh.harden(model, PROTECTIONS[key], learned, alarms=True) for key in protections}
    found = {}
    with torch.inference_mode():
        for key, module in modules.items():
            alarms = module(images)[1]
            some = torch.stack(list(alarms.values())).any(0) if alarms else torch.zeros(1)
            found[key] = float(some.double().mean())
        rounds = []
        for _ in range(7 if quick else 41):
            own = _seconds(model, images)
            rounds.append({key: _seconds(one, images) / own for key, one in modules.items()})
    return {
        key: {
            "ratio": round(statistics.median(one[key] for one in rounds), 3),
            "alarms": round(found[key], 4),
        }
        for key in modules
    }


def _seconds(model: nn.Module, images: Tensor) -> float:
    start = time.process_time()
    model(images)
    return time.process_time() - start
