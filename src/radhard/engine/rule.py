"""How a patch passes an operation: one rule per kind of operation.

A rule gives the patch of the operation's result, or ``None`` where it knows no way; the run then
continues with whole tensors, which is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.engine.patch import Patch, Windows, grown, moved_into, on_map, widened
from radhard.network.arithmetic import Parameters
from radhard.network.comparator import Comparator
from radhard.network.operation import (
    Elementwise,
    Geometry,
    Join,
    Pad,
    Reshape,
    Takes,
    Verb,
    Window,
    batch_norm,
    operation_of,
)  # fmt: skip
from radhard.network.product import convolution
from radhard.network.program import Ref

aten = torch.ops.aten

#: Share of a map's positions from which on a convolution runs on whole tensors; measured.
WHOLE_FROM = 0.35

Patches = Mapping[int, Patch]


def passed(windows: Windows, index: int, patches: Patches, image: Tensor) -> Patch | None:
    """The patch of step ``index``, given those of the steps that it reads and that differ."""
    workload = windows.trace.workload
    number = workload.numbers.get(index)
    if number is not None:
        return _layer(windows, number, patches, image)
    done = operation_of(workload.program.steps[index])
    if isinstance(done, Elementwise):
        rule = _batch_norm if done.verb is Verb.NORMALISE else _pointwise
        return rule(windows, index, patches, image)
    if isinstance(done, Window):
        return _windowed(windows, index, patches, image, done) if done.even else None
    if isinstance(done, Join):
        return _cat(windows, index, patches, image, done)
    if isinstance(done, Pad):
        return _pad(windows, index, patches, image, done)
    return _flatten(windows, index, patches) if isinstance(done, Reshape) else None


def _layer(windows: Windows, number: int, patches: Patches, image: Tensor) -> Patch | None:
    """A convolution: its sums change by the convolution of the change, which is zero elsewhere."""
    workload = windows.trace.workload
    layer, given = workload.layers[number], workload.parameters[number]
    plane = windows.plane(layer.step)
    patch = _held(windows, patches, layer.operands[0])
    if layer.geometry is None or given is None or plane is None or patch is None:
        return None
    if not workload.arithmetic[number].linear:  # no difference tells its sums
        return None
    if layer.bounds["groups"] > 1:
        patch = widened(windows, layer.operands[0], patch, image)
    top, left, size = _reached(patch, layer.geometry)
    if size[0] * size[1] > WHOLE_FROM * plane[1] * plane[2]:
        return None
    how = workload.arithmetic[number]
    change = how.operand(patch.pair[0]) - how.operand(patch.pair[1])
    window = _placed(change, patch, layer.geometry, (top, left, size))
    if patch.channel is None:
        product = _whole_product(layer.geometry, layer.bounds["groups"])
        moved = how.change(product, window, given)
    else:
        weights = Parameters(given.weight[:, patch.channel], None, given.scale)
        moved = how.change(_channel_product(layer.geometry), window, weights)
    _clear_outside(moved, top, left, plane)
    sums = windows.sums(number, image, (top, left, size))
    torch.add(sums[1], moved.to(sums.dtype), out=sums[0])
    pair = how.finished(sums.flatten(0, 1), given).to(patch.pair.dtype)
    return Patch(pair.view(sums.shape), top, left, None, plane)


def _whole_product(geometry: Geometry, groups: int) -> Callable[[Any, Any, Tensor | None], Tensor]:
    sliding = geometry.stride, (0, 0), geometry.dilation

    def product(window: Tensor, weight: Tensor, _: Tensor | None) -> Tensor:
        return convolution(window, weight, None, sliding, groups)

    return product


def _channel_product(geometry: Geometry) -> Callable[[Any, Any, Tensor | None], Tensor]:
    """The same for windows of one channel each, (n, 1, h, w) by weights (m, n, r, s)."""
    ones = (1, 1)

    def product(window: Tensor, weight: Tensor, _: Tensor | None) -> Tensor:
        n, m = len(window), len(weight)
        kernels = weight.transpose(0, 1)
        r, s = geometry.kernel
        alone = geometry.stride == ones and geometry.dilation == ones
        if alone and window.shape[2:] == (2 * r - 1, 2 * s - 1):
            return kernels.flip(2, 3) * window[:, :, r - 1 : r, s - 1 : s]
        rows = window.view(1, n, *window.shape[2:])
        kernels = kernels.reshape(n * m, 1, r, s)
        out = convolution(rows, kernels, None, (geometry.stride, (0, 0), geometry.dilation), n)
        return out.view(n, m, *out.shape[2:])

    return product


def _batch_norm(windows: Windows, index: int, patches: Patches, image: Tensor) -> Patch | None:
    step = windows.trace.workload.program.steps[index]
    source, weight, bias, mean, variance, eps = step.args
    patch = _held(windows, patches, source.step)
    if patch is None:
        return None
    channel, steps = patch.channel, windows.trace.workload.program.steps

    def held(part: Ref | None) -> Any:
        constant = steps[part.step].constant if part is not None else None
        return constant if constant is None or channel is None else constant[channel]

    rows = patch.pair.flatten(0, 1) if channel is None else patch.pair.squeeze(2)
    pair = batch_norm(rows, held(weight), held(bias), held(mean), held(variance), eps)
    return replace(patch, pair=pair.reshape(patch.pair.shape))


def _pointwise(windows: Windows, index: int, patches: Patches, image: Tensor) -> Patch | None:
    """Activation functions, and sums or products of maps of one shape."""
    step, plane = windows.trace.workload.program.steps[index], windows.plane(index)
    sources = [arg.step for arg in step.args if isinstance(arg, Ref)]
    if plane is None or step.kwargs or any(windows.plane(s) != plane for s in sources):
        return None
    joined = _joined(windows, {s: _held(windows, patches, s) for s in sources}, image)
    if joined is None:
        return None
    pairs = {source: patch.pair.flatten(0, 1) for source, patch in joined.items()}
    first = next(iter(joined.values()))
    pair = step.run(pairs.__getitem__).reshape(first.pair.shape)
    _clear_outside(pair, first.top, first.left, plane)
    return Patch(pair, first.top, first.left, first.channel, plane)


def _held(windows: Windows, patches: Patches, step: int) -> Patch | None:
    """The patch of a step, where it lies in the step's own map."""
    patch = patches.get(step)
    return patch if patch is not None and patch.plane == windows.plane(step) else None


def _joined(
    windows: Windows, patches: Mapping[int, Patch | None], image: Tensor
) -> dict[int, Patch] | None:
    """All maps of ``patches`` in one box, golden where a map has no patch."""
    held = {step: patch for step, patch in patches.items() if patch is not None}
    if not held:
        return None
    channel = next(iter(held.values())).channel
    if any(not _same(channel, patch.channel) for patch in held.values()):
        held = {step: widened(windows, step, patch, image) for step, patch in held.items()}
        channel = None
    box = _union(list(held.values()))
    found = {step: grown(windows, step, patch, image, box) for step, patch in held.items()}
    for step in patches.keys() - held.keys():
        pair, plane = windows.values(step, image, box, channel), windows.plane(step)
        assert plane is not None
        pair[0] = pair[1]
        found[step] = Patch(pair, box[0], box[1], channel, plane)
    return {step: found[step] for step in patches}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _union(patches: list[Patch]) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """The smallest box size that holds all boxes of every run."""
    if len(patches) == 1:
        return patches[0].top, patches[0].left, patches[0].size
    top = torch.stack([p.top for p in patches]).amin(0)
    left = torch.stack([p.left for p in patches]).amin(0)
    bottom = torch.stack([p.top + p.size[0] for p in patches]).amax(0)
    right = torch.stack([p.left + p.size[1] for p in patches]).amax(0)
    return top, left, (int((bottom - top).max()), int((right - left).max()))


def _windowed(
    windows: Windows, index: int, patches: Patches, image: Tensor, done: Window
) -> Patch | None:
    """An operation that slides a window over each channel by itself."""
    step = windows.trace.workload.program.steps[index]
    source = step.args[0].step
    patch, plane = _held(windows, patches, source), windows.plane(index)
    if patch is None or plane is None:
        return None
    top, left, size = _reached(patch, done.geometry)
    box = _read(done.geometry, (top, left, size))
    outside = -torch.inf if done.takes is Takes.LARGEST else 0.0
    whole = grown(windows, source, patch, image, box, outside)
    taken = _taken(done, isinstance(step.op, Comparator), whole.pair.flatten(0, 1))
    pair = taken.reshape(2, len(image), -1, *size)
    _clear_outside(pair, top, left, plane)
    return Patch(pair, top, left, patch.channel, plane)


def _taken(done: Window, drops: bool, window: Tensor) -> Tensor:
    """What is made of windows (n, c, h, w); ``drops`` is for comparators."""
    over = done.geometry
    if done.takes is Takes.MEAN:
        return F.avg_pool2d(window, over.kernel, over.stride)
    if done.takes is Takes.FIRST:
        return window[:, :, :: over.stride[0], :: over.stride[1]]
    pool, largest = (
        Comparator(op) if drops else op for op in (aten.max_pool2d.default, aten.amax.default)
    )
    if window.shape[2:] == over.kernel:
        return largest(window.flatten(2), [2])  # type: ignore[no-any-return]
    return pool(window, over.kernel, over.stride, 0, over.dilation)  # type: ignore[no-any-return]


def _flatten(windows: Windows, index: int, patches: Patches) -> Patch | None:
    """A reshape that keeps the order of an image's values: the patch stays in its own map."""
    program = windows.trace.workload.program
    source = next((s for s in program.steps[index].inputs if s in patches), None)
    rows, before = program.rows[index], program.rows[source] if source is not None else None
    if rows is None or before is None or source is None:
        return None
    return patches[source] if rows.first and before.first else None


def _cat(windows: Windows, index: int, patches: Patches, image: Tensor, done: Join) -> Patch | None:
    """Maps side by side, by channel."""
    step, plane = windows.trace.workload.program.steps[index], windows.plane(index)
    sources = [part.step for part in step.args[0] if isinstance(part, Ref)]
    planes = [windows.plane(source) for source in sources]
    if plane is None or done.axis not in {1, -3}:
        return None
    if any(p is None or p[1:] != plane[1:] for p in planes):
        return None
    held = {source: _held(windows, patches, source) for source in sources}
    whole = {
        source: widened(windows, source, patch, image) if patch is not None else None
        for source, patch in held.items()
    }
    joined = _joined(windows, whole, image)
    if joined is None:
        return None
    first = next(iter(joined.values()))
    pair = torch.cat([joined[source].pair for source in sources], dim=2)
    return Patch(pair, first.top, first.left, None, plane)


def _pad(windows: Windows, index: int, patches: Patches, image: Tensor, done: Pad) -> Patch | None:
    """Constant margins; of channels only, or of rows and columns only."""
    source, plane = windows.trace.workload.program.steps[index].args[0], windows.plane(index)
    patch = _held(windows, patches, source.step)
    before = [*(first for first, _ in done.margins), 0, 0, 0, 0][:4]
    if patch is None or plane is None or min(map(min, done.margins)) < 0 or before[3]:
        return None
    if not done.constant:
        return None
    top, left = patch.top + before[1], patch.left + before[0]
    if plane[0] == patch.plane[0]:
        return replace(patch, top=top, left=left, plane=plane)
    if patch.channel is not None:
        return replace(patch, top=top, left=left, channel=patch.channel + before[2], plane=plane)
    after = plane[0] - patch.plane[0] - before[2]
    pair = F.pad(patch.pair, (0, 0, 0, 0, before[2], after))
    return replace(patch, pair=pair, top=top, left=left, plane=plane)


def _reached(patch: Patch, geometry: Geometry) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """The box of results that read a box of operands: first row, first column, size."""
    place = []
    for k, first in enumerate((patch.top, patch.left)):
        span = geometry.dilation[k] * (geometry.kernel[k] - 1) + 1
        stride = geometry.stride[k]
        start = first + geometry.padding[k] - span + 1
        low = -torch.div(-start, stride, rounding_mode="floor")
        place.append((low, (patch.size[k] + span - 2) // stride + 1))
    (top, h), (left, w) = place
    return top, left, (h, w)


def _read(
    geometry: Geometry, box: tuple[Tensor, Tensor, tuple[int, int]]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """The box of operands that a box of results reads."""
    (top, left, size), (down, right) = box, geometry.stride
    spans = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, geometry.kernel, strict=True)]
    h, w = (size[0] - 1) * down + spans[0], (size[1] - 1) * right + spans[1]
    return top * down - geometry.padding[0], left * right - geometry.padding[1], (h, w)


def _placed(
    change: Tensor, patch: Patch, geometry: Geometry, box: tuple[Tensor, Tensor, tuple[int, int]]
) -> Tensor:
    """Changes (n, c, h, w) in the box of operands that ``box`` reads, zero around them."""
    top, left, (h, w) = _read(geometry, box)
    if geometry.stride == (1, 1):
        down, right = h - patch.size[0], w - patch.size[1]
        return F.pad(change, (right // 2, right - right // 2, down // 2, down - down // 2))
    held, moved = moved_into(patch, change, (top, left, (h, w)))
    return torch.where(held, moved, 0)


def _clear_outside(values: Tensor, top: Tensor, left: Tensor, plane: tuple[int, int, int]) -> None:
    """Set values (..., n, c, h, w) of boxes to 0 where they lie outside the map."""
    h, w = values.shape[-2:]
    inside = on_map(top, left, (h, w), plane)
    if inside is not None:
        values.masked_fill_(~inside, 0)
