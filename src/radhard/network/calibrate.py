"""What flows through a network on calibration images, and which values have one format."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from radhard.network.fit import has_weight
from radhard.network.fuse import hands_on, rectifies
from radhard.network.layer import Layer
from radhard.network.program import Program, Step

#: Images that run at once; values that are kept of each of their tensors.
_BATCH, _KEPT = 32, 2**13


@dataclass(frozen=True, slots=True)
class Stored:
    """Which values a layer reads and gives, each named by the steps that it was coded at.

    Codes are handed on by rectifiers, pooling of largest values and moves: what is behind these is
    the value before them.

    Attributes:
        input: of what the layer reads; empty for a look-up.
        second: of its second operand, where that is no weight; else empty.
        output: of what it gives.
    """

    input: tuple[int, ...]
    second: tuple[int, ...]
    output: tuple[int, ...]


def stored_by(program: Program, layers: tuple[Layer, ...]) -> tuple[Stored, ...]:
    """For each layer, which values it reads and gives."""
    found = []
    for layer in layers:
        first, *more = (coded_at(program, step) for step in layer.operands)
        weighted = has_weight(program, layer)
        source = () if layer.kind == "embedding" else (first,)
        found.append(Stored(source, () if weighted else tuple(more), (layer.step,)))
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
        samples: by steps, as in `Stored`: some values, with the extremes among them.
        shifts: by number of layer: what weights as changed add to the mean of each output channel.
    """

    samples: dict[tuple[int, ...], Tensor]
    shifts: dict[int, Tensor]


def seen_in(
    program: Program,
    layers: tuple[Layer, ...],
    images: Tensor,
    changed: dict[int, Tensor],
) -> Seen:
    """Run a network in real numbers on calibration images.

    Where a rectifier, or pooling, is all that reads a value, what is behind that is seen.

    Args:
        program: with normalisation folded.
        layers: its layers.
        images: (b, ...).
        changed: weights by number of layer, for `Seen.shifts`.
    """
    keys = {
        key for own in stored_by(program, layers) for key in (own.input, own.second, own.output)
    }
    ends = {step: _read_at(program, step) for key in keys for step in key}
    kept: dict[tuple[int, ...], list[Tensor]] = {key: [] for key in keys if key}
    shifts = {number: torch.zeros(layers[number].channels) for number in changed}
    with torch.no_grad():
        for part in images.split(_BATCH):
            values = program.values(part)
            for key, parts in kept.items():
                parts += [_some(values[ends[step]]) for step in key]
            for number, weight in changed.items():
                off = weight - program.steps[layers[number].operands[1]].constant
                moved = layers[number].product(values[layers[number].operands[0]], off, None)
                shifts[number] += _by_channel(layers[number], moved) * len(part) / len(images)
    return Seen({key: torch.cat(parts) for key, parts in kept.items()}, shifts)


def _some(value: Tensor) -> Tensor:
    """The extremes of a value, and so many others, evenly spaced."""
    flat = value.reshape(-1)
    return torch.cat([torch.stack(torch.aminmax(flat)), flat[:: max(1, len(flat) // _KEPT)]])


def _by_channel(layer: Layer, value: Tensor) -> Tensor:
    """The mean of each output channel of a layer's result."""
    flat = value.reshape(len(value), -1).mean(0)
    channel, _ = layer.output_place(torch.arange(len(flat)))
    found = torch.zeros(layer.channels).index_add_(0, channel, flat)
    return found * layer.channels / len(flat)
