"""Samplers side by side: how many faults each needs for the same answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radhard.campaign.campaign import Campaign, shards_of
from radhard.campaign.collect import outcomes
from radhard.campaign.result import Result
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.sampling.catalogue import SAMPLERS
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson

#: Smallest number of faults looked at, and the ratio from one number to the next.
_FIRST, _RATIO = 5, 1.2

#: Called with the number of finished runs, and of all.
Watch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What one sampler reached, over several seeds.

    Attributes:
        sampler: which.
        sizes: numbers of faults that were looked at, ascending, (k,).
        half_widths: of the interval at each, (seeds, k).
        needed: faults to the half width that was asked for, (seeds,).
        reached: seeds that got there; for the others ``needed`` is extrapolated, as if the half
            width went on falling with the square root of the faults.
        estimates: at the last size, one per seed.
        seconds: per fault, of drawing and running.
        covered: share of the intervals at the last size that hold the pooled estimate of all
            samplers and seeds.
    """

    sampler: Sampler
    sizes: NDArray[np.int64]
    half_widths: NDArray[np.float64]
    needed: NDArray[np.float64]
    reached: int
    estimates: tuple[Estimate, ...]
    seconds: float
    covered: Estimate


def compare(
    campaign: Campaign,
    metric: str = "correct",
    half_width: float = 0.003,
    samplers: Sequence[Sampler] = SAMPLERS,
    seeds: int = 30,
    faults: int = 10_000,
    watch: Watch | None = None,
) -> list[Comparison]:
    """Ask the same question with each sampler and seed.

    Args:
        campaign: the question; its sampler and seed are replaced.
        metric: the outcome; ``correct`` is resiliency accuracy.
        half_width: wanted, of the 95 % interval.
        samplers: to be compared.
        seeds: runs of each.
        faults: of each run.
        watch: told after each run.

    Raises:
        ValueError: for an unknown outcome, or numbers below 1 seed or 5 faults.
    """
    if metric not in campaign.metrics:
        raise ValueError(f"no outcome {metric!r} to compare by: use one of {campaign.metrics}")
    if seeds < 1 or faults < _FIRST or not half_width > 0:
        raise ValueError(
            f"{seeds} seeds, {faults} faults and a half width of {half_width} can't be: use at "
            f"least 1 and {_FIRST}, and a width above 0"
        )
    space, accuracy = campaign.space(), campaign.golden_accuracy()
    steps = 1 + int(np.log(faults / _FIRST) / np.log(_RATIO))
    sizes = np.unique([*(_FIRST * _RATIO ** np.arange(steps)).astype(int), faults])
    found, spent = [], []
    for number, sampler in enumerate(samplers):
        start = time.perf_counter()
        runs = []
        for seed in range(seeds):
            one = campaign.with_(sampler=sampler, seed=seed)
            drawn, columns = _faults(one, space, faults)
            runs.append([_estimate(one, space, accuracy, drawn, columns, metric, n) for n in sizes])
            if watch:
                watch(number * seeds + seed + 1, len(samplers) * seeds)
        found.append(runs)
        spent.append((time.perf_counter() - start) / (seeds * faults))
    last = [run[-1] for runs in found for run in runs]
    mass = np.array([1 / one.half_width**2 for one in last])
    pooled = float((mass * [one.value for one in last]).sum() / mass.sum())
    return [
        _comparison(sampler, sizes, runs, half_width, seconds, pooled)
        for sampler, runs, seconds in zip(samplers, found, spent, strict=True)
    ]


def _faults(
    campaign: Campaign, space: SiteSpace, count: int
) -> tuple[Faults, dict[str, NDArray[np.bool_]]]:
    golden = campaign.golden()  # seeds strike images in orders of their own
    score = campaign.score(space, golden)
    parts, columns = [], []
    for shard, size in shards_of(count):
        drawn = campaign.draw(space, shard, size, score)
        parts.append(drawn)
        columns.append(outcomes(campaign, space, golden, drawn))
    joined = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    return Faults.joined(parts), joined


def _estimate(
    campaign: Campaign,
    space: SiteSpace,
    accuracy: float,
    faults: Faults,
    columns: dict[str, NDArray[np.bool_]],
    metric: str,
    n: int,
) -> Estimate:
    needed = {
        name: hits[:n] for name, hits in columns.items() if name in (metric, "lost", "gained")
    }
    tally = Tally.of(faults[:n], needed, len(space.strata))
    sampler = campaign.sampler
    return Result("", "", space, sampler, tally, accuracy, 0.95, False, 0.0)[metric]


def _comparison(
    sampler: Sampler,
    sizes: NDArray[np.int64],
    runs: list[list[Estimate]],
    half_width: float,
    seconds: float,
    pooled: float,
) -> Comparison:
    widths = np.array([[one.half_width for one in run] for run in runs])
    late = np.maximum.accumulate(widths[:, ::-1], axis=1)[:, ::-1] <= half_width
    place = np.where(late.any(1), late.argmax(1), len(sizes) - 1)
    rows = np.arange(len(runs))
    needed = sizes[place] * (widths[rows, place] / half_width) ** 2
    before = sizes[np.maximum(place - 1, 0)]
    needed = np.where(late.any(1), needed.clip(before, sizes[place]), needed)
    last = tuple(run[-1] for run in runs)
    held = sum(one.low <= pooled <= one.high for one in last)
    covered = wilson(held, len(last))
    reached = int(late.any(1).sum())
    return Comparison(sampler, sizes, widths, needed, reached, last, seconds, covered)
