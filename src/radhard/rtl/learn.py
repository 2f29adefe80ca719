"""What flips of registers do for which no closed form is known: tried, and told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from radhard.accel.matrices import wrapped
from radhard.rtl.flip import Flips
from radhard.rtl.foreign import OTHER, ForeignArray
from radhard.rtl.schedule import Integers, Operands, schedule

#: Operands that each flip meets.
_DRAWS = 4
#: What runs flips: the results (n, tiles, M, N).
Run = Callable[[Operands, Flips], Integers]


class Learned(NamedTuple):
    """What the flips of a register do, over all of its bits and edges of a tile.

    Attributes:
        sites: bits times edges that were tried, each under several operands.
        masked: share of them that never change a result.
        fixed: share that change the same results whatever the operands are, so that a table of
            (bit, edge) tells which.
        varying: share whose wrong results depend on the operands.
        wrong: results that a flip makes wrong, of all of the tile, on average.
    """

    sites: int
    masked: float
    fixed: float
    varying: float
    wrong: float


def closed(design: ForeignArray, operands: Operands, count: int | None, seed: int) -> Flips:
    """Flips of the registers whose forms are known: all, or so many random ones."""
    edges = schedule(design, operands).cycles
    known = [k for k, one in enumerate(design.registers) if one.value != OTHER]
    every = Flips.every(design, edges)
    own = np.flatnonzero(np.isin(every.register, known))
    if count is None:
        return every[own]
    return every[np.random.default_rng(seed).choice(own, count)]


def learned(design: ForeignArray, run: Run, free: int, seed: int) -> dict[str, Learned]:
    """Try every flip of the registers that have no form in one tile of two, by operands of several.

    Args:
        design: the array.
        run: its hardware.
        free: of the axis that the array leaves free.
        seed: of the operands.
    """
    names = [one.name for one in design.registers if one.value == OTHER]
    if not names:
        return {}
    draws = [Operands.drawn(design, 2, free, seed + k) for k in range(_DRAWS)]
    edges, width = schedule(design, draws[0]).cycles // 2, design.widths["p"]
    every = Flips.every(design, edges)
    found = {}
    for name in names:
        number = [one.name for one in design.registers].index(name)
        flips = every[np.flatnonzero(every.register == number)]
        wrong = np.stack([run(one, flips) != wrapped(one.a @ one.w, width) for one in draws])
        flat = wrong.reshape(_DRAWS, len(flips), -1)
        masked = ~flat.any((0, 2))
        fixed = (flat == flat[:1]).all((0, 2)) & ~masked
        found[name] = Learned(
            len(flips), float(masked.mean()), float(fixed.mean()),
            float((~masked & ~fixed).mean()), float(flat.mean() * 2),
        )  # fmt: skip
    return found
