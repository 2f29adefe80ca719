"""Random flips of an array's registers: which of them change a result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radhard.rtl.cycle import Twin
from radhard.rtl.design import ArrayDesign
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Operands, schedule
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson


@dataclass(frozen=True, slots=True)
class Struck:
    """What flips of a register did.

    Attributes:
        register: its name, or ``all``.
        bits: that it has in the whole array.
        failing: share of (bit, edge) whose flip changes a result, for these operands.
        wrong: results that differ under a flip that changes any, on average.
    """

    register: str
    bits: int
    failing: Estimate
    wrong: float


def strike(design: ArrayDesign, operands: Operands, n: int, seed: int) -> list[Struck]:
    """Draw flips, uniform over all bits and edges, and run each.

    Raises:
        ValueError: for fewer than 1 flip, or operands that don't fit.
        RuntimeError: where the array without a flip doesn't give the products.

    >>> design = ArrayDesign(2, 2, protect="voted")
    >>> whole = strike(design, Operands.drawn(design, 1, 4, 0), n=100, seed=0)[-1]
    >>> whole.register, whole.bits, whole.failing.value
    ('all', 480, 0.0)
    """
    if n < 1:
        raise ValueError(f"{n} flips can't be drawn: use 1 or more")
    twin = Twin(design, operands)
    golden = twin.run()
    if not operands.bounds and (golden[0] != _products(design, operands)).any():
        raise RuntimeError(f"{design.name} doesn't give the products: please report it")
    flips = Flips.drawn(design, schedule(design, operands).cycles, n, seed)
    wrong = (twin.run(flips) != golden).reshape(n, -1).sum(1)
    parts = [
        _struck(one.name, one.bits, wrong[flips.register == number])
        for number, one in enumerate(design.registers)
    ]
    return [*parts, _struck("all", design.state_bits, wrong)]


def _products(design: ArrayDesign, operands: Operands) -> np.ndarray:
    """The matrix product, wrapped round at the width of sums."""
    half = 1 << (design.widths["p"] - 1)
    return (operands.a @ operands.w + half) % (2 * half) - half


def _struck(name: str, bits: int, wrong: np.ndarray) -> Struck:
    failing = int((wrong > 0).sum())
    mean = float(wrong.sum()) / failing if failing else 0.0
    return Struck(name, bits, wilson(failing, len(wrong)), mean)
