"""Bounds that no value can pass: guards that raise no alarm and change nothing, provably."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from radhard.engine.guard import BoundingGuard, Bounds, by_channel, step_guard
from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.network.operation import (
    Elementwise,
    Operation,
    Pad,
    Reduce,
    Reshape,
    Verb,
    Window,
    operation_of,
)
from radhard.network.program import Span
from radhard.network.workload import HOST, Workload
from radhard.protect.protection import Protection

#: Elementwise operations whose results lie between those of the ends of what they read.
_MONOTONE = {Verb.BETWEEN, Verb.NORMALISE, Verb.TIMES, Verb.PER, Verb.PLUS, Verb.ROUND, Verb.SIGN}


def idle(protections: Sequence[Protection], workload: Workload) -> tuple[str, ...]:
    """Which protections, by their class, can do nothing in this network, or at some of its steps.

    Ranges of integers and of fixed point are fitted to the same values as bounds, so that the
    largest code often lies within them already. What is not known here is not said.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(8, 1, 2, 2), torch.arange(8) % 3, format=rh.INT8)
    >>> idle([rh.RangeDetector(cushion=0.1, ranges=((-9.0, 9.0),))], work)
    ('RangeDetector',)
    """
    found = []
    for part in protections:
        guard = part.guard(workload.on(HOST))
        if guard is None:
            continue
        watching = step_guard(guard, workload)
        steps = watching.steps if isinstance(watching, BoundingGuard) else ()
        useless = sum(_inside(watching.bounds(step), _reach(workload, step)) for step in steps)  # type: ignore[attr-defined]
        name = type(part).__name__
        if not watching.steps:  # a network without what it looks at
            found.append(name)
        elif useless:
            whole = useless == len(steps)
            found.append(name if whole else f"{name} at {useless} of {len(steps)} steps")
    return tuple(found)


def _inside(bounds: Bounds | None, reach: tuple[Tensor, Tensor] | None) -> bool:
    """Whether bounds, of all places or of each, leave nothing of what is reached out."""
    if bounds is None or reach is None:
        return False
    low, high = (end.detach().to(HOST, torch.float64) for end in bounds[:2])
    least, most = (end.to(torch.float64) for end in reach)
    return bool((low <= least).all()) and bool((most <= high).all())


def _reach(workload: Workload, step: int) -> tuple[Tensor, Tensor] | None:
    """The lowest and highest value that each place of a step may have, channel by channel."""
    program, chain = workload.program, [step]
    if workload.formats.fused:
        return None
    while chain[-1] not in workload.numbers:
        at = program.steps[chain[-1]]
        sources = [s for s in at.inputs if program.rows[s] is not None]
        if not _keeps_order(operation_of(at)) or len(sources) != 1:
            return None
        chain.append(sources[0])
    ends = _ends(workload, chain[-1])
    for place, after in zip(chain[:0:-1], chain[-2::-1], strict=True):
        ends = ends and [_ran(workload, after, place, value) for value in ends]
    if ends is None:
        return None
    rows = program.rows[step]
    assert rows is not None
    low, high = (by_channel(workload, step, rows.split(value)).reshape(-1) for value in ends)
    return torch.minimum(low, high), torch.maximum(low, high)


def _keeps_order(what: Operation) -> bool:
    """Whether results lie between those of the ends of what is read, place by place."""
    if isinstance(what, Elementwise):
        return what.verb in _MONOTONE
    return isinstance(what, Window | Reshape | Pad | Reduce)


def _ends(workload: Workload, step: int) -> list[Tensor] | None:
    """A layer's output for one image of nothing but its smallest code, and of its largest."""
    fmt, layout = workload.arithmetic[workload.numbers[step]].output, workload.program.rows[step]
    assert layout is not None
    carrier = workload.formats.carrier
    if isinstance(fmt, IntegerFormat) and len(fmt.scale) == 1:
        ends = [fmt.scale[0] * (code - fmt.zero[0]) for code in fmt.limits]
    elif isinstance(fmt, FixedFormat):
        ends = [fmt.scale * code for code in fmt.limits]
    else:
        return None
    return [layout.join(torch.full((1, layout.elements), end, dtype=carrier)) for end in ends]


def _ran(workload: Workload, step: int, source: int, value: Tensor) -> Tensor:
    """A step's value where it reads this of another step, and constants."""
    program = workload.program
    span = Span(step, step + 1, (step,), program.last_readers())
    found: Tensor = program.run({source: value}, 1, span)[step]
    return found
