"""From corruptions to logits: continue the golden run from where each fault struck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from radhard.engine.guard import guarded
from radhard.engine.strike import struck_outputs
from radhard.engine.trace import Trace, filled, run_steps
from radhard.faults.corruption import OPERANDS, Corruption

#: Batches in flight at once, unless stated: enough to fill most batches at every layer.
_POOL_BATCHES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Resumed:
    """What came out of n faulty runs.

    Attributes:
        logits: (n, classes).
        golden: the fault-free logits of the same images, (n, classes).
        detected: (n,) whether the guard raised an alarm.
    """

    logits: Tensor
    golden: Tensor
    detected: Tensor


@dataclass(slots=True)
class _Pool:
    """The faulty runs in flight, all of them at the end of the same layer."""

    fault: Tensor
    image: Tensor
    detected: Tensor
    values: dict[int, Tensor]

    def keep(self, alive: Tensor) -> None:
        self.fault, self.image = self.fault[alive], self.image[alive]
        self.detected = self.detected[alive]
        self.values = {step: rows[alive] for step, rows in self.values.items()}

    def join(self, other: _Pool) -> None:
        self.fault = torch.cat([self.fault, other.fault])
        self.image = torch.cat([self.image, other.image])
        self.detected = torch.cat([self.detected, other.detected])
        self.values = {step: torch.cat([v, other.values[step]]) for step, v in self.values.items()}


def resume(trace: Trace, corruption: Corruption, pool: int | None = None) -> Resumed:
    """Run the network under each corruption, from its layer on.

    All faults walk through the layers together: each joins at the layer that it strikes, and
    leaves as soon as nothing that is still to be read differs from the golden run. The result
    for one fault does not depend on the others, nor on ``pool``.

    Not-a-number and infinities flow through the network by the rules of IEEE 754 where the format
    has them; a not-a-number differs from everything.

    Args:
        trace: the golden run.
        corruption: n corruptions.
        pool: faults in flight at once, 8 batches where ``None``; more need more memory.

    Returns:
        Logits in the order of ``corruption``.
    """
    pool = pool or _POOL_BATCHES * trace.rows
    parts = [_resumed(trace, corruption[k : k + pool]) for k in range(0, len(corruption), pool)]
    device = trace.logits.device
    if not parts:
        none = torch.zeros(0, dtype=torch.bool, device=device)
        return Resumed(trace.logits[:0], trace.logits[:0], none)
    return Resumed(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.golden for part in parts]),
        torch.cat([part.detected for part in parts]),
    )


def _resumed(trace: Trace, corruption: Corruption) -> Resumed:
    image = torch.from_numpy(corruption.image).to(trace.logits.device)
    golden = trace.logits[image]
    logits, detected = golden.clone(), trace.detected[image].clone()
    pool: _Pool | None = None
    steps = [layer.step for layer in trace.workload.layers]
    ends = [*steps[1:], len(trace.workload.program.steps) - 1]
    with torch.no_grad():
        for number, (step, end) in enumerate(zip(steps, ends, strict=True)):
            for operand in OPERANDS:
                chosen = (corruption.layer == number) & (corruption.operand == operand)
                if chosen.any():
                    new = _joining(trace, number, corruption[chosen], np.flatnonzero(chosen))
                    if pool is None:
                        pool = new
                    else:
                        pool.join(new)
            if pool is not None:
                _leave(trace, pool, number, detected)
            if pool is not None and not len(pool.fault):
                pool = None
            if pool is not None:
                last = number + 1 == len(steps)
                wanted = (trace.workload.program.output,) if last else trace.live[number + 1]
                _advance(trace, pool, (step + 1, end + 1), wanted)
        if pool is not None:
            logits[pool.fault] = pool.values[trace.workload.program.output]
            detected[pool.fault] = pool.detected
    return Resumed(logits, golden, detected)


def _joining(trace: Trace, number: int, corruption: Corruption, place: np.ndarray) -> _Pool:
    """The runs that begin at layer ``number``, at its end."""
    device = trace.logits.device
    image = torch.from_numpy(corruption.image).to(device)
    step = trace.workload.layers[number].step
    output = struck_outputs(trace, number, corruption)
    detected = trace.detected[image].clone()
    if trace.guard is not None:
        output, alarm = guarded(trace.guard, trace.workload, number, output)
        detected |= alarm
    values = {
        live: output if live == step else trace.golden(live, image) for live in trace.live[number]
    }
    return _Pool(torch.from_numpy(place).to(device), image, detected, values)


def _leave(trace: Trace, pool: _Pool, number: int, detected: Tensor) -> None:
    """Drop the runs whose live values all equal the golden ones; note their alarms."""
    same = torch.ones(len(pool.fault), dtype=torch.bool, device=pool.image.device)
    for step in trace.live[number]:
        same &= (pool.values[step] == trace.golden(step, pool.image)).all(1)
    detected[pool.fault[same]] = pool.detected[same]
    if bool(same.any()):
        pool.keep(~same)


def _advance(trace: Trace, pool: _Pool, span: tuple[int, int], wanted: tuple[int, ...]) -> None:
    """Run all runs of the pool through a span of steps, batch by batch."""
    kept: dict[int, list[Tensor]] = {step: [] for step in wanted}
    alarms: list[Tensor] = []
    for k in range(0, len(pool.fault), trace.rows):
        count = min(trace.rows, len(pool.fault) - k)
        start = {step: filled(v[k : k + count], trace.rows) for step, v in pool.values.items()}
        values, alarm = run_steps(trace.workload, start, span, trace.guard, trace.rows)
        for step in wanted:
            kept[step].append(values[step][:count])
        alarms.append(alarm[:count])
    pool.values = {step: torch.cat(parts) for step, parts in kept.items()}
    pool.detected |= torch.cat(alarms)
