"""Shards: faults that are drawn, run and stored together."""

from __future__ import annotations

from collections.abc import Iterator

#: Faults of a shard: at first, and at most.
FIRST_SHARD, SHARD = 100, 2000


def span(shard: int) -> tuple[int, int]:
    """The first fault of a shard, and how many it has: as many as all before it, up to `SHARD`.

    >>> [span(shard) for shard in (0, 1, 2, 3, 7)]
    [(0, 100), (100, 100), (200, 200), (400, 400), (5200, 2000)]
    """
    sizes = sizes_of(shard + 1)
    return sum(sizes[:-1]), sizes[-1]


def sizes_of(count: int) -> list[int]:
    """Faults of each of the first shards."""
    sizes, done = [], 0
    for _ in range(count):
        sizes.append(min(max(done, FIRST_SHARD), SHARD))
        done += sizes[-1]
    return sizes


def shards_of(count: int) -> Iterator[tuple[int, int]]:
    """The shards of the first ``count`` faults, and how many of each are among them."""
    done, shard = 0, 0
    while done < count:
        size = min(span(shard)[1], count - done)
        yield shard, size
        done, shard = done + size, shard + 1
