"""All sets of options, one per slot at most, by trying each: the twin of integer programmes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence


def combinations(slots: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """Numbers of options, of each slot one or none."""
    own: dict[str, list[int | None]] = {}
    for number, slot in enumerate(slots):
        own.setdefault(slot, [None]).append(number)
    for chosen in itertools.product(*own.values()):
        yield tuple(number for number in chosen if number is not None)


def left_by(
    chosen: Sequence[int], amounts: Sequence[float], passes: Sequence[Sequence[float]]
) -> float:
    """What is left of amounts (n,), of which each option lets a share through, (n, options)."""
    total = 0.0
    for amount, row in zip(amounts, passes, strict=True):
        through = 1.0
        for number in chosen:
            through *= row[number]
        total += amount * through
    return total


def alarmed_by(chosen: Sequence[int], alarms: Sequence[Sequence[bool]]) -> float:
    """Share of images, (images, options), on which some option raises an alarm."""
    return sum(any(row[number] for number in chosen) for row in alarms) / len(alarms)
