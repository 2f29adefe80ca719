"""Samplers side by side: how many faults each needs for the same answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from radhard.campaign.campaign import Campaign
from radhard.campaign.collect import collect
from radhard.campaign.pool import shared
from radhard.campaign.result import Result
from radhard.campaign.runs import tallied
from radhard.campaign.shard import shards_of
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.metrics.outcome import counted_as
from radhard.sampling.catalogue import SAMPLERS
from radhard.sampling.gradient import GradientImportance
from radhard.sampling.sampler import Sampler
from radhard.sampling.tally import Tally
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson
from radhard.stats.stopping import Precision

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Smallest number of faults looked at, and the ratio from one number to the next.
_FIRST, _RATIO = 5, 1.2
#: Half width of the truth, relative to that asked for, and its faults at most. Its interval may be
#: looked at at any time; one of as many faults that were decided on is about half as wide.
_TRUTH, _LONG = 0.4, 20_000

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
        or_fewer: where the smallest number that was looked at sufficed, so that ``needed`` is an
            upper bound, (seeds,).
        reached: seeds that got there; for the others ``needed`` is extrapolated, as if the half
            width went on falling with the square root of the faults.
        estimates: at the last size, one per seed.
        stopped: at the size from which on the half width is small enough, or the last one, one per
            seed.
        seconds: per fault, of drawing and running.
        truth: what the others are held against.
        covered: share of the intervals of ``stopped`` that hold the truth's value.
    """

    sampler: Sampler
    sizes: NDArray[np.int64]
    half_widths: Reals
    needed: Reals
    or_fewer: Flags
    reached: int
    estimates: tuple[Estimate, ...]
    stopped: tuple[Estimate, ...]
    seconds: float
    truth: Estimate
    covered: Estimate


def compare(
    campaign: Campaign,
    metric: str = "correct",
    half_width: float = 0.003,
    samplers: Sequence[Sampler] = SAMPLERS,
    seeds: int = 30,
    faults: int = 10_000,
    watch: Watch | None = None,
    truth: Estimate | None = None,
    workers: int = 1,
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
        truth: to hold intervals against; that of `truth_of` where ``None``.
        workers: processes that share the runs; with 1 all is done in this one.

    Raises:
        ValueError: for an unknown outcome, or numbers below 1 seed or 5 faults.
    """
    metric = counted_as(metric)
    if metric not in campaign.metrics:
        raise ValueError(f"no outcome {metric!r} to compare by: use one of {campaign.metrics}")
    if seeds < 1 or faults < _FIRST or not half_width > 0:
        raise ValueError(
            f"{seeds} seeds, {faults} faults and a half width of {half_width} can't be: use at "
            f"least 1 and {_FIRST}, and a width above 0"
        )
    truth = truth or truth_of(campaign, metric, half_width, seeds, workers)
    steps = 1 + int(np.log(faults / _FIRST) / np.log(_RATIO))
    sizes = np.unique([*(_FIRST * _RATIO ** np.arange(steps)).astype(int), faults])
    given = campaign, metric, tuple(samplers), faults, sizes
    tasks = product(range(len(samplers)), range(seeds))
    all_runs, found = shared(partial(_runner, *given), tasks, workers), []
    for number, sampler in enumerate(samplers):
        runs, seconds = [], 0.0
        for seed in range(seeds):
            estimates, took = next(all_runs)
            runs.append(estimates)
            seconds += took
            if watch:
                watch(number * seeds + seed + 1, len(samplers) * seeds)
        spent = seconds / (seeds * faults)
        found.append(_comparison(sampler, sizes, runs, half_width, spent, truth))
    return found


def _runner(
    campaign: Campaign, metric: str, samplers: Sequence[Sampler], faults: int,
    sizes: NDArray[np.int64],
) -> Callable[[int, int], tuple[list[Estimate], float]]:  # fmt: skip
    """Gives what a sampler with a seed finds after so many faults, and seconds of all of them."""
    space, accuracy = campaign.space(), campaign.golden_accuracy()

    def run(number: int, seed: int) -> tuple[list[Estimate], float]:
        one = campaign.with_(sampler=samplers[number], seed=seed)
        start = time.perf_counter()
        drawn, columns = _faults(one, space, faults)
        seconds = time.perf_counter() - start
        proofs = tallied(drawn, columns, space, one.proofs_hold).proofs
        given = one, space, accuracy, drawn, columns, metric
        return [_estimate(*given, n, proofs) for n in sizes.tolist()], seconds

    return run


def truth_of(
    campaign: Campaign, metric: str, half_width: float, seeds: int, workers: int = 1
) -> Estimate:
    """What a long campaign finds, of a seed that is none of the first ``seeds``.

    It has `GradientImportance` without proofs, whose estimate is right whatever the scores say, and
    goes on until its anytime interval is 0.4 times as wide as what is asked for, or for 20,000
    faults.
    """
    long = campaign.with_(sampler=GradientImportance(proofs=False), seed=10_000 + seeds)
    narrow = Precision(min(_TRUTH * half_width, 0.49), metric=metric, most=_LONG)
    return next(collect([long], narrow, workers=workers))[metric]


def _faults(campaign: Campaign, space: SiteSpace, count: int) -> tuple[Faults, dict[str, Flags]]:
    golden = campaign.golden()  # seeds strike images in orders of their own
    score = campaign.score(space, golden)
    parts, columns = [], []
    for shard, size in shards_of(count):
        drawn = campaign.draw(space, shard, size, score)
        parts.append(drawn)
        columns.append(campaign.outcomes(space, golden, drawn))
    joined = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    return Faults.joined(parts), joined


def _estimate(
    campaign: Campaign,
    space: SiteSpace,
    accuracy: float,
    faults: Faults,
    columns: dict[str, Flags],
    metric: str,
    n: int,
    proofs: bool,
) -> Estimate:
    needed = {
        name: hits[:n] for name, hits in columns.items() if name in (metric, "lost", "gained")
    }
    tally = Tally.of(faults[:n], needed, len(space.strata), proofs)
    return Result(
        "", "", space, campaign.sampler, tally, accuracy, 0.95, False, 0.0,
        images=campaign.windows.sample,
    )[metric]  # fmt: skip


def _comparison(
    sampler: Sampler,
    sizes: NDArray[np.int64],
    runs: list[list[Estimate]],
    half_width: float,
    seconds: float,
    truth: Estimate,
) -> Comparison:
    widths = np.array([[one.half_width for one in run] for run in runs])
    late = np.maximum.accumulate(widths[:, ::-1], axis=1)[:, ::-1] <= half_width
    place = np.where(late.any(1), late.argmax(1), len(sizes) - 1)
    rows = np.arange(len(runs))
    needed = sizes[place] * (widths[rows, place] / half_width) ** 2
    before = sizes[np.maximum(place - 1, 0)]
    needed = np.where(late.any(1), needed.clip(before, sizes[place]), needed)
    last = tuple(run[-1] for run in runs)
    stopped = tuple(run[k] for run, k in zip(runs, place, strict=True))
    held = sum(one.low <= truth.value <= one.high for one in stopped)
    return Comparison(
        sampler, sizes, widths, needed, late[:, 0], int(late.any(1).sum()), last, stopped, seconds,
        truth, wilson(held, len(runs)),
    )  # fmt: skip
