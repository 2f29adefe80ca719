"""What watches a run: detectors and correctors that see values as they are computed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

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


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What a guard sees of n runs at one step.

    Attributes:
        step: of the program.
        output: the step's values, by channel, (n, m, positions).
        clean: what they would be on these inputs without a fault in this step; the same tensor as
            ``output`` where there is none. For guards that stand for hardware which computes or
            stores a value more than once.
        inputs: gives the first operand of a layer as its operation takes it, without a fault.
        shared: (n,) whether the fault lies in a value that a repetition would read again.
    """

    step: int
    output: Tensor
    clean: Tensor
    inputs: Callable[[], Tensor]
    shared: Tensor

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


@dataclass(frozen=True, slots=True)
class _OfLayers:
    """A `Guard` of layers as a `StepGuard`."""

    guard: Guard
    numbers: dict[int, int]

    @property
    def steps(self) -> Collection[int]:
        return self.numbers.keys()

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        return self.guard.inspect(self.numbers[sight.step], sight.output)


def step_guard(guard: Guard | StepGuard, workload: Workload) -> StepGuard:
    """Any guard as one that chooses what it watches."""
    return guard if isinstance(guard, StepGuard) else _OfLayers(guard, dict(workload.numbers))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One step of some runs for a guard: rows (n, elements) instead of channels; as `Sight`."""

    step: int
    rows: Tensor
    clean: Tensor
    inputs: Callable[[], Tensor]
    shared: Tensor | None = None


def guarded(guard: StepGuard, workload: Workload, seen: Seen) -> tuple[Tensor, Tensor]:
    """Let ``guard`` see a step; gives rows to go on with, and alarms."""
    rows = seen.rows
    output = by_channel(workload, seen.step, rows)
    clean = output if seen.clean is rows else by_channel(workload, seen.step, seen.clean)
    shared = seen.shared
    if shared is None:
        shared = torch.zeros(rows.shape[0], dtype=torch.bool, device=rows.device)
    output, alarm = guard.look(Sight(seen.step, output, clean, seen.inputs, shared))
    if _positions_first(workload, seen.step):
        output = output.transpose(1, 2)
    return output.reshape(rows.shape[0], -1), alarm


def by_channel(workload: Workload, step: int, rows: Tensor) -> Tensor:
    """Rows (n, elements) of a step as (n, m, positions)."""
    layout = workload.program.rows[step]
    assert layout is not None
    shape = layout.shape(1)[1:]
    if _positions_first(workload, step):
        return rows.view(rows.shape[0], -1, shape[-1]).transpose(1, 2)
    return rows.view(rows.shape[0], shape[0] if shape else 1, -1)


def _positions_first(workload: Workload, step: int) -> bool:
    """Whether channels are the last axis: in sequences of vectors, (n, positions, m)."""
    number = workload.numbers.get(step)
    if number is not None:
        return not workload.layers[number].channel_first
    layout = workload.program.rows[step]
    return layout is not None and len(layout.sizes) == 3
