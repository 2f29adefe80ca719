"""What a checker beside a layer reads of a struck value, and by how much sums then disagree.

A checksum's sums come of hardware that reads what the layer reads: it is one more output channel of
each group, behind the last one, and takes inputs from the same memories. An input that is still
wrong when that channel is computed is wrong for it too. Weights it has of its own, formed before
deployment; sums of inputs may be formed by that channel, or earlier, when inputs are written.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from radhard.engine.change import of_channels
from radhard.engine.guard import Wrong
from radhard.faults.corruption import Corruption
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer


class Reading(NamedTuple):
    """Where n wrong inputs are read.

    Attributes:
        group: of output channels, (n,).
        term: the product of each position that reads one, (n, positions); -1: none does.
        layer: by which channels of the group at which positions, (n, channels of it, positions).
        checker: by the checker, at which positions, (n, positions).
    """

    group: Tensor
    term: Tensor
    layer: Tensor
    checker: Tensor


class Parts(NamedTuple):
    """A layer with the weights of one of its channels in a row, and sums of those by group."""

    layer: Layer
    rows: Tensor
    summed: Tensor

    @classmethod
    def of(cls, layer: Layer, rows: Tensor) -> Parts:
        """From weights (m, fan-in)."""
        return cls(layer, rows, rows.unflatten(0, (layer.bounds["groups"], -1)).sum(1))


def reading(layer: Layer, struck: Corruption, device: torch.device) -> Reading:
    """Of corruptions of inputs."""
    own, positions = layer.channels // layer.bounds["groups"], layer.positions
    element, channels, place, first, start, beyond = (
        torch.from_numpy(part).to(device)
        for part in (
            struck.element, struck.channels, struck.positions, struck.first, struck.terms[:, 0],
            struck.beyond,
        )
    )  # fmt: skip
    p = torch.arange(positions, device=device)
    inside = (p >= place[:, :1]) & (p < place[:, 1:])
    group, term = _reached(layer, element, p)
    padding = element < 0
    group = torch.where(padding, (channels[:, 1] - 1).clamp(min=0) // own, group)
    zeros = torch.where(inside, start[:, None], -1)
    term = torch.where(padding[:, None], zeros, term)
    m = group[:, None] * own + torch.arange(own, device=device)
    within = (m >= channels[:, :1]) & (m < channels[:, 1:])
    late = m[:, :, None] * positions + p >= first[:, None, None]
    read = (inside & (term >= 0))[:, None]
    return Reading(group, term, read & within[:, :, None] & late, read[:, 0] & beyond[:, None])


def _reached(layer: Layer, element: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The group of elements (n,), and the product of each position that meets them, or -1."""
    if layer.geometry is None:
        position, term = element // layer.fan_in, element % layer.fan_in
        met = torch.where(position[:, None] == p, term[:, None], -1)
        return torch.zeros_like(element), met
    g, (rows, columns) = layer.geometry, layer.plane
    c, rest = element // (rows * columns), element % (rows * columns)
    f = layer.bounds["f"]
    found, there = [], torch.ones(len(element), len(p), dtype=torch.bool, device=p.device)
    for axis, (at, output) in enumerate(
        ((rest // columns, p // f), (rest % columns, p % f)),
    ):
        gap = at[:, None] + g.padding[axis] - output * g.stride[axis]
        tap = gap // g.dilation[axis]
        there &= (gap % g.dilation[axis] == 0) & (tap >= 0) & (tap < g.kernel[axis])
        found.append(tap)
    term = ((c % layer.bounds["c"])[:, None] * g.kernel[0] + found[0]) * g.kernel[1] + found[1]
    return c // layer.bounds["c"], torch.where(there, term, -1)


def seen_by_checker(parts: Parts, read: Reading, change: Tensor) -> tuple[Tensor, Tensor]:
    """By how much sums of the checker move when inputs change by ``change``, (n,).

    Returns:
        Sums over channels at each position, (n, positions), and over positions of each channel,
        (n, m); as formed by the channel behind the last one.
    """
    term = read.term.clamp(min=0)
    there = change[:, None] * parts.summed[read.group[:, None], term]
    at_positions = torch.where(read.checker, there, 0)
    each = _of_group(parts, read, change)
    alone = torch.where(read.checker[:, None], each, 0).sum(2)
    return at_positions, _spread(parts, read, alone[:, :, None])[:, :, 0]


def _of_group(parts: Parts, read: Reading, change: Tensor) -> Tensor:
    """What changes of inputs are worth to each channel of their group, (n, channels, positions)."""
    rows = parts.rows.unflatten(0, (parts.layer.bounds["groups"], -1))
    term = read.term.clamp(min=0)[:, None].expand(-1, rows.shape[1], -1)
    found: Tensor = change[:, None, None] * rows[read.group].gather(2, term)
    return found


def _spread(parts: Parts, read: Reading, of_group: Tensor) -> Tensor:
    """Values of channels of a group (n, channels, k) at their places among all, (n, m, k)."""
    n, own, k = of_group.shape
    found = of_group.new_zeros(n, parts.layer.bounds["groups"], own, k)
    found[torch.arange(n, device=of_group.device), read.group] = of_group
    return found.flatten(1, 2)


class Gap(NamedTuple):
    """Integers by which sums of outputs exceed those of the checker.

    Attributes:
        moved: by how much each sum of products has moved, (n, m, positions).
        positions: over channels, (n, positions).
        channels: over positions, (n, m).
    """

    moved: Tensor
    positions: Tensor
    channels: Tensor


def gap_of(
    parts: Parts, how: Arithmetic, given: Parameters, wrong: Wrong, inputs: Tensor, written: bool
) -> Gap:
    """Of corruptions of a layer's operands or partial sums, in the integers of its accumulators.

    Args:
        parts: the layer and its integer weights.
        how, given: its arithmetic, which is exact, and its parameters.
        wrong: what is struck.
        inputs: integers (n, elements) without the fault.
        written: whether sums of inputs were formed when these were written.
    """
    layer, struck = parts.layer, wrong.corruption
    n, device = len(struck), inputs.device
    moved = inputs.new_zeros(n, layer.channels, layer.positions)
    each, operand = torch.arange(n, device=device), str(struck.operand[0])
    element = torch.from_numpy(struck.element).to(device)
    if operand == "input":
        read, change = reading(layer, struck, device), _integers(how.input, wrong)
        own = torch.where(read.layer, _of_group(parts, read, change), 0)
        moved = _spread(parts, read, own)
        at_positions, of_channels_ = seen_by_checker(parts, read, change)
        seen = at_positions, torch.zeros_like(of_channels_) if written else of_channels_
        return _gap(how, moved, seen)
    if operand == "weight":
        channel, tap = layer.weight_place(element)
        change = _integers(of_channels(how.weight, channel), wrong)
        p = torch.arange(layer.positions, device=device)
        met = layer.tap(channel[:, None], p, tap[:, None])
        x = torch.where(met >= 0, inputs.gather(1, met.clamp(min=0)), 0)
        moved[each, channel] = torch.where(
            _box_of(layer, struck, channel, p), change[:, None] * x, 0
        )
    else:
        channel, position = layer.output_place(element)
        scale = given.scale.reshape(-1)
        scale = scale[channel] if len(scale) > 1 else scale
        change = how.moved(wrong.before, wrong.after, Parameters(None, None, scale))
        moved[each, channel, position] = torch.round(change).long()
    return _gap(how, moved, None)


def _integers(fmt: object, wrong: Wrong) -> Tensor:
    """By how much struck operands change, as integers, (n,)."""
    before, after = (fmt.integers(side.double()).long() for side in (wrong.before, wrong.after))  # type: ignore[attr-defined]
    found: Tensor = after - before
    return found


def _box_of(layer: Layer, struck: Corruption, channel: Tensor, p: Tensor) -> Tensor:
    """Which positions of a channel each corruption's box holds, (n, positions)."""
    channels, place, first = (
        torch.from_numpy(part).to(p.device)
        for part in (struck.channels, struck.positions, struck.first)
    )
    m = channel[:, None]
    inside = (m >= channels[:, :1]) & (m < channels[:, 1:]) & (p >= place[:, :1])
    return inside & (p < place[:, 1:]) & (m * layer.positions + p >= first[:, None])


def _gap(how: Arithmetic, moved: Tensor, seen: tuple[Tensor, Tensor] | None) -> Gap:
    sums = moved.sum(1), moved.sum(2)
    if seen is not None:
        sums = sums[0] - seen[0], sums[1] - seen[1]
    return Gap(moved, how.wrapped(sums[0]), how.wrapped(sums[1]))
