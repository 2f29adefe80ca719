"""What flows through a network on calibration images, and which values have one format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from radhard.network.fit import has_weight
from radhard.network.fuse import hands_on, rectifies
from radhard.network.layer import Layer
from radhard.network.program import Program, Step
from radhard.network.quantisation import Quantisation

#: Images that run at once; values that are kept of each of their tensors.
_BATCH, _KEPT = 32, 2**13
#: Width of results that no layer multiplies: logits.
LOGITS = 16


class Key(NamedTuple):
    """Values that have one format: the steps that they were coded at, and in how many bits."""

    steps: tuple[int, ...]
    bits: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Which values a layer reads and gives: those of the same key have one format.

    Codes are handed on by rectifiers, pooling of largest values and moves: what is behind these is
    the value before them.

    Attributes:
        input: of what the layer reads; ``None`` for a look-up.
        second: of its second operand; ``None`` where that is a weight.
        output: of what it gives: in the widest form in which a layer reads it.
        logits: whether that is the network's output.
    """

    input: Key | None
    second: Key | None
    output: Key
    logits: bool


def stored_by(
    program: Program, layers: tuple[Layer, ...], plan: Quantisation
) -> tuple[Stored, ...]:
    """For each layer, which values it reads and gives."""
    read: list[tuple[Key | None, Key | None]] = []
    widest: dict[tuple[int, ...], int] = {}
    for layer in layers:
        bits = plan.of(layer.name).activation
        first, *more = (coded_at(program, step) for step in layer.operands)
        looks_up, weighted = layer.kind == "embedding", has_weight(program, layer)
        own = (
            None if looks_up else Key((first,), bits),
            None if weighted else Key(tuple(more), bits),
        )
        read.append(own)
        for key in own:
            if key is not None:
                widest[key.steps] = max(bits, widest.get(key.steps, 0))
    last, found = coded_at(program, program.output), []
    for layer, (source, second) in zip(layers, read, strict=True):
        ends, logits = (layer.step,), layer.step == last
        usual = LOGITS if logits else plan.of(layer.name).activation
        found.append(Stored(source, second, Key(ends, widest.get(ends, usual)), logits))
    return tuple(found)


def coded_at(program: Program, step: int) -> int:
    """The step whose value has the codes that this one hands on."""
    while _keeps(program.steps[step]):
        step = program.steps[step].args[0].step
    return step


def _read_at(program: Program, step: int) -> int:
    """The last step that hands on the codes of this one, as long as nothing else reads them."""
    users = program.users()
    while len(users[step]) == 1 and _keeps(program.steps[users[step][0]]):
        step = users[step][0]
    return step


def _keeps(step: Step) -> bool:
    """Whether the codes that a step gives are among those that it reads, or stand for 0."""
    return hands_on(step) or rectifies(step)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Values of a network on calibration images.

    Attributes:
        samples: by steps of a `Key`: some values, with the extremes among them.
        shifts: by number of layer: what weights as changed add to the mean of each output channel.
    """

    samples: dict[tuple[int, ...], Tensor]
    shifts: dict[int, Tensor]


def seen_in(
    program: Program,
    layers: tuple[Layer, ...],
    stored: tuple[Stored, ...],
    images: Tensor,
    changed: dict[int, Tensor],
) -> Seen:
    """Run a network in real numbers on calibration images.

    Where a rectifier, or pooling, is all that reads a value, what is behind that is seen.

    Args:
        program: with normalisation folded.
        layers, stored: its layers, and from `stored_by`.
        images: (b, ...).
        changed: weights by number of layer, for `Seen.shifts`.
    """
    keys = {key.steps for own in stored for key in (own.input, own.second, own.output) if key}
    ends = {step: _read_at(program, step) for key in keys for step in key}
    kept: dict[tuple[int, ...], list[Tensor]] = {key: [] for key in keys}
    shifts = {number: torch.zeros(layers[number].channels) for number in changed}
    with torch.no_grad():
        for part in images.split(_BATCH):
            values = program.values(part)
            for key, parts in kept.items():
                parts += [_some(values[ends[step]]) for step in key]
            for number, weight in changed.items():
                off = weight - program.steps[layers[number].operands[1]].constant
                layer, rows = layers[number], program.rows[layers[number].step]
                assert rows is not None
                moved = rows.split(layer.product(values[layer.operands[0]], off, None))
                shifts[number] += _by_channel(layer, moved) * len(part) / len(images)
    return Seen({key: torch.cat(parts) for key, parts in kept.items()}, shifts)


def _some(value: Tensor) -> Tensor:
    """The extremes of a value, and so many others, evenly spaced."""
    flat = value.reshape(-1)
    return torch.cat([torch.stack(torch.aminmax(flat)), flat[:: max(1, len(flat) // _KEPT)]])


def _by_channel(layer: Layer, value: Tensor) -> Tensor:
    """The mean of each output channel of a layer's result, (images, elements)."""
    flat = value.mean(0)
    channel, _ = layer.output_place(torch.arange(len(flat)))
    found = torch.zeros(layer.channels).index_add_(0, channel, flat)
    return found * layer.channels / len(flat)
