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
from radhard.campaign.result import Result
from radhard.campaign.shard import shards_of
from radhard.faults.fault import Faults
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.view.summary import enough

#: Faults after which all campaigns are asked, and those that go on; and which for ratios and parts.
SHORT, LONG, DETAILED = (10, 20, 50, 100, 200), (1000, 3200), (100, 1000)
SAMPLERS: tuple[Sampler, ...] = (
    rh.GradientImportance(), rh.Importance(), rh.Stratified(), rh.Uniform(),
)  # fmt: skip
#: Of so many campaigns, one is asked for ratios and other populations, and one for its parts.
_RATIOS, _PARTS = 2, 6
#: Kinds of parts, and how many intervals a case has at least to be listed.
_KINDS, _MANY = ("component", "layer", "bit"), 30
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
    name: str,
    population: Population,
    samplers: Sequence[Sampler],
    seeds: int,
    longer: int = 0,
    sizes: Sequence[int] = SHORT,
) -> dict[Case, Found]:
    """Campaigns of each sampler against the truth.

    Args:
        name: of the population.
        population: of faults.
        samplers: how they are drawn.
        seeds: campaigns of each sampler.
        longer: how many of them go on to 3,200 faults.
        sizes: after how many faults the others are asked.
    """
    truth = {of: estimate.value for of, estimate in _answers(population.truth, 2)}
    found: dict[Case, list[Estimate]] = defaultdict(list)
    for sampler in samplers:
        for seed in range(seeds):
            asked = (*sizes, *LONG) if seed < longer else sizes
            depth = (seed % _RATIOS == 0) + (seed % _PARTS == 0)
            for n, of, estimate in campaign(population, sampler, seed, asked, depth):
                found[name, sampler.name, n, of].append(estimate)
    return {case: _against(truth[case[3]], some) for case, some in found.items()}


def campaign(
    population: Population, sampler: Sampler, seed: int, sizes: Sequence[int], depth: int
) -> Iterator[tuple[int, str, Estimate]]:
    """What one campaign says: (faults, of what, estimate), with 0 faults for all of its looks.

    Args:
        population: that is struck.
        sampler: that draws.
        seed: of the draws.
        sizes: after how many faults it is asked.
        depth: 0 for the whole alone, 1 for ratios and another population as well, 2 for parts.
    """
    looks, shards = list[dict[str, Estimate]](), list[Faults]()
    tally = Tally.nothing(population.columns, len(population.space.strata))
    for shard, size in shards_of(max(sizes)):
        rng, start = np.random.default_rng([seed, shard]), sum(map(len, shards))
        shards.append(sampler.draw(population.space, size, rng, population.score, start))
        tally = tally + population.tally(shards[-1])
        if max(sizes) in LONG:
            looks.append(dict(_answers(population.result(tally, sampler, anytime=True), 0)))
    faults = Faults.joined(shards)
    for n in sizes:
        result = population.result(population.tally(faults[:n]), sampler)
        answers = _answers(result, depth if n in DETAILED else 0)
        yield from ((n, of, one) for of, one in answers if not math.isnan(one.value))
    for of, last in looks[-1].items() if looks else ():
        low, high = max(look[of].low for look in looks), min(look[of].high for look in looks)
        yield 0, of, replace(last, low=low, high=high)


def _answers(result: Result, depth: int) -> Iterator[tuple[str, Estimate]]:
    """What pages show: the whole alone, ratios as well, or parts as well, but those of few faults.

    Args:
        result: of a campaign.
        depth: 0, 1 or 2.
    """
    yield "sdc1", result["sdc1"]
    yield "ra", result.ra
    if depth < 1:
        return
    yield "recall", result.recall
    yield "precision", result.precision
    yield "per activated", result.per_activated()
    yield "uniform sites", result.under(result.space.uniform)["sdc1"]
    for kind in _KINDS if depth > 1 else ():
        for part in enough(result.by(lambda s, kind=kind: (getattr(s, kind),))):
            yield f"{kind} {part.label[0]}", part["sdc1"]


def _against(truth: float, some: Sequence[Estimate]) -> Found:
    values, width = np.array([one.value for one in some]), np.mean([e.half_width for e in some])
    hits = [one.low - _ROUNDING <= truth <= one.high + _ROUNDING for one in some]
    error = float(values.std()) or math.nan
    over, bias = float(width) / (1.96 * error), float(values.mean() - truth) / error
    return Found(float(np.mean(hits)), len(some), float(width), over, bias)


def summary(found: Mapping[Case, Found]) -> list[str]:
    """A line per sampler, faults and kind of answer: the least coverage of any population.

    Parts of one kind are taken together; those of populations that show fewer than 30 are left out.
    """
    groups: dict[tuple[str, int, str], list[tuple[str, Found]]] = defaultdict(list)
    for (name, sampler, n, of), one in pooled(found).items():
        if one.shown >= _MANY:
            groups[sampler, n, of].append((name, one))
    lines = ["sampler, faults, of: least coverage (where), mean; half width, median over oracle's"]
    for (sampler, n, of), some in groups.items():
        where, least = min(some, key=lambda pair: pair[1].covered)
        mean = np.mean([one.covered for _, one in some])
        over = np.nanmedian([one.over_oracle for _, one in some])
        what = f"{sampler}, {n or 'looks'}, {of}"
        lines.append(f"{what}: {least.covered:.1%} ({where}), {mean:.1%}; {over:.2f}")
    return lines


def pooled(found: Mapping[Case, Found]) -> dict[Case, Found]:
    """With all components of a population as one case, and so its layers and its bits."""
    groups: dict[Case, list[Found]] = defaultdict(list)
    for (name, sampler, n, of), one in found.items():
        kind = of.partition(" ")[0]
        groups[name, sampler, n, f"{kind}s" if kind in _KINDS else of].append(one)
    return {case: _together(some) for case, some in groups.items()}


def _together(some: Sequence[Found]) -> Found:
    counts = [one.shown for one in some]
    means = [float(np.average(column, weights=counts)) for column in zip(*some, strict=True)]
    return Found(*means)._replace(shown=sum(counts))
