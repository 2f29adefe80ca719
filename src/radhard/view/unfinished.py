"""Whether a stored campaign has all that it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radhard.campaign.result import Result
from radhard.metrics.outcome import counted_as
from radhard.stats.stopping import Precision


def goal_of(about: Mapping[str, Any]) -> int | None:
    """The faults that were asked for last; ``None`` where a precision was.

    Args:
        about: what ``campaign.toml`` holds.
    """
    faults: int | None = about.get("budget", {}).get("faults")
    return faults


def unfinished(about: Mapping[str, Any], result: Result) -> str:
    """What is lacking of what was asked last, in words; empty where nothing is.

    Args:
        about: what ``campaign.toml`` holds.
        result: from all stored faults.
    """
    asked = about.get("budget", {})
    goal = goal_of(about)
    if goal is not None:
        return f"{result.n:,} of {goal:,} faults are done" if result.n < goal else ""
    if "until" not in asked:
        return ""
    aim = Precision(asked["until"], asked["confidence"], asked["metric"], asked["most"])
    found = result[counted_as(aim.metric)]
    if aim.reached(found) or result.n >= aim.most:
        return ""
    return (
        f"{result.n:,} faults are done, and the interval of {aim.metric} is "
        f"+- {100 * found.half_width:.3g} %, asked was {100 * aim.half_width:.3g} %"
    )
