"""Where the images of a batch lie in the values of a program, found out by experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radhard.network.inputs import Part
from radhard.network.program import Item, Program, Rows, Step

aten = torch.ops.aten
#: Images of the experiment that finds layouts, and those that are changed, one at a time: at
#: uneven places, so that no reordering leaves all of them where they were.
_TRIED, _CHANGED = 4, (0, 1, 3)
#: Images among which one that differs is looked for, at most.
_LOOKED_AT = 64
#: What reads no value of its operand, only which type it has.
_OF_SHAPES = (
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.new_full.default,
    aten.new_empty.default,
)
#: Normalisation without stored statistics.
_BATCH_STATISTICS = (
    aten._native_batch_norm_legit.default,
    aten._native_batch_norm_legit.no_stats,
    aten._native_batch_norm_legit_functional.default,
)


class CaptureError(ValueError):
    """A model that can't become a workload; the message names the layer and the remedy."""


def layouts(
    program: Program, images: Tensor
) -> tuple[tuple[Rows | None, ...], tuple[tuple[int, int] | None, ...], tuple[Step, ...]]:
    """The layout of each value, sizes that depend on the batch, and steps with constants folded.

    Raises:
        CaptureError: when images of a batch influence each other, or runs differ by themselves.
    """
    seen = _experiment(program, images)
    rows: list[Rows | None] = []
    sizes: list[tuple[int, int] | None] = []
    steps = list(program.steps)
    for index, step in enumerate(program.steps):
        depends = index == 0 or any(rows[source] or sizes[source] for source in step.inputs)
        if step.op in _OF_SHAPES and not any(slope for slope, _ in seen.sizes(index)):
            depends = False
        value, fewer = seen.golden[index], seen.fewer[index]
        size = rows_here = None
        if isinstance(value, int) and not isinstance(value, bool) and depends:
            size = _by_batch(value, fewer)
        elif isinstance(value, Tensor) and depends:
            rows_here = _rows_of(step, seen.sizes(index), seen.outers[index])
        elif depends and step.op is not None and not isinstance(value, Tensor):
            raise CaptureError(
                f"step {step.name} gives {type(value).__name__}, which has no place in a batch: "
                "rewrite the model with operations that give one tensor"
                if not _by_batch_statistics(step)
                else _mixing(step)
            )
        elif step.op is not None:
            steps[index] = Step(step.name, constant=value)
        rows.append(rows_here)
        sizes.append(size)
    return tuple(rows), tuple(sizes), tuple(steps)


@dataclass(frozen=True, slots=True)
class _Experiment:
    """What runs of a few images show of every step.

    Attributes:
        golden: the values for `_TRIED` equal images.
        fewer: shapes, or integers, for one image less.
        outers: possible numbers of blocks before the batch (`Rows.outer`): those with which every
            change of one image has changed nothing but that image's place.
    """

    golden: list[Any]
    fewer: list[Any]
    outers: list[list[int]]

    def sizes(self, index: int) -> tuple[tuple[int, int], ...]:
        """How the lengths of a step's axes depend on the batch, as `Rows.sizes`."""
        return tuple(map(_by_batch, self.golden[index].shape, self.fewer[index]))


def _experiment(program: Program, images: Tensor) -> _Experiment:
    other = _another(program, images)
    batch = torch.cat([images[:1]] * _TRIED)
    golden = program.values(batch)
    _refuse_noise(program, golden, program.values(batch))
    fewer = [v.shape if isinstance(v, Tensor) else v for v in program.values(batch[1:])]
    seen = _Experiment(golden, fewer, [])
    for index, value in enumerate(golden):
        seen.outers.append(_outers(seen.sizes(index)) if isinstance(value, Tensor) else [])
    for image in _CHANGED:
        changed = program.values(torch.cat([batch[:image], other, batch[image + 1 :]]))
        for index, outers in enumerate(seen.outers):
            if outers:
                moved = _moved(golden[index], changed[index])
                seen.outers[index] = [n for n in outers if _only(moved, n, image)]
    for index, outers in enumerate(seen.outers):
        if len(outers) > 1:
            seen.outers[index] = [n for n in outers if _carried(program, batch, seen, index, n)]
    return seen


def _another(program: Program, images: Tensor) -> Tensor:
    """An image that differs from the first one, (1, ...): in as much as the others let it.

    Integers are numbers of something, such as words: only those that some image has at a place are
    known to be possible there.
    """
    a, b = images[:1], images[-1:]
    numbers = torch.full(a.shape[1:], not images.is_floating_point())
    for step in program.steps:
        if isinstance(step.op, Part) and step.op.dtype is not None:
            numbers[step.op.start : step.op.end] = True
    some = images[:_LOOKED_AT]
    first = (some != a).to(torch.uint8).argmax(0, keepdim=True)
    whole = some.gather(0, first)
    if not bool((whole != a).any()) and bool(numbers.all()):
        whole = a.flatten(1).roll(1, 1).view(a.shape)
        if torch.equal(whole, a):
            raise CaptureError(
                "the inputs hold one number and nothing else, which does not tell where each image "
                "lies in the values of the model: give at least two that differ"
            )
    real = torch.where(a == b, a + 1, b) + 0.5 if torch.equal(a, b) else b + 0.5
    return torch.where(numbers, whole, real.to(images.dtype))


def _carried(program: Program, batch: Tensor, seen: _Experiment, index: int, outer: int) -> bool:
    """Whether images lie in a value with this number of blocks before them, to go by the logits.

    Learned queries, first states and padding are the same for all images: no change of an image
    tells its place. What would be the place of one is changed, and no other's logits may change.
    """
    value, logits = seen.golden[index], seen.golden[program.output]
    if not value.is_floating_point() or not isinstance(logits, Tensor) or not logits.dim():
        return True
    if len(logits) != _TRIED:
        return True
    for image in _CHANGED:
        struck = value.clone(memory_format=torch.contiguous_format)
        part = struck.view(outer, _TRIED, -1)[:, image]
        part += 1 + torch.rand(part.shape, generator=torch.Generator().manual_seed(image))

        def evaluate(step: int, values: Callable[[int], Any], struck: Tensor = struck) -> Any:
            return struck if step == index else program.steps[step].run(values)

        found = program.values(batch, evaluate)[program.output]
        if not _only(_moved(logits, found), 1, image):
            return False
    return True


def _by_batch(value: int, fewer: int) -> tuple[int, int]:
    """Slope and offset of a length that is this for `_TRIED` images and that for one less."""
    return value - fewer, _TRIED * fewer - (_TRIED - 1) * value


def _moved(a: Tensor, b: Tensor) -> Tensor:
    """Where two values differ; not-a-number equals itself."""
    return (a != b) & ~(a.isnan() & b.isnan())


def _only(moved: Tensor, outer: int, image: int) -> bool:
    """Whether nothing has moved but what would be one image's with this number of blocks."""
    blocks = moved.reshape(outer, _TRIED, moved.numel() // (outer * _TRIED))
    return not bool(blocks[:, [k for k in range(_TRIED) if k != image]].any())


def _refuse_noise(program: Program, once: list[Any], again: list[Any]) -> None:
    for step, first, second in zip(program.steps, once, again, strict=True):
        several = isinstance(first, list | tuple)
        pairs = zip(first, second, strict=True) if several else [(first, second)]
        if any(isinstance(a, Tensor) and bool(_moved(a, b).any()) for a, b in pairs):
            raise CaptureError(
                f"step {step.name} draws random numbers: two runs on the same images differ, so "
                "what a fault does could not be told from noise. Leave the noise out in evaluation "
                "mode (for dropout: training=self.training)"
            )


def _rows_of(step: Step, sizes: tuple[tuple[int, int], ...], outers: list[int]) -> Rows:
    if not any(slope for slope, _ in sizes):
        raise CaptureError(
            f"step {step.name} mixes the images of a batch into one value: radhard needs models "
            "that treat each image alone (evaluation mode, no statistics over the batch)"
        )
    if not outers:
        raise CaptureError(_mixing(step))
    return Rows(outers[0], sizes)


def _by_batch_statistics(step: Step) -> bool:
    return (step.op.op if isinstance(step.op, Item) else step.op) in _BATCH_STATISTICS


def _mixing(step: Step) -> str:
    if _by_batch_statistics(step):
        return (
            f"step {step.name} normalises by statistics of the images at hand, so one image of a "
            "batch influences another: use BatchNorm with stored statistics "
            "(track_running_stats=True, in evaluation mode)"
        )
    return (
        f"step {step.name} lets one image of a batch influence another, or changes their order: "
        "radhard needs models that treat each image alone (evaluation mode, no statistics over the "
        "batch, no reordering)"
    )


def _outers(sizes: tuple[tuple[int, int], ...]) -> list[int]:
    """Possible numbers of blocks before the batch, the usual layout (1) first."""
    before = 1
    for slope, offset in sizes:
        if slope:
            return [before * k for k in range(1, slope + 1) if slope % k == 0 and not offset]
        before *= offset
    return []
