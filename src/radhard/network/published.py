"""Published data sets as files: found or downloaded, checked, and read without running anything."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radhard.network.cache import cache_folder
from radhard.network.pickled import ForeignError, arrays_in


@dataclass(frozen=True, slots=True)
class Original:
    """A published file.

    Attributes:
        path: where it lies in the layout that torchvision uses.
        url: where it is downloaded from.
        md5: its published checksum.
    """

    path: str
    url: str
    md5: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """What files of a data set hold.

    Attributes:
        pixels: (images, channels, rows, columns), 0 to 255.
        labels: (images,) class numbers.
        note: what differs from the published files; empty where nothing does.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    note: str


_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _gzipped(folder: str, url: str, sums: tuple[str, ...]) -> tuple[Original, ...]:
    names = zip(_NAMES, sums, strict=True)
    return tuple(Original(f"{folder}/raw/{name}", url + name, md5) for name, md5 in names)


#: Training images and labels, test images and labels.
MNIST = _gzipped(
    "MNIST",
    _MNIST_URL,
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
FASHION_MNIST = _gzipped(
    "FashionMNIST",
    _FASHION_URL,
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)
_CIFAR = Original(
    "cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
)
_CIFAR_FOLDER = "cifar-10-batches-py"
#: Checksums of the files in that archive; the last one is that of the test images.
_CIFAR_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def idx_pair(files: tuple[Original, ...], train: bool) -> Labelled:
    """Images (28 x 28) and labels of MNIST or Fashion-MNIST.

    Raises:
        ValueError: naming the file that is damaged, and how.
        FileNotFoundError: for a file that is neither at hand nor to be downloaded.
    """
    images, labels = (_located(file) for file in (files[:2] if train else files[2:]))
    pixels = _idx(images, (28, 28))
    classes = _idx(labels, ())
    if len(pixels) != len(classes):
        raise _damaged(labels, f"{len(classes)} labels for {len(pixels)} images in {images.name}")
    if len(classes) and int(classes.max()) > 9:
        raise _damaged(labels, f"a label of {int(classes.max())}, where 0 to 9 are the classes")
    notes = map(_differs, (images, labels), files[:2] if train else files[2:])
    return Labelled(pixels[:, None], classes.astype(np.int64), "; ".join(filter(None, notes)))


def cifar(train: bool) -> Labelled:
    """Images (3 x 32 x 32) and labels of CIFAR-10.

    Raises:
        ValueError: naming the file that is damaged, and how.
        FileNotFoundError: for a file that is neither at hand nor to be downloaded.
    """
    folder = _cifar_folder()
    names = list(_CIFAR_BATCHES)
    pixels, labels, notes = [], [], []
    for name in names[:-1] if train else names[-1:]:
        rows, classes = _batch(folder / name)
        pixels.append(rows)
        labels.append(classes)
        notes.append(_differs(folder / name, Original(name, "", _CIFAR_BATCHES[name])))
    shaped = np.concatenate(pixels).reshape(-1, 3, 32, 32)
    return Labelled(shaped, np.concatenate(labels), "; ".join(filter(None, notes)))


def _idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bytes of an IDX file, (items, *shape)."""
    if not path.is_file():
        raise _damaged(path, "it is no regular file")
    try:
        held = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, MemoryError, zlib.error) as error:
        raise _damaged(path, f"it can't be unpacked ({error})") from error
    axes = 1 + len(shape)
    head = np.frombuffer(held[: 4 + 4 * axes].ljust(4 + 4 * axes, b"\0"), ">i4").tolist()
    if head[0] != 0x800 + axes or tuple(head[2:]) != shape:
        raise _damaged(path, f"it does not begin as an IDX file of items of shape {shape} does")
    items = np.frombuffer(held[4 + 4 * axes :], np.uint8)
    if len(items) != head[1] * int(np.prod(shape)) or not head[1]:
        there = len(items) / max(1, int(np.prod(shape)))
        raise _damaged(path, f"it should hold {head[1]} items, but there are {there:g}")
    return items.reshape(-1, *shape)


def _batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Rows of pixels (images, 3072) and class numbers of a batch file."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: {_REMEDY}")
    try:
        held = arrays_in(path.read_bytes())
        rows, labels = held[b"data"], np.asarray(held[b"labels"])
    except ForeignError as error:
        raise _damaged(
            path, f"it asks for {error}, which can run code and no CIFAR-10 needs; it was not run"
        ) from None
    except Exception as error:  # a cut pickle can fail in any way
        said = f"it is no whole pickle of images and labels ({error!s:.200})"
        raise _damaged(path, said) from error
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3072,):
        raise _damaged(path, "its data are no rows of 3,072 bytes")
    if labels.shape != (len(rows),) or labels.dtype.kind not in "iu" or not len(rows):
        raise _damaged(path, f"{labels.size} labels for {len(rows)} images")
    if int(labels.min()) < 0 or int(labels.max()) > 9:
        raise _damaged(path, "a label that is none of the classes 0 to 9")
    return rows, labels.astype(np.int64)


_REMEDY = "put the published file there, or take it away and radhard downloads it"


def _damaged(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} is damaged: {what}; {_REMEDY}")


def _differs(path: Path, file: Original) -> str:
    """A note where a sound file is not the published one."""
    if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == file.md5:
        return ""
    return f"{path} is whole, but not the published file (its MD5 is another)"


def _cifar_folder() -> Path:
    at_hand = _at_hand(_CIFAR_FOLDER)
    if at_hand:
        return at_hand
    folder = cache_folder() / "data"
    if not (folder / _CIFAR_FOLDER / "test_batch").exists():
        with tarfile.open(_download(_CIFAR)) as tar:
            tar.extractall(folder, filter="data")
    return folder / _CIFAR_FOLDER


def _located(file: Original) -> Path:
    return _at_hand(file.path) or _download(file)


def _at_hand(relative: str) -> Path | None:
    root = os.environ.get("RADHARD_DATA")
    if not root:
        return None
    path = Path(root) / relative
    if not Path(root).is_dir():
        raise FileNotFoundError(f"RADHARD_DATA={root} is no folder: correct it or unset it")
    return path if path.exists() else None


def _download(file: Original) -> Path:
    import pooch

    path = cache_folder() / "data" / file.path
    if path.exists() and not path.is_file():
        raise _damaged(path, "it is no regular file")
    try:
        return Path(pooch.retrieve(file.url, f"md5:{file.md5}", path=path.parent, fname=path.name))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{file.path} is not at hand and could not be downloaded ({error}): connect, or set "
            "RADHARD_DATA to a folder that holds it"
        ) from error
