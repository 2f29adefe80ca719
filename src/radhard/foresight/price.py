"""What changes of values cost of the answer at most, along all paths at once.

Backwards from the logits, sizes of weights are added up over all paths, as if no two of them ever
cancelled and every rectifier let all through: by how much the lead of one class over another can
fall for a change of 1 in each value. What later steps may lose in rounding, each to its own format
and in whatever order it adds up, is taken off the leads beforehand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.engine.trace import Trace
from radhard.foresight import interval
from radhard.formats.catalogue import FLOAT32
from radhard.formats.fixed import FixedFormat
from radhard.formats.floating import FloatFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.operation import (
    Elementwise,
    Move,
    Operation,
    Reduce,
    Takes,
    Verb,
    Window,
    operation_of,
)  # fmt: skip
from radhard.network.program import Rows
from radhard.network.workload import Workload

#: Classes of a network that has prices, at most: there is a row for each two of them.
_CLASSES = 16
#: Half a last place of float32; by how much bounds allow more than they need, where they are tight.
_HALF, _SPARE = 2.0**-24, 1.01
#: By which share of its terms normalisation may err.
_AFFINE_ERROR = 2.0**-20
#: No value may reach this, and of the room up to where a format ends changes may take this part.
_LARGEST, _NEAR = 2.0**60, 0.9


def rounding_error(terms: int) -> float:
    """By which share of its terms a sum of floats may differ from another order's, with room."""
    return 4 * (terms + 4) * _HALF


def affine_terms(workload: Workload, step: int) -> tuple[Tensor, Tensor]:
    """Slope per channel of a `batch_norm`, and the size of what else it adds up."""
    weight, bias, mean, variance = (
        workload.program.steps[part.step].constant.double() if part is not None else None
        for part in workload.program.steps[step].args[1:5]
    )
    assert mean is not None
    assert variance is not None
    eps = workload.program.steps[step].args[5]
    slope = (variance + eps).rsqrt() * (1.0 if weight is None else weight)
    terms = (mean * slope).abs() + (0.0 if bias is None else bias.abs())
    return slope, terms


@dataclass(frozen=True, slots=True)
class Prices:
    """By step: what a change of 1 costs at most, (images, elements); all there is costs 1."""

    of: Mapping[int, Tensor]

    @classmethod
    def found(cls, trace: Trace, wanted: Collection[int]) -> Prices:
        """Of the steps ``wanted``, as far back as there are answers that rounding can't change."""
        classes = trace.logits.shape[1]
        if trace.workload.task.places or not 2 <= classes <= _CLASSES:
            return cls({})
        if not bool(torch.isfinite(trace.logits).all()):
            return cls({})
        with torch.no_grad():
            return cls(_Backward.of(trace).prices(wanted))


@dataclass(slots=True, eq=False)
class _Backward:
    """On the way backwards.

    Attributes:
        trace: the golden run.
        pairs: (pairs, 2) classes.
        costs: by step, (pairs + 1, elements): of leads, and of the room up to overflows.
        lost: (images, pairs) what rounding may cost of leads in the steps that were passed.
        unknown: steps whose changes may do anything.
    """

    trace: Trace
    pairs: Tensor
    costs: dict[int, Tensor]
    lost: Tensor
    unknown: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, trace: Trace) -> _Backward:
        """At the logits."""
        count = trace.logits.shape[1]
        pairs = torch.tensor(list(itertools.combinations(range(count), 2)))
        rows = torch.zeros(len(pairs) + 1, count)
        rows[:-1].scatter_(1, pairs, 1.0)
        lost = torch.zeros(len(trace.logits), len(pairs), dtype=torch.float64)
        return cls(trace, pairs, {trace.workload.program.output: rows}, lost)

    def prices(self, wanted: Collection[int]) -> dict[int, Tensor]:
        """Of the steps ``wanted``."""
        found: dict[int, Tensor] = {}
        last = len(self.trace.workload.program.steps) - 1
        for step in range(last, min(wanted, default=last + 1) - 1, -1):
            if step in self.costs and step not in self.unknown:
                self.costs[step][-1].clamp_(min=1 / _LARGEST)
                if step in wanted:
                    found[step] = self._price(step)
                    if bool(torch.isinf(found[step]).all()):
                        del found[step]
                        break
            self._take(step)
        return found

    def _price(self, step: int) -> Tensor:
        logits, costs = self.trace.logits.double(), self.costs[step]
        best, (one, other) = logits.argmax(1)[:, None], self.pairs.T
        ahead = logits[:, one] - logits[:, other]
        leads = torch.where(best == one, ahead, -ahead) - self.lost
        share = torch.where(leads > 0, 1 / leads, math.inf).float() * _SPARE
        share[(best != one) & (best != other)] = 0.0
        price = costs[-1:].repeat(len(best), 1)
        interval.dearest(costs.contiguous().numpy(), share.numpy(), price.numpy())
        return price

    def _take(self, step: int) -> None:
        """Go back through one step, whose own costs are known by now."""
        sources = self._sources(step)
        if step not in self.costs and step not in self.unknown:
            return
        found = self._through(step, sources) if step not in self.unknown else None
        self.costs.pop(step, None)
        if found is None:
            self.unknown.update(sources)
            return
        for source, cost in found.items():
            self.costs[source] = self.costs[source] + cost if source in self.costs else cost

    def _through(self, step: int, sources: Sequence[int]) -> dict[int, Tensor] | None:
        given = self.trace.workload.program.steps[step]
        if step in self.trace.workload.numbers:
            return self._layer(step)
        done, stored = operation_of(given), set(sources) <= self.trace.values.keys()
        if isinstance(done, Move):
            return self._linear(step, sources, given.run)
        if isinstance(done, Window) and done.takes is Takes.LARGEST:
            return self._largest(step, sources[0], done)
        if isinstance(done, Reduce | Window) and done.takes is Takes.MEAN:
            return self._mean(step, sources[0]) if stored else None
        return self._value_by_value(step, sources, done, stored)

    def _value_by_value(
        self, step: int, sources: Sequence[int], done: Operation, stored: bool
    ) -> dict[int, Tensor] | None:
        verb = done.verb if isinstance(done, Elementwise) else Verb.OTHER
        if verb is Verb.BETWEEN and len(sources) == 1:
            return {sources[0]: self.costs[step]}
        if verb is Verb.NORMALISE and stored:
            return self._affine(step, sources[0])
        return self._sum(step, sources) if verb is Verb.ADD and stored else None

    def _mean(self, step: int, source: int) -> dict[int, Tensor]:
        run = self.trace.workload.program.steps[step].run
        found = self._linear(step, [source], run)
        self._lose(source, rounding_error(self._rows(source).elements) * found[source])
        return found

    def _layer(self, step: int) -> dict[int, Tensor] | None:
        work, number = self.trace.workload, self.trace.workload.numbers[step]
        layer, how, given = work.layers[number], work.arithmetic[number], work.parameters[number]
        source, held = layer.operands[0], self.trace.values
        into, out = coding_of(how.input), coding_of(how.output)
        if (
            given is None or layer.kind == "embedding" or not how.plain
            or how.accumulator not in (None, how.output)
            or into is None or out is None or not {step, source} <= held.keys()
        ):  # fmt: skip
            return None
        cost = self.costs[step]
        _leave_room(cost, out.limit, held[step])
        cost = cost * (1 + out.share)
        self._lose(step, out.share * cost, out.quantum)
        error = 0.0 if how.exact else rounding_error(layer.fan_in)
        if layer.bias is not None and error:
            bias = float(work.program.steps[layer.bias].constant.abs().max())
            self._lose(step, 0 * cost, 0.0, error * bias * cost.sum(1))
        weight = work.weight(number).abs()
        found = self._linear(step, [source], lambda v: layer.product(v(source), weight, None), cost)
        back = found[source] * ((1 + error) * (1 + into.share))
        _leave_room(back, into.limit, held[source])
        self._lose(source, (error + into.share) * back, 0.0, into.quantum * back.sum(1))
        return {source: back}

    def _affine(self, step: int, source: int) -> dict[int, Tensor] | None:
        layout = self._rows(source)
        shape = layout.shape(1)
        if not layout.first or len(shape) < 2:
            return None
        slope, terms = (
            part.float().repeat_interleave(math.prod(shape[2:]))
            for part in affine_terms(self.trace.workload, step)
        )
        cost = self.costs[step] * _SPARE
        back = cost * slope.abs()
        self._lose(source, _AFFINE_ERROR * back, 0.0, _AFFINE_ERROR * (cost * terms).sum(1))
        return {source: back}

    def _sum(self, step: int, sources: Sequence[int]) -> dict[int, Tensor] | None:
        alike = all(self._rows(source).sizes == self._rows(step).sizes for source in sources)
        if len(sources) != 2 or not alike:
            return None
        back = self.costs[step] * _SPARE
        for source in sources:
            self._lose(source, rounding_error(2) * back)
        return dict.fromkeys(sources, back)

    def _largest(self, step: int, source: int, done: Window) -> dict[int, Tensor] | None:
        """A window's largest value changes by no more than the sum of its changes."""
        over = done.geometry
        if over.dilation != (1, 1):
            return None

        def pooled(values: Callable[[int], Tensor]) -> Tensor:
            given = over.kernel, over.stride, over.padding, not done.even
            held = values(source)
            maps = held if held.dim() == 4 else held[:, :, None]  # a line is one row
            return F.avg_pool2d(maps, *given, divisor_override=1).view(len(held), -1)

        return self._linear(step, [source], pooled)

    def _linear(
        self,
        step: int,
        sources: Sequence[int],
        run: Callable[[Any], Tensor],
        cost: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Through a step that is linear in its sources, by no negative factors."""
        program, cost = self.trace.workload.program, self.costs[step] if cost is None else cost
        pairs = len(cost)
        held = {
            s: self._rows(s).join(torch.zeros(pairs, self._rows(s).elements)).requires_grad_(True)
            for s in sources
        }

        def value(step: int) -> Any:
            if step in held:
                return held[step]
            size = program.sizes[step]
            return size[0] * pairs + size[1] if size else program.steps[step].constant

        with torch.enable_grad():
            out = run(value)
            whole = (out * self._rows(step).join(cost).reshape(out.shape)).sum()
        back = torch.autograd.grad(whole, list(held.values()))  # a number: no import of sympy
        parts = zip(held, back, strict=True)
        return {s: self._rows(s).split(part) * _SPARE for s, part in parts}

    def _lose(
        self, step: int, share: Tensor, quantum: float = 0.0, always: Tensor | None = None
    ) -> None:
        """Take costs (pairs + 1, elements) of a step's golden sizes off the leads, and others."""
        self.lost += (self.trace.values[step].abs() @ share[:-1].T).double() * _SPARE
        if quantum:
            self.lost += quantum * self.costs[step][:-1].sum(1) * _SPARE
        if always is not None:
            self.lost += always[:-1] * _SPARE

    def _sources(self, step: int) -> list[int]:
        program = self.trace.workload.program
        return [s for s in program.steps[step].inputs if program.rows[s] is not None]

    def _rows(self, step: int) -> Rows:
        rows = self.trace.workload.program.rows[step]
        assert rows is not None
        return rows


def _leave_room(cost: Tensor, limit: float, golden: Tensor) -> None:
    """Let what takes values (images, elements) up to a limit cost all there is."""
    room = _NEAR * (limit - golden.abs().amax(0))
    cost[-1] = torch.maximum(cost[-1], torch.where(room > 0, 1 / room, math.inf))


@dataclass(frozen=True, slots=True)
class Coding:
    """What rounding to a format makes of two values: apart by no more than ``1 + share`` times as
    far, ``share`` of one's size and ``quantum`` more, while both stay below ``limit``.
    """

    quantum: float
    share: float
    limit: float


def coding_of(fmt: NumberFormat) -> Coding | None:
    """Of a format; ``None`` where nothing is known of it. float32 is no rounding here."""
    if fmt == FLOAT32:
        return Coding(0.0, 0.0, _LARGEST)
    if isinstance(fmt, FloatFormat) and fmt.significant <= 24:
        quantum = 2.0 ** (1 - fmt.offset - fmt.mantissa)
        largest = float(fmt.decode(torch.tensor(fmt.largest)))
        return Coding(quantum, 2.0**-fmt.mantissa, min(largest, _LARGEST))
    if isinstance(fmt, IntegerFormat):
        return Coding(1.02 * max(fmt.scale), 0.0, math.inf)
    if isinstance(fmt, FixedFormat):
        return Coding(1.02 * fmt.scale, 0.0, math.inf)
    return None
