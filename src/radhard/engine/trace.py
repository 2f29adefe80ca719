"""The golden run, kept: what later runs resume from and compare with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from radhard.engine.device import exactly
from radhard.engine.guard import (
    Guard,
    Seen,
    Sight,
    StepGuard,
    guarded,
    is_local,
    rows_of,
    step_guard,
    watched_steps,
)
from radhard.engine.needs import needs_of, planned_rows
from radhard.network.program import Span
from radhard.network.workload import HOST, Workload


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The fault-free values of a workload at the ends of its layers.

    A library picks another kernel for another batch size, and its sums then differ in the last
    bits. So every batch, golden or faulty, has the same number of rows; short ones are filled up.

    Attributes:
        workload: what was run.
        guard: what watched it, if anything did.
        batched: whether faulty runs go as batches of tensors, as they must on other devices than
            the CPU; else compiled kernels take those that they can.
        rows: images per batch, in the golden and in all faulty runs.
        pool: faulty runs in flight at once.
        values: for each step whose golden values faulty runs read, (b, elements).
        last_reader: for each step, the last one that reads it.
        logits: (b, classes).
        alarms: (b, watched steps) where the guard raised a (false) alarm, in the order of steps.
        finite: whether no golden value is infinite or not a number: differences are numbers then.
        unwatched: the values of steps that a local guard corrects, before it does, (b, elements).
        maps: golden values channels-last, for compiled kernels, made when first needed.
    """

    workload: Workload
    guard: StepGuard | None
    batched: bool
    rows: int
    pool: int
    values: Mapping[int, Tensor]
    last_reader: tuple[int, ...]
    logits: Tensor
    alarms: Tensor
    finite: bool
    unwatched: Mapping[int, Tensor] = field(default_factory=dict)
    maps: dict[Any, Any] = field(default_factory=dict)

    @property
    def detected(self) -> Tensor:
        """(b,) images for which the guard raised a (false) alarm."""
        return self.alarms.any(1)

    def column(self, step: int) -> int:
        """The place of a watched step among `alarms`."""
        return watched_steps(self.guard).index(step)

    @property
    def watched(self) -> frozenset[int]:
        """The steps that the guard watches."""
        return frozenset(self.guard.steps) if self.guard is not None else frozenset()

    def golden(self, step: int, images: Tensor) -> Tensor:
        """The values of a step for these images, (n, elements)."""
        return self.values[step][images]

    def value(self, step: int, images: Tensor) -> Any:
        """The same as operations take it, for a batch of these images; or the step's constant."""
        layout = self.workload.program.rows[step]
        if layout is None:
            return self.workload.program.steps[step].constant
        return layout.join(self.golden(step, images))

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """The lowest and the highest fault-free output of each layer."""
        ends = [torch.aminmax(self.values[layer.step]) for layer in self.workload.layers]
        return tuple((float(low), float(high)) for low, high in ends)

    def live_after(self, position: int) -> list[int]:
        """The steps up to ``position`` that depend on images and are read after it."""
        rows = self.workload.program.rows
        return [
            step
            for step in range(position + 1)
            if rows[step] is not None and self.last_reader[step] > position
        ]


@exactly()
def record(
    workload: Workload,
    guard: Guard | StepGuard | None = None,
    rows: int | None = None,
    memory: int | None = None,
    batched: bool = False,
) -> Trace:
    """Run the workload fault-free and keep what `radhard.engine.resume` needs.

    Args:
        workload: the network with its images.
        guard: watches, and may correct, the output of each layer or of the steps that it names.
        rows: images per batch, at least 1; ``None`` for as many as suit the network's size.
        memory: bytes for golden values and batches together; ``None`` for no limit.
        batched: keep compiled kernels out of the runs, on the CPU too, where they are faster.

    Raises:
        ValueError: for fewer than 1 row, or where golden values leave no memory for a batch.

    Warns:
        RuntimeWarning: where another device gives an image other values in another place of a
            batch, so that runs without a fault would differ.
    """
    needs = needs_of(workload)
    last = needs.last_reader
    watching = step_guard(guard, workload) if guard is not None else None
    if rows is not None and rows < 1:
        raise ValueError(f"{rows} rows per batch can't be: use at least 1")
    rows, pool = planned_rows(workload, needs, rows, memory)
    images, whole = (
        workload.images.flatten(1),
        Span(1, len(workload.program.steps), needs.read, last),
    )
    kept: dict[int, list[Tensor]] = {step: [] for step in needs.read}
    before = _Before(watching) if watching is not None and is_local(watching) else None
    alarms = []
    with torch.no_grad():
        for part in images.split(rows):
            start = {0: filled(part.to(workload.device), rows)}
            found, alarm = run_steps(workload, start, whole, before or watching, rows)
            for step, parts in kept.items():
                parts.append(found[step][: len(part)])
            alarms.append(alarm[: len(part)])
    values = {step: _joined(parts) for step, parts in kept.items()}
    logits = values[workload.program.output]
    finite = all(map(_finite, values.values()))
    batched |= workload.device != HOST
    unwatched = before.changed(workload, values) if before is not None else {}
    raised, shape = torch.cat(alarms), (batched, rows, pool)
    trace = Trace(workload, watching, *shape, values, last, logits, raised, finite, unwatched)
    if workload.device != HOST:
        workload.once(("steady", rows), lambda: _check_steady(trace))
    return trace


@dataclass(slots=True, eq=False)
class _Before:
    """A guard that keeps what it is shown, (rows, m, positions) of each batch."""

    guard: StepGuard
    shown: dict[int, list[Tensor]] = field(default_factory=dict)

    @property
    def steps(self) -> Collection[int]:
        return self.guard.steps

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        output, alarm = self.guard.look(sight)
        self.shown.setdefault(sight.step, []).append(sight.output)
        return output, alarm

    def changed(self, workload: Workload, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """What was shown, (b, elements), of steps at which the guard made something else of it."""
        found = {}
        for step in self.shown.keys() & values.keys():
            after = values[step]
            shown = torch.cat([rows_of(workload, step, part) for part in self.shown[step]])[
                : len(after)
            ]
            if not torch.equal(shown, after):
                found[step] = shown
        return found


def _check_steady(trace: Trace) -> None:
    """Warn where the first images have other values when they stand one row further down."""
    workload, rows = trace.workload, trace.rows
    first = filled(workload.images[:rows].flatten(1).to(workload.device), rows).roll(1, 0)
    span = Span(1, len(workload.program.steps), trace.values, trace.last_reader)
    with torch.no_grad():
        found, _ = run_steps(workload, {0: first}, span, trace.guard, rows)
    for step, value in found.items():
        golden, again = trace.values[step][:rows], value.roll(-1, 0)[: len(trace.logits)]
        if not bool(((golden == again) | (golden.isnan() & again.isnan())).all()):
            warnings.warn(
                f"{workload.name} on {workload.device}: the values of step "
                f"{workload.program.steps[step].name} depend on where in a batch an image stands, "
                "in their last bits, so that too few faults count as masked: use --device cpu for "
                "exact shares of those, or a format of integers",
                RuntimeWarning,
                stacklevel=5,
            )
            return


@exactly()
def answered(
    workload: Workload, guard: Guard | StepGuard | None = None, memory: int | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (b, classes) and alarms (b, watched steps) that `record` records, and nothing else."""
    needs = needs_of(workload)
    watching = step_guard(guard, workload) if guard is not None else None
    rows, _ = planned_rows(workload, needs, None, memory)
    output = workload.program.output
    span = Span(1, len(workload.program.steps), (output,), needs.last_reader)
    logits, alarms = [], []
    with torch.no_grad():
        for part in workload.images.flatten(1).split(rows):
            start = {0: filled(part.to(workload.device), rows)}
            found, alarm = run_steps(workload, start, span, watching, rows)
            logits.append(found[output][: len(part)])
            alarms.append(alarm[: len(part)])
    return torch.cat(logits), torch.cat(alarms)


def _finite(value: Tensor) -> bool:
    """Whether all values are numbers; a finite sum says so at once."""
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


#: ``(step, output, inputs)`` of a layer, (rows, elements) each, to the output to go on with.
Reread = Callable[[int, Tensor, Tensor], Tensor]


def run_steps(
    workload: Workload,
    start: Mapping[int, Tensor],
    span: Span,
    guard: StepGuard | None,
    rows: int,
    reread: Reread | None = None,
) -> tuple[dict[int, Tensor], Tensor]:
    """Run some steps for one batch of ``rows`` rows.

    Args:
        workload: the network.
        start: the values, (rows, elements), of earlier steps that are read.
        span: the steps.
        guard: watches the outputs of layers.
        rows: rows of the batch.
        reread: puts wrong weights in place in layers.

    Returns:
        The wanted values as (rows, elements), and the guard's alarms, (rows, watched steps).
    """
    places = {step: place for place, step in enumerate(watched_steps(guard))}
    alarms = torch.zeros((rows, len(places)), dtype=torch.bool, device=workload.device)

    def touched(step: int, found: Any, value: Callable[[int], Any]) -> Any:
        watched = guard is not None and step in guard.steps
        rereads = reread is not None and step in workload.numbers
        if not watched and not rereads:
            return found
        layout = _layout(workload, step)
        clean = output = layout.split(found)
        if reread is not None and rereads:
            source = workload.layers[workload.numbers[step]].operands[0]
            output = reread(step, output, _layout(workload, source).split(value(source)))
        if guard is not None and watched:
            again = (output != clean).any(1) if output is not clean else None
            output, alarm = guarded(guard, workload, Seen(step, output, clean, value, again))
            alarms[:, places[step]] = alarm
        return layout.join(output)

    whole = {step: _layout(workload, step).join(v) for step, v in start.items()}
    found = workload.program.run(whole, rows, span, workload.evaluate, touched)
    return {step: _layout(workload, step).split(value) for step, value in found.items()}, alarms


def filled(rows: Tensor, count: int) -> Tensor:
    """``rows`` followed by copies of the last one, ``count`` in all."""
    missing = count - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows


def _layout(workload: Workload, step: int) -> Any:
    rows = workload.program.rows[step]
    assert rows is not None
    return rows
