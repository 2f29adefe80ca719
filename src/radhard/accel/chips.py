"""The catalogue of chips."""

from __future__ import annotations

import difflib
from pathlib import Path

from radhard.accel.chip import Accelerator, Chip, Software
from radhard.accel.chipfile import read_chip
from radhard.accel.component import Component
from radhard.accel.dataflow import Held, RowStationary

__all__ = [
    "EYERISS", "EYERISS_65NM", "SOFTWARE", "Accelerator", "Chip", "Component", "Held",
    "RowStationary", "Software", "chip_named", "chips", "read_chip",
]  # fmt: skip

_FILES = Path(__file__).parent / "catalogue"

#: No hardware: every bit of every weight and activation equally likely.
SOFTWARE = Software()
#: Eyeriss scaled to 16 nm, as in Li et al., SC'17.
EYERISS = read_chip(_FILES / "eyeriss.toml")
#: Eyeriss as built, at 65 nm.
EYERISS_65NM = read_chip(_FILES / "eyeriss-65nm.toml")


def chips() -> tuple[Accelerator, ...]:
    """All chips that have names."""
    return (EYERISS, EYERISS_65NM, SOFTWARE)


def chip_named(name: str) -> Accelerator:
    """The chip listed under ``name``, or described by the file of that name.

    Raises:
        ValueError: for an unknown name, with the nearest ones, or a file that can't be read.

    >>> chip_named("software")
    Software(kinds=('weight', 'activation'), rate_fit_per_mbit=None)
    """
    known = {chip.name: chip for chip in chips()}
    if name in known:
        return known[name]
    if name.endswith(".toml"):
        return read_chip(Path(name))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)
    raise ValueError(
        f"no chip {name!r}: did you mean {', '.join(near)}? `radhard list chips` shows all; "
        "a chip of your own is a .toml file"
    )
