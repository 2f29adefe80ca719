"""Intervals of many parts that hold all at once, beside those that each hold for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from radhard.campaign.part import Part
from radhard.campaign.result import Result
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
