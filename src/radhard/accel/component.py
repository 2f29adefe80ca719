"""Parts of a chip that hold values and can be struck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radhard.accel.dataflow import Held

#: Raw rate of flip-flops in FIT per 2^20 bits: 600 per 2^20 bytes (Tyagi et al., arXiv 2212.02649).
FLIP_FLOP = 75.0


@dataclass(frozen=True, slots=True)
class Component:
    """Storage of one kind.

    Attributes:
        name: for tables and fault lists; without blanks.
        kind: ``latch`` (one value wide, in the datapath of each processing element) or ``sram``.
        holds: what sits there, which decides who reads it; see `Held`.
        rate_fit_per_mbit: raw rate of upsets in FIT per 2^20 bits.
        instances: how many there are on the chip; of latches the chip has as many as it says.
        kib: of one instance, in units of 1,024 bytes; latches are as wide as their value.

    Raises:
        ValueError: for a negative rate, a name with blanks, or an sram without instances and size.
    """

    name: str
    kind: Literal["latch", "sram"]
    holds: Held
    rate_fit_per_mbit: float
    instances: int = 0
    kib: float = 0.0

    def __post_init__(self) -> None:
        if not self.name or self.name != "".join(self.name.split()):
            raise ValueError(f"component name {self.name!r} can't be: use one without blanks")
        if not self.rate_fit_per_mbit >= 0:
            raise ValueError(f"{self.name}: {self.rate_fit_per_mbit!r} FIT/Mbit can't be")
        if self.kind == "sram" and not (self.instances > 0 and self.kib > 0):
            raise ValueError(
                f"{self.name}: {self.instances} instances of {self.kib} KiB can't be: an sram "
                "needs at least one, of more than 0"
            )
        if self.kind == "latch" and (self.instances or self.kib):
            raise ValueError(
                f"{self.name}: latches have neither instances nor a size of their own: say "
                "latches_per_pe of the chip"
            )
