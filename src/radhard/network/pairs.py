"""Images and their labels: what they must be, how they are carried, and hashes of them."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

#: Images that are hashed at once.
_HASHED = 256


def carried(images: Tensor, carrier: torch.dtype) -> Tensor:
    """Reals in the carrier's type; whole numbers, such as those of words, stay what they are."""
    return images.to(carrier) if images.is_floating_point() else images


def check_pairs(images: Tensor, labels: Tensor) -> None:
    """Raise ``ValueError`` where images and labels can't belong to each other."""
    if not labels.dim() or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} can't be: use one "
            "class number (integer) per image, or one for each place of an image"
        )
    if images.dim() and not len(images):
        raise ValueError("there are no images: give one or more, each with its label")
    if images.dim() < 2:
        raise ValueError(f"images of shape {tuple(images.shape)} can't be: use (images, ...)")
    if len(images) != len(labels):
        raise ValueError(
            f"{len(labels)} labels for {len(images)} images don't match: give one label per image"
        )
    if int(labels.min()) < 0:
        raise ValueError(f"label {int(labels.min())} can't be: class numbers start at 0")


def hashed(images: Tensor, labels: Tensor) -> str:
    """A hash of them, the same in every carrier."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for part in images.split(_HASHED):
        add_to(digest, part.to(torch.float64))
    add_to(digest, labels)
    return digest.hexdigest()


def add_to(digest: Any, value: Any) -> None:
    """Let a hash take in a tensor, with type and shape, or what else there is by its ``repr``."""
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous()
        digest.update(f"{held.dtype}{tuple(held.shape)}".encode())
        digest.update(held.numpy().tobytes())
    else:
        digest.update(repr(value).encode())
