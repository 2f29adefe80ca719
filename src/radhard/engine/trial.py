"""Whether following differences is right for a network: a few real faults of every layer, tried.

Stages are planned from golden values, which do not show what a plan forgets.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.trace import Trace, record
from radhard.faults.corruption import OPERANDS, Corruption, whole_box
from radhard.faults.model import BitFlip
from radhard.network.workload import Workload

#: Faults per layer and operand, at most; of all layers, about; and multiply-accumulates of the
#: whole runs of all of them, about.
_MOST, _ALL, _MACS = 4, 512, 1 << 31
#: Images that are struck, and layers that a warning names, at most.
_IMAGES, _NAMED = 8, 5
#: Where sums are floats, by how much two ways of adding up may differ: of what the fault moves and
#: of the logits, at least, and in units of the format's last place.
_OF_MOVED, _OF_LOGITS, _ULPS = 1e-3, 1e-5, 16
#: The same for what one way finds golden and the other does not, of the logits.
_ULPS_LOST = 4
#: By how much images change, relatively, to see how far rounding carries, and the room that it has;
#: and how often: a code at a step between two bit patterns crosses it with every other change.
_STIR, _ROOM, _STIRS = 2.0**-21, 16, 8

#: ``(golden run, corruptions, whether differences are followed)`` to logits (n, classes).
Run = Callable[[Trace, Corruption, bool], Tensor]


def trusted(trace: Trace, entries: Collection[int], run: Run) -> bool:
    """Whether runs that follow differences end like whole runs, on some faults of each layer.

    Found out once for a workload, with a warning where they do not. Integer and fixed-point logits
    must be equal. With floats both add up in their own order; what exceeds rounding is compared
    with what a change of the images in their last bits does to the whole run.

    Args:
        trace: the golden run.
        entries: the layers, by step, whose faults begin as differences.
        run: runs corruptions.
    """
    key = ("trusted", trace.rows, torch.get_num_threads())
    if trace.guard is None:
        return trace.workload.once(key, lambda: _passes(trace, entries, run))
    if key not in trace.maps:
        trace.maps[key] = _passes(trace, entries, run)
    found: bool = trace.maps[key]
    return found


def _passes(trace: Trace, entries: Collection[int], run: Run) -> bool:
    faults = drawn(trace.workload, entries)
    wrong = np.flatnonzero(_wrong(trace, faults, run)) if len(faults) else ()
    if not len(wrong):
        return True
    struck = [trace.workload.layers[k].name for k in np.unique(faults.layer[wrong])]
    named = ", ".join(struck[:_NAMED]) + ", ..." * (len(struck) > _NAMED)
    warnings.warn(
        f"{trace.workload.name}: following differences gave other logits than whole runs for "
        f"{len(wrong)} of {len(faults)} faults that were tried (layer {named}); all "
        "its runs are whole runs now, which are right but slower. Please report the network",
        RuntimeWarning,
        stacklevel=6,
    )
    return False


def drawn(workload: Workload, entries: Collection[int]) -> Corruption:
    """Flips in the upper halves of codes, at random places of each operand of some layers."""
    rng, images = np.random.default_rng(0), min(_IMAGES, len(workload.images))
    after = np.cumsum([layer.macs for layer in reversed(workload.layers)])[::-1]
    numbers = [k for k, layer in enumerate(workload.layers) if layer.step in entries]
    most = _ALL // max(1, len(numbers)), _MACS // max(1, after[numbers].sum())
    each = int(np.clip(min(most) // len(OPERANDS), 1, _MOST))
    parts = []
    for number in numbers:
        layer, how = workload.layers[number], workload.arithmetic[number]
        source = workload.program.rows[layer.operands[0]]
        held = {"weight": how.weight, "input": how.input, "output": how.output}
        constant = layer.has_windows and source is not None
        for operand in OPERANDS if constant else ("output",):
            width = np.full(each, held.get(operand, how.latch).width)
            keep, flip = BitFlip().masks(rng.integers(width // 2, width), width, rng)
            inputs = source.elements if source is not None else 0
            size = layer.variables("psum" if operand == "output" else operand, inputs)
            end = rng.integers(1, layer.fan_in + 1, each)
            start = end - 1 if operand == "product" else rng.integers(0, end)
            box, terms = whole_box(each), np.stack([start, end], 1)
            place = rng.integers(0, size, each), rng.integers(0, images, each)
            first = np.zeros(each, np.int64)
            parts.append(
                (np.full(each, number), np.full(each, operand), *place, keep, flip, box, box,
                 first, terms)
            )  # fmt: skip
    empty = np.zeros(0, np.int64)
    columns = zip(*parts, strict=True) if parts else [[empty]] * 10
    return Corruption(*map(np.concatenate, columns))


def _wrong(trace: Trace, faults: Corruption, run: Run) -> NDArray[np.bool_]:
    """(n,) whether the two ways differ by more than they may."""
    images, rows = trace.workload.images[:_IMAGES], min(trace.rows, _IMAGES)
    fast = run(trace, faults, True)
    whole, whole_moved = _whole(trace, images, rows, faults, run)
    unit = _last_place(trace.workload)
    if unit == 0:
        return (fast != whole).any(1).cpu().numpy()
    golden = trace.logits[torch.from_numpy(faults.image).to(fast.device)]
    moved, size = fast - golden, golden.abs().amax(1)
    gap, far = _apart(moved, whole_moved), torch.maximum(_size(moved), _size(whole_moved))
    allowed = max(_OF_MOVED, _ULPS * unit) * far + max(_OF_LOGITS, _ULPS * unit) * size
    lost = (moved == 0).all(1) != (whole_moved == 0).all(1)
    found = gap > torch.where(lost, _ULPS_LOST * unit * size, allowed)
    random = torch.Generator().manual_seed(0)
    for _ in range(_STIRS):
        here = torch.nonzero(found)[:, 0]
        if not len(here):
            break
        noise = _STIR * torch.randn(images.shape, generator=random)
        stirred = images + noise.to(images) * images.abs().clamp(min=float(images.abs().mean()))
        _, other = _whole(trace, stirred, rows, faults[here.cpu().numpy()], run)
        found[here] = gap[here] > _ROOM * _apart(other, whole_moved[here])
    return found.cpu().numpy()


def _whole(
    golden: Trace, images: Tensor, rows: int, faults: Corruption, run: Run
) -> tuple[Tensor, Tensor]:
    """Logits of whole runs, and by what the faults moved them, (n, classes)."""
    workload = golden.workload
    part = workload.with_(images, workload.labels[: len(images)])
    trace = record(part, golden.guard, rows=rows)
    found = run(trace, faults, False)
    return found, found - trace.logits[torch.from_numpy(faults.image).to(found.device)]


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """The largest difference in each row; infinite where one only is no number."""
    same = (one == other) | (one.isnan() & other.isnan())
    return _size(torch.where(same, 0.0, one - other))


def _size(moved: Tensor) -> Tensor:
    return moved.abs().nan_to_num(nan=torch.inf).amax(1)


def _last_place(workload: Workload) -> float:
    """The coarsest last place, relatively, of layers that round sums; 0 where all are exact."""
    found = [0.0]
    for how, given in zip(workload.arithmetic, workload.parameters, strict=True):
        if given is not None and not how.exact:
            formats = (how.input, how.output, how.accumulator or how.output)
            found += [2.0**-fmt.significant for fmt in formats]
    return max(found)
