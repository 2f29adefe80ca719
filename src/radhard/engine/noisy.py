"""Whole inferences with many errors in each, under a guard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radhard.engine.device import exactly
from radhard.engine.guard import Seen, StepGuard, guarded
from radhard.faults.rate import NeuronErrors, Read, WeightErrors, Words, hits
from radhard.formats.number import NumberFormat
from radhard.network.stored import with_stored
from radhard.network.workload import HOST, Workload

#: Images that run at once; what tells draws of bits that codes add from those of the data.
_BATCH, _ADDED = 64, 1


@dataclass(frozen=True, slots=True, eq=False)
class Noisy:
    """What came out of n inferences: logits (n, classes) and alarms (n,), on the host."""

    logits: Tensor
    detected: Tensor


@exactly()
def run_noisy(
    workload: Workload, errors: NeuronErrors, targets: Mapping[int, int], seed: Sequence[int],
    guard: StepGuard | None = None, reference: Workload | None = None,
) -> Noisy:  # fmt: skip
    """All images once, each with errors of its own in the values of some steps.

    Args:
        workload: the network.
        errors: at which rate.
        targets: steps that are struck, each with the number of the layer whose output format holds
            its values.
        seed: two integers; the errors of an image depend on these and its number alone.
        guard: watches.
        reference: the network with the weights that it should have, where these are others: what a
            guard is told of a layer without a fault is by them.
    """
    logits, detected = [], []
    with torch.no_grad():
        for start in range(0, len(workload.images), _BATCH):
            part = workload.images[start : start + _BATCH].to(workload.device)
            drawn = [
                _drawn(workload, errors, targets, (*seed, start + k)) for k in range(len(part))
            ]
            found, alarm = _run(workload, part, drawn, targets, guard, reference)
            logits.append(found.to(HOST))
            detected.append(alarm.to(HOST))
    return Noisy(torch.cat(logits), torch.cat(detected))


#: Per step: elements that are struck, and the masks that flip their codes.
Drawn = dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def _drawn(
    workload: Workload, errors: NeuronErrors, targets: Mapping[int, int], seed: Sequence[int]
) -> Drawn:
    """The errors of one inference."""
    rng = np.random.default_rng(list(seed))
    found: Drawn = {}
    for step, number in targets.items():
        layout = workload.program.rows[step]
        assert layout is not None
        width = workload.arithmetic[number].output.width
        if errors.per_bit:
            struck = hits(errors.rate, layout.elements * width, rng)
            element, mask = struck // width, np.left_shift(1, struck % width)
            own, place = np.unique(element, return_inverse=True)
            masks = np.zeros(len(own), np.int64)
            np.bitwise_or.at(masks, place, mask)
            found[step] = own, masks
        else:
            element = hits(errors.rate, layout.elements, rng)
            found[step] = element, np.left_shift(1, rng.integers(0, width, len(element)))
    return found


def _run(
    workload: Workload, images: Tensor, drawn: Sequence[Drawn], targets: Mapping[int, int],
    guard: StepGuard | None, reference: Workload | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    program = workload.program
    alarms = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def touched(step: int, found: Any, value: Callable[[int], Any]) -> Any:
        watched = guard is not None and step in guard.steps
        if step not in targets and not watched:
            return found
        layout = program.rows[step]
        assert layout is not None
        clean = rows = layout.split(found)
        if step in targets:
            rows = _struck(workload, targets[step], clean, [part[step] for part in drawn])
        if guard is not None and watched:
            weight = None
            if reference is not None and step in reference.numbers:
                clean = layout.split(reference.evaluate(step, value))
                weight = workload.weight(workload.numbers[step])
            seen = Seen(step, rows, clean, value, weight=weight)
            rows, alarm = guarded(guard, workload, seen)
            alarms.logical_or_(alarm)
        return layout.join(rows)

    return program.output_of(images, touched, workload.evaluate), alarms


def _struck(
    workload: Workload, number: int, clean: Tensor,
    drawn: Sequence[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]],
) -> Tensor:  # fmt: skip
    """A copy of clean rows (n, elements) with the drawn values flipped."""
    counts = [len(element) for element, _ in drawn]
    if not sum(counts):
        return clean
    columns = (
        np.repeat(np.arange(len(drawn)), counts),
        *map(np.concatenate, zip(*drawn, strict=True)),
    )
    row, element, mask = (torch.from_numpy(part).to(clean.device) for part in columns)
    fmt = workload.arithmetic[number].output
    rows = clean.clone()
    rows[row, element] = fmt.flip(clean[row, element], mask).to(clean.dtype)
    return rows


#: What protections of the memory make of its words.
Mend = Callable[[Words], Read]


def with_wrong_weights(
    workload: Workload, errors: WeightErrors, seed: Sequence[int],
    layers: Collection[int] | None = None, mend: Mend | None = None,
) -> Workload:  # fmt: skip
    """The network with flipped bits in its stored weights; the trial depends on ``seed`` alone.

    ``layers`` are the numbers of those that are struck; all where ``None``. A weight that several
    layers read has the same wrong bits in all of them that are struck. What is in the data bits
    does not depend on ``mend``, which sees the words of each layer.
    """
    rng = np.random.default_rng(list(seed))
    added = np.random.default_rng([*seed, _ADDED])
    wrong = dict[int, Tensor]()
    for number in range(len(workload.layers)):
        given, how = workload.parameters[number], workload.arithmetic[number]
        if given is None or (layers is not None and number not in layers):
            continue
        weight = _with_errors(workload.weight(number), how.weight, errors.rate, (rng, added), mend)
        for first, later in workload.shared.items():
            if first in wrong and number in later:
                places = later[number].to(weight.device)
                here = places >= 0
                weight.view(-1)[places[here]] = wrong[first].view(-1)[here]
        wrong[number] = weight
    return with_stored(workload, wrong)


def _with_errors(
    weight: Tensor, fmt: NumberFormat, rate: float,
    rngs: tuple[np.random.Generator, np.random.Generator], mend: Mend | None,
) -> Tensor:  # fmt: skip
    """A copy of a weight, each bit of which is flipped at a rate."""
    codes = fmt.encode(weight).reshape(-1).to(HOST)
    before = codes.numpy().copy()
    struck = hits(rate, len(codes) * fmt.width, rngs[0])
    np.bitwise_xor.at(codes.numpy(), struck // fmt.width, np.left_shift(1, struck % fmt.width))
    if mend is not None:
        words = Words(before, codes.numpy(), fmt.width, rate, rngs[1])
        codes = torch.from_numpy(mend(words).codes)
    return fmt.decode(codes.view(weight.shape).to(weight.device)).to(weight.dtype)
