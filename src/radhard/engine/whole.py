"""Whole runs: many at once go through the network as tensors, each from where it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radhard.engine.again import Again
from radhard.engine.guard import watched_steps
from radhard.engine.trace import Trace, filled, run_steps
from radhard.network.program import Span

#: Sees runs pass a step: numbers of the corruptions (k,), faulty and golden values (k, elements).
Observer = Callable[[Tensor, Tensor, Tensor], None]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Faulty runs that have been taken equally far.

    Attributes:
        position: the last step that they have behind them.
        fault: (n,) which corruption each belongs to.
        image: (n,) which image.
        detected: (n, watched steps) whether a guard has raised an alarm; golden where it has not
            looked yet.
        values: for each step that is still to be read, faulty values (n, elements).
    """

    position: int
    fault: Tensor
    image: Tensor
    detected: Tensor
    values: dict[int, Tensor]

    def of(self, rows: Tensor | slice) -> Pool:
        """Some of the runs."""
        values = {step: value[rows] for step, value in self.values.items()}
        detected = self.detected[rows]
        return Pool(self.position, self.fault[rows], self.image[rows], detected, values)

    def split(self, rows: int) -> list[Pool]:
        """The same runs in parts of at most ``rows``."""
        return [self.of(slice(k, k + rows)) for k in range(0, len(self.fault), rows)]

    @classmethod
    def joined(cls, pools: Sequence[Pool]) -> Pool:
        """Runs that have been taken equally far, in one pool."""
        first = pools[0]
        if len(pools) == 1:
            return first
        values = {step: torch.cat([pool.values[step] for pool in pools]) for step in first.values}
        return cls(
            first.position,
            torch.cat([pool.fault for pool in pools]),
            torch.cat([pool.image for pool in pools]),
            torch.cat([pool.detected for pool in pools]),
            values,
        )


def walked(
    trace: Trace,
    waiting: dict[int, list[Pool]],
    detected: Tensor,
    watch: Mapping[int, Observer],
    again: Again,
) -> list[Pool]:
    """Take whole runs through the network, batch by batch, each joining at its position."""
    last = len(trace.workload.program.steps) - 1
    ends = {layer.step for layer in trace.workload.layers}
    batches: list[Pool] = []
    for position in sorted({*ends, *waiting, *watch, last}):
        batches = [_advanced(trace, batch, position, again) for batch in batches]
        new = waiting.pop(position, [])
        if position < last:
            given = detected, again
            batches = [kept for batch in batches if (kept := _remaining(trace, batch, *given))]
            new = [kept for pool in new if (kept := _remaining(trace, pool, *given))]
        batches = _packed([*batches, *new], trace.rows)
        for batch in batches if position in watch else ():
            golden = trace.golden(position, batch.image)
            watch[position](batch.fault, batch.values[position], golden)
    return batches


def _packed(pools: list[Pool], rows: int) -> list[Pool]:
    """The same runs in batches of at most ``rows``; full batches are left as they are."""
    full = [pool for pool in pools if len(pool.fault) == rows]
    partial = [pool for pool in pools if len(pool.fault) != rows]
    count = sum(len(pool.fault) for pool in partial)
    if len(partial) == -(-count // rows) and all(len(pool.fault) < rows for pool in partial):
        return pools
    return [*full, *Pool.joined(partial).split(rows)]


#: Values of a run that are compared first; where one differs the rest need not be looked at.
_PROBES = 64


def _remaining(trace: Trace, pool: Pool, detected: Tensor, again: Again) -> Pool | None:
    """The runs that may still differ; notes the alarms of the others.

    Those with a live value that is not golden, or whose wrong weight is yet to be read again.
    """
    same = torch.nonzero(~again.due(pool.fault, pool.position))[:, 0]
    for probing in (True, False):
        for step, rows in pool.values.items():
            stride = max(1, rows.shape[1] // _PROBES | 1) if probing else 1
            golden = trace.values[step][:, ::stride]
            equal = rows[same, ::stride] == golden[pool.image[same]]
            same = same[equal.all(1)]
            if not len(same):
                return pool
    detected[pool.fault[same]] = pool.detected[same]
    left = torch.ones(len(pool.fault), dtype=torch.bool, device=same.device)
    left[same] = False
    kept = torch.nonzero(left)[:, 0]
    return pool.of(kept) if len(kept) else None


def _advanced(trace: Trace, batch: Pool, position: int, again: Again) -> Pool:
    """A batch of runs, taken on to ``position``."""
    if position == batch.position:
        return batch
    count = len(batch.fault)
    start = {step: filled(value, trace.rows) for step, value in batch.values.items()}
    wanted = trace.live_after(position)
    span = Span(batch.position + 1, position + 1, wanted, trace.last_reader)
    met = {step for step in again.elements if span.first <= step < span.end}

    def reread(step: int, output: Tensor, inputs: Tensor) -> Tensor:
        return again.read(step, batch.fault, output, inputs) if step in met else output

    given = (trace.guard, trace.rows, reread if met else None)
    values, alarm = run_steps(trace.workload, start, span, *given)
    kept = {step: values[step][:count] for step in wanted}
    steps = watched_steps(trace.guard)
    anew = torch.tensor([span.first <= step < span.end for step in steps], dtype=torch.bool)
    detected = torch.where(anew.to(alarm.device), alarm[:count], batch.detected)
    return Pool(position, batch.fault, batch.image, detected, kept)
