"""Data sets: from a folder at hand, else the cache, else downloaded with checksums."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radhard.network.folder import Reading, image_folder
from radhard.network.published import FASHION_MNIST, MNIST, Labelled, cifar, idx_pair


@dataclass(frozen=True, slots=True)
class DataSet:
    """Labelled images of one size.

    Attributes:
        images: (images, channels, rows, columns), float32 in [0, 1].
        labels: (images,), int64.
        mean, deviation: per channel, customary for standardising; ``None`` where there is none.
        classes: of a folder: name and number of files of each class, in order of label.
        note: what differs from the published files, or was left out of a folder; empty where
            nothing does or was.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    classes: tuple[tuple[str, int], ...] = ()
    note: str = ""

    def first(self, count: int) -> DataSet:
        """The first ``count`` images.

        Raises:
            ValueError: when there are fewer.
        """
        if not 0 < count <= len(self.images):
            raise ValueError(
                f"{count} images asked for, but the data set holds {len(self.images)}: "
                f"use 1 to {len(self.images)}"
            )
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def standardised(
        self, mean: tuple[float, ...] | None = None, deviation: tuple[float, ...] | None = None
    ) -> Tensor:
        """Images less the mean, over the deviation, per channel (the set's own by default).

        Raises:
            ValueError: where there are as many numbers neither as channels nor as 1.
        """
        mean, deviation = mean or self.mean, deviation or self.deviation
        if mean is None and deviation is None:
            return self.images
        channels = self.images.shape[1]
        for given in (mean, deviation):
            if given is not None and len(given) not in {1, channels}:
                raise ValueError(
                    f"{given} for images of {channels} channels can't be: give one number per "
                    "channel, or one for all"
                )
        shift, scale = torch.tensor(mean or (0.0,)), torch.tensor(deviation or (1.0,))
        return (self.images - shift.reshape(-1, 1, 1)) / scale.reshape(-1, 1, 1)


@dataclass(frozen=True, slots=True)
class Source:
    """A named data set: how to read it, and what `radhard list data` says of it."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    note: str
    read: Callable[[bool], DataSet]


def data_named(name: str, train: bool = False, how: Reading | None = None) -> DataSet:
    """The test images (or the training images) of a named set, or of a folder of class folders.

    Args:
        name: of a data set, else a folder.
        train: a named set's training images.
        how: mean and deviation to standardise with; for folders also size, channels and number.

    Raises:
        ValueError: for an unknown name, a damaged file, a folder without classes, or images of
            different sizes.
        FileNotFoundError: when files are missing and can't be downloaded.

    >>> data_named("digits").images.shape
    torch.Size([500, 1, 8, 8])
    """
    how = how or Reading()
    known = {source.name: source for source in _SOURCES}
    if name in known:
        if how.reshapes:
            raise ValueError(f"size and grey are for folders of images: {name} has its own shape")
        chosen = known[name].read(train)
    elif Path(name).is_dir():
        found = image_folder(Path(name), how)
        chosen = DataSet(found.images, found.labels, classes=found.classes, note=found.note)
    else:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.3) or list(known)
        raise ValueError(
            f"no data set {name!r}: did you mean {', '.join(near)}? A folder with one folder of "
            "images per class works too"
        )
    return replace(chosen, mean=how.mean or chosen.mean, deviation=how.std or chosen.deviation)


def data_sources() -> tuple[Source, ...]:
    """The data sets that have names."""
    return _SOURCES


def _digits(train: bool) -> DataSet:
    with (files("radhard.network") / "assets" / "digits.npz").open("rb") as file:
        held = np.load(file)
        pixels, labels = held["pixels"], held["labels"]
    split = slice(0, 1297) if train else slice(1297, None)
    images = torch.from_numpy(pixels[split].astype(np.float32) / 16).reshape(-1, 1, 8, 8)
    return DataSet(images, torch.from_numpy(labels[split].astype(np.int64)), (0.3053,), (0.3760,))


def _mnist(train: bool) -> DataSet:
    return _labelled(idx_pair(MNIST, train), (0.1307,), (0.3081,))


def _fashion_mnist(train: bool) -> DataSet:
    return _labelled(idx_pair(FASHION_MNIST, train), (0.2860,), (0.3530,))


def _cifar10(train: bool) -> DataSet:
    return _labelled(cifar(train), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def _labelled(held: Labelled, mean: tuple[float, ...], deviation: tuple[float, ...]) -> DataSet:
    images = torch.from_numpy(held.pixels.astype(np.float32) / 255)
    return DataSet(images, torch.from_numpy(held.labels), mean, deviation, note=held.note)


_SOURCES = (
    Source("digits", (1, 8, 8), 10, "UCI handwritten digits, in the package", _digits),
    Source("mnist", (1, 28, 28), 10, "MNIST (LeCun et al.)", _mnist),
    Source("fashion-mnist", (1, 28, 28), 10, "Fashion-MNIST (Zalando)", _fashion_mnist),
    Source("cifar10", (3, 32, 32), 10, "CIFAR-10 (Krizhevsky)", _cifar10),
)
