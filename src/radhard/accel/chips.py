"""The catalogue of chips."""

from __future__ import annotations

import difflib

from radhard.accel.chip import Accelerator, Software

#: No hardware: every bit of every weight and activation equally likely.
SOFTWARE = Software()


def chips() -> tuple[Accelerator, ...]:
    """All chips that have names."""
    return (SOFTWARE,)


def chip_named(name: str) -> Accelerator:
    """The chip listed under ``name``.

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    >>> chip_named("software")
    Software(kinds=('weight', 'activation'), rate_fit_per_mbit=None)
    """
    known = {chip.name: chip for chip in chips()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)
    raise ValueError(
        f"no chip {name!r}: did you mean {', '.join(near)}? `radhard list chips` shows all"
    )
