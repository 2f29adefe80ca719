"""The golden run, kept: what later runs resume from and compare with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from radhard.engine.guard import Guard, guarded
from radhard.network.export import batch_norm
from radhard.network.workload import Workload

#: Images that run at once, at most, and bytes of one batch, unless stated.
_ROWS, _BATCH_BYTES = 64, 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The fault-free values of a workload at the ends of its layers.

    A library picks another kernel for another batch size, and its sums then differ in the last
    bits. So every batch, golden or faulty, has the same number of rows; short ones are filled up.

    Attributes:
        workload: what was run.
        guard: what watched it, if anything did.
        rows: images per batch, in the golden and in all faulty runs.
        values: for each step whose golden values faulty runs read, (b, elements).
        last_reader: for each step, the last one that reads it.
        logits: (b, classes).
        detected: (b,) images for which the guard raised a (false) alarm.
        finite: whether no golden value is infinite or not a number: differences are numbers then.
        copies: golden values in other layouts, made when first needed.
    """

    workload: Workload
    guard: Guard | None
    rows: int
    values: Mapping[int, Tensor]
    last_reader: tuple[int, ...]
    logits: Tensor
    detected: Tensor
    finite: bool
    copies: dict[tuple[str, int, float], Tensor] = field(default_factory=dict)

    def golden(self, step: int, images: Tensor) -> Tensor:
        """The values of a step for these images, (n, elements)."""
        return self.values[step][images]

    def live_after(self, position: int) -> list[int]:
        """The steps up to ``position`` that depend on images and are read after it."""
        rows = self.workload.program.rows
        return [
            step
            for step in range(position + 1)
            if rows[step] is not None and self.last_reader[step] > position
        ]


def record(workload: Workload, guard: Guard | None = None, rows: int | None = None) -> Trace:
    """Run the workload fault-free and keep what `radhard.engine.resume` needs.

    Args:
        workload: the network with its images.
        guard: watches, and may correct, the output of each layer.
        rows: images per batch, at least 1; ``None`` for as many as suit the network's size.

    Raises:
        ValueError: for fewer than 1 row.
    """
    last = _last_readers(workload)
    rows = _suitable_rows(workload, last) if rows is None else rows
    if rows < 1:
        raise ValueError(f"{rows} rows per batch can't be: use at least 1")
    images = workload.images.reshape(len(workload.images), -1)
    kept: dict[int, list[Tensor]] = {step: [] for step in sorted(_read_steps(workload, last))}
    alarms = []
    with torch.no_grad():
        for part in images.split(rows):
            start = {0: filled(part, rows)}
            whole = Span(1, len(workload.program.steps), kept.keys(), last)
            found, alarm = run_steps(workload, start, whole, guard, rows)
            for step, parts in kept.items():
                parts.append(found[step][: len(part)])
            alarms.append(alarm[: len(part)])
    values = {step: torch.cat(parts) for step, parts in kept.items()}
    logits = values[workload.program.output]
    finite = all(bool(torch.isfinite(value).all()) for value in values.values())
    return Trace(workload, guard, rows, values, last, logits, torch.cat(alarms), finite)


@dataclass(frozen=True, slots=True)
class Span:
    """Which steps to run, and which values to keep.

    Attributes:
        first, end: the steps ``first <= step < end``.
        wanted: steps whose values are asked for; others are dropped after their last reader.
        last_reader: for each step, the last one that reads it.
    """

    first: int
    end: int
    wanted: Collection[int]
    last_reader: tuple[int, ...]


def run_steps(
    workload: Workload, start: Mapping[int, Tensor], span: Span, guard: Guard | None, rows: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Run some steps for one batch of ``rows`` rows.

    Args:
        workload: the network.
        start: the values, (rows, elements), of earlier steps that are read.
        span: the steps.
        guard: watches the outputs of layers.
        rows: rows of the batch.

    Returns:
        The wanted values as (rows, elements), and the guard's alarms, (rows,).
    """
    program = workload.program
    held: dict[int, Any] = {step: _layout(workload, step).join(v) for step, v in start.items()}
    alarms = torch.zeros(rows, dtype=torch.bool, device=workload.images.device)

    def value(step: int) -> Any:
        if step not in held:
            size = program.sizes[step]
            held[step] = size[0] * rows + size[1] if size else program.steps[step].constant
        return held[step]

    for step in range(span.first, span.end):
        if program.rows[step] is None:
            continue
        held[step] = workload.evaluate(step, value)
        if guard is not None and step in workload.numbers:
            layout = _layout(workload, step)
            output, alarm = guarded(
                guard, workload, workload.numbers[step], layout.split(held[step])
            )
            held[step] = layout.join(output)
            alarms |= alarm
        for source in program.steps[step].inputs:
            if span.last_reader[source] == step and source not in span.wanted:
                held.pop(source, None)
    return {step: _layout(workload, step).split(held[step]) for step in span.wanted}, alarms


def _last_readers(workload: Workload) -> tuple[int, ...]:
    program = workload.program
    last = [max(users, default=-1) for users in program.users()]
    last[program.output] = len(program.steps)
    return tuple(last)


def _suitable_rows(workload: Workload, last: tuple[int, ...]) -> int:
    """A power of two that keeps what lives at a time in a batch within `_BATCH_BYTES`."""
    sizes = [rows.elements if rows is not None else 0 for rows in workload.program.rows]
    alive = [
        sum(size for source, size in enumerate(sizes[: step + 1]) if last[source] >= step)
        for step in range(len(sizes))
    ]
    fitting = _BATCH_BYTES // (max(alive) * workload.images.element_size())
    return int(min(_ROWS, 1 << max(fitting, 1).bit_length() - 1))


def _read_steps(workload: Workload, last: tuple[int, ...]) -> set[int]:
    """The steps whose golden values faulty runs read.

    Those that runs start from, which are live at the end of a layer or operands of one; and the
    surroundings of patches, which operations on more than one value at a time read.
    """
    program = workload.program
    read = {program.output}
    for layer in workload.layers:
        read |= {step for step in range(layer.step + 1) if last[step] > layer.step}
    for step in program.steps:
        sources = {source for source in step.inputs if program.rows[source] is not None}
        alone = torch.Tag.pointwise in getattr(step.op, "tags", ()) or step.op is batch_norm
        if len(sources) > 1 or not alone:
            read |= sources
    return {step for step in read if program.rows[step] is not None}


def filled(rows: Tensor, count: int) -> Tensor:
    """``rows`` followed by copies of the last one, ``count`` in all."""
    missing = count - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, -1)]) if missing else rows


def _layout(workload: Workload, step: int) -> Any:
    rows = workload.program.rows[step]
    assert rows is not None
    return rows
