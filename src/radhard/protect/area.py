"""What checkers, voters and added bits take on a chip, in bits of its storage.

Logic is counted in transistors, of which a cell of memory has six: gates and adders of static CMOS
as textbooks draw them (Weste and Harris, CMOS VLSI Design, 4th ed., 9.2 and 11.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from radhard.accel.chip import Accelerator
from radhard.faults.space import Stratum
from radhard.network.workload import Workload
from radhard.protect.protection import Cost

#: Transistors of a bit of memory, of gates with two inputs, and of a full adder.
CELL, XOR, AND, ADDER = 6, 10, 6, 28


def storage_bits(chip: Accelerator, workload: Workload) -> Mapping[str, float]:
    """Bits of each component: those that it says it has, else those of the values that it holds."""
    if hasattr(chip, "storage_bits"):
        found: Mapping[str, float] = chip.storage_bits(workload)
        return found
    held: dict[str, float] = {}
    for stratum in chip.sites(workload).strata:
        held[stratum.component] = held.get(stratum.component, 0.0) + stratum.variables
    return held


class Words(NamedTuple):
    """Words of a component while a layer runs, on average over time.

    Attributes:
        stratum: the lowest bit of them.
        held: how many there are.
        ports: where they are checked: at each latch, and at each instance of a memory.
    """

    stratum: Stratum
    held: float
    ports: float


def words(chip: Accelerator, workload: Workload, strata: Sequence[Stratum]) -> list[Words]:
    """Those of some strata, by component and layer."""
    bits, lowest = storage_bits(chip, workload), [s for s in strata if s.bit == 0]
    parts = (*getattr(chip, "components", ()), *getattr(chip, "buffers", ()))
    instances = {part.name: part.instances for part in parts}
    whole: dict[str, float] = {}
    for s in lowest:
        whole[s.component] = whole.get(s.component, 0.0) + s.exposure
    found = []
    for s in lowest:
        share = s.exposure / whole[s.component] if whole[s.component] else 0.0
        count = share * bits.get(s.component, 0.0) / s.width
        ports = count if s.storage == "latch" else share * (instances.get(s.component) or 1)
        found.append(Words(s, count, ports))
    return found


def parity_logic(width: int) -> float:
    """A parity bit formed when a word is written, and again when it is read, in bits of memory.

    >>> parity_logic(16)
    51.666666666666664
    """
    return (2 * (width - 1) + 1) * XOR / CELL


def secded_logic(width: int, check: int) -> float:
    """Check bits formed twice, each of about half of the word, and one bit corrected."""
    half = check * (width // 2) * 2 * XOR
    return (half + width * ((check - 1) * AND + XOR)) / CELL


def vote_logic(bits: int) -> float:
    """The majority of three, three ANDs and two ORs, of so many bits."""
    return bits * 5 * AND / CELL


def stream_logic(operations: float, width: int, cycles: float) -> float:
    """Comparators or adders that keep up with so many operations in so many cycles; 0: unknown."""
    return ceil(operations / cycles) * width * ADDER / CELL if cycles and operations else 0.0


def share(bits: float, chip: Accelerator, workload: Workload) -> float:
    """Bits as a share of the chip's storage."""
    return bits / sum(storage_bits(chip, workload).values())


def guarding(
    operations: float, bits: float, chip: Accelerator, workload: Workload, training: bool = False
) -> Cost:
    """What a guard takes that makes so many operations on values, and holds so many bits."""
    width = max(how.latch.width for how in workload.arithmetic)
    logic = stream_logic(operations, width, cycles_of(chip, workload))
    return Cost(
        operations=operations, memory_bits=bits, area=share(bits + logic, chip, workload),
        retraining=training,
    )  # fmt: skip


def cycles_of(chip: Accelerator, workload: Workload) -> float:
    """Of an inference; 0 where the chip does not say."""
    return float(sum(chip.cycles(workload))) if hasattr(chip, "cycles") else 0.0
