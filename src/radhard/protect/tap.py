"""Where protections watch a network: at the outputs of layers, or behind their activations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from radhard.engine.guard import Bounds, Sight, Window, by_channel
from radhard.network.operation import Elementwise, Verb, operation_of
from radhard.network.workload import HOST, Workload

#: Images that run at once while statistics are collected.
_BATCH = 64


class Tap(StrEnum):
    """Where values are watched."""

    #: What the layer itself gives, before normalisation and activation function.
    OUTPUT = "output"
    #: What the layer gives behind the elementwise operations that follow it.
    ACTIVATION = "activation"


def tapped(workload: Workload, tap: Tap, last: bool = True) -> dict[int, int]:
    """The steps to watch, each with the number of the layer that it belongs to.

    Args:
        workload: the network.
        tap: where.
        last: ``False`` leaves the layer out whose output are the logits.
    """
    found: dict[int, int] = {}
    for number, layer in enumerate(workload.layers):
        end = _behind(workload, layer.step)
        if last or end != workload.program.output:
            found[layer.step if tap == Tap.OUTPUT else end] = number
    return found


def rectified(workload: Workload, who: str) -> dict[int, int]:
    """The steps of `tapped` that are rectifiers, so that nothing behind them is below 0.

    Raises:
        ValueError: where there are none; ``who`` asks.
    """
    found = _rectifiers(workload)
    if not found:
        raise ValueError(
            f"{who} takes the place of rectifiers, and {workload.name} has none behind a layer: "
            "values below 0 would be lost. Use RangeRestriction, which keeps both ends"
        )
    return found


def has_rectifiers(workload: Workload) -> bool:
    """Whether `rectified` finds any."""
    return bool(_rectifiers(workload))


def _rectifiers(workload: Workload) -> dict[int, int]:
    steps = workload.program.steps
    return {
        step: number
        for step, number in tapped(workload, Tap.ACTIVATION, last=False).items()
        if isinstance(what := operation_of(steps[step]), Elementwise)
        and what.verb == Verb.BETWEEN
        and what.numbers[0] == 0
    }


def _behind(workload: Workload, step: int) -> int:
    """The last of the elementwise operations that follow a layer one after the other."""
    program, users = workload.program, workload.program.users()
    while len(users[step]) == 1:
        after = users[step][0]
        alike = program.rows[after] is not None and program.rows[step] == program.rows[after]
        if not (alike and isinstance(operation_of(program.steps[after]), Elementwise)):
            break
        step = after
    return step


def observed(
    workload: Workload, steps: Collection[int]
) -> Iterator[tuple[dict[int, Tensor], Tensor]]:
    """Fault-free values (n, m, positions) of some steps, batch by batch, and the batch's labels.

    They are those of the host, on whatever device the workload runs: what is learned from them is
    part of a campaign's identity, which no device decides.
    """
    yield from observed_there(workload.on(HOST), steps)


def observed_there(
    workload: Workload, steps: Collection[int]
) -> Iterator[tuple[dict[int, Tensor], Tensor]]:
    """The same on the device of the workload."""
    pairs = zip(workload.images.split(_BATCH), workload.labels.split(_BATCH), strict=True)
    for images, labels in pairs:
        with torch.no_grad():
            values = workload.program.values(images.to(workload.device), workload.evaluate)
        found = {}
        for step in steps:
            layout = workload.program.rows[step]
            assert layout is not None
            found[step] = by_channel(workload, step, layout.split(values[step]))
        yield found, labels


class SmoothCorrection(nn.Module):
    """A correction that changes every value a little; it raises no alarm."""


@runtime_checkable
class Pointwise(Protocol):
    """A correction that goes by each value and its place alone."""

    def touch(self, values: Tensor, place: Tensor) -> Tensor:
        """What it makes of values (k,) of some images that lie at these places."""
        ...


@runtime_checkable
class Bounding(Protocol):
    """A correction that compares with bounds."""

    def bounds(self) -> Bounds:
        """With which, and what others become."""
        ...


@runtime_checkable
class Windowed(Protocol):
    """A correction that goes by windows of values."""

    def window(self, real: torch.dtype) -> Window:
        """Which, of values of a type; an alarm is a value that it changes."""
        ...


def placed(bound: Tensor, place: Tensor) -> Tensor:
    """A bound of all values, or those of the neurons at some places."""
    return bound if bound.numel() == 1 else bound.reshape(-1)[place]


class TapGuard(nn.Module):
    """Corrects values where it watches; an alarm is a value that it changed."""

    def __init__(self, corrections: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.corrections = nn.ModuleDict({str(step): part for step, part in corrections.items()})
        self._steps = frozenset(corrections)

    @property
    def steps(self) -> Collection[int]:
        """The steps that it watches."""
        return self._steps

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """See `radhard.engine.guard.StepGuard`."""
        part = self.corrections[str(sight.step)]
        corrected: Tensor = part(sight.output)
        if isinstance(part, SmoothCorrection):
            return corrected, torch.zeros_like(sight.shared)
        return corrected, (corrected != sight.output).flatten(1).any(1)

    @property
    def local(self) -> bool:
        """See `radhard.engine.guard.LocalGuard`."""
        return all(isinstance(part, Pointwise | Windowed) for part in self.corrections.values())

    def touch(self, step: int, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """See `radhard.engine.guard.LocalGuard`."""
        part = self.corrections[str(step)]
        silent = isinstance(part, SmoothCorrection)
        assert isinstance(part, Pointwise)
        corrected = part.touch(values, place)
        if silent or corrected is values:
            return corrected, torch.zeros_like(values, dtype=torch.bool)
        return corrected, corrected != values

    def window(self, step: int, real: torch.dtype) -> Window | None:
        """See `radhard.engine.guard.WindowGuard`."""
        part = self.corrections[str(step)]
        return part.window(real) if isinstance(part, Windowed) else None

    def bounds(self, step: int) -> Bounds | None:
        """See `radhard.engine.guard.BoundingGuard`."""
        part = self.corrections[str(step)]
        return part.bounds() if isinstance(part, Bounding) else None
