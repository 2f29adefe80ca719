"""What watches a run: detectors and correctors that see values as they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from radhard.faults.corruption import Corruption
from radhard.network.operation import keeps_axes
from radhard.network.workload import Workload


class Guard(Protocol):
    """Inspects the output of each layer as it is computed, in golden and in faulty runs.

    It sees every image by itself: what it says of one row must not depend on the others.
    """

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """What to go on with, and where a fault is suspected.

        Args:
            layer: number of the layer in the workload.
            output: (n, m, positions).

        Returns:
            The output, corrected or as it was, (n, m, positions); and alarms, (n,) of bool.
        """
        ...


class Wrong(NamedTuple):
    """What is struck in a layer: n corruptions of one operand, what that was and became, (n,)."""

    corruption: Corruption
    before: Tensor
    after: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a guard sees of n runs at one step.

    Attributes:
        step: of the program.
        output: the step's values, by channel, (n, m, positions).
        clean: what they would be on these inputs without a fault in this step; the same tensor as
            ``output`` where there is none. For guards that stand for hardware which computes or
            stores a value more than once.
        inputs: gives the first operand of a layer without a fault, image by image: (n, ...).
        shared: (n,) whether the fault lies in a value that a repetition would read again.
        wrong: what is struck in this layer, from which follows what checkers beside it read;
            ``None`` where nothing is, or a stored weight is read once more.
        weight: that of the layer in these runs, where it is not the network's.
    """

    step: int
    output: Tensor
    clean: Tensor
    inputs: Callable[[], Tensor]
    shared: Tensor
    wrong: Wrong | None = None
    weight: Tensor | None = None

    @property
    def struck(self) -> Tensor:
        """(n,) which runs have a fault in this step."""
        if self.output is self.clean:
            return torch.zeros(self.output.shape[0], dtype=torch.bool, device=self.output.device)
        return (self.output != self.clean).flatten(1).any(1)


@runtime_checkable
class StepGuard(Protocol):
    """A guard that chooses what it watches, and sees more of it."""

    @property
    def steps(self) -> Collection[int]:
        """The steps of the program that it watches: layers, or what stands behind them."""
        ...

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """As `Guard.inspect`."""
        ...


@runtime_checkable
class LocalGuard(StepGuard, Protocol):
    """A guard that may judge every value by itself, so that untouched ones need no look.

    Or by a window around it, see `WindowGuard`.
    """

    @property
    def local(self) -> bool:
        """Whether it does."""
        ...

    def touch(self, step: int, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """What to go on with, and which values raise an alarm, (k,) each.

        Args:
            step: of the program.
            values: (k,) of some images.
            place: (k,) where each lies in its image, channel by channel.
        """
        ...


@runtime_checkable
class LocalLayerGuard(Guard, Protocol):
    """A `Guard` of layers that judges every value by itself."""

    def touch(self, layer: int, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """As `LocalGuard.touch`, by number of the layer."""
        ...


class Window(NamedTuple):
    """By which values a guard judges each one.

    Attributes:
        axis: of (n, m, positions), 1 for channels or 2 for positions, along which they lie.
        reads: (count, width) for each place along the axis the places that it is judged by, itself
            first; one may stand there more than once.
        judge: from values (n, width, m) of windows in all channels, and their positions (n,), to
            what to go on with, (n, m), and where an alarm is raised, (n,) of bool. It depends on
            nothing else.
    """

    axis: int
    reads: Tensor
    judge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@runtime_checkable
class WindowGuard(LocalGuard, Protocol):
    """A local guard that judges values by windows around them at some of its steps."""

    def window(self, step: int, real: torch.dtype) -> Window | None:
        """That of a step, for values of a type; ``None`` where it judges each by itself."""
        ...


class Bounds(NamedTuple):
    """Between what each value has to lie, and what becomes of others and of not-a-number.

    Attributes:
        low, high: of all places, (1,), or of each, channel by channel, (elements,).
        below, above: what values become that are lower (or no number) or higher, as ``low``.
        stays: whether they stay nevertheless, with an alarm.
    """

    low: Tensor
    high: Tensor
    below: Tensor
    above: Tensor
    stays: bool = False


@runtime_checkable
class BoundingGuard(Protocol):
    """A local guard that compares with bounds at some of its steps."""

    def bounds(self, step: int) -> Bounds | None:
        """Those of a step (of a layer by number, for a `Guard`); ``None`` where it does else."""
        ...


def is_local(guard: StepGuard) -> bool:
    """Whether a guard judges every value by itself."""
    return isinstance(guard, LocalGuard) and guard.local


@dataclass(frozen=True, slots=True)
class OfLayers:
    """A `Guard` of layers as a `StepGuard`, of those whose numbers are given by step."""

    guard: Guard
    numbers: dict[int, int]

    @property
    def steps(self) -> Collection[int]:
        """See `StepGuard`."""
        return self.numbers.keys()

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """See `StepGuard`."""
        return self.guard.inspect(self.numbers[sight.step], sight.output)

    @property
    def local(self) -> bool:
        """See `LocalGuard`."""
        return isinstance(self.guard, LocalLayerGuard)

    def touch(self, step: int, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """See `LocalGuard`."""
        assert isinstance(self.guard, LocalLayerGuard)
        return self.guard.touch(self.numbers[step], values, place)

    def bounds(self, step: int) -> Bounds | None:
        """See `BoundingGuard`."""
        guard = self.guard
        return guard.bounds(self.numbers[step]) if isinstance(guard, BoundingGuard) else None


def step_guard(guard: Guard | StepGuard, workload: Workload) -> StepGuard:
    """Any guard as one that chooses what it watches."""
    return guard if isinstance(guard, StepGuard) else OfLayers(guard, dict(workload.numbers))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One step of some runs for a guard: rows (n, elements) instead of channels; as `Sight`.

    ``values`` gives what a batch of these runs has at earlier steps, without a fault.
    """

    step: int
    rows: Tensor
    clean: Tensor
    values: Callable[[int], Any]
    shared: Tensor | None = None
    wrong: Wrong | None = None
    weight: Tensor | None = None


def watched_steps(guard: StepGuard | None) -> list[int]:
    """The steps that a guard watches, in their order; none without one."""
    return sorted(guard.steps) if guard is not None else []


def guarded(guard: StepGuard, workload: Workload, seen: Seen) -> tuple[Tensor, Tensor]:
    """Let ``guard`` see a step; gives rows to go on with, and alarms."""
    sight = sight_of(workload, seen)
    output, alarm = guard.look(sight)
    if output.shape != sight.output.shape or alarm.shape != sight.output.shape[:1]:
        raise ValueError(
            f"{type(guard).__name__} gave outputs of shape {tuple(output.shape)} and alarms of "
            f"shape {tuple(alarm.shape)}: outputs {tuple(sight.output.shape)}, as it was shown, "
            f"and alarms ({len(sight.output)},), one for each image, are needed"
        )
    return rows_of(workload, seen.step, output), alarm


def sight_of(workload: Workload, seen: Seen) -> Sight:
    """What a guard sees of a step."""
    rows = seen.rows
    output = by_channel(workload, seen.step, rows)
    clean = output if seen.clean is rows else by_channel(workload, seen.step, seen.clean)
    shared = seen.shared
    if shared is None:
        shared = torch.zeros(rows.shape[0], dtype=torch.bool, device=rows.device)

    def inputs() -> Tensor:
        source = _operand(workload, seen.step)
        layout, value = workload.program.rows[source], seen.values(source)
        return value if layout is None else layout.apart(layout.split(value))

    return Sight(seen.step, output, clean, inputs, shared, seen.wrong, seen.weight)


def by_channel(workload: Workload, step: int, rows: Tensor) -> Tensor:
    """Rows (n, elements) of a step as (n, m, positions)."""
    n, sizes = rows.shape[0], blocks(workload, step)
    return rows.view(n, *sizes).transpose(1, 2).reshape(n, sizes[1], -1)


def rows_of(workload: Workload, step: int, output: Tensor) -> Tensor:
    """The inverse of `by_channel`."""
    n, (outer, channels, inner) = output.shape[0], blocks(workload, step)
    return output.reshape(n, channels, outer, inner).transpose(1, 2).reshape(n, -1)


def blocks(workload: Workload, step: int) -> tuple[int, int, int]:
    """How a step's value for one image lies in memory: (outer positions, m, inner positions)."""
    return workload.once(("blocks", step), lambda: _found(workload, step))


def _found(workload: Workload, step: int) -> tuple[int, int, int]:
    """Those of the layer that is followed; else as the next layer reads it, or by its axes."""
    known = _known(workload, step)
    if known is not None:
        return known
    shape = _shape(workload, step)
    last = len(shape) == 3 and not _read_by_convolution(workload, step)  # sequences of vectors
    return _channels_last(shape) if last else _channels_first(shape)


def _known(workload: Workload, step: int) -> tuple[int, int, int] | None:
    """See `_followed`; once for each step, since many ways may lead to one."""
    return workload.once(("followed", step), lambda: _followed(workload, step))


def _followed(workload: Workload, step: int) -> tuple[int, int, int] | None:
    """Those that operations which leave channels in their place have from the layer before."""
    number, program = workload.numbers.get(step), workload.program
    if number is not None:
        layer = workload.layers[number]
        return layer.positions // layer.inner, layer.channels, layer.inner
    if not keeps_axes(program.steps[step]):
        return None
    shape = _shape(workload, step)
    for source in program.steps[step].inputs:
        if program.rows[source] is None or len(_shape(workload, source)) != len(shape):
            continue
        found = _known(workload, source)
        if found is not None and program.rows[source] == program.rows[step]:
            return found
        for laid_out in (_channels_first, _channels_last):
            if found is not None and laid_out(_shape(workload, source)) == found:
                return laid_out(shape)
    return None


def _read_by_convolution(workload: Workload, step: int) -> bool:
    """Whether the layer that reads a step, behind what leaves channels in place, is one."""
    users = workload.program.users()
    after, seen = list(users[step]), set[int]()
    while after:
        reader = after.pop()
        number = workload.numbers.get(reader)
        if number is not None:
            return workload.layers[number].kind in {"conv", "transposed"}
        if reader not in seen and keeps_axes(workload.program.steps[reader]):
            seen.add(reader)
            after += users[reader]
    return False


def _shape(workload: Workload, step: int) -> tuple[int, ...]:
    layout = workload.program.rows[step]
    assert layout is not None
    return layout.shape(1)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return shape[0], shape[1] if len(shape) > 1 else 1, math.prod(shape[2:])


def _channels_last(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return math.prod(shape[:-1]), shape[-1], 1


def _operand(workload: Workload, step: int) -> int:
    """The first step that ``step`` reads and that depends on images; of a layer, its input."""
    number = workload.numbers.get(step)
    if number is not None:
        return workload.layers[number].operands[0]
    program = workload.program
    return next(s for s in program.steps[step].inputs if program.rows[s] is not None)
