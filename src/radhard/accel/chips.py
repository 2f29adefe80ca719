"""The catalogue of chips."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import cast

from radhard.accel.chip import Accelerator, Chip, Software
from radhard.accel.chipfile import read_chip
from radhard.accel.component import Component
from radhard.accel.dataflow import Held, RowStationary
from radhard.accel.systolic import Stationary, Systolic

__all__ = [
    "EYERISS", "EYERISS_65NM", "SOFTWARE", "SYSTOLIC", "Accelerator", "Chip", "Component", "Held",
    "RowStationary", "Software", "Systolic", "chip_named", "chips", "read_chip",
]  # fmt: skip

_FILES = Path(__file__).parent / "catalogue"

#: No hardware: every bit of every weight and activation equally likely.
SOFTWARE = Software()
#: Eyeriss scaled to 16 nm, as in Li et al., SC'17.
EYERISS = read_chip(_FILES / "eyeriss.toml")
#: Eyeriss as built, at 65 nm.
EYERISS_65NM = read_chip(_FILES / "eyeriss-65nm.toml")
#: Makes systolic arrays: ``SYSTOLIC(rows, cols, dataflow)``.
SYSTOLIC = Systolic


def chips() -> tuple[Accelerator, ...]:
    """All chips that have names."""
    return (EYERISS, EYERISS_65NM, Systolic(), SOFTWARE)


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
    array = re.fullmatch(r"systolic:(\d+)x(\d+)(?::(\w+))?", name)
    if array:
        rows, cols, dataflow = array.groups()
        return Systolic(int(rows), int(cols), cast("Stationary", dataflow or "os"))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)
    raise ValueError(
        f"no chip {name!r}: did you mean {', '.join(near)}? `radhard list chips` shows all; "
        "a chip of your own is a .toml file; systolic:16x16:ws names an array"
    )
