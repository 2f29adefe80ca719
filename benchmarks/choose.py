"""What the interval of a chosen design is worth: seeds whose interval holds its true rate.

Goal: at least 23 of 25 for digits-cnn in int8 on Eyeriss with a target of 0.5 FIT. The true rate is
taken from many more faults, which no seed has met: the same for all seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch

from radhard.campaign.ask import validated
from radhard.campaign.prepare import prepare
from radhard.engine.memory import keep_freed_memory
from radhard.network.source import subject
from radhard.search.choose import Choice, choose
from radhard.search.common import Common
from radhard.search.design import rate_of
from radhard.search.trial import Goal

#: A seed that no choice uses, nor counts up to.
_APART = 10**9
#: Images on which guards learn.
_LEARNING = 1000


def main(arguments: list[str]) -> None:
    """Choose with each seed, and print a line for each or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='choose ...'", description=__doc__)
    parser.add_argument("--model", default="digits-cnn")
    parser.add_argument("--format", default="int8")
    parser.add_argument("--target-fit", type=float, default=0.5)
    parser.add_argument("--sampler", default="gradient-importance")
    parser.add_argument("--faults", type=int, default=4000)
    parser.add_argument("--most", type=int, default=32_000)
    parser.add_argument("--truth", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    found = measure(asked)
    if asked.json:
        print(json.dumps(found))
        return
    held = sum(one["held"] for one in found)
    print(f"{held} of {sum(one['chosen'] for one in found)} intervals hold the rate")


def measure(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """What each seed chose, the interval that was printed, and the rate on other faults."""
    fields = {"model": asked.model, "format": asked.format, "sampler": asked.sampler}
    campaign = prepare(validated(fields, "benchmarks choose")).campaign
    learned = subject(asked.model, train=True)
    learning = campaign.workload.with_(learned.images[-_LEARNING:], learned.labels[-_LEARNING:])
    space = campaign.space()
    many = Common.drawn(campaign.with_(seed=_APART), space, space, asked.truth, None)
    found = []
    for seed in range(asked.seeds):
        own = campaign.with_(seed=100 * seed)  # trials count the seed up
        chosen = choose(own, learning, Goal(asked.target_fit), asked.faults, asked.most)
        found.append(_line(chosen, many))
        if not asked.json:
            print(seed, *found[-1].values(), file=sys.stderr, flush=True)
    return found


def _line(chosen: Choice, many: Common) -> dict[str, Any]:
    winner = chosen.winner
    if winner is None:
        return {"chosen": False, "held": False}
    truth = rate_of(winner.design.measured([many]))
    return {
        "chosen": True,
        "held": winner.rate.low <= truth.value <= winner.rate.high,
        "truth": truth.value,
        "truth_low": truth.low,
        "truth_high": truth.high,
        "flattered": winner.found.value,
        "rate": winner.rate.value,
        "low": winner.rate.low,
        "high": winner.rate.high,
        "overhead": winner.overhead,
        "fresh_faults": winner.faults,
        "judged": len(chosen.trials),
        "design": winner.design.name,
    }
