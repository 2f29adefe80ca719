"""Folders of images, one folder per class, as a data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

#: Decoders that images may go to, whatever they are called: others of Pillow start programs.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
#: What file managers and Python leave behind; so is all whose name begins with a dot.
_STRAY = {"__MACOSX", "__pycache__", "@eaDir", "Thumbs.db", "desktop.ini"}
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


#: Rows, columns and shorter side, up to 9999.
_SIZE = r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?(?:/([1-9]\d{0,3}))?"


@dataclass(frozen=True, slots=True)
class Reading:
    """How images are read, and brought to what a network was trained on.

    Attributes:
        size: (rows, columns) of all images; ``None`` leaves them as they are.
        shorter: to what length the shorter side is brought before ``size`` is cut out of the
            middle; ``None`` for as short as covers ``size``.
        grey: one channel instead of three.
        mean, std: per channel of images in [0, 1], or one number for all channels; ``None`` for
            those that are customary for the data set.
        most: of a folder, the first so many images; ``None`` for all.

    >>> Reading.of(size="224/256").size
    (224, 224)
    """

    size: tuple[int, int] | None = None
    shorter: int | None = None
    grey: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    most: int | None = None

    @classmethod
    def of(
        cls,
        size: str | None = None,
        grey: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> Reading:
        """As people write it: a size is ``224``, ``192x256`` or, cut out of 256, ``224/256``.

        Raises:
            ValueError: for a size that is none, or a deviation that is not positive.
        """
        if std is not None and min(std, default=0.0) <= 0:
            raise ValueError(f"std {std} can't be: use positive numbers, one per channel")
        if size is None:
            return cls(None, None, grey, mean, std)
        found = re.fullmatch(_SIZE, size.strip())
        if not found:
            raise ValueError(
                f"size {size!r} can't be: use 224, 192x256 (rows x columns), or 224/256 for 224 "
                "cut out of images whose shorter side is 256; no side may be above 9999"
            )
        rows = int(found[1])
        shape = rows, int(found[2] or rows)
        shorter = int(found[3]) if found[3] else None
        if shorter is not None and shorter < max(shape):
            raise ValueError(f"size {size!r} can't be: {max(shape)} can't be cut out of {shorter}")
        return cls(shape, shorter, grey, mean, std)

    @property
    def reshapes(self) -> bool:
        """Whether it changes the shape of images."""
        return self.size is not None or self.grey


@dataclass(frozen=True, slots=True)
class Folder:
    """What was found in a folder of class folders.

    Attributes:
        images: (images, 3 or 1, rows, columns), float32 in [0, 1].
        labels: (images,), int64; the number of the class in ``classes``.
        classes: name and number of files of each class, in order of label.
        note: how many files were left out for their endings; empty where none were.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[tuple[str, int], ...]
    note: str = ""


def image_folder(folder: Path, how: Reading) -> Folder:
    """The images of a folder of class folders, in an order in which classes take turns.

    Classes are sorted by name; if all names are whole numbers, by number. Hidden and stray files
    and folders are left out. The order of images depends on their names alone, and classes take
    turns: among the first n, each has about its share.

    Args:
        folder: holds one folder of images per class, which may hold folders itself.
        how: their size and channels, and how many of them.

    Raises:
        ValueError: naming the folder or the file that can't be used.
    """
    found, left_out = _by_class(folder)
    chosen = _taking_turns(found)[: how.most]
    return Folder(
        torch.from_numpy(_read(folder, [path for path, _ in chosen], how)),
        torch.tensor([label for _, label in chosen]),
        tuple((inner.name, len(paths)) for inner, paths in found),
        f"{left_out:,} other files left out: {_READ}" if left_out else "",
    )


#: Said wherever a file is not taken for an image.
_READ = f"images are read from files that end in {', '.join(_SUFFIXES)}"


def _read(folder: Path, paths: list[Path], how: Reading) -> NDArray[np.float32]:
    """All images, (images, channels, rows, columns)."""
    first = _pixels(paths[0], how)
    try:
        images = np.empty((len(paths), *first.shape), np.float32)
    except MemoryError as error:
        needed = len(paths) * first.nbytes / 2**30
        raise ValueError(
            f"{len(paths):,} images of shape {first.shape} take {needed:,.0f} GiB, more than there "
            "is: use fewer, or a smaller --size"
        ) from error
    for place, path in zip(images, paths, strict=True):
        image = _pixels(path, how)
        if image.shape != first.shape:
            a, b = (" x ".join(map(str, one.shape[1:])) for one in (first, image))
            raise ValueError(
                f"images under {folder} have different sizes: {paths[0].relative_to(folder)} has "
                f"{a}, {path.relative_to(folder)} {b}; bring them to one with --size, such as 224"
            )
        place[...] = image
    return images


def _by_class(folder: Path) -> tuple[list[tuple[Path, list[Path]]], int]:
    """Class folders in order of label, with their image files; and how many files are no images."""
    inner = [path for path in folder.iterdir() if path.is_dir() and not _is_stray(path)]
    if inner and {path.name.lower() for path in inner} <= _SPLITS:
        raise ValueError(
            f"{folder} holds parts of a set ({', '.join(sorted(path.name for path in inner))}), "
            f"no classes: name one of them, such as {inner[0]}"
        )
    numbers = all(path.name.isdecimal() for path in inner)
    inner.sort(key=lambda path: (int(path.name) if numbers else 0, path.name))
    files = [(path, sorted(_files(path))) for path in inner]
    found = [(path, [one for one in held if _is_image(one)]) for path, held in files]
    if not any(paths for _, paths in found):
        raise ValueError(
            f"no images under {folder}: it needs one folder of images per class; {_READ}"
        )
    empty = [path.name for path, paths in found if not paths]
    if empty:
        raise ValueError(
            f"class folder {folder / empty[0]} holds no image, yet it would count as a class and "
            f"shift the labels of those behind it: fill it or take it away; {_READ}"
        )
    return found, sum(len(held) for _, held in files) - sum(len(paths) for _, paths in found)


def _is_stray(path: Path) -> bool:
    return path.name.startswith(".") or path.name in _STRAY


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if _is_stray(path):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _taking_turns(found: list[tuple[Path, list[Path]]]) -> list[tuple[Path, int]]:
    """All files with their labels; each class evenly spread, in an order that names decide."""
    placed = []
    for label, (inner, paths) in enumerate(found):
        start = _draw(inner.name)
        shuffled = sorted(paths, key=lambda path: _draw(path.relative_to(inner.parent).as_posix()))
        placed += [((k + start) / len(paths), label, path) for k, path in enumerate(shuffled)]
    return [(path, label) for _, label, path in sorted(placed)]


def _draw(name: str) -> float:
    """A number in [0, 1) that is as good as drawn, and the same everywhere."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def _pixels(path: Path, how: Reading) -> NDArray[np.float32]:
    """An image as (channels, rows, columns) in [0, 1], upright."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no regular file")
        with Image.open(path, formats=_FORMATS) as held:
            image, full = _levels(ImageOps.exif_transpose(held), how.grey)
        if how.size is not None:
            image = _cut(image, how.size, how.shorter)
    except UnidentifiedImageError:
        raise ValueError(
            f"image {path} can't be read (it is none of {', '.join(_FORMATS)}, whatever its name "
            "says): store it as one of them or take it away"
        ) from None
    except Exception as error:  # decoders fail in many ways on damaged files
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"image {path} can't be read ({reason}): mend it or take it away"
        ) from error
    pixels = np.asarray(image, np.float32) / np.float32(full)
    pixels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    if not how.grey and len(pixels) == 1:
        pixels = np.repeat(pixels, 3, 0)
    return np.ascontiguousarray(pixels)


def _levels(image: Image.Image, grey: bool) -> tuple[Image.Image, int]:
    """The image in 8 bits, or as floats where it has more, and its highest level."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image)
        if int(levels.min()) < 0 or int(levels.max()) > 65535:
            raise ValueError("more than 16 bits per level: store it with 8 or 16")
        return Image.fromarray(levels.astype(np.float32)), 65535
    if image.mode == "F":
        raise ValueError("its levels are floats, whose range is not known: store 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")  # transparency is left out, what lies under it shows
    return image.convert("RGB").convert("L" if grey else "RGB"), 255


def _cut(image: Image.Image, size: tuple[int, int], shorter: int | None) -> Image.Image:
    """Scaled, with its proportions, until it covers ``size``, which is cut out of the middle."""
    rows, columns = size
    width, height = image.size
    covering = max(rows / height, columns / width)
    scale = covering if shorter is None else shorter / min(width, height)
    scaled = max(columns, int(width * scale + 1e-9)), max(rows, int(height * scale + 1e-9))
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = round((scaled[0] - columns) / 2), round((scaled[1] - rows) / 2)
    return image.crop((left, top, left + columns, top + rows))
