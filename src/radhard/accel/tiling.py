"""A layer cut into the tiles of an array: which registers there are, when, and what they hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.arith.array import Stationary
from radhard.faults.model import Integers

Flags = NDArray[np.bool_]


class Place(NamedTuple):
    """Elements of an array at edges of tiles, n of each: where in the layer, and when.

    Attributes:
        group: of channels.
        up, across: of the tile, along rows and columns.
        edge: after which of the tile's edges.
        row, col: of the element.
    """

    group: Integers
    up: Integers
    across: Integers
    edge: Integers
    row: Integers
    col: Integers


class Held(NamedTuple):
    """What n struck registers hold, and who still reads it.

    Attributes:
        group: of channels.
        own: the position of an input, or the channel of a weight, in the group.
        readers: channels, or positions, half open runs (n, 2).
        term: of the products.
        there: whether they hold anything.
        beyond: whether a reader behind the last one would be among them.
    """

    group: Integers
    own: Integers
    readers: Integers
    term: Integers
    there: Flags
    beyond: Flags


class Shape(NamedTuple):
    """A layer as matrix products on an array.

    Attributes:
        positions, terms, channels: of each of its groups.
        groups: one after the other.
        rows, cols: of the array.
        up, across: tiles along rows and columns.
        edges: of a tile.
    """

    positions: int
    terms: int
    channels: int
    groups: int
    rows: int
    cols: int
    up: int
    across: int
    edges: int

    @property
    def cycles(self) -> int:
        """Of the layer."""
        return self.groups * self.up * self.across * self.edges


def tile_edges(dataflow: Stationary, rows: int, cols: int, free: int) -> int:
    """Clock edges of one tile of an array, along whose free axis so many values stream.

    Held operands are loaded in as many edges as there are rows; then the wave of ``free`` values
    passes, and one edge is spare. Output stationary: one edge clears, the wave passes, and sums
    move out over as many edges as there are rows but one.
    """
    wave = free + rows + cols - 2
    return 1 + wave + rows - 1 if dataflow == "os" else rows + wave + 1
