"""Follow differences through the network as patches, as far as that is worth while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from radhard.engine.patch import Patch, Windows, alive
from radhard.engine.rule import passed
from radhard.network.operation import Elementwise, Verb, operation_of


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Faulty runs that have been taken equally far.

    Attributes:
        position: the last step that they have behind them.
        fault: (n,) which corruption each belongs to.
        image: (n,) which image.
        detected: (n, watched steps) whether a guard has raised an alarm; golden where it has not
            looked yet.
        values: for each step that is still to be read, faulty values (n, elements).
    """

    position: int
    fault: Tensor
    image: Tensor
    detected: Tensor
    values: dict[int, Tensor]

    def of(self, rows: Tensor | slice) -> Pool:
        """Some of the runs."""
        values = {step: value[rows] for step, value in self.values.items()}
        detected = self.detected[rows]
        return Pool(self.position, self.fault[rows], self.image[rows], detected, values)

    def split(self, rows: int) -> list[Pool]:
        """The same runs in parts of at most ``rows``."""
        return [self.of(slice(k, k + rows)) for k in range(0, len(self.fault), rows)]

    @classmethod
    def joined(cls, pools: Sequence[Pool]) -> Pool:
        """Runs that have been taken equally far, in one pool."""
        first = pools[0]
        if len(pools) == 1:
            return first
        values = {step: torch.cat([pool.values[step] for pool in pools]) for step in first.values}
        return cls(
            first.position,
            torch.cat([pool.fault for pool in pools]),
            torch.cat([pool.image for pool in pools]),
            torch.cat([pool.detected for pool in pools]),
            values,
        )


#: Share of runs left up to which finished ones are taken out; copying the others costs too.
_WORTH_MOVING = 0.9
_NORMALISES = Elementwise(Verb.NORMALISE)


@dataclass(slots=True)
class _Front:
    """Runs on their way as patches."""

    position: int
    fault: Tensor
    image: Tensor
    patches: dict[int, Patch]

    def copy(self) -> _Front:
        """As it is now; patches themselves never change."""
        return replace(self, patches=dict(self.patches))

    def of(self, rows: Tensor) -> _Front:
        """Some of the runs."""
        patches = {step: patch.of(rows) for step, patch in self.patches.items()}
        return _Front(self.position, self.fault[rows], self.image[rows], patches)

    def finished(self) -> _Front:
        """Without the runs that differ nowhere any more."""
        left = alive(self.patches, len(self.fault), self.image.device)
        if int(left.sum()) > _WORTH_MOVING * len(left):
            return self
        return self.of(torch.nonzero(left)[:, 0])


def spread(
    windows: Windows, position: int, fault: Tensor, image: Tensor, patch: Patch
) -> Pool | None:
    """Take n runs from step ``position``, where they differ by ``patch``, on as patches.

    Runs whose differences vanish are finished and left out. The others are handed over where an
    operation has no rule, or where patches have become so large that whole tensors are cheaper.

    Returns:
        The runs that are left, with whole values; ``None`` where none is.
    """
    workload = windows.trace.workload
    program = workload.program
    front = _Front(position, fault, image, {position: patch})
    safe = front.copy()
    for step in range(position + 1, len(program.steps)):
        read = {s: front.patches[s] for s in program.steps[step].inputs if s in front.patches}
        if read and program.rows[step] is not None:
            result = passed(windows, step, read, front.image)
            if result is None:
                return _whole(windows, front if step in workload.numbers else safe)
            front.patches[step] = result
            _forget(windows, front, step)
            if operation_of(program.steps[step]) != _NORMALISES:  # which masks next to nothing
                front = front.finished()
            if not len(front.fault):
                return None
        front.position = step
        if step in workload.numbers:
            safe = front.copy()
    return _whole(windows, front)


def _forget(windows: Windows, front: _Front, step: int) -> None:
    """Drop the patches that no later step reads."""
    last = windows.trace.last_reader
    front.patches = {s: patch for s, patch in front.patches.items() if last[s] > step}


def _whole(windows: Windows, front: _Front) -> Pool:
    """Runs as patches turned into runs with whole values, for the steps read from here on."""
    trace = windows.trace
    values = {}
    for live in trace.live_after(front.position):
        golden = trace.golden(live, front.image)
        patch = front.patches.get(live)
        values[live] = patch.written_into(golden) if patch is not None else golden
    detected = trace.alarms[front.image].clone()
    return Pool(front.position, front.fault, front.image, detected, values)
