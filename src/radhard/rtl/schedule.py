"""What enters an array at each clock edge, and when each result leaves it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radhard.accel.matrices import sizes, streams
from radhard.accel.tiling import tile_edges
from radhard.rtl.design import ArrayDesign, Value

Integers = NDArray[np.int64]
_FACTORS: tuple[Value, Value] = ("a", "w")


@dataclass(frozen=True, slots=True, eq=False)
class Operands:
    """Matrices to multiply, one pair per tile, and the bounds that outputs are held to.

    Attributes:
        a: activations, (tiles, M, K).
        w: weights, (tiles, K, N).
        bounds: lowest and highest output of an array that checks, and for ``mean`` what others
            become; ``None`` bounds nothing.
    """

    a: Integers
    w: Integers
    bounds: tuple[int, ...] | None = None

    @classmethod
    def drawn(cls, design: ArrayDesign, tiles: int, free: int, seed: int) -> Operands:
        """Random ones of the array's widths; ``free`` is the size that the array leaves free."""
        random = np.random.default_rng(seed)
        m, k, n = sizes(design, free)
        halves = [1 << (design.widths[value] - 1) for value in _FACTORS]
        shapes = (tiles, m, k), (tiles, k, n)
        a, w = (
            random.integers(-half, half, shape) for half, shape in zip(halves, shapes, strict=True)
        )
        return cls(a, w)


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A run, edge by edge.

    Attributes:
        controls: (cycles, controls of the design), 0 or 1.
        left: what enters the rows, (cycles, rows).
        top: what enters the columns, (cycles, cols).
        shows: which result each column shows after the edge, as an index into the results in the
            order (tile, M, N); -1 for none; (cycles, cols).
        shape: of the results, (tiles, M, N).
    """

    controls: NDArray[np.bool_]
    left: Integers
    top: Integers
    shows: Integers
    shape: tuple[int, int, int]

    @property
    def cycles(self) -> int:
        """Edges of the run."""
        return len(self.left)


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """Tiles that run each on an array of its own, all by the same schedule.

    Attributes:
        plan: of one of them; what enters is that of the first.
        left, top: what enters the rows and columns of each, (tiles, cycles, lines).
    """

    plan: Schedule
    left: Integers
    top: Integers

    def lanes(self, part: slice) -> Schedule:
        """Some of them side by side: what enters has an axis of lanes, (cycles, lanes, lines)."""
        left, top = (held[part].swapaxes(0, 1) for held in (self.left, self.top))
        return replace(self.plan, left=left, top=top)


def apart(design: ArrayDesign, operands: Operands) -> Apart:
    """The schedule of tiles that don't follow each other.

    Raises:
        ValueError: for operands that don't fit.
    """
    whole = schedule(design, operands)
    tiles, m, n = whole.shape
    edges = whole.cycles // tiles
    left, top = (held.reshape(tiles, edges, -1) for held in (whole.left, whole.top))
    plan = Schedule(whole.controls[:edges], left[0], top[0], whole.shows[:edges], (1, m, n))
    return Apart(plan, left, top)


def bounds_of(design: ArrayDesign, operands: Operands) -> tuple[int, ...]:
    """What is set before the first tile, as `ArrayDesign.bounds` names it.

    Raises:
        ValueError: for more or fewer than there are.
    """
    half = 1 << (design.widths["p"] - 1)
    found = operands.bounds or (-half, half - 1, 0)[: len(design.bounds)]
    if design.checks and len(found) != len(design.bounds):
        raise ValueError(
            f"bounds {found} can't be: {design.protect} takes {', '.join(design.bounds)}"
        )
    return found if design.checks else ()


def tile_cycles(design: ArrayDesign, free: int) -> int:
    """Edges of one tile.

    >>> tile_cycles(ArrayDesign(8, 8), 64), tile_cycles(ArrayDesign(8, 8, dataflow="os"), 64)
    (87, 86)
    """
    behind = design.late + design.latency
    return tile_edges(design.dataflow, design.rows, design.cols, free) + behind


def schedule(design: ArrayDesign, operands: Operands) -> Schedule:
    """How operands are fed, tile after tile without overlap.

    Raises:
        ValueError: for operands that don't fit.
    """
    free = _checked(design, operands)
    tiles = len(operands.a)
    m, _, n = sizes(design, free)
    one = _output_stationary if design.dataflow == "os" else _held
    parts = [one(design, a, w) for a, w in zip(operands.a, operands.w, strict=True)]
    shows = [part[3] + np.where(part[3] < 0, 0, k * m * n) for k, part in enumerate(parts)]
    controls, left, top = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return Schedule(controls.astype(bool), left, top, np.concatenate(shows), (tiles, m, n))


def _checked(design: ArrayDesign, operands: Operands) -> int:
    """The size that the array leaves free."""
    a, w = operands.a, operands.w
    axis = {"ws": (a, 1), "os": (a, 2), "is": (w, 2)}[design.dataflow]
    free = axis[0].shape[axis[1]] if axis[0].ndim == 3 else 0
    m, k, n = sizes(design, free)
    if free < 1 or a.shape != (len(a), m, k) or w.shape != (len(a), k, n) or not len(a):
        raise ValueError(
            f"operands {a.shape} and {w.shape} don't fit {design.name}: give (tiles, M, K) and "
            f"(tiles, K, N) with {_fixed(design)}"
        )
    for value, given in zip(_FACTORS, (a, w), strict=True):
        _check_range(design, value, given)
    if operands.bounds and not design.checks:
        raise ValueError(
            f"{design.name} has no bounds: leave them out, or protect by clamp or zero"
        )
    return int(free)


def _fixed(design: ArrayDesign) -> str:
    names = {"ws": ("K", "N"), "os": ("M", "N"), "is": ("K", "M")}[design.dataflow]
    return f"{names[0]} = {design.rows} and {names[1]} = {design.cols}"


def _check_range(design: ArrayDesign, value: Value, given: Integers) -> None:
    width = design.widths[value]
    half = 1 << (width - 1)
    if given.min() < -half or given.max() >= half:
        raise ValueError(
            f"{value} runs from {given.min()} to {given.max()}: {width} bits hold {-half} to "
            f"{half - 1}"
        )


def _skewed(values: Integers, cycles: int, start: int) -> Integers:
    """A wave (steps, lines) in which each line starts an edge later than the one before."""
    steps, lines = values.shape
    found = np.zeros((cycles, lines), dtype=np.int64)
    for line in range(lines):
        found[start + line : start + line + steps, line] = values[:, line]
    return found


def _held(
    design: ArrayDesign, a: Integers, w: Integers
) -> tuple[Integers, Integers, Integers, Integers]:
    """Weight stationary: rows of weights first, the last one first, then the wave.

    Input stationary is the same of both transposed.
    """
    moving, held = streams(design.dataflow, a, w)
    rows, cols, free = design.rows, design.cols, len(moving)
    cycles = tile_cycles(design, free)
    load = np.arange(cycles) < rows
    top = np.zeros((cycles, cols), dtype=np.int64)
    top[:rows] = held[::-1]
    behind = design.late + design.latency
    step = np.arange(cycles)[:, None] - rows - (rows - 1) - np.arange(cols) - behind
    index = (
        np.arange(cols) * free + step if design.dataflow == "is" else step * cols + np.arange(cols)
    )
    shows = np.where((step >= 0) & (step < free), index, -1)
    return np.stack([~load, load], 1).astype(np.int64), _skewed(moving, cycles, rows), top, shows


def _output_stationary(
    design: ArrayDesign, a: Integers, w: Integers
) -> tuple[Integers, Integers, Integers, Integers]:
    """One edge clears, two waves meet, sums move down; the last row is read first."""
    rows, cols = design.rows, design.cols
    cycles = tile_cycles(design, len(w))
    wave = cycles - rows
    left, top = streams("os", a, w)
    edge = np.arange(cycles)
    controls = np.stack([edge >= 0, edge == 0, edge > wave], 1)
    shows = np.full((cycles, cols), -1)
    shows[wave:] = np.arange(rows)[::-1, None] * cols + np.arange(cols)
    return controls.astype(np.int64), _skewed(left, cycles, 1), _skewed(top, cycles, 1), shows
