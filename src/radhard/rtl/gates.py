"""The array after synthesis: its real flip-flops, and gates between them, 64 runs to a word."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radhard.rtl.cycle import Twin, signed
from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit
from radhard.rtl.flip import Flips
from radhard.rtl.lanes import clock, settle
from radhard.rtl.schedule import Integers, Operands, Schedule, schedule
from radhard.rtl.synthesis import run_yosys
from radhard.rtl.validate import Model
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson

_SCRIPT = """read_verilog -sv systolic.sv
synth -top systolic -flatten
dfflegalize -cell $_DFF_P_ x -cell $_DFFE_PP_ x
abc -g AND,OR,XOR,MUX
opt_clean
setattr -mod -unset keep_hierarchy *
flatten
clean
write_json gates.json
"""
#: Gates, by what Yosys calls them, and the pins that they read.
_KINDS: Mapping[str, tuple[int, str]] = {
    "$_AND_": (0, "AB"), "$_OR_": (1, "AB"), "$_XOR_": (2, "AB"), "$_NOT_": (3, "A"),
    "$_MUX_": (4, "ABS"),
}  # fmt: skip
_FLIP_FLOPS = ("$_DFF_P_", "$_DFFE_PP_")
#: Flips that are compared at once.
_AT_ONCE = 8192
_EVERY = np.uint64(2**64 - 1)

Words = NDArray[np.uint64]
#: A bit of a register of the emitted text: register, row, column and bit.
Bit = tuple[str, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """A netlist; nets are numbered, net 0 is 0 and net 1 is 1.

    Attributes:
        design: what was synthesised.
        nets: how many there are.
        gates: kind and nets of output and inputs of each, in an order in which they can be
            computed, (n, 5).
        flops: nets of Q, D and enable of each flip-flop, (n, 3).
        bits: what bits of the text's registers each flip-flop is; several where synthesis found
            that they always agree.
        ports: nets of each port, lowest bit first.
    """

    design: ArrayDesign
    nets: int
    gates: Integers
    flops: Integers
    bits: tuple[tuple[Bit, ...], ...]
    ports: Mapping[str, Integers]

    def run(self, operands: Operands, flop: Integers, cycle: Integers) -> Integers:
        """The results under one flip each, (n, tiles, M, N).

        Args:
            operands: of tiles, one after the other.
            flop: number of the flip-flop.
            cycle: right after which edge.
        """
        plan, runs = schedule(self.design, operands), len(flop)
        words = -(-runs // 64)
        values = np.zeros((self.nets, words), np.uint64)
        values[1] = _EVERY
        values[self.flops[:, 0]] = np.where(self._started(operands), _EVERY, np.uint64(0))[:, None]
        lane = np.arange(runs)
        order = np.argsort(cycle, kind="stable")
        ends = np.searchsorted(cycle[order], np.arange(plan.cycles + 1))
        found = np.zeros((runs, int(np.prod(plan.shape))), np.int64)
        for edge in range(plan.cycles):
            self._feed(values, plan, edge)
            settle(values, self.gates)
            clock(values, self.flops)
            for k in order[ends[edge] : ends[edge + 1]].tolist():
                bit = np.uint64(1) << np.uint64(lane[k] % 64)
                values[self.flops[flop[k], 0], lane[k] // 64] ^= bit
            shown = np.flatnonzero(plan.shows[edge] >= 0)
            if len(shown):
                settle(values, self.gates)
            for col in shown.tolist():
                found[:, plan.shows[edge, col]] = self._column(values, col, runs)
        return found.reshape(runs, *plan.shape)

    def _started(self, operands: Operands) -> NDArray[np.bool_]:
        """What flip-flops hold before the first edge, (n,)."""
        state = Twin(self.design, operands).start(1)
        first = [state[name][0, row, col] >> bit & 1 for (name, row, col, bit), *_ in self.bits]
        return np.array(first, np.bool_)

    def _feed(self, values: Words, plan: Schedule, edge: int) -> None:
        """What ports take before an edge."""
        design, controls = self.design, plan.controls[edge].tolist()
        for name, on in zip(design.controls, controls, strict=True):
            values[self.ports[name][0]] = _EVERY if on else 0
        lines = {"left": (plan.left, design.left), "top": (plan.top, design.top)}
        for name, (held, value) in lines.items():
            width = design.widths[value]
            bits = (held[edge][:, None] >> np.arange(width)) & 1
            given = np.where(bits.ravel(), _EVERY, np.uint64(0))
            values[self.ports[name]] = given[:, None]

    def _column(self, values: Words, col: int, runs: int) -> Integers:
        """What a column shows in each run."""
        width = self.design.widths["p"]
        nets = self.ports["y"][col * width : (col + 1) * width]
        lanes = np.unpackbits(values[nets].view(np.uint8), axis=1, bitorder="little")[:, :runs]
        code = (lanes.astype(np.int64) << np.arange(width)[:, None]).sum(0)
        return signed(code, width)


def gates_of(design: ArrayDesign, folder: Path) -> Gates:
    """Synthesise a design by Yosys to plain gates; texts and netlist are left in a folder.

    Raises:
        FileNotFoundError: where Yosys is missing.
        RuntimeError: where it fails, or leaves a flip-flop that no register of the text is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "systolic.sv").write_text(emit(design), encoding="utf-8")
    run_yosys(_SCRIPT, folder)
    told = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    return _read(design, told["modules"]["systolic"])


def _read(design: ArrayDesign, module: Mapping[str, Any]) -> Gates:
    number: dict[Any, int] = {"0": 0, "1": 1}

    def net(bit: Any) -> int:
        return number.setdefault("0" if bit == "x" else bit, len(number))

    cells = [one for one in module["cells"].values() if one["type"] != "$scopeinfo"]
    flops, gates = [], []
    for cell in cells:
        pins = {name: bits[0] for name, bits in cell["connections"].items()}
        if cell["type"] in _FLIP_FLOPS:
            flops.append((net(pins["Q"]), net(pins["D"]), net(pins.get("E", "1"))))
        else:
            kind, reads = _KINDS[cell["type"]]
            ends = [net(pins[pin]) for pin in reads]
            gates.append((kind, net(pins["Y"]), *ends, *[0] * (3 - len(ends))))
    ports = {
        name: np.array([net(bit) for bit in port["bits"]]) for name, port in module["ports"].items()
    }
    held = {q for q, _, _ in flops}
    known: dict[int, list[Bit]] = defaultdict(list)
    for name, bits in _registers(design, module["netnames"]):
        for bit, one in enumerate(bits):
            if net(one) in held:
                known[net(one)].append((*name, bit))
    apart = [some for some in known.values() if len({one[:3] for one in some}) > 1]
    if apart:
        raise RuntimeError(f"a flip-flop of {design.name} is bits of several registers: {apart[0]}")
    unknown = [q for q in held if q not in known]
    if unknown:
        raise RuntimeError(
            f"{len(unknown)} flip-flops of {design.name} are no register of its text"
        )
    nets = len(number)
    order = _ordered(np.array(gates, np.int64).reshape(-1, 5))
    bits_of = tuple(tuple(known[q]) for q, _, _ in flops)
    return Gates(design, nets, order, np.array(flops, np.int64), bits_of, ports)


def _registers(design: ArrayDesign, named: Mapping[str, Any]) -> Sequence[tuple[Any, Any]]:
    """Each element of each register: (register, row, column), and its nets."""
    found = []
    for one in design.registers:
        for row in range(one.rows):
            for col in range(one.cols):
                path = one.path.format(row=row, col=col)
                if path in named:
                    found.append(((one.name, row, col), named[path]["bits"]))
    return found


def _ordered(gates: Integers) -> Integers:
    """Gates in an order in which each reads what was computed before."""
    driver = {int(gate[1]): k for k, gate in enumerate(gates)}
    found, state = list[int](), np.zeros(len(gates), np.int8)
    for first in range(len(gates)):
        stack = [first]
        while stack:
            k = stack[-1]
            if state[k] == 2:
                stack.pop()
                continue
            waits = [driver[n] for n in gates[k, 2:].tolist() if n in driver]
            left = [n for n in waits if state[n] != 2]
            if left and state[k] == 1 and any(state[n] == 1 for n in left):
                raise RuntimeError("the netlist has a loop of gates")
            state[k] = 1
            if left:
                stack += left
            else:
                state[k] = 2
                found.append(k)
                stack.pop()
    return gates[np.array(found, np.int64)]


@dataclass(frozen=True, slots=True)
class NetlistAgreement:
    """How the fault model and the netlist compare.

    Attributes:
        faults: flips of flip-flops that were tried.
        disagreements: those that differ, as lines of the bits of the text that they are.
        register_bits: of the text.
        flip_flops: that synthesis leaves.
        merged: those that are several bits of the text.
        changing: share of their flips that change a result.
        changing_text: the same of all bits of the text's registers, by the fault model.
    """

    faults: int
    disagreements: tuple[str, ...]
    register_bits: int
    flip_flops: int
    merged: int
    changing: Estimate
    changing_text: Estimate

    @property
    def rate_over_text(self) -> Estimate:
        """Rate of flips that change a result, over that of the text's registers.

        Its ends divide the ends of the two shares (Bonferroni).
        """
        size = self.flip_flops / self.register_bits
        own, text = self.changing, self.changing_text
        ends = (
            size * _over(a, b)
            for a, b in (
                (own.value, text.value),
                (own.low, text.high),
                (own.high, text.low),
            )
        )
        value, low, high = ends
        return Estimate(value, low, high, 2 * own.confidence - 1, own.n, "ends of both", "ratio")


def _over(part: float, whole: float) -> float:
    return part / whole if whole else (0.0 if not part else float("inf"))


def netlist_agreement(
    gates: Gates, operands: Operands, count: int | None = None, seed: int = 0
) -> NetlistAgreement:
    """Compare what campaigns take flips to do with what those of real flip-flops do.

    A flip-flop that is several bits of a register flips all of them; copies that are voted do
    nothing; bits of the text that no flip-flop is are read by nothing.

    Args:
        gates: of the array.
        operands: of tiles, one after the other.
        count: of random flips; ``None`` for all of every flip-flop after every edge.
        seed: of those.
    """
    design, cycles = gates.design, schedule(gates.design, operands).cycles
    every, random = len(gates.flops) * cycles, np.random.default_rng(seed)
    drawn = np.arange(every) if count is None else random.integers(0, every, count)
    flop, cycle = np.divmod(drawn, cycles)
    model, wrong, changing = Model(design, operands), list[str](), 0
    names = [one.name for one in design.registers]
    for start in range(0, len(drawn), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        held = [gates.bits[k] for k in flop[part].tolist()]
        first = [some[0] for some in held]
        register = np.array([names.index(name) for name, *_ in first])
        row, col, bit = np.array([place for _, *place in first]).T
        masks = np.array([sum(1 << bit[3] for bit in some) for some in held])
        flips = Flips(register, row, col, bit, cycle[part])
        told, found = model.results(flips, masks), gates.run(operands, flop[part], cycle[part])
        apart = np.flatnonzero((told != found).reshape(len(found), -1).any(1))
        wrong += flips[apart].lines(design)
        changing += int((found != model.golden[None]).reshape(len(found), -1).any(1).sum())
    bits = design.state_bits * cycles
    flips = Flips.at(design, np.arange(bits) if count is None else random.integers(0, bits, count))
    of_text = sum(
        int((model.results(flips[k : k + _AT_ONCE]) != model.golden[None]).any((1, 2, 3)).sum())
        for k in range(0, len(flips), _AT_ONCE)
    )
    return NetlistAgreement(
        len(drawn), tuple(wrong), design.state_bits, len(gates.flops),
        sum(len(some) > 1 for some in gates.bits), wilson(changing, len(drawn)),
        wilson(of_text, len(flips)),
    )  # fmt: skip
