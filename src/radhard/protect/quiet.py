"""Which images a guard has to look at, found in one pass over what it watches.

A guard tells which of all values are wrong, and what they become; nearly always none is. What is
asked here first is cheaper: in which images something may be. At those the guard looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from radhard.engine.guard import BoundingGuard, StepGuard, blocks
from radhard.network.program import Rows
from radhard.network.workload import Workload
from radhard.protect.checksum import ChecksumGuard
from radhard.protect.gradient import GatedGuard
from radhard.protect.sums import Sums

#: Sums may differ by this share of what a guard allows: they are formed in another order here.
_SURE = 0.5
#: From so many input channels, and inputs in all, on, products of matrices are faster than
#: convolutions of single channels.
_MANY, _LARGE = 8, 2**17


#: No image.
NONE = torch.zeros(0, dtype=torch.int64)
#: From rows (n, elements) of a step, and a function that gives values of earlier steps, to the
#: images in which a guard may find something, (k,), ascending; ``None`` for any of them.
Scout = Callable[[Tensor, Callable[[int], Any]], Tensor | None]


def scout_of(guard: StepGuard, step: int, workload: Workload) -> Scout | None:
    """What looks at a step before a guard of a network in floating point does, if anything can."""
    if isinstance(guard, BoundingGuard):
        return None if guard.bounds(step) is None else partial(outside, guard, step)
    checks = guard.checks if isinstance(guard, GatedGuard) else guard
    if not isinstance(checks, ChecksumGuard):
        return None
    source = workload.layers[workload.numbers[step]].operands[0]
    shapes = blocks(workload, step), source, workload.program.rows[source]
    return partial(unequal, checks, step, *shapes)


def outside(
    guard: BoundingGuard, step: int, rows: Tensor, value: Callable[[int], Any]
) -> Tensor | None:
    """Images with values outside of bounds; ``None`` where each place has its own bounds."""
    bounds = guard.bounds(step)
    if bounds is None or bounds.low.numel() != 1 or bounds.high.numel() != 1:
        return None
    low, high = (end.to(rows.dtype).item() for end in (bounds.low, bounds.high))
    least, most = torch.aminmax(rows)
    if least.item() >= low and most.item() <= high:  # neither, where one is no number
        return NONE
    fine = (rows.amin(1) >= low).logical_and_(rows.amax(1) <= high)
    return torch.nonzero(fine.logical_not_())[:, 0]


def unequal(
    guard: ChecksumGuard, step: int, sizes: tuple[int, int, int], source: int, layout: Rows | None,
    rows: Tensor, value: Callable[[int], Any],
) -> Tensor:  # fmt: skip
    """Images in which some sum is not well within what it may differ by.

    Args:
        guard: with the check of the step.
        step: of a layer.
        sizes: as `radhard.engine.guard.blocks` of it.
        source: the step that it reads.
        layout: of that one.
        rows, value: see `Scout`.
    """
    inputs, n = value(source), rows.shape[0]
    inputs = inputs if layout is None else layout.apart(layout.split(inputs))
    output = rows.view(n, *sizes).transpose(1, 2).reshape(n, sizes[1], -1)
    check, share = guard.check(step), _SURE * guard.asked.margin
    ends = guard.tolerance(step).tolist()
    inputs, output = (part.to(check.sums.summed.dtype) for part in (inputs, output))
    found = []
    if guard.asked.positions:
        expected, (gap, floor) = at_positions(check.sums, inputs), ends[0]
        summed = (output.new_ones(1, sizes[1]) @ output)[:, 0]
        found.append(_off(output, summed.sub_(expected), expected, (share * gap, floor)))
    if guard.asked.channels:
        expected, (gap, floor) = check.sums.of_channels(inputs), ends[1]
        found.append(_off(output.mT, output.sum(2).sub_(expected), expected, (share * gap, floor)))
    some = found[0] if len(found) == 1 else torch.cat(found)
    return torch.unique(some) if len(some) else some


def _off(output: Tensor, gap: Tensor, expected: Tensor, ends: tuple[float, float]) -> Tensor:
    """Images with a gap (n, places) larger than its share of the root sum of squares.

    That is of outputs (n, k, places) over k, and no smaller than a sum over the root of k; it is
    formed only where this does not do. An image is named for each of its gaps.
    """
    share, floor = ends
    bound = expected.abs_().mul_(share / math.sqrt(output.shape[1])).add_(share * floor)
    over = gap.abs_().sub_(bound)
    images = torch.nonzero((over.amax(1) <= 0).logical_not_())[:, 0]  # what is no number is over
    if not len(images):
        return images
    of, place = torch.nonzero((over[images] <= 0).logical_not_(), as_tuple=True)
    image = images[of]
    scale = output[image, :, place].square().sum(1).sqrt()
    gaps = over[image, place] + bound[image, place]
    return image[~((gaps <= share * (scale + floor)) & torch.isfinite(scale))]


def at_positions(sums: Sums, inputs: Tensor) -> Tensor:
    """As `Sums.at_positions`, to rounding: one kernel over all channels, tap by tap."""
    row, own = sums.summed.flatten(), sums.bias.sum()
    if sums.dense:
        rows = inputs.flatten(1, -2) if inputs.dim() > 2 else inputs[:, None]
        dense: Tensor = rows @ row + own
        return dense
    g, inputs = sums.geometry, sums.maps(inputs)
    n, channels, *plane = inputs.shape
    taps = row.view(channels, -1)
    if channels < _MANY or inputs.numel() < _LARGE:
        kernels = taps.expand(n, *taps.shape).reshape(n * channels, 1, *g.kernel)
        maps = inputs.reshape(1, -1, *plane)
        each: Tensor = torch.conv2d(
            maps, kernels, None, g.stride, g.padding, g.dilation, n * channels
        )
        each = each.view(n, channels, -1)
        return (each.sum(1) if channels > 1 else each[:, 0]) + own
    maps = (taps.T @ inputs.flatten(2)).view(n, -1, *plane)
    places = [_places(axis, plane[axis], sums) for axis in range(2)]
    found = own.expand(n, *(count for count, _ in places)).clone()
    for tap in range(taps.shape[1]):
        (out_y, in_y), (out_x, in_x) = (
            of[part] for (_, of), part in zip(places, divmod(tap, g.kernel[1]), strict=True)
        )
        found[:, out_y, out_x] += maps[:, tap, in_y, in_x]
    return found.flatten(1)


def _places(axis: int, size: int, sums: Sums) -> tuple[int, list[tuple[slice, slice]]]:
    """How many outputs lie along an axis; and of each tap which of them read which inputs."""
    g = sums.geometry
    stride, padding, dilation = g.stride[axis], g.padding[axis], g.dilation[axis]
    count = (size + 2 * padding - dilation * (g.kernel[axis] - 1) - 1) // stride + 1
    found = []
    for tap in range(g.kernel[axis]):
        at = tap * dilation - padding  # what the first output reads
        first = max(0, -(at // stride))
        end = max(first, min(count, (size - 1 - at) // stride + 1))
        read = range(first * stride + at, end * stride + at, stride)
        inside = slice(read.start, read.stop, stride) if read else slice(0, 0)
        found.append((slice(first, end), inside))
    return count, found
