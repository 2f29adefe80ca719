"""Shards: faults that are drawn, run and stored together, and how their files are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

#: Faults of a shard: at first, and at most.
FIRST_SHARD, SHARD = 100, 2000
#: Shards in one file, when they are done.
PACK = 100
#: Decimal digits of a shard's number, at least.
_DIGITS = 6
_NAME = re.compile(r"rows-(\d{6,})-(\d{6,})\.tar")


def part_of(text: str) -> tuple[int, int]:
    """A part of a campaign in words, FROM:TO: shards from one number on, to before another.

    Raises:
        ValueError: for anything else.

    >>> part_of("10:20")
    (10, 20)
    """
    first, colon, last = text.partition(":")
    if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise ValueError(f"shards {text!r} can't be: use FROM:TO, such as 0:10 for the first ten")
    return int(first), int(last)


def check_part(part: tuple[int, int], count: int) -> None:
    """Raise ``ValueError`` for a part that has none of so many faults."""
    if span(part[0])[0] >= count:
        last = max(shard for shard, _ in shards_of(count))
        raise ValueError(
            f"shards {part[0]}:{part[1]} can't be: {count:,} faults are shards 0 to {last}; ask "
            "for more faults, or for others of them"
        )


def span(shard: int) -> tuple[int, int]:
    """The first fault of a shard, and how many it has: as many as all before it, up to `SHARD`.

    >>> [span(shard) for shard in (0, 1, 2, 3, 7)]
    [(0, 100), (100, 100), (200, 200), (400, 400), (5200, 2000)]
    """
    first = 0
    for number in range(shard):
        size = min(max(first, FIRST_SHARD), SHARD)
        if size == SHARD:  # as all from here on
            return first + (shard - number) * SHARD, SHARD
        first += size
    return first, min(max(first, FIRST_SHARD), SHARD)


def shards_of(count: int) -> Iterator[tuple[int, int]]:
    """The shards of the first ``count`` faults, and how many of each are among them."""
    done, shard = 0, 0
    while done < count:
        size = min(span(shard)[1], count - done)
        yield shard, size
        done, shard = done + size, shard + 1


def shard_name(shard: int, kind: str = "rows") -> str:
    """The name of a table of a shard's faults."""
    return f"{kind}-{shard:0{_DIGITS}d}"


def shard_of(path: Path) -> int | None:
    """The number of the shard whose rows a file has by its name."""
    digits = path.stem.removeprefix("rows-")
    named = digits.isdecimal() and path.stem == shard_name(int(digits))
    return int(digits) if named else None


def pack_of(shard: int) -> int:
    """The number of the file that a shard goes to."""
    return shard // PACK


def shards_of_pack(pack: int) -> range:
    """The shards in a file."""
    return range(pack * PACK, (pack + 1) * PACK)


def tables_of_pack(pack: int) -> list[str]:
    """The names of the tables of rows in a file."""
    return [f"{shard_name(shard)}.parquet" for shard in shards_of_pack(pack)]


def pack_path(folder: Path, pack: int) -> Path:
    """Of the file with a hundred shards.

    >>> pack_path(Path("run"), 2).name
    'rows-000200-000299.tar'
    """
    shards = shards_of_pack(pack)
    return folder / f"rows-{shards[0]:0{_DIGITS}d}-{shards[-1]:0{_DIGITS}d}.tar"


def packs_in(folder: Path) -> list[int]:
    """The numbers of the files of a hundred shards, ascending, by their names."""
    found = []
    for path in folder.glob("rows-*.tar"):
        named = _NAME.fullmatch(path.name)
        if named and path == pack_path(folder, pack_of(int(named[1]))):
            found.append(pack_of(int(named[1])))
    return sorted(found)


def single(folder: Path) -> list[int]:
    """The numbers of the shards that have a file of their own, ascending, by their names."""
    numbers = (shard_of(path) for path in folder.glob("rows-*.parquet"))
    return sorted(number for number in numbers if number is not None)


def strays(folder: Path) -> list[Path]:
    """Files that seem to have rows, but whose name is that of no shard, by name.

    What was set aside is none.
    """
    packs = {pack_path(folder, pack) for pack in packs_in(folder)}
    found = {path for kind in (".parquet", ".tar") for path in folder.glob(f"*rows*{kind}")}
    return sorted(path for path in found - packs if shard_of(path) is None)


def stored(folder: Path) -> list[int]:
    """The numbers of all shards that have a file, ascending, by their names."""
    numbers = {shard for pack in packs_in(folder) for shard in shards_of_pack(pack)}
    return sorted(numbers.union(single(folder)))
