"""Checks and copies of stored values: parity, codes, triplicated bits, signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.accel.readers import activated
from radhard.faults.rate import Read, Words
from radhard.faults.space import SiteSpace, Stratum
from radhard.formats.twos import signed
from radhard.network.stored import with_stored
from radhard.network.workload import Workload
from radhard.protect.area import (
    parity_logic,
    secded_logic,
    share,
    vote_logic,
    words,
)
from radhard.protect.names import check_once, protected_strata
from radhard.protect.protection import Cost, Flags, Protection, Stopped, Struck, spared


@dataclass(frozen=True, slots=True)
class BitTriplication(Protection):
    """Three copies of chosen bits of stored values, voted when read.

    A vote makes up for one wrong copy; two upsets in the copies of one bit are neglected, and so
    are the voters.

    Attributes:
        bits: which, 0 the least significant.
        components: parts of the chip that keep copies; of none given, all.

    Raises:
        ValueError: for no bits, or one that is given twice; from `harden` and `cost`, for a
            component or a bit that the chip has not.
    """

    by_bit: ClassVar[bool] = True

    bits: tuple[int, ...]
    components: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_once(self.bits, "BitTriplication", "bit")
        check_once(self.components, "BitTriplication", "component")
        if not self.bits:
            raise ValueError("BitTriplication of no bits protects nothing: name some, 0 the lowest")

    def harden(self, space: SiteSpace) -> SiteSpace:
        """Chosen bits are never wrong."""
        own = self._chosen(space)
        return spared(space, 1 - np.array(own, np.float64))

    def _chosen(self, space: SiteSpace) -> list[bool]:
        """Which strata have copies."""
        parts = protected_strata(space, self.components, "BitTriplication")
        for bit in self.bits:
            if not any(inside and s.bit == bit for inside, s in parts):
                where = " and ".join(self.components) or "the chip"
                widest = max(s.width for inside, s in parts if inside)
                raise ValueError(
                    f"BitTriplication: no value in {where} has bit {bit}, so it would protect "
                    f"nothing: use bits from 0 to {widest - 1}"
                )
        return [inside and s.bit in self.bits for inside, s in parts]

    def read(self, words: Words) -> Read:
        """By vote of three copies, each with errors of its own."""
        flip = words.before ^ words.after
        other, third = words.flips(), words.flips()
        voted = (flip & other) | (flip & third) | (other & third)
        own = sum(1 << bit for bit in self.bits if bit < words.width)
        return Read(np.where(own, words.before ^ (voted & own) ^ (flip & ~own), words.after), False)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two more bits for each, and a voter for each latch or instance of a memory."""
        space = chip.sites(workload)
        own = protected_strata(space, self.components, "BitTriplication")
        self._chosen(space)
        added = logic = operations = 0.0
        for stratum, held, ports in words(chip, workload, [s for inside, s in own if inside]):
            tripled = sum(0 <= bit < stratum.width for bit in self.bits)
            added += 2 * tripled * held
            logic += ports * vote_logic(tripled)
            operations += tripled * _reads(stratum)
        area = share(added + logic, chip, workload)
        return Cost(memory_bits=added, operations=operations, area=area)


@dataclass(frozen=True, slots=True)
class Parity(Protection):
    """A parity bit per stored value: an odd number of wrong bits is seen, and the run repeated.

    It is formed when the value is written, and checked whenever this is read, so that there is an
    alarm where anything reads the wrong value.

    Attributes:
        components: the parts of the chip that have it; of none given, all.

    Raises:
        ValueError: from `harden` and `cost`, for a component that the chip has not.
    """

    by_flips: ClassVar[bool] = True

    components: tuple[str, ...] = ()

    def harden(self, space: SiteSpace) -> SiteSpace:
        """As it is: faults strike, and are stopped."""
        protected_strata(space, self.components, "Parity")
        return space

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        seen = faults.inside(self.components) & (faults.bits % 2 == 1)
        return Stopped(seen, seen & activated(workload, faults.corruption))

    def read(self, words: Words) -> Read:
        """Words with an odd number of wrong bits, its own among them, are loaded again."""
        odd = (words.wrong + words.wrong_of(1)) % 2 == 1
        return Read(np.where(odd, words.before, words.after), bool(odd.any()))

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """One bit per word, formed and checked at each latch or instance of a memory."""
        return _check_bits(
            "Parity", workload, chip, self.components, lambda width: (1, parity_logic(width))
        )


@dataclass(frozen=True, slots=True)
class SECDED(Protection):
    """A code per stored value that corrects one wrong bit and detects two (Hsiao, 1970).

    The code is formed when the value is written, and checked whenever this is read. Two wrong bits
    raise an alarm then, and the run is repeated; more go through.

    Attributes:
        components: the parts of the chip that have it; of none given, all.

    Raises:
        ValueError: from `harden` and `cost`, for a component that the chip has not.
    """

    by_flips: ClassVar[bool] = True

    components: tuple[str, ...] = ()

    def harden(self, space: SiteSpace) -> SiteSpace:
        """As it is: faults strike, and are stopped."""
        protected_strata(space, self.components, "SECDED")
        return space

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        inside, bits = faults.inside(self.components), faults.bits
        two = inside & (bits == 2)
        return Stopped(inside & (bits <= 2), two & activated(workload, faults.corruption))

    def read(self, words: Words) -> Read:
        """One wrong bit of a word, check bits among them, is corrected; of two, it is loaded again.

        Words of more go through as they are.
        """
        wrong = words.wrong + words.wrong_of(_secded_bits(words.width))
        codes = np.where(wrong <= 2, words.before, words.after)
        return Read(codes, bool((wrong == 2).any()))

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """The least r bits with 2^r >= width + r + 1, and one more; decoders at each port."""

        def taken(width: int) -> tuple[int, float]:
            check = _secded_bits(width)
            return check, secded_logic(width, check)

        return _check_bits("SECDED", workload, chip, self.components, taken)


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
    who: str, workload: Workload, chip: Accelerator, components: tuple[str, ...],
    taken: Callable[[int], tuple[int, float]],
) -> Cost:  # fmt: skip
    """Of a code that takes so many bits per word of a width, and so much logic where it is read."""
    own = protected_strata(chip.sites(workload), components, who)
    added = logic = operations = 0.0
    for stratum, held, ports in words(chip, workload, [s for inside, s in own if inside]):
        bits, checked = taken(stratum.width)
        added += bits * held
        logic += ports * checked
        operations += _reads(stratum)
    area = share(added + logic, chip, workload)
    return Cost(operations=operations, memory_bits=added, area=area, rerun=1.0)


def _reads(stratum: Stratum) -> float:
    """Checks of the words of a stratum: of latches at each use, else once for each value."""
    return float(stratum.size if stratum.storage == "latch" else stratum.variables)


@dataclass(frozen=True, slots=True)
class WeightSignature(Protection):
    """Two bits of the sum of each group of weights, checked before weights are used (RADAR).

    After Li et al., DATE'21: groups are interleaved, and the two bits from the sign bit's place on
    decide. A group with another signature is loaded again, or set to zero, as RADAR does, and the
    inference goes on. Signatures are checked when weights are loaded, so they see what is wrong in
    the memory that all weights lie in, as on `radhard.chips.SOFTWARE`. A copy in a chip's own
    memory is struck after that.

    Attributes:
        group: weights per group, at least 2.
        components: where weights are stored that are checked when loaded.
        zero: whether all weights of a group with another signature become 0; else they are loaded
            again.

    Raises:
        ValueError: for groups of fewer; from `harden` and `cost`, for a component that holds copies
            of weights, or none at all.
    """

    group: int = 16
    components: tuple[str, ...] = ("weight",)
    zero: bool = False

    def __post_init__(self) -> None:
        if self.group < 2:
            raise ValueError(f"groups of {self.group} weights can't be: use 2 or more")

    def harden(self, space: SiteSpace) -> SiteSpace:
        """As it is: faults strike, and are stopped."""
        stored = {s.component for s in space.strata if s.storage == "value"}
        parts = protected_strata(space, self.components, "WeightSignature") if stored else []
        held = {s.component for inside, s in parts if inside}
        if "weight" not in held & stored:
            named = ", ".join(self.components) or "all components"
            raise ValueError(
                f"WeightSignature on {named}: nothing that is struck there is a weight in the "
                "memory from which signatures are checked. Copies in a chip's memories are struck "
                "after weights were checked and loaded: protect those by Parity or SECDED, of "
                f"{', '.join(sorted({s.component for s in space.strata}))}"
            )
        return space

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        found = np.zeros(len(faults.corruption), bool)
        hit = faults.inside(self.components) & (faults.corruption.operand == "weight")
        hit &= faults.corruption.stored
        for number in np.unique(faults.corruption.layer[hit]):
            here = np.flatnonzero(hit & (faults.corruption.layer == number))
            found[here] = self._changed(workload, int(number), faults, here)
        return Stopped(found, found)

    def replaced(
        self, workload: Workload, faults: Struck
    ) -> Iterator[tuple[Workload, NDArray[np.int64]]]:
        """Where groups become zero, the network without these weights, group by group."""
        hit = (
            np.flatnonzero(self.stops(workload, faults).harmless) if self.zero else np.zeros(0, int)
        )
        layer, element = faults.corruption.layer[hit], faults.corruption.element[hit]
        for number in np.unique(layer).tolist():
            size = workload.weight(number).numel()
            groups = -(-size // self.group)
            of = element % groups
            for group in np.unique(of[layer == number]).tolist():
                lost = torch.arange(group, size, groups)
                yield _without(workload, number, lost), hit[(layer == number) & (of == group)]

    def read(self, words: Words) -> Read:
        """Groups with another signature are loaded again, or zero; signatures have no errors."""
        before, after = (
            signed(torch.from_numpy(codes), words.width).numpy()
            for codes in (words.before, words.after)
        )
        groups = -(-len(before) // self.group)
        group, top = np.arange(len(before)) % groups, words.width - 1
        sums = (np.zeros(groups, np.int64), np.zeros(groups, np.int64))
        for total, codes in zip(sums, (before, after), strict=True):
            np.add.at(total, group, codes)
        found = ((sums[0] >> top) & 3) != ((sums[1] >> top) & 3)
        mended = 0 * words.before if self.zero else words.before
        return Read(np.where(found[group], mended, words.after), bool(found.any()))

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
        self.harden(chip.sites(workload))
        held = [
            workload.weight(number).numel()
            for number in range(len(workload.layers))
            if workload.parameters[number] is not None
        ]
        bits = 2.0 * sum(-(-weights // self.group) for weights in held)
        area = share(bits, chip, workload)
        rerun = 0.0 if self.zero else 1.0
        return Cost(operations=sum(held), memory_bits=bits, area=area, rerun=rerun)


def _without(workload: Workload, number: int, lost: Tensor) -> Workload:
    """The network with some weights 0, in all layers that read them."""
    weights = {number: workload.weight(number).clone()}
    weights[number].view(-1)[lost] = 0
    for later, places in workload.shared.get(number, {}).items():
        own = places[lost]
        weights[later] = workload.weight(later).clone()
        weights[later].view(-1)[own[own >= 0]] = 0
    return with_stored(workload, weights)
