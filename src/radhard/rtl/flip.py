"""Flips of register bits at clock edges, as columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from radhard.rtl.design import Register
from radhard.rtl.schedule import Integers

_LINE = re.compile(r"(\w+)\[(\d{1,9}),(\d{1,9})\]\.(\d{1,9})@(\d{1,9})", re.ASCII)


class Registered(Protocol):
    """What has registers: an array, or one with its sequencer."""

    @property
    def name(self) -> str:
        """In one word."""
        ...

    @property
    def registers(self) -> tuple[Register, ...]:
        """All of them."""
        ...

    @property
    def state_bits(self) -> int:
        """Of all registers."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Flips:
    """One bit each: right after an edge, and until the register is written again.

    Attributes:
        register: index into the design's registers, (n,).
        row, col: of the element, (n,).
        bit: 0 is the lowest of that register, (n,).
        cycle: after which edge of the run, from 0, (n,).

    >>> from radhard.rtl.design import ArrayDesign
    >>> design = ArrayDesign(2, 2)
    >>> len(Flips.every(design, 10)) == 10 * design.state_bits
    True
    >>> print(*Flips.drawn(design, 10, n=2, seed=1).lines(design))
    p[1,0].5@4 a[1,0].2@5
    """

    register: Integers
    row: Integers
    col: Integers
    bit: Integers
    cycle: Integers

    @classmethod
    def every(cls, design: Registered, cycles: int) -> Flips:
        """Each bit of each register after each edge."""
        return cls.at(design, np.arange(design.state_bits * cycles))

    @classmethod
    def drawn(cls, design: Registered, cycles: int, n: int, seed: int) -> Flips:
        """Uniform over bits and edges, with repetition."""
        every = design.state_bits * cycles
        return cls.at(design, np.random.default_rng(seed).integers(0, every, n))

    @classmethod
    def at(cls, design: Registered, index: Integers) -> Flips:
        """By their place in the order (edge, register, row, column, bit)."""
        registers = design.registers
        ends = np.cumsum([one.bits for one in registers])
        cycle, site = np.divmod(index, design.state_bits)
        register = np.searchsorted(ends, site, side="right")
        widths, cols = (
            np.array([getattr(one, name) for one in registers])[register]
            for name in ("width", "cols")
        )
        within = site - (ends - [one.bits for one in registers])[register]
        element, bit = np.divmod(within, widths)
        return cls(register, element // cols, element % cols, bit, cycle)

    def __len__(self) -> int:
        return len(self.register)

    def __getitem__(self, which: slice | Integers) -> Flips:
        return Flips(*(getattr(self, field.name)[which] for field in fields(self)))

    def check(self, design: Registered, cycles: int) -> None:
        """Refuse what is not there.

        Raises:
            ValueError: for a register, element, bit or edge that does not exist.
        """
        registers = design.registers
        known = (self.register >= 0) & (self.register < len(registers))
        sizes = np.array([(one.rows, one.cols, one.width, cycles) for one in registers])
        most = sizes[np.where(known, self.register, 0)]
        place = np.stack([self.row, self.col, self.bit, self.cycle], 1)
        wrong = ~(known & (place >= 0).all(1) & (place < most).all(1))
        if wrong.any():
            first = self[np.flatnonzero(wrong)[:1]]
            raise ValueError(
                f"flip {first} is not in {design.name}, whose registers have (rows, cols, bits, "
                f"edges) {sizes.tolist()}"
            )

    def strike(self, design: Registered, state: Mapping[str, Integers], cycle: int) -> None:
        """Flip the bits whose time it is, lane k that of flip k, in place."""
        (lanes,) = np.nonzero(self.cycle == cycle)
        for number in np.unique(self.register[lanes]):
            of_it = lanes[self.register[lanes] == number]
            struck = of_it, self.row[of_it], self.col[of_it]
            state[design.registers[number].name][struck] ^= np.int64(1) << self.bit[of_it]

    def lines(self, design: Registered) -> Iterator[str]:
        """One a flip, such as ``p[0,1].23@9``: register, row, column, bit and edge."""
        names = [one.name for one in design.registers]
        for number in range(len(self)):
            place = f"{names[self.register[number]]}[{self.row[number]},{self.col[number]}]"
            yield f"{place}.{self.bit[number]}@{self.cycle[number]}"

    @classmethod
    def read(cls, design: Registered, lines: Iterable[str]) -> Flips:
        """What `lines` wrote.

        Raises:
            ValueError: for a line that is none, or a register that is not there; elements, bits and
                edges that are not are refused where flips run.
        """
        names = {one.name: number for number, one in enumerate(design.registers)}
        found = []
        for line in lines:
            parts = _LINE.fullmatch(line.strip())
            if not parts or parts[1] not in names:
                raise ValueError(
                    f"{line!r} is no flip: write register[row,col].bit@edge with one of "
                    f"{', '.join(names)}"
                )
            found.append((names[parts[1]], *(int(part) for part in parts.groups()[1:])))
        return cls(*np.array(found, dtype=np.int64).reshape(-1, 5).T)
