"""What can be asked of a campaign, checked before it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radhard.accel.chip import Accelerator
from radhard.accel.chips import ARRAYS
from radhard.faults.model import FaultModel, single
from radhard.network.multiplied import Multiplied
from radhard.network.workload import Workload
from radhard.protect.protection import Protection
from radhard.sampling.sampler import Sampler

#: Bytes of a name, at most; files and folders whose names begin with it need some more.
_NAME_BYTES = 200


def check_name(name: str) -> None:
    """Raise ``ValueError`` for a name that no folder can have."""
    usable = name.strip(". ") and name.isprintable() and not set(name) & set('/\\:*?"<>|')
    if not usable or len(name.encode()) > _NAME_BYTES:
        raise ValueError(
            f"name {name[:60]!r} ({len(name)} characters) can't be: it names a folder of the "
            f'store, so use up to {_NAME_BYTES} bytes, printable and none of / \\ : * ? " < > |'
        )


def check_kinds(chip: object, sampler: object, model: object) -> None:
    """Raise TypeError for a part that is none, such as the class of one."""
    parts: dict[str, tuple[object, type, str]] = {
        "chip": (chip, Accelerator, "chips.EYERISS"),
        "sampler": (sampler, Sampler, "Importance()"),
        "model": (model, FaultModel, "BitFlip()"),
    }
    for name, (part, kind, example) in parts.items():
        if isinstance(part, type) or not isinstance(part, kind):
            raise TypeError(
                f"{name} {part!r} can't be: use an object with what radhard.{kind.__name__} asks "
                f"for, such as radhard.{example}"
            )


def check_bits(protections: Sequence[Protection], model: FaultModel) -> None:
    """Raise ``ValueError`` for protections of bits where faults are not told bit by bit."""
    bit, width = np.tile(np.arange(8), 16), np.full(128, 8)
    keep, flip = model.masks(bit, width, np.random.default_rng(0))
    held = (~keep & 255).any()
    several = ((~keep | flip) & 255 & ~single(bit)).any()
    for part in protections:
        name = type(part).__name__
        if part.by_bit and several:
            raise ValueError(
                f"{name} under {model.name} can't be judged: it protects bits one by one, and this "
                "fault strikes several of a value; use bit-flip, stuck-at, or codes: Parity, SECDED"
            )
        if part.by_flips and held:
            raise ValueError(
                f"{name} under {model.name} can't be judged: how many bits are wrong depends on "
                "what was stored; use bit-flip, multi-bit-flip:K or burst:K"
            )


def check_images(workload: Workload, images: int | None) -> None:
    """Raise ``ValueError`` for a number of images that there are not."""
    count = len(workload.images)
    if images is not None and (type(images) is not int or not 1 <= images <= count):
        raise ValueError(
            f"{images} images at a time can't be: the workload has {count}, so use 1 to {count}, "
            "or None for all"
        )


def check_array(workload: Workload, chip: Accelerator) -> None:
    """Raise ``ValueError`` where a systolic array is struck that layers do not run on."""
    if not isinstance(chip, ARRAYS):
        return
    for name, own in workload.datapaths.items():
        if not isinstance(own, Multiplied) or own.array.rows * own.array.cols == 1:
            continue
        rows, cols, flow = own.array.rows, own.array.cols, own.array.dataflow
        if (rows, cols, flow) != (chip.rows, chip.cols, chip.dataflow):
            raise ValueError(
                f"layer {name} runs on an array of {rows} x {cols} ({flow}), and chip {chip.name} "
                f"is another: strike systolic:{rows}x{cols}:{flow}"
            )
