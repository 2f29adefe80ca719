"""Names that a protection is given: each must be there, or it would protect nothing in silence."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from radhard.faults.space import SiteSpace, Stratum
from radhard.network.workload import Workload


def check_known(given: Iterable[object], known: Collection[str], who: str, what: str) -> None:
    """Whether all names are among the known ones.

    Raises:
        ValueError: naming those that are not, with the nearest; or for one name instead of several.
    """
    _check_several(given, who, what)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or sorted(known)
            raise ValueError(
                f"{who}: no {what} {name!r}, so it would protect nothing: did you mean "
                f"{', '.join(map(str, near))}?"
            )


def check_once(given: Collection[object], who: str, what: str) -> None:
    """Whether each is given once, so that none is paid for twice.

    Raises:
        ValueError: naming one that is repeated.
    """
    _check_several(given, who, what)
    twice = sorted({str(one) for one in given if list(given).count(one) > 1})
    if twice:
        raise ValueError(f"{who}: {what} {twice[0]} is given twice: once protects as much")


def _check_several(given: object, who: str, what: str) -> None:
    if isinstance(given, str):
        raise ValueError(f"{who}: {what} {given!r} is one name where several can be: ({given!r},)")


def protected_strata(
    space: SiteSpace, components: tuple[str, ...], who: str
) -> list[tuple[bool, Stratum]]:
    """All strata, and whether they are those of some components; of none given, all are.

    Raises:
        ValueError: for a component that is never struck.
    """
    check_known(components, {s.component for s in space.strata}, who, "component")
    return [(not components or s.component in components, s) for s in space.strata]


def check_layers(workload: Workload, layers: Iterable[str], who: str) -> None:
    """Whether the network has all of these layers.

    Raises:
        ValueError: naming one that it has not, with the nearest.
    """
    check_known(layers, [layer.name for layer in workload.layers], who, "layer")
