"""The members of a design told apart: what each does alone, on the same faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from radhard.search.clean import Cleans
from radhard.search.common import Common
from radhard.search.design import Design, rate_of
from radhard.search.part import PLAIN, Option, Watched, check_before
from radhard.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Member:
    """A part of a design.

    Attributes:
        name: for tables.
        does: ``corrects`` (a guard), ``detects`` (checks), or ``stops`` (codes, copies, latches).
        rate: of failures that are left with this part alone, as `Trial.rate`; a 95 % interval.
    """

    name: str
    does: str
    rate: Estimate


def members(design: Design, faults: Common, cleans: Cleans) -> tuple[Member, ...]:
    """A design's guard and its options, those of a kind together.

    Args:
        design: whose parts they are.
        faults: that had no part in choosing it.
        cleans: images without a fault that had none either.
    """
    return tuple(
        Member(alone.name, does, rate_of(alone.measured([faults])))
        for does, guard, options in _parts(design)
        for alone in [Design.of(faults, cleans, guard, options)]
    )


def _parts(design: Design) -> Iterator[tuple[str, Watched, list[Option]]]:
    if design.guard.protections:
        yield "corrects", design.guard, []
    kinds: dict[str, list[Option]] = {}
    for option in design.options:
        kinds.setdefault(option.what, []).append(option)
    for options in kinds.values():
        checks = options[0].by is not None
        yield "detects" if checks else "stops", PLAIN, [_alone(option) for option in options]


def _alone(option: Option) -> Option:
    """A check that sees values which no guard has corrected."""
    if option.by is None:
        return option
    whole, layers = option.by.protections[0], option.by.checked
    return replace(option, by=check_before(PLAIN, option.what, whole, layers))
