"""The fault model of campaigns against the hardware, flip by flip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from radhard.accel.clocked import ClockedArray
from radhard.accel.dataflow import Reads
from radhard.accel.matrices import wrapped
from radhard.campaign.pool import Maker, shared
from radhard.network.capture import capture
from radhard.network.layer import Layer
from radhard.rtl.compiled import Compiled, missing
from radhard.rtl.cycle import Twin, checked, pattern, signed
from radhard.rtl.design import COPIES, ArrayDesign, Register
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Integers, Operands, bounds_of, schedule, tile_cycles

#: Which register of the chip holds a value.
_HOLDS: Mapping[str, str] = {
    "a": "input-register", "w": "weight-register", "p": "psum-register",
    "product": "product-register",
}  # fmt: skip
#: Flips that are compared at once.
_BATCH = 4096

Flags = NDArray[np.bool_]
#: What runs flips in hardware: the results (n, tiles, M, N).
Hardware = Callable[[ArrayDesign, Operands, Flips], Integers]
#: ``(flips that are done, flips)``.
Watch = Callable[[int, int], None]
#: Lines of flips that differ, and how many change a result.
Compared = tuple[list[str], int]


def by_twin(design: ArrayDesign, operands: Operands, flips: Flips) -> Integers:
    """By the numpy twin, which is the emitted text register by register."""
    return Twin(design, operands).run(flips)


@dataclass(frozen=True, slots=True)
class ByText:
    """By the emitted text, compiled."""

    compiled: Compiled

    def __call__(self, design: ArrayDesign, operands: Operands, flips: Flips) -> Integers:
        """As `Hardware`."""
        return self.compiled.run(operands, flips)


def hardware_named(name: str, design: ArrayDesign, folder: Path) -> tuple[str, Hardware]:
    """What runs flips, and its name.

    Args:
        name: ``twin``, ``verilator``, or ``auto`` for the latter where it is installed.
        design: the array.
        folder: in which it is compiled.
    """
    if name == "twin" or (name == "auto" and missing()):
        return "twin", by_twin
    return "verilator", ByText(Compiled(design, folder))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How model and hardware compare.

    Attributes:
        design: the name of the array.
        faults: flips that were tried.
        changing: those that change a result.
        registers: how many there were of each register.
        disagreements: lines of those that differ, as `Flips.read` takes them.
    """

    design: str
    faults: int
    changing: int
    registers: Mapping[str, int]
    disagreements: tuple[str, ...]


def validate(
    design: ArrayDesign,
    operands: Operands,
    flips: Flips,
    hardware: Hardware = by_twin,
    watch: Watch = lambda done, total: None,
    workers: int = 1,
) -> Agreement:
    """Compare what campaigns on `ClockedArray` take a flip to do with what the hardware does.

    Args:
        design: the array, with any protection.
        operands: of tiles, one after the other, so that what spills into the next one is seen.
        flips: of any registers.
        hardware: what runs them.
        watch: told how many of how many are done.
        workers: processes that share the flips; for several, ``hardware`` can be pickled.

    >>> design = ArrayDesign(2, 2)
    >>> operands = Operands.drawn(design, tiles=2, free=3, seed=0)
    >>> flips = Flips.every(design, schedule(design, operands).cycles)
    >>> validate(design, operands, flips).disagreements
    ()
    """
    maker = partial(_runner, design, operands, flips, hardware)
    return agreement(design.name, design.registers, flips, maker, _BATCH, watch, workers)


def _runner(
    design: ArrayDesign, operands: Operands, flips: Flips, hardware: Hardware
) -> Callable[[int, int], Compared]:
    model = Model(design, operands)

    def run(first: int, last: int) -> Compared:
        part = flips[first:last]
        told, found = model.results(part), hardware(design, operands, part)
        changing = int(_differ(found, model.golden[None]).sum())
        return list(_lines(design, part, np.flatnonzero(_differ(told, found)))), changing

    return run


def agreement(
    name: str,
    registers: Sequence[Register],
    flips: Flips,
    maker: Maker[Compared],
    batch: int,
    watch: Watch,
    workers: int,
) -> Agreement:
    """What comes of flips that are compared some at a time.

    Args:
        name: of the array.
        registers: of the array.
        flips: of any of them.
        maker: gives what compares those from a first to before a last one: lines of those that
            differ, and how many change a result.
        batch: how many are compared at a time.
        watch: told how many of how many are done.
        workers: processes that share them.
    """
    count, wrong, changing = len(flips), list[str](), 0
    parts = [(first, min(first + batch, count)) for first in range(0, count, batch)]
    found = shared(maker, parts, min(workers, max(1, len(parts))))
    for (_, last), (lines, changes) in zip(parts, found, strict=True):
        wrong += lines
        changing += changes
        watch(last, count)
    names, counts = np.unique(flips.register, return_counts=True)
    kinds = {registers[k].name: int(n) for k, n in zip(names, counts, strict=True)}
    return Agreement(name, count, changing, kinds, tuple(wrong))


def _differ(one: Integers, other: Integers) -> Flags:
    found: Flags = (one != other).reshape(len(one), -1).any(1)
    return found


def _lines(design: ArrayDesign, flips: Flips, which: Integers) -> Iterator[str]:
    yield from flips[which].lines(design)


class Model:
    """What campaigns take flips of an array's registers to do.

    Args:
        design: the array.
        operands: of tiles, each of which is a layer to the chip.
    """

    def __init__(self, design: ArrayDesign, operands: Operands) -> None:
        self.design, self.operands = design, operands
        shape = design.rows, design.cols, design.dataflow
        own, pipelined, latency = design.own, design.pipelined, design.latency or None
        self.chip = ClockedArray(*shape, own=own, pipelined=pipelined, latency=latency)
        (_, p, q), m = operands.a.shape, operands.w.shape[2]
        free = {"ws": p, "os": q, "is": m}[design.dataflow]
        self.edges = tile_cycles(design, free)
        self.layer = _layer(p, q, m)
        self.sums = self._sums()
        plan = schedule(design, operands)
        edge, col = np.nonzero(plan.shows >= 0)
        self.shown = np.zeros(int(np.prod(plan.shape)), np.int64)
        self.shown[plan.shows[edge, col]] = edge
        self.golden = self._checked(self.sums, self._bounds(0)).astype(np.int64)[0]

    def _sums(self) -> Integers:
        """Sums of the tiles without faults, (1, tiles, M, N)."""
        width = self.design.widths["p"]
        return wrapped(self._product(self.operands.a, self.operands.w), width)[None]

    def _product(self, a: Integers, w: Integers) -> Integers:
        """(tiles, M, K) by (tiles, K, N), added up."""
        if self.design.circuit is None:
            return np.asarray(a @ w, np.int64)
        return np.asarray(self.design.product(a[..., None], w[:, None]).sum(-2), np.int64)

    def results(self, flips: Flips, masks: Integers | None = None) -> Integers:
        """The results under each flip, (n, tiles, M, N).

        Args:
            flips: n.
            masks: what flips of the register in place of one bit, (n,).
        """
        masks = np.int64(1) << flips.bit if masks is None else masks
        found = np.repeat(self.sums, len(flips), 0)
        bounds = self._bounds(len(flips))
        for number, register in enumerate(self.design.registers):
            here = np.flatnonzero(flips.register == number)
            if not len(here):
                continue
            part, mask = flips[here], masks[here]
            if register.value in self.design.bounds:
                bounds = self._struck_bounds(bounds, register.value, here, part.cycle, mask)
            elif register.name.rpartition("_")[2] not in COPIES:
                found[here] = self._struck(register.value, part, mask)
        return self._checked(found, bounds)

    def _struck(self, value: str, flips: Flips, mask: Integers) -> Integers:
        """The sums under flips of a value's register that nothing votes on."""
        tile, edge = np.divmod(flips.cycle, self.edges)
        name, found = _HOLDS[value], np.repeat(self.sums, len(flips), 0)
        index, live = self._sites(value, edge, flips.row, flips.col)
        which = np.flatnonzero(live)
        reads = self.chip.reads(name, self.layer, index[which])
        change = self._changes(value, reads, tile[which], mask[which])
        width = self.design.widths["p"]
        found[which, tile[which]] += change
        return wrapped(found, width)

    def _sites(
        self, value: str, edge: Integers, row: Integers, col: Integers
    ) -> tuple[Integers, Flags]:
        """Which sites of the chip these are, and whether they are any."""
        shape, n = self.chip.shape(self.layer), len(edge)
        zero = np.zeros(n, np.int64)
        if value not in ("p", "product"):
            sizes = (shape.edges, shape.rows, shape.cols)
            return _index((edge, row, col), sizes), np.asarray(row >= 0)
        if self.design.dataflow == "os":
            late = edge - (shape.edges - shape.rows)
            position = np.where(late > 0, row - late, row)
            lengths = shape.edges - np.arange(shape.rows)
            starts = np.cumsum(lengths) - lengths
            first = col * lengths.sum() + starts[position.clip(0)]
            return first + edge, np.asarray(position >= 0)
        behind = int(self.design.own) if value == "product" else self.design.late
        step = edge - shape.rows - row - col - behind
        free = shape.positions if self.design.dataflow == "ws" else shape.channels
        live = (step >= 0) & (step < free)
        channel, position = (col, step) if self.design.dataflow == "ws" else (step, col)
        inside = [np.where(live, part, zero) for part in (row, channel, position)]
        return _index(inside, (shape.rows, shape.channels, shape.positions)), np.asarray(live)

    def _changes(self, value: str, reads: Reads, tile: Integers, mask: Integers) -> Integers:
        """By how much each flip moves the sums of its tile, (n, M, N)."""
        a, w = self.operands.a[tile], self.operands.w[tile]
        n, p, q = a.shape
        m, each = w.shape[2], np.arange(n)
        if value in ("p", "product"):
            return self._of_sums(value, reads, (a, w), mask)
        at_p, at_m = np.arange(p), np.arange(m)
        if value == "a":
            struck, k = reads.element // q, reads.element % q
            before, others = a[each, struck, k], w[each, k]
            inside = (at_m >= reads.channels[:, :1]) & (at_m < reads.channels[:, 1:])
        else:
            struck, k = reads.element // q, reads.element % q
            before, others = w[each, k, struck], a[each, :, k]
            inside = (at_p >= reads.positions[:, :1]) & (at_p < reads.positions[:, 1:])
        width = {"a": self.design.widths["a"], "w": self.design.widths["w"]}[value]
        after = signed(pattern(before, width) ^ mask, width)
        moved = self._moved(value, (before, after), others) * inside
        found = np.zeros((n, p, m), np.int64)
        if value == "a":
            found[each, struck] = moved
        else:
            found[each, :, struck] = moved
        return found

    def _moved(self, value: str, struck: tuple[Integers, Integers], others: Integers) -> Integers:
        """Products of the struck operand with others (n, ...) after less before."""
        pairs = ((one[:, None], others) for one in struck)
        before, after = (
            self.design.product(*(pair if value == "a" else pair[::-1])) for pair in pairs
        )
        return after - before

    def _of_sums(
        self, value: str, reads: Reads, given: tuple[Integers, Integers], mask: Integers
    ) -> Integers:
        (a, w), width = given, self.design.widths["p"]
        if value == "product":
            width = self.design.product_bits
        n, p, q = a.shape
        m, each = w.shape[2], np.arange(n)
        channel, position = reads.channels[:, 0], reads.positions[:, 0]
        products = self.design.product(a[each, position], w[each, :, channel])
        term = np.arange(q)
        kept = (term >= reads.terms[:, :1]) & (term < reads.terms[:, 1:])
        before = wrapped((products * kept).sum(1), width)
        after = signed(pattern(before, width) ^ mask, width)
        found = np.zeros((n, p, m), np.int64)
        found[each, position, channel] = after - before
        return found

    def _bounds(self, n: int) -> Integers:
        """Bounds of each result as it is shown, (bounds, n or 1, tiles, M, N)."""
        shape = (max(n, 1), *self.sums.shape[1:])
        bounds = bounds_of(self.design, self.operands)
        return np.array([np.full(shape, bound) for bound in bounds], np.int64)

    def _struck_bounds(
        self, bounds: Integers, which: str, here: Integers, cycle: Integers, mask: Integers
    ) -> Integers:
        """With a bit of a bound wrong for all results that are shown from then on."""
        width, side = self.design.widths["p"], self.design.bounds.index(which)
        own = bounds[side, here]
        after = signed(pattern(own, width) ^ mask[:, None, None, None], width)
        late = self.shown.reshape(self.sums.shape[1:])[None] >= cycle[:, None, None, None]
        bounds[side, here] = np.where(late, after, own)
        return bounds

    def _checked(self, sums: Integers, bounds: Integers) -> Integers:
        """As the columns show them."""
        return checked(self.design, sums, *bounds) if self.design.checks else sums


def _index(place: Sequence[Integers], sizes: tuple[int, ...]) -> Integers:
    """Places in a row of all, the last axis fastest."""
    found: Integers = np.asarray(np.ravel_multi_index(tuple(place), sizes), np.int64)
    return found


def _layer(positions: int, terms: int, channels: int) -> Layer:
    """A layer that is one matrix product."""
    linear = nn.Linear(terms, max(channels, 2), bias=False)  # less is no network of its own
    images = torch.zeros(1, positions, terms)
    layer = capture(linear, images, torch.zeros(1, positions, dtype=torch.int64)).layers[0]
    return replace(layer, bounds={**layer.bounds, "m": channels})
