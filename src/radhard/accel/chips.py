"""The catalogue of chips."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from radhard.accel.buffer import Buffer, Kept
from radhard.accel.chip import Accelerator, Chip, Software
from radhard.accel.chipfile import read_chip
from radhard.accel.clocked import ClockedArray
from radhard.accel.component import Component
from radhard.accel.dataflow import Held, RowStationary
from radhard.accel.mix import StorageClass, StorageMix
from radhard.accel.published import PUBLISHED_MIX, Published
from radhard.accel.systolic import Systolic
from radhard.arith.array import Stationary

__all__ = [
    "ARRAYS", "CLOCKED", "EYERISS", "EYERISS_65NM", "NVDLA_SMALL", "PUBLISHED", "PUBLISHED_MIX",
    "SIMT", "SOFTWARE", "SYSTOLIC", "Accelerator", "Buffer", "Chip", "ClockedArray", "Component",
    "Held", "Kept", "Published", "RowStationary", "Software", "StorageClass", "StorageMix",
    "Systolic", "chip_named", "chips", "read_chip",
]  # fmt: skip

#: Raw rate of memory at 16 nm in FIT per 2^20 bytes (Li et al., SC'17: 20.49 per 2^20 bits).
SRAM_16NM = 8 * 20.49
_FILES = Path(__file__).parent / "catalogue"

#: No hardware: every bit of every weight and activation equally likely.
SOFTWARE = Software()
#: Eyeriss scaled to 16 nm, as in Li et al., SC'17.
EYERISS = read_chip(_FILES / "eyeriss.toml")
#: Eyeriss as built, at 65 nm.
EYERISS_65NM = read_chip(_FILES / "eyeriss-65nm.toml")
#: The small NVDLA of He et al. (MICRO 2020): 2 cores of 4 x 4 multipliers. Sizes are their table's.
NVDLA_SMALL = StorageMix(
    "nvdla",
    "NVDLA, small: flip-flops before and after its buffer, in its multipliers, and control",
    (
        StorageClass("input-fetch", "input", 0.018, reuse=None),
        StorageClass("weight-fetch", "weight", 0.035, reuse=None),
        StorageClass("input-latch", "input", 0.117, reuse=16, latch=True),
        StorageClass("weight-latch", "weight", 0.156, reuse=16, latch=True),
        StorageClass("output-latch", "output", 0.272, latch=True),
        StorageClass("local-control", "local-control", 0.041),
        StorageClass("global-control", "global-control", 0.081),
    ),
)
#: A multiprocessor of a GPU that multiplies matrices by tiles of 128 x 128 x 32 in two stages, by
#: warps of 64 x 64 and tensor-core steps of 16 x 8 x 16; sizes follow from 16-bit operands and
#: 32-bit sums, the raw rate is that of memory at 16 nm.
SIMT = StorageMix(
    "simt",
    "GPU-like: shared memory, registers and tensor-core operands of a tiled matrix product",
    (
        StorageClass("shared-input", "input", 16 / 1024, SRAM_16NM, reuse=128),
        StorageClass("shared-weight", "weight", 16 / 1024, SRAM_16NM, reuse=128),
        StorageClass("register-input", "input", 16 / 1024, SRAM_16NM, reuse=64),
        StorageClass("register-weight", "weight", 16 / 1024, SRAM_16NM, reuse=64),
        StorageClass("register-sum", "output", 64 / 1024, SRAM_16NM),
        StorageClass("collector-input", "input", 2 / 1024, SRAM_16NM, reuse=8),
        StorageClass("collector-weight", "weight", 1 / 1024, SRAM_16NM, reuse=16),
    ),
)
#: Chips that are an array of rows x cols, with a dataflow.
ARRAYS = Systolic | ClockedArray | Published
#: Makes systolic arrays as ``radhard rtl`` emits them: ``SYSTOLIC(rows, cols, dataflow)``.
SYSTOLIC = Systolic
#: The same without control: ``CLOCKED(rows, cols, dataflow)``.
CLOCKED = ClockedArray
#: Systolic arrays by published formulas, control assumed: ``PUBLISHED(rows, cols, dataflow)``.
PUBLISHED = Published


def chips() -> tuple[Accelerator, ...]:
    """All chips that have names."""
    return (EYERISS, EYERISS_65NM, Systolic(), Published(), NVDLA_SMALL, SIMT, SOFTWARE)


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
    array = re.fullmatch(r"(systolic|clocked|published):(\d+)x(\d+)(?::(\w+))?", name)
    if array:
        kind, rows, cols, dataflow = array.groups()
        makers: dict[str, Callable[[int, int, Stationary], Accelerator]] = {
            "systolic": Systolic, "clocked": ClockedArray, "published": Published,
        }  # fmt: skip
        flow = dataflow or ("ws" if kind == "clocked" else "os")
        return makers[kind](int(rows), int(cols), cast("Stationary", flow))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)
    raise ValueError(
        f"no chip {name!r}: did you mean {', '.join(near)}? `radhard list chips` shows all; "
        "a chip of your own is a .toml file; systolic:16x16:ws names an array, clocked:16x16:ws "
        "one without control, and published:16x16:ws one by published formulas"
    )
