"""A hundred shards in one file, each as it was: a plain tar file, with their sums at its beginning.

Millions of faults would be thousands of files. Once all shards of a hundred are there, their files
go into one, byte for byte: each keeps its own seal, and `tar xf` gives them back. It appears whole
or not at all, and only then single files go; one that is left is the same shard, which counts once.
A damaged block costs the shard in which it lies.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radhard.campaign.sealed import (
    StoreError,
    arrays_in,
    content_of,
    is_whole,
    read_part,
    replace_file,
)
from radhard.sampling.tally import Sums, Tally

#: The member that has what the shards add up to.
SUMS = "sums.npz"


class Summed(NamedTuple):
    """What shards add up to, and how many seconds they took."""

    tally: Tally
    seconds: float


def write_pack(path: Path, tables: Mapping[str, bytes], sums: Summed, campaign: str) -> None:
    """Write the files of shards, by name, and what they add up to, into one file."""
    own = _as_arrays(sums, f"{campaign} {path.stem}")
    held = {SUMS: content_of(path / SUMS, own), **tables}
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, table in held.items():
            about = tarfile.TarInfo(name)
            about.size = len(table)
            archive.addfile(about, BytesIO(table))
    replace_file(path, content.getvalue())


def member(path: Path, name: str) -> bytes:
    """The bytes of one of the files in a file.

    Raises:
        StoreError: where it has no such file, or can't be read.
    """
    if not path.is_file():
        raise StoreError(f"{path} can't be read: it is no file")
    about = path.stat()
    place = _places(path, about.st_size, about.st_mtime_ns).get(name)
    if place is None:
        raise StoreError(f"{path} is damaged: {name} is not in it, or not where it should be")
    return read_part(path, *place)


def summed(path: Path, campaign: str) -> Summed:
    """What the shards of a file add up to, as it says itself.

    Raises:
        StoreError: where that is damaged, or of another file or campaign.
    """
    held = arrays_in(member(path, SUMS), path / SUMS, sealed=True)
    if str(held["of"]) != f"{campaign} {path.stem}":
        raise StoreError(f"{path / SUMS} belongs to {held['of']}, not to campaign {campaign[:8]}")
    return _of_arrays(held)


def lacking(path: Path, names: Iterable[str], campaign: str) -> list[str]:
    """Why a file, or a part of it, can't be used; nothing of a whole one.

    Args:
        path: of the file.
        names: of the tables that should be in it.
        campaign: that they belong to.
    """
    names = list(names)
    found = strange(path, names)
    for name in names:
        try:
            if not is_whole(member(path, name)):
                found.append(f"{path / name} is damaged: its bytes are not those of radhard")
        except StoreError as error:
            found.append(str(error))
    try:
        summed(path, campaign)
    except StoreError as error:
        found.append(str(error))
    return found


def strange(path: Path, names: Iterable[str]) -> list[str]:
    """What a file has besides these tables and their sums, each once."""
    own = {*names, SUMS}
    return [
        f"{path} is damaged: {name} is in it " + ("twice" if name in own else "and not of radhard")
        for name, times in Counter(name for name, _ in _members(path)).items()
        if times > (name in own)
    ]


@lru_cache(4)
def _places(path: Path, size: int, changed: int) -> dict[str, tuple[int, int]]:
    """Where the files in a file begin, and how long they are."""
    return dict(_members(path))


def _members(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        with tarfile.open(path, mode="r:", ignore_zeros=True) as archive:
            for about in archive:  # damaged blocks between are skipped
                yield about.name, (about.offset_data, about.size)
    except (tarfile.TarError, OSError, ValueError, EOFError):
        return  # what was found until there is good


#: Of a tally, the parts that are `Sums`.
_PARTS = ("groups", "images")


def _as_arrays(sums: Summed, of: str) -> dict[str, np.ndarray]:
    tally, found = sums.tally, dict[str, np.ndarray]()
    for part in _PARTS:
        own: Sums = getattr(tally, part)
        found |= {
            f"{part}.key": own.key, f"{part}.n": own.n, f"{part}.weights": own.weights,
            f"{part}.events": np.stack(list(own.events.values())),
            f"{part}.weighted": np.stack(list(own.weighted.values())),
        }  # fmt: skip
    return {
        **found,
        "outcomes": np.array(tally.outcomes),
        "offered.key": tally.offered[0],
        "offered.share": tally.offered[1],
        "numbers": np.array([tally.strata, tally.looked_at, int(tally.proofs)]),
        "seconds": np.array(sums.seconds),
        "of": np.array(of),
    }


def _of_arrays(held: Mapping[str, np.ndarray]) -> Summed:
    names = [str(name) for name in held["outcomes"]]
    groups, images = (
        Sums(
            held[f"{part}.key"],
            held[f"{part}.n"],
            dict(zip(names, held[f"{part}.events"], strict=True)),
            held[f"{part}.weights"],
            dict(zip(names, held[f"{part}.weighted"], strict=True)),
        )
        for part in _PARTS
    )
    strata, looked_at, proofs = map(int, held["numbers"])
    offered = held["offered.key"], held["offered.share"]
    tally = Tally(strata, groups, images, offered, looked_at, bool(proofs))
    return Summed(tally, float(held["seconds"]))
