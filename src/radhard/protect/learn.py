"""Images that guards learn from: others than those that they are judged on."""

from __future__ import annotations

from dataclasses import fields
from hashlib import sha256

import torch
from torch import Tensor

from radhard.network.workload import HOST, Workload
from radhard.protect.protection import Fitted, Protection

#: Of one image every range is a point.
LEAST = 2
#: One part in so many chooses.
_PARTS = 4


def apart_from(judged: Workload, learning: Workload) -> Workload:
    """The images to learn from that are not among those that are judged.

    Raises:
        ValueError: for fewer than two.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(8, 1, 2, 2), torch.arange(8) % 3)
    >>> half = work.with_(work.images[:4], work.labels[:4])
    >>> len(apart_from(half, work).images)
    4
    """
    seen = set(map(_digest, judged.images))
    kept = torch.tensor([_digest(image) not in seen for image in learning.images])
    left = int(kept.sum())
    if left < LEAST:
        raise ValueError(
            f"{left} of {len(kept)} images to learn from are not among those that are judged: give "
            "two or more others, since bounds of the images themselves say nothing of others"
        )
    return learning if left == len(kept) else learning.with_(
        learning.images[kept], learning.labels[kept]
    )  # fmt: skip


def untaught(protection: Protection) -> bool:
    """Whether a protection would learn from fault-free runs, and has not.

    >>> from radhard import Checksum, Parity, RangeDetector
    >>> untaught(RangeDetector()), untaught(RangeDetector(0.1, ((0.0, 1.0),))), untaught(Parity())
    (True, False, False)
    """
    if not hasattr(protection, "learned"):
        return False
    held = [getattr(protection, part.name) for part in fields(protection)]  # type: ignore[arg-type]
    learns = [value for value in held if isinstance(value, Fitted)]
    return not all(learns) or getattr(protection, "ranges", None) == ()


def _digest(image: Tensor) -> bytes:
    return sha256(image.detach().to(HOST).contiguous().numpy().tobytes()).digest()


def halves(work: Workload) -> tuple[Workload, Workload]:
    """Every other image, to be judged on, and those between, to learn from.

    Raises:
        ValueError: for fewer than two of these.
    """
    judged = work.with_(work.images[::2], work.labels[::2])
    if len(work.images) // 2 < LEAST:
        raise ValueError(
            f"{len(work.images)} images can't be told apart into some to learn from and some to be "
            "judged on: give at least 4"
        )
    return judged, apart_from(judged, work.with_(work.images[1::2], work.labels[1::2]))


def parted(learning: Workload) -> tuple[Workload, Workload]:
    """Images to learn from, and a quarter of them, that choose among what has been learned.

    Raises:
        ValueError: for fewer than four.
    """
    count = len(learning.images)
    if count < _PARTS:
        raise ValueError(
            f"{count} images to learn from can't be told apart into some to learn from and some to "
            "choose by: give at least 4 that are not among those that are judged"
        )
    chooses = torch.arange(count) % _PARTS == _PARTS - 1
    taught, choosing = (
        learning.with_(learning.images[part], learning.labels[part]) for part in (~chooses, chooses)
    )
    return taught, choosing
