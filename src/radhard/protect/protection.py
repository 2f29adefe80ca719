"""What a protection is to a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from radhard.engine.guard import Guard
from radhard.network.workload import Workload


class Protection(Protocol):
    """Something that watches the run; its ``repr`` is part of a campaign's identity."""

    def guard(self, workload: Workload) -> Guard:
        """What watches a run of ``workload``."""
        ...


@dataclass(frozen=True, slots=True)
class _Guards:
    guards: tuple[Guard, ...]

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """See `Guard`: each sees what the one before it left."""
        output, alarm = self.guards[0].inspect(layer, output)
        for guard in self.guards[1:]:
            output, more = guard.inspect(layer, output)
            alarm = alarm | more
        return output, alarm


def joined(protections: Sequence[Protection], workload: Workload) -> Guard | None:
    """One guard for all protections, in their order."""
    guards = tuple(protection.guard(workload) for protection in protections)
    return _Guards(guards) if guards else None
