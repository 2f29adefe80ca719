"""The chain of elementwise steps behind a layer, as compiled bounds take it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.foresight import interval
from radhard.foresight.price import affine_terms
from radhard.network.layer import Layer
from radhard.network.operation import Elementwise, Verb, operation_of
from radhard.network.workload import Workload


@dataclass(frozen=True, slots=True)
class Link:
    """A step value by value: its place, code and numbers of `interval`, and what else it adds."""

    step: int
    code: int
    numbers: NDArray[np.float32]
    added: int | None = None


def links_behind(
    workload: Workload, layer: Layer, users: Sequence[Sequence[int]]
) -> Iterator[Link]:
    """The steps behind a layer, value by value and read by the next one only; one adds a value."""
    program, step, adds = workload.program, layer.step, 0
    while len(users[step]) == 1 and step != program.output:
        after = users[step][0]
        link = _link(workload, layer, after, step)
        if link is None or program.rows[after] != program.rows[layer.step]:
            return
        adds += link.added is not None
        if adds > 1:
            return
        yield link
        step = after


def _link(workload: Workload, layer: Layer, index: int, source: int) -> Link | None:
    """One of them; ``None`` where it is not understood."""
    program, step = workload.program, workload.program.steps[index]
    own, done = program.rows[source], operation_of(step)
    if not isinstance(done, Elementwise):
        return None
    if done.verb is Verb.NORMALISE:
        flat = own is not None and len(own.sizes) == 2
        return _affine(workload, index) if layer.kind == "conv" or flat else None
    if done.verb is Verb.ADD:
        first, second = (arg.step for arg in step.args)
        other = second if first == source else first
        alike = other != source and program.rows[other] == own
        return Link(index, interval.ADD, np.zeros(0, np.float32), other) if alike else None
    code = _CODES.get(done.verb)
    return None if code is None else Link(index, code, np.array(done.numbers, np.float32))


#: How compiled bounds call what elementwise steps do.
_CODES: Mapping[Verb, int] = {
    Verb.BETWEEN: interval.BETWEEN,
    Verb.TIMES: interval.TIMES,
    Verb.PER: interval.PER,
    Verb.PLUS: interval.PLUS,
    Verb.ROUND: interval.ROUND,
    Verb.SIGN: interval.SIGN,
}


def _affine(workload: Workload, index: int) -> Link:
    slope, terms = affine_terms(workload, index)
    bias, mean = (
        workload.program.steps[part.step].constant.double() if part is not None else 0.0
        for part in workload.program.steps[index].args[2:4]
    )
    table = torch.stack([slope, bias - mean * slope, terms], 1)
    return Link(index, interval.AFFINE, table.reshape(-1).float().numpy())
