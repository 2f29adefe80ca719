"""What the runs of a program hold in memory, and how many images and rows that leaves room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radhard.engine.device import room_on
from radhard.network.operation import Elementwise, operation_of
from radhard.network.workload import HOST, Workload

#: Rows of a batch, at most and at least where memory allows, and bytes of one.
_ROWS, _FEW_ROWS, _BATCH_BYTES = 64, 16, 1 << 28
#: Runs in flight at once, at most.
_POOL = 4096
#: Rows and runs on other devices, which have enough to do only with many.
_MANY_ROWS, _MANY_RUNS = 1024, 1 << 15
#: Times that golden values are held, copies in other layouts included.
_COPIES = 3
#: Rows of batches for which there must be room, and those that segments of images leave room for.
_BATCHES_ROOM, _WIDE_ROOM = 4, 1024


@dataclass(frozen=True, slots=True)
class Needs:
    """What the runs of a program hold.

    Attributes:
        last_reader: for each step, the last one that reads it.
        read: the steps whose golden values faulty runs read, in order.
        row: bytes of one row of a batch.
        laid_out: bytes that one more row takes where operands are laid out for products of
            matrices, in float64.
        golden: bytes of the golden values of one image.
    """

    last_reader: tuple[int, ...]
    read: tuple[int, ...]
    row: int
    laid_out: int
    golden: int

    @classmethod
    def of(cls, workload: Workload) -> Needs:
        """For any images."""
        program = workload.program
        last = list(program.last_readers())
        last[program.output] = len(program.steps)
        read = sorted(_read_steps(workload, last))
        sizes = [layout.elements if layout is not None else 0 for layout in program.rows]
        alive = [
            sum(size for source, size in enumerate(sizes[: step + 1]) if last[source] >= step)
            for step in range(len(sizes))
        ]
        item = workload.images.element_size()
        held = _COPIES * sum(sizes[step] for step in read)
        operands = [
            8 * layer.fan_in * layer.positions * layer.bounds["groups"]
            for layer in workload.layers
            if layer.kind == "conv"
        ]
        laid_out = max(operands, default=0)
        return cls(tuple(last), tuple(read), max(alive) * item, laid_out, held * item)


def needs_of(workload: Workload) -> Needs:
    """Found out once for a workload."""
    return workload.once("needs", lambda: Needs.of(workload))


def planned_rows(
    workload: Workload, needs: Needs, rows: int | None, memory: int | None
) -> tuple[int, int]:
    """Rows per batch and runs in flight, so that what they hold stays within their room."""
    row, golden = needs.row, needs.golden
    here = workload.device == HOST
    room = room_on(workload.device)
    if memory is not None:
        room = memory - golden * len(workload.images)
        if room < _BATCHES_ROOM * row:
            least = golden * len(workload.images) + _BATCHES_ROOM * row
            raise ValueError(
                f"a memory of {memory:,} bytes can't hold the golden values of "
                f"{len(workload.images)} image(s) and a batch: allow {least:,} or more"
            )
    enough = max(_FEW_ROWS, 1 << (len(workload.images) - 1).bit_length())
    if here:
        most, fitting = min(_ROWS, enough), min(_BATCH_BYTES, room // 4) // row
    else:
        most, fitting = _MANY_ROWS, room // 2 // (row + needs.laid_out)
    rows = rows or min(most, 1 << int(max(1, fitting)).bit_length() - 1)
    return rows, int(max(rows, min(_POOL if here else _MANY_RUNS, room // (2 * row))))


def images_within(workload: Workload, memory: int | None, count: int) -> int:
    """How many of ``count`` images' golden values, at least 1, leave room within ``memory``.

    Without a limit all of them, as far as a device has room beside batches.
    """
    if memory is None:
        if workload.device == HOST:
            return count
        memory = room_on(workload.device)
    needs = needs_of(workload)
    row, golden = needs.row, needs.golden
    all_fit = golden * count + _BATCHES_ROOM * row <= memory
    roomy = max(memory - _WIDE_ROOM * row, min(memory // 2, memory - _BATCHES_ROOM * row))
    return count if all_fit else max(1, min(count, roomy // golden))


def _read_steps(workload: Workload, last: Sequence[int]) -> set[int]:
    """The steps whose golden values faulty runs read.

    Those that runs start from, which are live at the end of a layer or operands of one; and the
    surroundings of differences, which operations on more than one value at a time read.
    """
    program = workload.program
    read = {program.output}
    for layer in workload.layers:
        read |= {step for step in range(layer.step + 1) if last[step] > layer.step}
    for step in program.steps:
        sources = {source for source in step.inputs if program.rows[source] is not None}
        alone = isinstance(operation_of(step), Elementwise)
        if len(sources) > 1 or not alone:
            read |= sources
    return {step for step in read if program.rows[step] is not None}
