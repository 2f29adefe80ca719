"""Data sets: from a folder at hand, else the cache, else downloaded with checksums."""

from __future__ import annotations

import difflib
import gzip
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radhard.network.cache import cache_folder

#: Where the original files live, and their published MD5 sums.
_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
_MNIST_SUMS = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_FASHION_SUMS = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_CIFAR_SUM = "c58f30108f718f92721af3b95e74349a"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Labelled images of one size.

    Attributes:
        images: (images, channels, rows, columns), float32 in [0, 1].
        labels: (images,), int64.
        mean, deviation: per channel, customary for standardising; ``None`` where there is none.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None

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
        return DataSet(self.images[:count], self.labels[:count], self.mean, self.deviation)

    def standardised(
        self, mean: tuple[float, ...] | None = None, deviation: tuple[float, ...] | None = None
    ) -> Tensor:
        """Images less the mean, over the deviation, per channel (the set's own by default)."""
        mean, deviation = mean or self.mean, deviation or self.deviation
        if mean is None or deviation is None:
            return self.images
        shift, scale = torch.tensor(mean), torch.tensor(deviation)
        return (self.images - shift.reshape(-1, 1, 1)) / scale.reshape(-1, 1, 1)


@dataclass(frozen=True, slots=True)
class Source:
    """A named data set: how to read it, and what `radhard list data` says of it."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    note: str
    read: Callable[[bool], DataSet]


def data_named(name: str, train: bool = False) -> DataSet:
    """The test images (or the training images) of a named set, or of a folder of class folders.

    Raises:
        ValueError: for an unknown name, an empty folder, or images of different sizes.
        FileNotFoundError: when files are missing and can't be downloaded.
    """
    known = {source.name: source for source in _SOURCES}
    if name in known:
        return known[name].read(train)
    folder = Path(name)
    if folder.is_dir():
        return _image_folder(folder)
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.3) or list(known)
    raise ValueError(
        f"no data set {name!r}: did you mean {', '.join(near)}? A folder with one folder of "
        "images per class works too"
    )


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
    images, labels = _idx("MNIST", _MNIST_URL, _MNIST_SUMS, train)
    return DataSet(images, labels, (0.1307,), (0.3081,))


def _fashion_mnist(train: bool) -> DataSet:
    images, labels = _idx("FashionMNIST", _FASHION_URL, _FASHION_SUMS, train)
    return DataSet(images, labels, (0.2860,), (0.3530,))


def _cifar10(train: bool) -> DataSet:
    folder = _cifar_folder()
    names = [f"data_batch_{k}" for k in range(1, 6)] if train else ["test_batch"]
    pixels, labels = [], []
    for name in names:
        with (folder / name).open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        pixels.append(np.asarray(batch[b"data"], dtype=np.uint8))
        labels += list(batch[b"labels"])
    images = torch.from_numpy(np.concatenate(pixels)).reshape(-1, 3, 32, 32).float() / 255
    return DataSet(images, torch.tensor(labels), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


_SOURCES = (
    Source("digits", (1, 8, 8), 10, "UCI handwritten digits, in the package", _digits),
    Source("mnist", (1, 28, 28), 10, "MNIST (LeCun et al.)", _mnist),
    Source("fashion-mnist", (1, 28, 28), 10, "Fashion-MNIST (Zalando)", _fashion_mnist),
    Source("cifar10", (3, 32, 32), 10, "CIFAR-10 (Krizhevsky)", _cifar10),
)


def _idx(folder: str, url: str, sums: dict[str, str], train: bool) -> tuple[Tensor, Tensor]:
    prefix = "train" if train else "t10k"
    images, labels = (
        _located(f"{folder}/raw/{name}", url + name, sums[name])
        for name in (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz")
    )
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16)
    classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
    shaped = torch.from_numpy(pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255)
    return shaped, torch.from_numpy(classes.astype(np.int64))


def _cifar_folder() -> Path:
    at_hand = _at_hand("cifar-10-batches-py")
    if at_hand:
        return at_hand
    folder = cache_folder() / "data"
    if not (folder / "cifar-10-batches-py" / "test_batch").exists():
        archive = _download(
            "cifar-10-python.tar.gz", _CIFAR_URL + "cifar-10-python.tar.gz", _CIFAR_SUM
        )
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder / "cifar-10-batches-py"


def _located(relative: str, url: str, md5: str) -> Path:
    return _at_hand(relative) or _download(relative, url, md5)


def _at_hand(relative: str) -> Path | None:
    root = os.environ.get("RADHARD_DATA")
    if not root:
        return None
    path = Path(root) / relative
    if not Path(root).is_dir():
        raise FileNotFoundError(f"RADHARD_DATA={root} is no folder: correct it or unset it")
    return path if path.exists() else None


def _download(relative: str, url: str, md5: str) -> Path:
    import pooch

    path = cache_folder() / "data" / relative
    try:
        return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", path=path.parent, fname=path.name))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{relative} is not at hand and could not be downloaded ({error}): connect, or set "
            "RADHARD_DATA to a folder that holds it"
        ) from error


def _image_folder(folder: Path) -> DataSet:
    from PIL import Image

    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
    found = [
        (path, label)
        for label, inner in enumerate(classes)
        for path in sorted(inner.rglob("*"))
        if path.suffix.lower() in suffixes
    ]
    if not found:
        raise ValueError(f"no images under {folder}: it needs one folder of images per class")
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path, _ in found]
    sizes = {image.shape for image in pixels}
    if len(sizes) > 1:
        raise ValueError(
            f"images under {folder} have {len(sizes)} different sizes, such as "
            f"{sorted(sizes)[:2]}: bring them to one size first"
        )
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return DataSet(images.contiguous(), torch.tensor([label for _, label in found]))
