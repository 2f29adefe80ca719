"""Protected networks as PyTorch modules for the user's own code."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from radhard.engine.guard import StepGuard
from radhard.formats.catalogue import FLOAT32
from radhard.network.capture import capture
from radhard.network.workload import HOST, Workload
from radhard.protect.checksum import ChecksumGuard
from radhard.protect.gradient import Gate, GatedGuard, NeuronGradientSuppressor
from radhard.protect.learn import LEAST, untaught
from radhard.protect.protected import Alarms, Policy, Protected
from radhard.protect.protection import Protection, joined, retuned

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def harden(
    model: nn.Module | ExportedProgram | Workload,
    protections: Sequence[Protection],
    images: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    alarms: bool = False,
    on_alarm: Callable[[Alarms], None] | None = None,
    policy: Policy | str = Policy.KEEP,
) -> Protected:
    """The network with its protections inside, as a module that runs, exports and saves.

    The module computes in the model's own floating point; a captured network with arithmetic of its
    own (`Datapath`) in its formats, by that. Protections of the hardware (hardened
    latches, codes, copies) change nothing in it; those of the run, and retuned weights, are part of
    it. It moves and converts as modules do (``to``, ``half``), always computes what the model does
    in evaluation mode, and can be copied, pickled (``torch.save(module, path)``) and exported:
    ``torch.export.save(torch.export.export(module, (images,)), path)``, but for arithmetic of
    multipliers and arrays, which is no graph of PyTorch's operations. A module that was made in the
    same way takes its ``state_dict``.

    Args:
        model: as for `radhard.capture`, or what `capture` gave.
        protections: in their order. What has learned nothing yet learns from ``images``.
        images: (b, ...) that the model takes; not needed with a captured network.
        labels: (b,); zeros where none are given.
        alarms: whether it gives ``(outputs, alarms)``, the second by name of the protection, (b,)
            of bool for the images, as they are after the ``policy``.
        on_alarm: is given the alarms of each run that raised any, before the policy acts; what it
            raises ends the run. Not part of exported graphs.
        policy: what becomes of images with an alarm, see `Policy`. Graphs are exported with
            ``keep`` only.

    Raises:
        ValueError: where images are missing or one alone is to be learned from, checksums of
            integers are asked for, or for a policy that is none.
        TypeError: for a gate that no software can have (`Gate.ORACLE`).

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.ReLU(),
    ...                             torch.nn.Linear(8, 3)).eval()
    >>> images = torch.rand(8, 1, 2, 2)
    >>> safe = rh.harden(model, [rh.RangeRestriction()], images)
    >>> bool(torch.allclose(safe(images), model(images)))
    True

    Weights that become wrong in memory are found by sums of what they were, and put back:

    >>> safe = rh.harden(model, [rh.Checksum()], images, alarms=True, policy="reset",
    ...                  on_alarm=lambda alarms: print(alarms["Checksum"].any().item()))
    >>> safe.weights("1").data[0, 0] += 100
    >>> outputs, alarms = safe(images)
    True
    True
    >>> alarms["Checksum"].any().item(), bool(torch.allclose(outputs, model(images)))
    (False, True)
    """
    policy = _policy(policy)
    dtype = None
    if isinstance(model, Workload):
        workload = model.on(HOST)
        workload = workload if workload.datapaths else workload.with_(format=FLOAT32)
    else:
        if images is None:
            raise ValueError("images are needed to follow the model: harden(model, [...], images)")
        labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
        dtype = _precision(model)
        with warnings.catch_warnings():
            if dtype in {torch.float16, torch.bfloat16}:  # which float32 holds
                warnings.filterwarnings("ignore", "parameters of .* are taken as float32")
            workload = capture(model, images, labels)
    if len(workload.images) < LEAST and any(map(untaught, protections)):
        raise ValueError(
            f"{len(workload.images)} image is too few to learn from: bounds of one take most "
            f"others for wrong; give {LEAST} or more, or protections that have learned"
        )
    workload = retuned(protections, workload)
    guards = _named(protections, workload)
    module = Protected(workload, guards, alarms, on_alarm, policy)
    return module if dtype is None else module.to(dtype)


def _policy(given: Policy | str) -> Policy:
    try:
        return Policy(given)
    except ValueError:
        raise ValueError(f"policy {given!r} can't be: use {', '.join(Policy)}") from None


def _precision(model: nn.Module | ExportedProgram) -> torch.dtype | None:
    """The one type of a model's parameters, where that is not float32."""
    if not isinstance(model, nn.Module):
        return None
    found = {value.dtype for value in model.parameters() if value.is_floating_point()}
    return found.pop() if len(found) == 1 and torch.float32 not in found else None


def _named(protections: Sequence[Protection], workload: Workload) -> dict[str, StepGuard]:
    """The guards of the run by the names of their protections, with numbers from the second on.

    Raises:
        TypeError, ValueError: for those that only hardware, or nothing, can have.
    """
    found: dict[str, StepGuard] = {}
    seen = Counter[str]()
    for protection in protections:
        name = type(protection).__name__
        if isinstance(protection, NeuronGradientSuppressor) and protection.gate == Gate.ORACLE:
            raise TypeError(
                "the oracle gate opens exactly when a fault has struck, which nothing that runs "
                "can know: it is a limit to compare with. Take NeuronGradientSuppressor("
                "gate=Gate.ROW_CHECKSUM, tap=Tap.OUTPUT)"
            )
        guard = joined([protection], workload)
        if guard is None:
            continue
        checks = guard.checks if isinstance(guard, GatedGuard) else guard
        if isinstance(checks, ChecksumGuard) and any(
            checks.check(step).exact is not None for step in checks.steps
        ):
            raise ValueError(
                f"{name} compares sums of integers in the accumulators of {workload.computing}, "
                "which a module of PyTorch's operations has not: harden the network in floating "
                "point (capture without format and arithmetic), or use RangeRestriction"
            )
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name}-{seen[name]}"] = deepcopy(guard)
    return found


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
    plain = replace(workload, stored=False).with_(format=FLOAT32, arithmetic={})
    return Protected(plain.with_constants(constants), {})
