"""Coverage: how often 95 % intervals hold a truth that is known, and how wide they are.

Each population of `benchmarks.populations` is fixed and known as a whole. Campaigns of 3,200 faults
are drawn from it in shards, as every campaign is, by each sampler; their answers after 10 to 1,000
faults are set against the truth, and so is whether a campaign that looks after every shard ever
leaves it out. Goal: 93 % of the intervals wherever one is shown, and 94 % of the campaigns that
look. Widths are over those of the interval that knows the estimate's standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import radhard as rh
from benchmarks.populations import POPULATIONS, Population
from radhard.campaign.campaign import shards_of
from radhard.campaign.result import Result
from radhard.faults.fault import Faults
from radhard.report.summary import enough
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate

SIZES, SHORT, LOOKED, DETAILED = (10, 20, 50, 100, 200, 1000), 200, 3200, (100, 1000)
SAMPLERS: tuple[Sampler, ...] = (
    rh.GradientImportance(), rh.Importance(), rh.Stratified(), rh.Uniform(),
)  # fmt: skip
#: Of so many campaigns, one is asked for its parts.
_PARTS = 5
#: By which sums in another order may differ.
_ROUNDING = 1e-9

#: What was asked: population, sampler, faults (0 for all looks together), and of what.
Case = tuple[str, str, int, str]


class Found(NamedTuple):
    """What the intervals of one case did.

    Attributes:
        covered: share of them that hold the truth.
        shown: how many there are.
        half_width: mean.
        over_oracle: the mean over 1.96 standard deviations of the estimates.
        bias: of the estimates, in standard deviations of one.
    """

    covered: float
    shown: int
    half_width: float
    over_oracle: float
    bias: float


def main(arguments: list[str]) -> None:
    """Measure, and print the least of each sampler or one JSON object."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='coverage ...'", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--long", type=int, help="how many of them go on after 200 faults")
    parser.add_argument("--populations", help="parts of names, comma-separated; all where left out")
    parser.add_argument("--quick", action="store_true", help="50 seeds, up to 200 faults")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    seeds = min(asked.seeds, 50) if asked.quick else asked.seeds
    longer = 0 if asked.quick else seeds if asked.long is None else asked.long
    parts = asked.populations.split(",") if asked.populations else [""]
    found: dict[Case, Found] = {}
    for name, make in POPULATIONS.items():
        if any(part.strip() in name for part in parts):
            start, population = time.process_time(), make()
            found |= study(name, population, samplers_of(name, population), seeds, longer)
            if not asked.json:
                print(f"{name}: {time.process_time() - start:.0f} s", flush=True)
    if asked.json:
        rows = [dict(zip(("population", "sampler", "n", "of"), case, strict=True)) | one._asdict()
                for case, one in found.items()]  # fmt: skip
        print(json.dumps({"seeds": seeds, "long": longer, "cases": rows}))
    else:
        print("\n".join(summary(found)))


def samplers_of(name: str, population: Population) -> list[Sampler]:
    """Those that differ: scores that lie fool only one, and some draw alike where sites do."""
    if ", " in name:
        return [sampler for sampler in SAMPLERS if sampler.scored]
    alike = np.allclose(population.space.probability, population.space.uniform.probability)
    return [one for one in SAMPLERS if not (alike and one == rh.Uniform())]


def study(
    name: str, population: Population, samplers: Sequence[Sampler], seeds: int, longer: int = 0
) -> dict[Case, Found]:
    """Campaigns of each sampler against the truth.

    Args:
        name: of the population.
        population: of faults.
        samplers: how they are drawn.
        seeds: campaigns of each sampler.
        longer: how many of them go on to 3,200 faults; the others end after 200.
    """
    truth = {of: estimate.value for of, estimate in _detailed(population.truth, parts=True)}
    found: dict[Case, list[Estimate]] = defaultdict(list)
    for sampler in samplers:
        for seed in range(seeds):
            most = LOOKED if seed < longer else SHORT
            for n, of, estimate in campaign(population, sampler, seed, most, seed % _PARTS == 0):
                found[name, sampler.name, n, of].append(estimate)
    return {case: _against(truth[case[3]], some) for case, some in found.items()}


def campaign(
    population: Population, sampler: Sampler, seed: int, most: int, parts: bool
) -> Iterator[tuple[int, str, Estimate]]:
    """What one campaign says: (faults, of what, estimate), with 0 faults for all of its looks."""
    looks, shards = [], list[Faults]()
    tally = Tally.nothing(population.columns, len(population.space.strata))
    for shard, size in shards_of(most):
        rng, start = np.random.default_rng([seed, shard]), sum(map(len, shards))
        shards.append(sampler.draw(population.space, size, rng, population.score, start))
        tally = tally + population.tally(shards[-1])
        looks.append(dict(_whole(population.result(tally, sampler, anytime=most == LOOKED))))
    faults = Faults.joined(shards)
    for n in (n for n in SIZES if n <= most):
        result = population.result(population.tally(faults[:n]), sampler)
        answers = _detailed(result, parts) if n in DETAILED else _whole(result)
        yield from ((n, of, one) for of, one in answers if not math.isnan(one.value))
    for of, last in looks[-1].items() if most == LOOKED else ():
        low, high = max(look[of].low for look in looks), min(look[of].high for look in looks)
        yield 0, of, replace(last, low=low, high=high)


def _whole(result: Result) -> Iterator[tuple[str, Estimate]]:
    yield "sdc1", result["sdc1"]
    yield "ra", result.ra


def _detailed(result: Result, parts: bool) -> Iterator[tuple[str, Estimate]]:
    """What pages show, parts with few faults left out."""
    yield from _whole(result)
    yield "recall", result.recall
    yield "precision", result.precision
    yield "per activated", result.per_activated()
    yield "uniform sites", result.under(result.space.uniform)["sdc1"]
    if parts:
        for part in enough(result.by(lambda s: (s.component,))):
            yield f"component {part.label[0]}", part["sdc1"]
        for part in enough(result.by(lambda s: (s.layer,))):
            yield f"layer {part.label[0]}", part["sdc1"]
        for part in enough(result.by(lambda s: (s.bit,))):
            yield f"bit {part.label[0]}", part["sdc1"]


def _against(truth: float, some: Sequence[Estimate]) -> Found:
    values, width = np.array([one.value for one in some]), np.mean([e.half_width for e in some])
    hits = [one.low - _ROUNDING <= truth <= one.high + _ROUNDING for one in some]
    error = max(float(values.std()), 1e-300)
    over = float(width) / (1.96 * error) if len(some) > 1 else math.nan
    return Found(
        float(np.mean(hits)), len(some), float(width), over, float(values.mean() - truth) / error
    )


def summary(found: Mapping[Case, Found]) -> list[str]:
    """A line per sampler, faults and kind of answer: the least coverage of any population."""
    groups: dict[tuple[str, int, str], list[tuple[str, Found]]] = defaultdict(list)
    for (name, sampler, n, of), one in found.items():
        groups[sampler, n, of].append((name, one))
    lines = [
        "sampler, faults, of: least coverage (where), mean; half width over oracle's; most bias"
    ]
    for (sampler, n, of), some in groups.items():
        where, least = min(some, key=lambda pair: pair[1].covered)
        mean = np.mean([one.covered for _, one in some])
        over = np.median([one.over_oracle for _, one in some])
        bias = max((one.bias for _, one in some), key=abs)
        lines.append(
            f"{sampler}, {n or 'looks'}, {of}: {least.covered:.1%} ({where}), {mean:.1%}; "
            f"{over:.2f}; {bias:+.2f}"
        )
    return lines
