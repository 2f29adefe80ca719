"""Systolic arrays one register at a time, in plain integers: the obvious twin of `rtl.cycle`."""

import re

import numpy as np

from radhard.rtl.design import ArrayDesign
from radhard.rtl.schedule import Operands, schedule

Registers = dict[tuple[str, int, int], int]


def twos(value: int, width: int) -> int:
    """The integer that the lowest bits stand for."""
    value %= 1 << width
    return value - (1 << width) if value >> (width - 1) else value


class Walk:
    """One run, one flip written as ``register[row,col].bit@edge``."""

    def __init__(self, design: ArrayDesign, operands: Operands, flip: str = "") -> None:
        self.design, self.plan = design, schedule(design, operands)
        self.flip = re.fullmatch(r"(\w+)\[(\d+),(\d+)\]\.(\d+)@(\d+)", flip)
        self.held: Registers = {
            (one.name, r, c): 0
            for one in design.registers
            for r in range(one.rows)
            for c in range(one.cols)
        }
        if operands.bounds:
            for name, bound in zip(design.bounds, operands.bounds, strict=True):
                self.held[name, 0, 0] = bound % (1 << design.widths["p"])

    def value(self, name: str, r: int, c: int) -> int:
        """What the neighbours see of a register: two of three copies above what is below."""
        width, voted = self.design.widths[name], self.design.voted(name)
        if not voted:
            return twos(self.held[name, r, c], width)
        text = ""
        for bit in reversed(range(voted)):
            ones = sum(self.held[f"{name}_{copy}", r, c] >> bit & 1 for copy in "xyz")
            text += str(int(ones >= 2))
        low = width - voted
        if low:
            text += f"{self.held[f'{name}_low', r, c]:0{low}b}"
        return twos(int(text, 2), width)

    def put(self, held: Registers, name: str, r: int, c: int, value: int) -> None:
        """Write a register, and all of its copies."""
        width, voted = self.design.widths[name], self.design.voted(name)
        code = value % (1 << width)
        if not voted:
            held[name, r, c] = code
            return
        if width - voted:
            held[f"{name}_low", r, c] = code % (1 << (width - voted))
        for copy in "xyz":
            held[f"{name}_{copy}", r, c] = code >> (width - voted)

    def edge(self, t: int) -> None:
        """All registers take what is before them."""
        design, new = self.design, dict(self.held)
        on = dict(zip(design.controls, self.plan.controls[t], strict=True))
        moving, held = ("w", "a") if design.dataflow == "is" else ("a", "w")
        for r in range(design.rows):
            for c in range(design.cols):
                x = self.value(moving, r, c - 1) if c else int(self.plan.left[t, r])
                y = self.value(held, r - 1, c) if r else int(self.plan.top[t, c])
                above = self.value("p", r - 1, c) if r else 0
                if design.dataflow == "os":
                    if on["clear"]:
                        for name in "awp":
                            self.put(new, name, r, c, 0)
                        continue
                    self.put(new, "a", r, c, x)
                    self.put(new, "w", r, c, y)
                    added = self.value("p", r, c) + x * y
                    self.put(new, "p", r, c, above if on["drain"] else added)
                elif on["load"]:
                    self.put(new, held, r, c, y)
                else:
                    self.put(new, moving, r, c, x)
                    self.put(new, "p", r, c, above + x * self.value(held, r, c))
        self.held = new

    def shown(self, c: int) -> int:
        """What a column shows."""
        found, width = self.value("p", self.design.rows - 1, c), self.design.widths["p"]
        if not self.design.checks:
            return found
        low, high = (twos(self.held[name, 0, 0], width) for name in ("low", "high"))
        if low <= found <= high:
            return found
        if self.design.protect == "zero":
            return 0
        if self.design.protect == "mean":
            return twos(self.held["mean", 0, 0], width)
        return low if found < low else high

    def run(self) -> np.ndarray:
        """The results, (tiles, M, N)."""
        found = np.zeros(int(np.prod(self.plan.shape)), dtype=np.int64)
        for t in range(self.plan.cycles):
            self.edge(t)
            if self.flip and int(self.flip[5]) == t:
                struck = (self.flip[1], int(self.flip[2]), int(self.flip[3]))
                self.held[struck] ^= 1 << int(self.flip[4])
            for c, index in enumerate(self.plan.shows[t]):
                if index >= 0:
                    found[index] = self.shown(c)
        return found.reshape(self.plan.shape)
