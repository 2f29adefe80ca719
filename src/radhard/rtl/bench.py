"""Flips in the compiled text of an array with its sequencer, and what campaigns take them to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from radhard.accel.edgewise import LEAD
from radhard.accel.matrices import streams, wrapped
from radhard.accel.sequencer import Sequencer, Strikes
from radhard.rtl.compiled import PUBLIC, Compiled, kept
from radhard.rtl.design import ArrayDesign, Register
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Integers, Operands
from radhard.rtl.sequenced import emit_bench, sequencer_of
from radhard.rtl.validate import Agreement, Compared, Model, Watch, agreement
from radhard.rtl.words import Words, packed

#: Where registers of a kind lie in the sequencer; those that are not here lie at their names.
_PATHS = {
    "valid": "line[{col}].on", "read": "reads[{col}].at", "fetch": "fetches[{col}].at",
    "write": "writes[{col}].at",
}  # fmt: skip
#: Tiles' time that one tile takes at most, whatever is struck.
_LONGEST = 3
#: Flips that are compared at once.
_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Sequenced:
    """An array with its sequencer.

    Attributes:
        design: the array.
        free: values that stream.
        bits: of counters.
    """

    design: ArrayDesign
    free: int
    bits: int

    @classmethod
    def of(cls, design: ArrayDesign, free: int) -> Sequenced:
        """With counters that are as wide as they need to be."""
        return cls(design, free, sequencer_of(design, free).bits)

    @property
    def name(self) -> str:
        """In one word."""
        return f"{self.design.name}-sequenced"

    @property
    def sequencer(self) -> Sequencer:
        """What sequences it."""
        return sequencer_of(self.design, self.free, self.bits)

    @property
    def registers(self) -> tuple[Register, ...]:
        """Those of the array, and of the sequencer."""
        inner = (replace(one, path=f"dut.array.{one.path}") for one in self.design.registers)
        own = (
            Register(bank.name, bank.name, 1, bank.count, bank.width,
                     f"dut.control.{_PATHS.get(bank.name, bank.name)}")
            for bank in self.sequencer.banks
        )  # fmt: skip
        return (*inner, *own)

    @property
    def state_bits(self) -> int:
        """Of all registers."""
        return sum(one.bits for one in self.registers)


class Bench(Compiled):
    """A sequenced array with its memories as a program.

    Args:
        array: what is compiled.
        folder: in which it is built.
        made: whether it has been built there already.
    """

    top = "systolic_bench"

    def __init__(self, array: Sequenced, folder: Path, made: bool = False) -> None:
        self.array = array
        super().__init__(array.design, folder, made)

    @classmethod
    def kept(cls, array: Sequenced) -> Bench:
        """One that is kept with the cache, where it was built before or is built now.

        Raises:
            FileNotFoundError, RuntimeError: as `Compiled` does.
        """
        text = emit_bench(array.design, array.free, array.bits)
        folder = kept(f"{array.name}-{array.free}", text, partial(cls, array))
        return cls(array, folder, made=True)

    def _text(self) -> str:
        return emit_bench(self.design, self.array.free, self.array.bits)

    def _reached(self) -> Iterator[str]:
        for one in self.array.registers:
            name = one.path.rpartition(".")[2]
            module = "sequencer" if one.path.startswith("dut.control") else "pe"
            module = "replica" if name == "q" else module
            yield PUBLIC.format(module=module, name=name, edge=" @(posedge clk)")

    def _members(self) -> Iterator[str]:
        for one in self.array.registers:
            yield from self._named(one, one.path)

    @property
    def _signals(self) -> dict[str, int]:
        design, widths = self.design, self.design.widths
        wide = {"left": design.rows * widths[design.left], "top": design.cols * widths[design.top]}
        return {"start": 1, "wipe": 1, "put": 1, "at": 32, **wide}

    def strike(self, operands: Operands, flips: Flips) -> Integers:
        """The results of the second of two tiles under a flip each, (n, M, N).

        Args:
            operands: of two tiles.
            flips: n of the registers of `Sequenced`, each right before that edge of the tile.
        """
        fed, first, read = self._script(operands)
        registers = self.array.registers
        start = np.cumsum([0] + [one.rows * one.cols for one in registers])
        cols = np.array([one.cols for one in registers])[flips.register]
        which = start[flips.register] + flips.row * cols + flips.col
        struck = np.stack([which, flips.bit, flips.cycle + first - 1], 1)
        golden, run, edge, words = self.apart(fed[None], struck, early=True)
        found = np.repeat(golden[None, read:], len(flips), 0)
        late = edge >= read
        found[run[late], edge[late] - read] = words[late]
        results = np.stack([self.column(found, np.int64(k)) for k in range(self.design.cols)], 2)
        if self.design.dataflow == "os":
            return results[:, ::-1]  # the last row comes first
        return results.swapaxes(1, 2) if self.design.dataflow == "is" else results

    def _script(self, operands: Operands) -> tuple[Words, int, int]:
        """Inputs at each edge, (edges, words), the second tile's first one, and the read-out's."""
        array, edges, parts = self.array, 0, []
        stays = array.design.dataflow == "os"
        deep = max(array.free, array.design.rows)
        for tile, lasting in enumerate((array.sequencer.edges + 2, 0)):
            moving, held = streams(array.design.dataflow, operands.a[tile], operands.w[tile])
            length = deep + 1 + (lasting or _LONGEST * array.sequencer.edges)
            part = self._idle(length)
            part["put"][:deep], part["at"][:deep, 0] = 1, np.arange(deep)
            part["start"][deep], part["wipe"][deep] = 1, 1
            part["left"][: len(moving)] = moving
            part["top"][: len(held)] = held if stays else held[::-1]
            first, edges = edges + deep + 1, edges + length
            parts.append(part)
        tall = array.design.rows if stays else array.free
        parts.append(self._idle(tall))
        parts[-1]["at"][:, 0] = np.arange(tall)
        whole = {name: np.concatenate([part[name] for part in parts]) for name in self._signals}
        words = [packed(one, self._signals[name] // one.shape[1]) for name, one in whole.items()]
        return np.concatenate(words, 1), first, edges

    def _idle(self, edges: int) -> dict[str, Integers]:
        """Inputs that do nothing, (edges, values)."""
        lines = {"left": self.design.rows, "top": self.design.cols}
        return {name: np.zeros((edges, lines.get(name, 1)), np.int64) for name in self._signals}


#: What runs flips of a sequenced array in hardware: the results (n, M, N) of the second tile.
Hardware = Callable[[Operands, Flips], Integers]


def believed(array: Sequenced, operands: Operands, flips: Flips) -> Integers:
    """What campaigns take flips to do to the second of two tiles, (n, M, N).

    Flips of the array's own registers by closed form, those of its sequencer by replay.
    """
    data, design = len(array.design.registers), array.design
    model = Model(design, Operands(operands.a[1:2], operands.w[1:2]))
    found = np.repeat(model.golden, len(flips), 0)
    early = flips.cycle - LEAD
    own = np.flatnonzero((flips.register < data) & (early >= 0) & (early < model.edges))
    if len(own):
        found[own] = model.results(replace(flips[own], cycle=early[own]))[:, 0]
    control = np.flatnonzero(flips.register >= data)
    if len(control):
        part = flips[control]
        moving, held, before = (
            np.broadcast_to(one, (len(part), *one.shape))
            for one in (
                *streams(design.dataflow, operands.a[1], operands.w[1]),
                streams(design.dataflow, operands.a[0], operands.w[0])[1],
            )
        )
        strikes = Strikes.flips(part.register - data, part.col, part.bit, part.cycle)
        ran = array.sequencer.replay(moving, held, before, strikes)
        results = wrapped(ran.results, design.widths["p"])
        found[control] = results.swapaxes(1, 2) if design.dataflow == "is" else results
    return found


def sequenced_agreement(
    array: Sequenced,
    operands: Operands,
    flips: Flips,
    hardware: Hardware,
    watch: Watch = lambda done, total: None,
    workers: int = 1,
) -> Agreement:
    """Compare what campaigns on `radhard.chips.SYSTOLIC` take flips to do with hardware.

    Args:
        array: with its sequencer.
        operands: of tiles, of which the second is struck.
        flips: of any registers, each right before an edge of that tile.
        hardware: what runs them, such as `Bench.strike`.
        watch: told how many of how many are done.
        workers: processes that share the flips; for several, ``hardware`` can be pickled.
    """
    maker = partial(_runner, array, operands, flips, hardware)
    return agreement(array.name, array.registers, flips, maker, _BATCH, watch, workers)


def _runner(
    array: Sequenced, operands: Operands, flips: Flips, hardware: Hardware
) -> Callable[[int, int], Compared]:
    golden = wrapped(operands.a[1] @ operands.w[1], array.design.widths["p"])

    def run(first: int, last: int) -> Compared:
        part = flips[first:last]
        told, found = believed(array, operands, part), hardware(operands, part)
        lines = part[np.flatnonzero((told != found).any((1, 2)))].lines(array)
        return list(lines), int((found != golden).any((1, 2)).sum())

    return run
