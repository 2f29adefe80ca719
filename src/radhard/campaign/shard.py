"""Shards: faults that are drawn, run and stored together."""

from __future__ import annotations

from collections.abc import Iterator

#: Faults of a shard: at first, and at most.
FIRST_SHARD, SHARD = 100, 2000


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
