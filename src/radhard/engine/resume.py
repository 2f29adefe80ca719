"""From corruptions to logits: continue the golden run from where each fault struck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from radhard.engine.guard import guarded
from radhard.engine.patch import Windows, struck_patch
from radhard.engine.spread import Pool, spread
from radhard.engine.strike import single, struck_outputs, struck_values
from radhard.engine.trace import Span, Trace, filled, run_steps
from radhard.faults.corruption import OPERANDS, Corruption


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


def resume(
    trace: Trace, corruption: Corruption, pool: int | None = None, patches: bool = True
) -> Resumed:
    """Run the network under each corruption, from its layer on.

    One wrong output spreads as a patch while that is cheaper; then, and for all other
    corruptions, whole tensors are run. Whole runs walk through the network together: each joins
    where it begins, and leaves as soon as nothing that is still to be read differs from the
    golden run. The result for one fault does not depend on the others, nor on ``pool``.

    Not-a-number and infinities flow through the network by the rules of IEEE 754 where the format
    has them; a not-a-number differs from everything.

    Args:
        trace: the golden run.
        corruption: n corruptions.
        pool: faults in flight at once, as the trace says where ``None``.
        patches: ``False`` runs whole tensors from the start, the slower and simpler way.

    Returns:
        Logits in the order of ``corruption``.
    """
    pool = pool or trace.pool
    usable = patches and trace.guard is None and trace.finite
    windows = Windows(trace, trace.copies) if usable else None
    parts = [
        _resumed(trace, windows, corruption[k : k + pool]) for k in range(0, len(corruption), pool)
    ]
    if not parts:
        none = torch.zeros(0, dtype=torch.bool, device=trace.logits.device)
        return Resumed(trace.logits[:0], trace.logits[:0], none)
    return Resumed(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.golden for part in parts]),
        torch.cat([part.detected for part in parts]),
    )


def _resumed(trace: Trace, windows: Windows | None, corruption: Corruption) -> Resumed:
    image = torch.from_numpy(corruption.image).to(trace.logits.device)
    golden = trace.logits[image]
    logits, detected = golden.clone(), trace.detected[image].clone()
    with torch.no_grad():
        waiting: dict[int, list[Pool]] = {}
        for begun in _beginnings(trace, windows, corruption):
            waiting.setdefault(begun.position, []).append(begun)
        for pool in _walk(trace, waiting, detected):
            logits[pool.fault] = pool.values[trace.workload.program.output]
            detected[pool.fault] = pool.detected
    return Resumed(logits, golden, detected)


def _beginnings(trace: Trace, windows: Windows | None, corruption: Corruption) -> Iterator[Pool]:
    """The runs with whole values, each where its own begin."""
    device = trace.logits.device
    for number in range(len(trace.workload.layers)):
        for operand in OPERANDS:
            chosen = (corruption.layer == number) & (corruption.operand == operand)
            place = torch.from_numpy(np.flatnonzero(chosen)).to(device)
            if not len(place):
                continue
            one = single(trace, number, corruption[chosen])
            yield from _from_values(trace, windows, number, corruption[chosen][one], place[one])
            if not one.all():
                part, whole = corruption[chosen][~one], place[~one]
                yield _struck(trace, number, part, whole, struck_outputs(trace, number, part))


def _from_values(
    trace: Trace, windows: Windows | None, number: int, corruption: Corruption, fault: Tensor
) -> Iterator[Pool]:
    """The runs that begin with one wrong output."""
    if not len(fault):
        return
    step = trace.workload.layers[number].step
    image = torch.from_numpy(corruption.image).to(fault.device)
    element, golden, faulty = struck_values(trace, number, corruption)
    if windows is not None and windows.plane(step):
        pool = spread(
            windows, step, fault, image, struck_patch(windows, step, element, golden, faulty)
        )
        if pool is not None:
            yield pool
        return
    output = trace.golden(step, image)
    output[torch.arange(len(output), device=output.device), element] = faulty
    yield _struck(trace, number, corruption, fault, output)


def _struck(
    trace: Trace, number: int, corruption: Corruption, fault: Tensor, output: Tensor
) -> Pool:
    """The runs that begin at the end of layer ``number``, with these outputs of it."""
    image = torch.from_numpy(corruption.image).to(fault.device)
    step = trace.workload.layers[number].step
    detected = trace.detected[image].clone()
    if trace.guard is not None:
        output, alarm = guarded(trace.guard, trace.workload, number, output)
        detected |= alarm
    values = {
        live: output if live == step else trace.golden(live, image)
        for live in trace.live_after(step)
    }
    return Pool(step, fault, image, detected, values)


def _walk(trace: Trace, waiting: dict[int, list[Pool]], detected: Tensor) -> list[Pool]:
    """Take whole runs through the network, batch by batch, each joining at its position."""
    last = len(trace.workload.program.steps) - 1
    ends = {layer.step for layer in trace.workload.layers}
    batches: list[Pool] = []
    for position in sorted({*ends, *waiting, last}):
        batches = [_advanced(trace, batch, position) for batch in batches]
        new = waiting.pop(position, [])
        if position < last:
            batches = [kept for batch in batches if (kept := _remaining(trace, batch, detected))]
            new = [kept for pool in new if (kept := _remaining(trace, pool, detected))]
        batches = _packed([*batches, *new], trace.rows)
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


def _remaining(trace: Trace, pool: Pool, detected: Tensor) -> Pool | None:
    """The runs with a live value that is not golden; notes the alarms of the others."""
    same = torch.arange(len(pool.fault), device=pool.image.device)
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


def _advanced(trace: Trace, batch: Pool, position: int) -> Pool:
    """A batch of runs, taken on to ``position``."""
    if position == batch.position:
        return batch
    count = len(batch.fault)
    start = {step: filled(value, trace.rows) for step, value in batch.values.items()}
    wanted = trace.live_after(position)
    span = Span(batch.position + 1, position + 1, wanted, trace.last_reader)
    values, alarm = run_steps(trace.workload, start, span, trace.guard, trace.rows)
    kept = {step: values[step][:count] for step in wanted}
    return Pool(position, batch.fault, batch.image, batch.detected | alarm[:count], kept)
