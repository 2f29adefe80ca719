"""Checks and copies of stored values: parity, codes, triplicated bits, signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.accel.chip import Accelerator
from radhard.faults.space import SiteSpace
from radhard.formats.twos import signed
from radhard.network.workload import Workload
from radhard.protect.protection import Cost, Flags, Protection, Stopped, Struck, spared


@dataclass(frozen=True, slots=True)
class BitTriplication(Protection):
    """Three copies of chosen bits of stored values, voted when read.

    A vote makes up for one wrong copy; two upsets in the copies of one bit are neglected, and so
    are the voters.

    Attributes:
        bits: which, 0 the least significant.
        components: parts of the chip that keep copies; of none given, all.
    """

    bits: tuple[int, ...]
    components: tuple[str, ...] = ()

    def harden(self, space: SiteSpace) -> SiteSpace:
        """Chosen bits are never wrong."""
        kept = [
            stratum.bit not in self.bits
            or bool(self.components and stratum.component not in self.components)
            for stratum in space.strata
        ]
        return spared(space, np.array(kept, np.float64))

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two more bits for each."""
        space = chip.sites(workload)
        kept = [
            stratum
            for stratum in space.strata
            if stratum.bit in self.bits
            and (not self.components or stratum.component in self.components)
        ]
        values = sum(stratum.variables for stratum in kept)
        share = 2 * sum(stratum.exposure for stratum in kept) / space.exposure.sum()
        return Cost(memory_bits=2.0 * values, operations=values, area=float(share))


@dataclass(frozen=True, slots=True)
class Parity(Protection):
    """A parity bit per stored value: an odd number of wrong bits is seen, and the run repeated.

    Attributes:
        components: the parts of the chip that have it; of none given, all.
    """

    components: tuple[str, ...] = ()

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        seen = faults.inside(self.components) & (faults.bits % 2 == 1)
        return Stopped(seen, seen)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """One bit per value."""
        return _check_bits(workload, chip, self.components, lambda _: 1)


@dataclass(frozen=True, slots=True)
class SECDED(Protection):
    """A code per stored value that corrects one wrong bit and detects two (Hsiao, 1970).

    Two wrong bits raise an alarm, and the run is repeated; more go through.

    Attributes:
        components: the parts of the chip that have it; of none given, all.
    """

    components: tuple[str, ...] = ()

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        inside, bits = faults.inside(self.components), faults.bits
        return Stopped(inside & (bits <= 2), inside & (bits == 2))

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """The least r bits with 2^r >= width + r + 1, and one more."""
        return _check_bits(workload, chip, self.components, _secded_bits)


def _secded_bits(width: int) -> int:
    """Check bits of a word.

    >>> [_secded_bits(width) for width in (8, 16, 32, 64)]
    [5, 6, 7, 8]
    """
    r = 1
    while 2**r < width + r + 1:
        r += 1
    return r + 1


def _check_bits(
    workload: Workload, chip: Accelerator, components: tuple[str, ...], bits: Callable[[int], int]
) -> Cost:
    space = chip.sites(workload)
    chosen = [s for s in space.strata if not components or s.component in components]
    added = sum(s.variables * bits(s.width) for s in chosen if s.bit == 0)
    share = sum(s.exposure * bits(s.width) / s.width for s in chosen) / space.exposure.sum()
    return Cost(memory_bits=added, area=float(share))


@dataclass(frozen=True, slots=True)
class WeightSignature(Protection):
    """Two bits of the sum of each group of weights, checked before weights are used (RADAR).

    After Li et al., DATE'21: groups are interleaved, and the two bits from the sign bit's place on
    decide. A group with another signature is loaded again, where RADAR sets it to zero.

    Attributes:
        group: weights per group, at least 2.
        components: where weights are stored that are checked when used.
    """

    group: int = 16
    components: tuple[str, ...] = ("weight",)

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(f"groups of {self.group} weights can't be: use 2 or more")

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        found = np.zeros(len(faults.corruption), bool)
        hit = faults.inside(self.components) & (faults.corruption.operand == "weight")
        for number in np.unique(faults.corruption.layer[hit]):
            here = np.flatnonzero(hit & (faults.corruption.layer == number))
            found[here] = self._changed(workload, int(number), faults, here)
        return Stopped(found, found)

    def _changed(
        self, workload: Workload, number: int, faults: Struck, here: NDArray[np.int64]
    ) -> Flags:
        fmt, struck = workload.arithmetic[number].weight, faults.corruption[here]
        code = fmt.encode(workload.weight(number)).reshape(-1)
        groups = -(-len(code) // self.group)
        element = torch.from_numpy(struck.element)
        keep, flip = torch.from_numpy(struck.keep), torch.from_numpy(struck.flip)
        whole = signed(code, fmt.width)
        total = torch.zeros(groups, dtype=torch.int64)
        total.index_add_(0, torch.arange(len(code)) % groups, whole)
        wrong = signed((code[element] & keep) ^ flip, fmt.width)
        before = total[element % groups]
        after = before + wrong - whole[element]
        top = fmt.width - 1
        found: Flags = (((before >> top) & 3) != ((after >> top) & 3)).numpy()
        return found

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two bits per group; an addition per weight."""
        weights = sum(
            workload.weight(number).numel()
            for number in range(len(workload.layers))
            if workload.parameters[number] is not None
        )
        return Cost(operations=weights, memory_bits=2.0 * weights / self.group)
