"""Protected networks as PyTorch modules for the user's own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from radhard.engine.guard import Seen, StepGuard, guarded
from radhard.formats.catalogue import FLOAT32
from radhard.network.capture import capture
from radhard.network.fit import activations_as_weight, parameters_of
from radhard.network.program import Evaluate
from radhard.network.sums import whole
from radhard.network.workload import HOST, Workload
from radhard.protect.protection import Protection, joined, retuned


def harden(
    model: nn.Module | ExportedProgram | Workload,
    protections: Sequence[Protection],
    images: Tensor | None = None,
    labels: Tensor | None = None,
) -> nn.Module:
    """The network with its protections inside, as a module that runs, exports and saves.

    The module computes in the model's own floating point; a captured network with arithmetic of its
    own (`Datapath`) in its formats, by that. Protections of the hardware (hardened
    latches, codes, copies) change nothing in it; those of the run, and retuned weights, are part of
    it. ``torch.export.save(torch.export.export(module, (images,)), path)`` keeps it; so does
    ``torch.save(module.state_dict(), path)`` for a module made in the same way.

    Args:
        model: as for `radhard.capture`, or what `capture` gave.
        protections: in their order. What has learned nothing yet learns from ``images``.
        images: (b, ...) that the model takes; not needed with a captured network.
        labels: (b,); zeros where none are given.

    Raises:
        ValueError: where images are missing.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.ReLU(),
    ...                             torch.nn.Linear(8, 3)).eval()
    >>> images = torch.rand(8, 1, 2, 2)
    >>> safe = rh.harden(model, [rh.RangeRestriction()], images)
    >>> bool(torch.allclose(safe(images), model(images)))
    True
    """
    if isinstance(model, Workload):
        workload = model.on(HOST)
        workload = workload if workload.datapaths else workload.with_(format=FLOAT32)
    else:
        if images is None:
            raise ValueError("images are needed to follow the model: harden(model, [...], images)")
        labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
        workload = capture(model, images, labels)
    workload = retuned(protections, workload)
    return Protected(workload, joined(protections, workload))


def in_floats(workload: Workload) -> Protected:
    """The network with the weights and biases that its layers have, in floating point.

    What is a property of the hardware (formats, multiplier, array) is left out: a module to export.

    Raises:
        ValueError: for formats that fuse what follows a layer into it, or a bias where the network
            has none.
    """
    if workload.formats.fused:
        raise ValueError(f"{workload.formats.name} fuses layers: use radhard.INT8 to export")
    constants: dict[int, Tensor] = {}
    for number, (layer, given) in enumerate(zip(workload.layers, workload.parameters, strict=True)):
        if given is None:
            continue
        constants[layer.operands[1]] = workload.weight(number).to(torch.float32)
        if layer.bias is not None and given.bias is not None:
            constants[layer.bias] = given.bias.reshape(-1).to(torch.float32)
        elif given.bias is not None and given.bias.any():
            raise ValueError(
                f"layer {layer.name} has a bias now, and none in the network: give it one "
                "(bias=True), or retune without compensation"
            )
    plain = workload.with_(format=FLOAT32, arithmetic={})
    return Protected(plain.with_constants(constants), None)


class Protected(nn.Module):
    """A captured network that runs under a guard, with copies of all weights and bounds."""

    def __init__(self, workload: Workload, guard: StepGuard | None) -> None:
        super().__init__()
        self.workload, self.guard = workload, deepcopy(guard)  # nothing is shared with the user's
        self.parts = self.guard if isinstance(self.guard, nn.Module) else nn.Module()
        for k, step in enumerate(workload.program.steps):
            if isinstance(step.constant, Tensor):
                self.register_buffer(f"constant_{k}", step.constant.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, classes)."""
        program = self.workload.program
        constants = {
            k: getattr(self, f"constant_{k}", step.constant)
            for k, step in enumerate(program.steps)
            if step.op is None
        }
        by = self._evaluate if self.workload.datapaths else None
        return run_steps_guarded(self.workload, self.guard, images, constants, by)

    def _evaluate(self, index: int, values: Callable[[int], Any]) -> Any:
        """The value of a step by the layers' arithmetic, with the weights of the module."""
        work = self.workload
        if (number := work.numbers.get(index)) is None:
            return work.program.steps[index].run(values)
        layer, how = work.layers[number], work.arithmetic[number]
        constant = work.parameters[number] is not None
        given = (
            parameters_of(layer, how, values)
            if constant
            else activations_as_weight(how, layer, values)
        )
        return how.run(whole(layer, how), values(layer.operands[0]), given)


def run_guarded(workload: Workload, guard: StepGuard | None, images: Tensor) -> Tensor:
    """Logits (b, classes) of a network in its model's own arithmetic, under a guard."""
    constants = {k: step.constant for k, step in enumerate(workload.program.steps)}
    return run_steps_guarded(workload, guard, images, constants)


def run_steps_guarded(
    workload: Workload, guard: StepGuard | None, images: Tensor, constants: dict[int, Any],
    evaluate: Evaluate | None = None,
) -> Tensor:  # fmt: skip
    """The same with other constants, by step, and other ways to compute steps."""
    program = workload.program

    def touched(step: int, found: Any, value: Callable[[int], Any]) -> Any:
        if guard is None or step not in guard.steps:
            return found
        layout = program.rows[step]
        assert layout is not None
        rows = layout.split(found)
        corrected, _ = guarded(guard, workload, Seen(step, rows, rows, value))
        return layout.join(corrected)

    result: Tensor = program.output_of(images, touched, evaluate, constants.__getitem__)
    return result
