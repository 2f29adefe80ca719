"""Eyeriss, multiply-accumulate by multiply-accumulate, with its storage struck.

Each fault is a lane: all values are vectors over lanes, and storage is arrays that are flipped in
place when a lane's time has come. `in_order` is the loop nest of Li et al., SC'17; `row_stationary`
is a processing element with a register of inputs that slides. Both also say of each lane whether
anything read the struck cell afterwards. Weights may have one more channel for each group, behind
all others: a checker's, which reads what the loops read for it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from torch import nn

from oracles.held import Numbers

Integers = np.ndarray
Strike = dict[str, Integers]
LATCHES = ("weight-once", "input-once", "product", "window-sum")
SUMS = ("sum-before", "sum-after", "stored-sum")


@dataclass
class Shape:
    """A convolution; a linear layer is one of 1 x 1 whose planes are its vectors."""

    m: int
    c: int
    groups: int
    plane: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    linear: bool = False

    @classmethod
    def of(cls, layer: nn.Module, plane: tuple[int, int]) -> "Shape":
        """Of a module of PyTorch and the plane of its input."""
        if isinstance(layer, nn.Linear):
            return cls(layer.out_features, layer.in_features, 1, plane, linear=True)
        own = layer.in_channels // layer.groups
        moves = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        return cls(layer.out_channels, own, layer.groups, plane, *moves)

    @property
    def out(self) -> tuple[int, int]:
        """Rows and columns of outputs."""
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        sizes = zip(self.plane, self.padding, spans, self.stride, strict=True)
        e, f = ((size + 2 * pad - span) // stride + 1 for size, pad, span, stride in sizes)
        return e, f

    def group(self, m: int) -> int:
        """That of an output channel; channels behind the last one are one for each group."""
        return m // (self.m // self.groups) if m < self.m else m - self.m

    def place(self, axis: int, output: int, tap: int) -> int | None:
        """The row (or column) of inputs that a tap meets; ``None`` in the padding."""
        at = output * self.stride[axis] - self.padding[axis] + tap * self.dilation[axis]
        return at if 0 <= at < self.plane[axis] else None


class Events:
    """Which lanes are struck at a time."""

    def __init__(self, *when: Integers) -> None:
        lanes = defaultdict(list)
        for lane, key in enumerate(zip(*(part.tolist() for part in when), strict=True)):
            lanes[key].append(lane)
        self._lanes = {key: np.array(found) for key, found in lanes.items()}

    def at(self, *key: int) -> Integers:
        """Lanes."""
        return self._lanes.get(key, np.zeros(0, np.int64))


def in_order(
    s: Shape, how: Numbers, x: Integers, w: Integers, held: str, strike: Strike,
    windows: Integers | None = None,
) -> tuple[Integers, Integers]:  # fmt: skip
    """Sums (n, m, e, f) of inputs (n, c, y, x) and weights (m, c, r, s), and what was read."""
    n, (e, f), bit = len(x), s.out, strike["bit"]
    buffer, dirty = x.copy(), np.zeros(x.shape, bool)
    out, read = np.zeros((n, len(w), e, f), np.int64), np.zeros(n, bool)
    names = ("m", "c", "p", "r", "s") if held in LATCHES else ("m", "c", "p")
    events = Events(*(strike[name] for name in names))
    for m, c in product(range(len(w)), range(s.c)):
        source = s.group(m) * s.c + c
        for p in range(e * f):
            row, column = divmod(p, f)
            if p == 0 or (column == 0 and held == "weights-of-row"):
                kernel, worn = np.tile(w[m, c], (n, 1, 1)), np.zeros((n, *s.kernel), bool)
            lanes, acc = events.at(m, c, p), out[:, m, row, column]
            if held == "inputs-of-layer":
                cell = lanes, *(strike[name][lanes] for name in ("k", "y", "x"))
                buffer[cell], dirty[cell] = how.input.flipped(buffer[cell], bit[lanes]), True
            if held.startswith("weights-of"):
                cell = lanes, *(strike[name][lanes] for name in ("r", "s"))
                kernel[cell], worn[cell] = how.weight.flipped(kernel[cell], bit[lanes]), True
            if held == "sum-before":
                acc[lanes] = how.struck(acc[lanes], acc[lanes], bit[lanes])
                read[lanes] = True
            window = np.zeros(n, np.int64)
            for r, t in product(range(s.kernel[0]), range(s.kernel[1])):
                y, z = s.place(0, row, r), s.place(1, column, t)
                inside = y is not None and z is not None
                image = buffer[:, source, y, z].copy() if inside else np.zeros(n, np.int64)
                weight = kernel[:, r, t].copy()
                if m < s.m:
                    read |= worn[:, r, t] | (dirty[:, source, y, z] if inside else False)
                elif windows is not None:
                    windows[:, s.group(m), c, r, t] += image
                lanes = events.at(m, c, p, r, t)
                read[lanes] = True
                if held == "weight-once":
                    weight[lanes] = how.weight.flipped(weight[lanes], bit[lanes])
                if held == "input-once":
                    image[lanes] = how.input.flipped(image[lanes], bit[lanes])
                term = weight * image
                if held == "product":
                    term[lanes] = how.struck(term[lanes], term[lanes], bit[lanes])
                window += term
                if held == "window-sum":
                    part = window[lanes] + (acc[lanes] if s.linear else 0)
                    window[lanes] = how.struck(window[lanes], part, bit[lanes])
            acc += window
            if held in {"sum-after", "stored-sum"}:
                lanes = events.at(m, c, p)
                acc[lanes] = how.struck(acc[lanes], acc[lanes], bit[lanes])
                read[lanes] = True
    return out, read


def sliding(s: Shape, e: int, r: int) -> Iterator[tuple[int, list[int], list[int]]]:
    """What a register does for an output row and a kernel row: window, columns held, last used."""
    if s.place(0, e, r) is None:
        return
    windows = [{s.place(1, f, t) for t in range(s.kernel[1])} - {None} for f in range(s.out[1])]
    register: list[int] = []
    for f, reads in enumerate(windows):
        register += sorted(column for column in reads if column not in register)
        later = set().union(*windows[f + 1 :])
        gone = [column for column in register if column not in later]
        yield f, list(register), gone
        register = [column for column in register if column in later]


def row_stationary(
    s: Shape, how: Numbers, x: Integers, w: Integers, strike: Strike, resident: int,
    windows: Integers | None = None,
) -> tuple[Integers, Integers]:  # fmt: skip
    """The same, window by window in registers that ``resident`` output channels share."""
    n, own = len(x), s.m // s.groups
    out, read = np.zeros((n, len(w), *s.out), np.int64), np.zeros(n, bool)
    block = strike["m"] // own * own + strike["m"] % own // resident * resident
    events = Events(block, *(strike[name] for name in ("c", "e", "r", "f")))
    blocks = []
    for g in range(s.groups):
        members = [m for m in range(len(w)) if s.group(m) == g]
        blocks += [members[k : k + resident] for k in range(0, len(members), resident)]
    loops = product(blocks, range(s.c), range(s.out[0]), range(s.kernel[0]))
    for filters, c, e, r in loops:
        first, group = filters[0], s.group(filters[0])
        register: dict[int, Integers] = {}
        dirty: dict[int, Integers] = {}
        for f, held, gone in sliding(s, e, r):
            for column in set(held) - set(register):
                source = group * s.c + c
                register[column] = x[:, source, s.place(0, e, r), column].copy()
                dirty[column] = np.zeros(n, bool)
            for lane in events.at(first, c, e, r, f):
                column = int(strike["x"][lane])
                held_value = register[column][lane]
                register[column][lane] = how.input.flipped(held_value, strike["bit"][lane])
                dirty[column][lane] = True
            for t in range(s.kernel[1]):
                column = s.place(1, f, t)
                if column is not None:
                    read |= dirty[column] if first < s.m else False
                    for m in filters:
                        out[:, m, e, f] += w[m, c, r, t] * register[column]
                        if m >= s.m and windows is not None:
                            windows[:, group, c, r, t] += register[column]
            for column in gone:
                del register[column], dirty[column]
    return out, read


def sizes(s: Shape, held: str) -> list[tuple[str, int]]:
    """What numbers a component's sites, slowest first, and how many there are of each."""
    positions = s.out[0] * s.out[1]
    m, c, p = ("m", s.m), ("c", s.c), ("p", positions)
    taps = [("r", s.kernel[0]), ("s", s.kernel[1])]
    if held in LATCHES:
        return [m, p, c, *taps]
    if held in SUMS:
        return [m, p, c]
    if held == "inputs-of-layer":
        vectors, channels = [("y", s.plane[0]), ("x", s.plane[1])], ("k", s.c * s.groups)
        return [*([*vectors, channels] if s.linear else [channels, *vectors]), m, c, p]
    if held.startswith("weights-of"):
        return [m, c, *taps, p]
    return [m, c, ("cell", len(_cells(s)))]


def _cells(s: Shape) -> list[tuple[int, int, int, int]]:
    """All that registers of inputs hold: output row, kernel row, column, window."""
    rows = product(range(s.out[0]), range(s.kernel[0]))
    return [
        (e, r, column, f)
        for e, r in rows
        for column, f in sorted((x, f) for f, held, _ in sliding(s, e, r) for x in held)
    ]


def sites(s: Shape, held: str, index: Integers) -> Strike:
    """What numbers of sites mean."""
    names, counts = zip(*sizes(s, held), strict=True)
    found = dict(zip(names, np.unravel_index(index, counts), strict=True))
    if "cell" in found:
        cells = np.array(_cells(s))[found.pop("cell")]
        found |= dict(zip(("e", "r", "x", "f"), cells.T, strict=True))
    return found


def execute(
    s: Shape, how: Numbers, values: tuple[Integers, Integers, Integers], held: str, strike: Strike,
    resident: int,
) -> tuple[Integers, Integers]:  # fmt: skip
    """Outputs of n struck runs, and which of them read what was struck."""
    x, w, bias = values
    out, read = summed(s, how, (x, w), held, strike, resident)
    return how.result(out + bias[:, None, None]), read


def summed(
    s: Shape, how: Numbers, values: tuple[Integers, Integers], held: str, strike: Strike,
    resident: int, windows: Integers | None = None,
) -> tuple[Integers, Integers]:  # fmt: skip
    """Sums without bias of n struck runs, and which of them read what was struck.

    ``windows`` (n, groups, c, r, s) is added the inputs that checkers' channels read.
    """
    if held == "inputs-of-row":
        return row_stationary(s, how, *values, strike, resident, windows)
    return in_order(s, how, *values, held, strike, windows)
