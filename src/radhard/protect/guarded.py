"""Runs under a guard in the model's own arithmetic, through which gradients flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from radhard.engine.guard import Seen, StepGuard, guarded
from radhard.network.workload import Workload


def run_guarded(workload: Workload, guard: StepGuard | None, images: Tensor) -> Tensor:
    """Logits (b, classes) of a network in its model's own arithmetic, under a guard."""
    constants = {k: step.constant for k, step in enumerate(workload.program.steps)}
    return run_steps_guarded(workload, guard, images, constants)


def run_steps_guarded(
    workload: Workload, guard: StepGuard | None, images: Tensor, constants: dict[int, Any]
) -> Tensor:
    """The same with other constants, by step."""
    program = workload.program

    def touched(step: int, found: Any, value: Callable[[int], Any]) -> Any:
        if guard is None or step not in guard.steps:
            return found
        layout = program.rows[step]
        assert layout is not None
        rows = layout.split(found)
        corrected, _ = guarded(guard, workload, Seen(step, rows, rows, value))
        return layout.join(corrected)

    result: Tensor = program.output_of(images, touched, constant=constants.__getitem__)
    return result
