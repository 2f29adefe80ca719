"""How much of a network is struck: its layers, against all that multiplies or is stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radhard.formats.catalogue import FLOAT32
from radhard.network.layer import Layer
from radhard.network.program import Program, references
from radhard.network.sharing import first_read, sharing_of


@dataclass(frozen=True, slots=True)
class Covered:
    """Which share of a network faults can strike; each in [0, 1].

    Attributes:
        parameters: weights of layers, of all parameters of the model; each counts once. Biases,
            normalisation and embeddings are parameters, but not struck.
        macs: multiply-accumulates of layers, of those of all operations.
        missing: what multiplies and accumulates but is no layer: the operation and the module
            whose parameters it reads.
    """

    parameters: float
    macs: float
    missing: tuple[str, ...]


def covered_by(
    layers: Sequence[Layer], program: Program, stored: int, macs: Mapping[int, int]
) -> Covered:
    """What these layers cover of a program of so many parameters, and of these `macs_of` steps."""
    weights = {
        number: program.steps[layer.operands[1]].constant
        for number, layer in enumerate(layers)
        if layer.one_channel is not None and program.rows[layer.operands[1]] is None
    }
    shared = sharing_of(weights, [FLOAT32] * len(layers))
    struck = sum(int(first_read(shared, k, w.numel()).sum()) for k, w in weights.items())
    stored = max(stored, struck, 1)  # weights can be buffers
    own = {layer.step for layer in layers}
    missing: dict[str, int] = {}
    for step, count in macs.items():
        if step not in own and program.rows[step] is not None:
            name = _title(program, step)
            missing[name] = missing.get(name, 0) + count
    ours = sum(layer.macs for layer in layers)
    return Covered(struck / stored, ours / (ours + sum(missing.values())), tuple(missing))


def _trilinear(one: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of a bilinear form, from the shapes (images, c) and (m, c, d)."""
    return 2 * one[0] * math.prod(weight)


def macs_of(program: Program, image: Tensor) -> dict[int, int]:
    """Multiply-accumulates of the steps for one image, as a dispatcher of torch counts them.

    What it counts does not depend on how an operation is written: einsum, cells of recurrent
    networks and transposed convolutions come apart into products of matrices.
    """
    from torch.utils.flop_counter import FlopCounterMode  # which takes a second to import

    found: dict[int, int] = {}
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._trilinear: _trilinear})

    def counted(index: int, values: Callable[[int], Any]) -> Any:
        before = counter.get_total_flops()
        result = program.steps[index].run(values)
        macs = (counter.get_total_flops() - before) // 2
        if macs:
            found[index] = macs
        return result

    with counter:
        program.values(image, counted)
    return found


def _title(program: Program, index: int) -> str:
    """The operation, and the module whose parameters it reads."""
    step = program.steps[index]
    op = getattr(step.op, "overloadpacket", step.op)
    operation = str(getattr(op, "__name__", op)).removeprefix("aten.")
    read = references(step.args) | references(step.kwargs or {})
    held = [program.steps[k].name for k in sorted(read) if program.rows[k] is None]
    named = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in held))
    return f"{operation} of {named}" if named else operation
