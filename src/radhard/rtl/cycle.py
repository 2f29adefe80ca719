"""The array register by register and cycle by cycle, one lane per run, with flips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radhard.rtl.design import COPIES, ArrayDesign, Value
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Integers, Operands, Schedule, apart, bounds_of, schedule

#: What is in every register, as bit patterns, (lanes, rows, cols) by the register's name.
State = dict[str, Integers]
#: Runs that go together: their registers stay in a processor's cache.
LANES = 512


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """What the emitted text does, in numpy.

    Every register of the design is a column of its state, struck bits included. Full triplication
    differs from voting every flip-flop in multipliers, which nothing strikes here, so that both
    are one. The state before the first edge is 0 but for the bounds, which have been set.

    >>> design = ArrayDesign(2, 2)
    >>> operands = Operands.drawn(design, tiles=1, free=3, seed=0)
    >>> bool((Twin(design, operands).run()[0] == operands.a @ operands.w).all())
    True
    """

    design: ArrayDesign
    operands: Operands

    def run(self, flips: Flips | None = None) -> Integers:
        """The results of a run without faults, or of one per flip, (runs, tiles, M, N).

        Raises:
            ValueError: for operands that don't fit, or flips of registers that are not there.
        """
        plan = schedule(self.design, self.operands)
        if flips is None:
            return self._batch(plan, None, 1)
        flips.check(self.design, plan.cycles)
        parts = [flips[k : k + LANES] for k in range(0, len(flips), LANES)]
        found = [self._batch(plan, part, len(part)) for part in parts]
        return np.concatenate(found or [np.zeros((0, *plan.shape), dtype=np.int64)])

    def each(self, flips: Flips) -> Integers:
        """The result of each tile on an array of its own under one flip, (tiles, M, N).

        Args:
            flips: one per tile, at edges of a tile.

        Raises:
            ValueError: for operands that don't fit, or flips of registers that are not there.
        """
        tiles = apart(self.design, self.operands)
        flips.check(self.design, tiles.plan.cycles)
        found = []
        for start in range(0, len(flips), LANES):
            part = slice(start, start + LANES)
            some = flips[part]
            found.append(self._batch(tiles.lanes(part), some, len(some))[:, 0])
        return np.concatenate(found)

    def _batch(self, plan: Schedule, flips: Flips | None, lanes: int) -> Integers:
        state, found = self.start(lanes), np.zeros((lanes, int(np.prod(plan.shape))), np.int64)
        for cycle in range(plan.cycles):
            state = self.step(state, plan, cycle)
            if flips is not None:
                flips.strike(self.design, state, cycle)
            shown = plan.shows[cycle] >= 0
            if shown.any():
                found[:, plan.shows[cycle, shown]] = self.outputs(state)[:, shown]
        return found.reshape(lanes, *plan.shape)

    def start(self, lanes: int) -> State:
        """The registers before the first edge."""
        state = {
            one.name: np.zeros((lanes, one.rows, one.cols), np.int64)
            for one in self.design.registers
        }
        for name, bound in zip(
            self.design.bounds, bounds_of(self.design, self.operands), strict=True
        ):
            state[name][:] = pattern(np.int64(bound), self.design.widths["p"])
        return state

    def step(self, state: Mapping[str, Integers], plan: Schedule, cycle: int) -> State:
        """The registers after an edge."""
        design = self.design
        on = dict(zip(design.controls, plan.controls[cycle].tolist(), strict=True))
        held = {value: self.read(state, value) for value in design.widths}
        came = {
            design.left: _shifted(held[design.left], plan.left[cycle], axis=2),
            design.top: _shifted(held[design.top], plan.top[cycle], axis=1),
            "p": _shifted(held["p"], np.zeros(design.cols, np.int64), axis=1),
        }
        found = dict(state)
        for value, given in self._next(on, held, came).items():
            self._write(found, value, given)
        return found

    def _next(
        self, on: Mapping[str, bool], held: Mapping[Value, Integers], came: Mapping[Value, Integers]
    ) -> dict[Value, Integers]:
        """What the registers that change take."""
        design = self.design
        if design.dataflow == "os":
            if on["clear"]:
                return {value: np.zeros_like(held[value]) for value in design.widths}
            added = held["p"] + self.product(came["a"], came["w"])
            return {**came, "p": came["p"] if on["drain"] else added}
        if on["load"]:
            return {design.top: came[design.top]}
        left, top = design.left, design.top
        met = {left: came[left], top: held[top]}
        return {left: came[left], "p": came["p"] + self.product(met["a"], met["w"])}

    def product(self, a: Integers, w: Integers) -> Integers:
        """What the multipliers make of what they are given, (lanes, rows, cols)."""
        return self.design.product(a, w)

    def read(self, state: Mapping[str, Integers], value: Value) -> Integers:
        """A value as elements see it, copies voted; signed."""
        design = self.design
        width, voted = design.widths[value], design.voted(value)
        if not voted:
            return signed(state[value], width)
        x, y, z = (state[f"{value}_{copy}"] for copy in COPIES)
        top = (x & y) | (x & z) | (y & z)
        low = state[f"{value}_low"] if voted < width else np.int64(0)
        return signed((top << (width - voted)) | low, width)

    def _write(self, state: State, value: Value, given: Integers) -> None:
        width, voted = self.design.widths[value], self.design.voted(value)
        code, low = pattern(given, width), width - self.design.voted(value)
        if not voted:
            state[value] = code
            return
        if low:
            state[f"{value}_low"] = code & ((1 << low) - 1)
        for copy in COPIES:
            state[f"{value}_{copy}"] = code >> low  # of its own, since strikes write into it

    def outputs(self, state: Mapping[str, Integers]) -> Integers:
        """What the columns show, (lanes, cols)."""
        design, width = self.design, self.design.widths["p"]
        sums = self.read(state, "p")[:, -1]
        if not design.checks:
            return sums
        return checked(design, sums, *(signed(state[name][:, 0], width) for name in design.bounds))


def checked(design: ArrayDesign, sums: Integers, low: Integers, high: Integers,
            mean: Integers | int = 0) -> Integers:  # fmt: skip
    """Column outputs as an array that checks them shows them; all broadcast."""
    if design.protect in ("zero", "mean"):
        return np.where((sums < low) | (sums > high), mean, sums)
    return np.where(sums < low, low, np.where(sums > high, high, sums))


def pattern(value: Integers | np.int64, width: int) -> Integers:
    """The lowest bits in two's complement.

    >>> int(pattern(np.int64(-1), 4))
    15
    """
    return np.asarray(value & ((1 << width) - 1), dtype=np.int64)


def signed(code: Integers, width: int) -> Integers:
    """What a bit pattern stands for.

    >>> int(signed(np.int64(15), 4))
    -1
    """
    half = 1 << (width - 1)
    return (code ^ half) - half


def _shifted(held: Integers, entering: Integers, axis: int) -> Integers:
    """What neighbours hand on along an axis, and what enters at its edge."""
    found = np.empty_like(held)
    if axis == 2:
        found[:, :, 1:], found[:, :, 0] = held[:, :, :-1], entering
    else:
        found[:, 1:], found[:, 0] = held[:, :-1], entering
    return found
