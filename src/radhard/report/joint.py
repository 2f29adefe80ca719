"""Intervals of many parts that hold all at once, beside those that each hold for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from radhard.campaign.result import Part, Result
from radhard.faults.space import Stratum

Label = tuple[str | int, ...]
Key = Callable[[Stratum], Label]


def at_once(result: Result, told: Sequence[Part], key: Key) -> dict[Label, Part]:
    """The parts in ``told``, by label, with intervals that all hold with the result's confidence.

    Each of m intervals gets an m-th of the error (Bonferroni), which holds however parts depend
    on each other.

    Args:
        result: of the parts.
        told: those that are read together.
        key: by which `Result.by` makes them.
    """
    error = (1 - result.confidence) / max(len(told), 1)
    wide = {part.label: part for part in replace(result, confidence=1 - error).by(key)}
    return {part.label: wide[part.label] for part in told}


def at_once_words(confidence: float) -> str:
    """What intervals of many parts are, and what those at once are.

    >>> print(at_once_words(0.95)[:54])
    Each interval holds its own rate with 95 % probability
    """
    level, missed = f"{100 * confidence:g} %", 100 * (1 - confidence)
    return (
        f"Each interval holds its own rate with {level} probability: of 100 bars, {missed:.2g} may "
        "well miss theirs. Where you pick the worst, or look for those that differ, read all at "
        f"once: these intervals are wider, and all of a figure hold with {level} probability "
        "(Bonferroni)."
    )
