"""What should be known of a captured network: values that are no numbers, other readers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from radhard.network.sharing import overlap, places_of

if TYPE_CHECKING:
    from radhard.network.workload import Workload

#: Images that run at once.
_BATCH = 32


def tell_of_silence(work: Workload, seen: Tensor) -> None:
    """Warn where the fault-free network says nothing, or ranges were fitted to not-a-number.

    Args:
        work: just captured.
        seen: images to look at, (b, ...).

    Warns:
        UserWarning: naming the step or layer with the first value that is not a number.
    """
    found = next(_silences(work, seen), None)
    if found is not None:
        what, values = found
        warnings.warn(
            f"without a fault, {what} of some images are not numbers; this begins at "
            f"{_place(work, values)}: check how images are scaled and what is computed there, or "
            f"use a number format with a wider range than {work.formats.name}",
            stacklevel=3,
        )


def check_says(work: Workload, logits: Tensor) -> None:
    """Raise ``ValueError`` where fault-free logits of all images, (b, ...), are not-a-number."""
    if bool(logits.isnan().all()):
        raise ValueError(
            f"without a fault, all outputs of {work.name} for all {len(logits)} images are "
            f"not-a-number in {work.formats.name}: it answers nothing that a fault could change; "
            "use a format with a wider range, or check how images are scaled"
        )


def tell_of_readers(work: Workload) -> None:
    """Warn where stored weights are read by more than layers, so that strikes there are not seen.

    Warns:
        UserWarning: naming the layer, and the step that reads its weight and stays right.
    """
    steps = work.source.steps
    weights = {
        layer.operands[1]: layer
        for number, layer in enumerate(work.layers)
        if work.parameters[number] is not None
    }
    for index, step in enumerate(steps):
        if work.program.rows[index] is None:
            continue
        number = work.numbers.get(index)
        own = work.layers[number].operands[1] if number is not None else None
        for held in step.inputs:
            constant = steps[held].constant
            if held == own or not isinstance(constant, Tensor):
                continue
            for weight, layer in weights.items():
                stored = steps[weight].constant
                if overlap(constant, stored) and bool((places_of(constant, stored) >= 0).any()):
                    warnings.warn(
                        f"the weight of layer {layer.name} is also read by step {step.name}, which "
                        "is no layer or takes it for a bias: a strike on the stored weight is "
                        "wrong for the layer alone",
                        stacklevel=3,
                    )
                    return


def _silences(work: Workload, seen: Tensor) -> Iterator[tuple[str, list[Any]]]:
    """What is not a number, with the values of all steps, for each batch that has such."""
    torn = any(bool(part.isnan().any()) for ends in work.extremes for part in ends)
    with torch.no_grad():
        for images in seen.split(_BATCH):
            if bool(work.logits(images).isnan().any()):
                yield "logits", work.program.values(images, work.evaluate)
        for images in seen.split(_BATCH) if torn else ():
            real = images.is_floating_point()
            values = work.source.values(images.to(torch.float32) if real else images)
            if any(map(_has_none, values)):
                yield "values", values


def _has_none(value: Any) -> bool:
    return isinstance(value, Tensor) and bool(value.isnan().any())


def _place(work: Workload, values: list[Any]) -> str:
    first = next(index for index, value in enumerate(values) if _has_none(value))
    if first in work.numbers:
        return f"layer {work.layers[work.numbers[first]].name}"
    behind = [layer.name for layer in work.layers if layer.step < first]
    step = f"step {work.program.steps[first].name}"
    return f"{step}, behind layer {behind[-1]}" if behind else step
