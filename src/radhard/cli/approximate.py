"""`radhard study approximate-faults`: from the words of the command line to tables and page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radhard.cli.app import resumable

if TYPE_CHECKING:
    from radhard.campaign.ask import Ask
    from radhard.study.approximate import Plan

#: What a quick run tries, where nothing else is said.
_QUICK: Mapping[str, Any] = {
    "multipliers": "mul8s_exact,mul8s_1L1G@v1",
    "bits": "6,10,14,15",
    "rates": "0.01,0.1",
    "maps": 2,
    "learning": 100,
}
#: A rate in words.
_ONE = "one"


def planned_of(given: Mapping[str, Any], quick: bool) -> Plan:
    """The plan that options describe; ``None`` where nothing is said.

    Raises:
        ValueError: for what can't be.

    >>> planned_of({"bits": "14, 15", "rates": "one,0.1"}, quick=True).rates
    (0.0, 0.1)
    """
    from radhard.study.approximate import Plan

    said = {name: value for name, value in given.items() if value is not None}
    if quick:
        said = {**_QUICK, **said}
    read: Mapping[str, Callable[[str], Any]] = {"multipliers": str, "bits": _bit, "rates": _share}
    for name, one in read.items():
        if name in said:
            parts = [part.strip() for part in said[name].split(",")]
            said[name] = tuple(one(part) for part in parts if part)
            if not said[name]:
                raise ValueError(f"--{name} names none: give some, comma-separated")
    return Plan(**said)


def _bit(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"bit {text!r} can't be: use numbers from 0, comma-separated")
    return int(text)


def _share(text: str) -> float:
    try:
        return 0.0 if text == _ONE else float(text)
    except ValueError:
        raise ValueError(
            f"rate {text!r} can't be: use faulty elements of all, 0 to 1, or {_ONE}"
        ) from None


def approximate(asks: list[Ask], plan: Plan, into: tuple[Path, Path | None], workers: int) -> None:
    """Run the study into a store and a log, print its tables and the page's path."""
    from radhard.study.approximate import approximate_study
    from radhard.view.approximate import approximate_page, show_approximate

    store, log = into
    with resumable(store, log, "approximate-faults.html") as bar:
        found = list(approximate_study(asks, plan, store, bar, workers))
    show_approximate(found)
    print(f"page: {approximate_page(found, store)}")
