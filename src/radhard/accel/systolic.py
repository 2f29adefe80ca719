"""Systolic arrays with their control: data in closed form, control replayed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from radhard.accel.clocked import ClockedArray
from radhard.accel.component import FLIP_FLOP
from radhard.accel.dataflow import layer_with_windows
from radhard.accel.matrices import Matrices, Tile, elements_of, streams
from radhard.accel.sequencer import Numbers, Sequencer, Strikes
from radhard.accel.tiling import Flags, Place
from radhard.arith.array import Stationary
from radhard.faults.corruption import Corruption, whole_box
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import Known, SiteSpace, Stratum, each_bit
from radhard.network.layer import Layer
from radhard.network.workload import Workload

#: What strata of control are called, before the kind of register.
_CONTROL = "control-"


@dataclass(frozen=True, slots=True)
class Systolic:
    """An array of rows x cols processing elements and what sequences it, struck in any register.

    It is the array that `radhard rtl emit --control` writes: registers of data as `ClockedArray`
    has them, and those of a `Sequencer`. Nothing is assumed of faults in control. What they do to a
    tile depends on no operand; the tile is run anew, edge by edge, with the struck register wrong,
    and what that changes is added to the layer's sums (`radhard validate rtl --control`). An image
    is processed tile by tile; a tile begins with what the one before has left in the array, nothing
    at the start of a layer. Memories are not struck, and hold zeros beyond a tile. Integers are as
    in hardware, bit for bit; where formats round, a tile's sums are made in float64 and rounded
    with the layer's, and where each step saturates, tiles do so apart. A stratum's exposure is its
    rate in FIT.

    Attributes:
        rows, cols: processing elements.
        dataflow: what stays: sums (``os``), weights (``ws``) or inputs (``is``).
        rate_fit_per_mbit: raw rate of flip-flops in FIT per 2^20 bits.

    Raises:
        ValueError: as `ClockedArray` does.

    >>> Systolic(8, 8, "ws").name
    'systolic-8x8-ws'
    """

    rows: int = 32
    cols: int = 32
    dataflow: Stationary = "os"
    rate_fit_per_mbit: float = FLIP_FLOP

    def __post_init__(self) -> None:
        _ = self.array

    @property
    def array(self) -> ClockedArray:
        """Its registers of data."""
        return ClockedArray(self.rows, self.cols, self.dataflow, self.rate_fit_per_mbit)

    @property
    def name(self) -> str:
        """Such as ``systolic-16x16-ws``; ``systolic`` alone is 32 x 32, output stationary."""
        plain = (self.rows, self.cols, self.dataflow) == (32, 32, "os")
        return "systolic" if plain else f"systolic-{self.rows}x{self.cols}-{self.dataflow}"

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return f"{self.rows} x {self.cols} systolic array, control included ({self.dataflow})"

    def sequencer(self, workload: Workload, number: int) -> Sequencer:
        """What sequences a layer; counters hold what the longest layer needs."""
        free = [self._free(layer) for layer in workload.layers]
        bits = (max(free) + self.rows + self.cols).bit_length()
        return Sequencer(self.rows, self.cols, self.dataflow, free[number], bits)

    def cycles(self, workload: Workload) -> tuple[int, ...]:
        """Clock edges per layer and image."""
        found = []
        for number, layer in enumerate(workload.layers):
            shape = self.array.shape(layer)
            found.append(shape.cycles // shape.edges * self.sequencer(workload, number).edges)
        return tuple(found)

    def storage_bits(self, workload: Workload) -> dict[str, float]:
        """Bits of each kind of register, on average over time."""
        found, banks = self.array.storage_bits(workload), self.sequencer(workload, 0).banks
        return found | {_CONTROL + bank.name: float(bank.count * bank.width) for bank in banks}

    def sites(self, workload: Workload) -> SiteSpace:
        """Strata of register, layer and bit; what holds nothing that is used does nothing.

        Raises:
            ValueError: for a layer without windows, or arithmetic of which no single product is
                known.
        """
        space = self.array.sites(workload)
        for layer, how in zip(workload.layers, workload.arithmetic, strict=True):
            elements_of(layer, how)
        cycles = self.cycles(workload)
        longer = sum(self.array.cycles(workload)) / sum(cycles)
        strata = [replace(one, exposure=one.exposure * longer) for one in space.strata]
        for number, layer in enumerate(workload.layers):
            layer_with_windows(workload, number, self.name)
            share = cycles[number] / sum(cycles)
            for bank in self.sequencer(workload, number).banks:
                rate = self.rate_fit_per_mbit * bank.count / 2**20 * share
                lowest = Stratum(
                    _CONTROL + bank.name, layer.name, 0, bank.width, bank.count * cycles[number],
                    rate, round(bank.count * share), storage="control",
                )  # fmt: skip
                strata += each_bit(lowest)
        total = self.rate_fit_per_mbit * sum(self.storage_bits(workload).values()) / 2**20
        idle = total - sum(stratum.exposure for stratum in strata)
        known = (Known("idle", max(idle, 0.0), 1.0, idle=True),)
        return SiteSpace(tuple(strata), len(workload.images), rate_fit=total, known=known)

    def replayed(self, space: SiteSpace) -> Flags:
        """Which strata are of control, (strata,)."""
        return np.array([stratum.storage == "control" for stratum in space.strata])

    def corrupt(self, workload: Workload, space: SiteSpace, faults: Faults) -> Corruption:
        """The struck register is wrong from its edge on, until it is written again.

        Faults in control stand for all results of their tile, with the first one as the element.
        """
        own = self.replayed(space)
        struck = own[faults.stratum]
        n, data = len(faults), np.flatnonzero(~own)
        numbers = {layer.name: number for number, layer in enumerate(workload.layers)}
        layer = np.array([numbers[stratum.layer] for stratum in space.strata])[faults.stratum]
        element, operand = np.zeros(n, np.int64), np.full(n, "output", dtype="<U7")
        boxes, first = [whole_box(n) for _ in range(3)], np.zeros(n, np.int64)
        beyond = np.zeros(n, bool)
        for number in np.unique(layer[struck]).tolist():
            which = np.flatnonzero(struck & (layer == number))
            element[which] = self._first_result(workload, space, faults[which], number)
        rest = np.flatnonzero(~struck)
        if len(rest):
            place = np.cumsum(~own) - 1
            part = replace(faults[rest], stratum=place[faults.stratum[rest]])
            among = replace(space, strata=tuple(space.strata[k] for k in data.tolist()))
            found = self.array.corrupt(workload, among, part)
            element[rest], operand[rest], first[rest] = found.element, found.operand, found.first
            for box, given in zip(
                boxes, (found.channels, found.positions, found.terms), strict=True
            ):
                box[rest] = given
            beyond[rest] = found.beyond
        channels, positions, terms = boxes
        return Corruption(
            layer, operand, element, faults.image, faults.keep, faults.flip, channels, positions,
            first, terms, beyond=beyond,
        )  # fmt: skip

    def _first_result(
        self, workload: Workload, space: SiteSpace, faults: Faults, number: int
    ) -> Integers:
        layer = workload.layers[number]
        at, _ = self.struck(workload, space, faults, number)
        p, m = {
            "ws": (0 * at.up, at.across * self.cols), "is": (at.across * self.cols, 0 * at.up),
            "os": (at.up * self.rows, at.across * self.cols),
        }[self.dataflow]  # fmt: skip
        own = self.array.shape(layer).channels
        return layer.output_element(at.group * own + m, p)

    def struck(
        self, workload: Workload, space: SiteSpace, faults: Faults, number: int
    ) -> tuple[Place, Strikes]:
        """Where and when n faults of control strike in a layer: tiles, and the strikes in them."""
        plan, shape = self.sequencer(workload, number), self.array.shape(workload.layers[number])
        names = [_CONTROL + bank.name for bank in plan.banks]
        strata = [space.strata[k] for k in faults.stratum.tolist()]
        bank = np.array([names.index(one.component) for one in strata], np.int64)
        count = np.array([one.count for one in plan.banks])[bank]
        time, place = np.divmod(faults.index, count)
        tile, edge = np.divmod(time, plan.edges)
        group, up, across = np.unravel_index(tile, (shape.groups, shape.up, shape.across))
        at = Place(group, up, across, edge, np.zeros_like(place), place)
        return at, Strikes(bank, place, faults.keep, faults.flip, edge)

    def replay(
        self, plan: Sequencer, matrices: Matrices, at: Place, strikes: Strikes
    ) -> tuple[list[Tile], Numbers]:
        """Struck tiles, and what that adds to their results, (n, M, N).

        Args:
            plan: what sequences the layer.
            matrices: the layer of one image.
            at: the tiles.
            strikes: one of each.
        """
        places = [tuple(map(int, place)) for place in zip(*at[:3], strict=True)]
        tiles = [matrices.tile(self, *place) for place in places]
        given = [streams(self.dataflow, tile.a, tile.w) for tile in tiles]
        moving, held = (np.stack([one[k] for one in given]) for k in range(2))
        earlier = (matrices.before(self, *place) for place in places)
        before = np.stack([streams(self.dataflow, tile.a, tile.w)[1] for tile in earlier])
        elements = matrices.elements
        found = plan.replay(moving, held, before, strikes, elements).results
        if elements.exactly:
            clean = moving @ held if self.dataflow != "os" else moving.swapaxes(1, 2) @ held
        else:  # sums that round, in the same order
            clean = plan.replay(moving, held, before, strikes.harmless, elements).results
        wrong = np.where(found == clean, 0, found - clean)
        return tiles, wrong.swapaxes(1, 2) if self.dataflow == "is" else wrong

    def _free(self, layer: Layer) -> int:
        shape = self.array.shape(layer)
        return {"ws": shape.positions, "is": shape.channels, "os": shape.terms}[self.dataflow]
