"""What designs are made of: guards of the run, and options that are added to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from radhard.protect.protection import Cost, Protection


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A guard of the run, or none.

    Attributes:
        name: for tables.
        protections: what it is made of.
        cost: what it takes.
        below: the same without its check, where it is one that only detects; its alarms tell which
            faults the options of single layers see, and it is no guard of a design.
        checked: names of the layers that the check looks at.
    """

    name: str
    protections: tuple[Protection, ...]
    cost: Cost
    below: Watched | None = None
    checked: tuple[str, ...] = ()

    @property
    def corrects(self) -> bool:
        """Whether it changes what is computed, rather than raise an alarm."""
        return bool(self.protections) if self.below is None else self.below.corrects


#: Nothing watches.
PLAIN = Watched("no guard", (), Cost())


def check_before(guard: Watched, what: str, whole: Protection, layers: tuple[str, ...]) -> Watched:
    """A check of some layers that sees what they compute before a guard corrects it."""
    name = f"{what.format('all')} before {guard.name}"
    return Watched(name, (whole, *guard.protections), Cost(), guard, layers)


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A protection that can be added, one per slot; what it does to faults is known without a run.

    Attributes:
        slot: what it protects; another option of the same slot replaces it.
        what: for tables, with a place for ``of``.
        of: what it protects, in words.
        protection: the thing itself.
        cost: what it takes.
        repeats: whether it needs the inference to be run again.
        by: the check whose alarms at its layer are its own, where it only detects.
    """

    slot: str
    what: str
    of: str
    protection: Protection
    cost: Cost
    repeats: bool
    by: Watched | None = None

    @property
    def name(self) -> str:
        """For tables."""
        return self.what.format(self.of)


def named(guard: Watched, options: Sequence[Option]) -> str:
    """A guard and its options in words, of which alike ones are joined."""
    alike: dict[str, list[str]] = {}
    for option in options:
        alike.setdefault(option.what, []).append(option.of)
    first = [guard.name] if guard is not PLAIN or not options else []
    return " + ".join([*first, *(what.format(", ".join(of)) for what, of in alike.items())])
