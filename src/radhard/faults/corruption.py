"""What software sees of a fault: wrong values, and the uses that they are wrong for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import Integers

#: A value of a layer that can be wrong.
Operand = Literal["weight", "input", "product", "psum", "output"]
OPERANDS: tuple[Operand, ...] = get_args(Operand)


@dataclass(frozen=True, slots=True, eq=False)
class Corruption:
    """n corruptions, one per fault; all columns are (n,) but for the boxes (n, 2).

    The **box of reads** says which results of the layer still read the wrong value: output
    channels ``channels[:, 0] <= m < channels[:, 1]`` at (flattened) output positions
    ``positions[:, 0] <= p < positions[:, 1]``, of those the ones from number ``first`` on when
    outputs are made channel by channel, position by position. What lies outside was computed
    before the strike, or reads another copy. A wrong output is wrong for all its later uses. A
    ``stored`` weight is wrong for all layers that read it, of which ``layer`` is the first.

    A wrong ``psum`` is the sum, begun at zero, of products ``terms[:, 0] <= k < terms[:, 1]`` of
    one output, in the order of input channel, kernel row, kernel column (without the bias); a
    wrong ``product`` is number ``terms[:, 0]``. Both are held in the accumulator's format and read
    once.

    Attributes:
        layer: number of the layer in the workload.
        operand: one of `OPERANDS`.
        element: place in the flattened operand (of one image, where it is an activation); for a
            ``psum`` or ``product`` that of the output it becomes; -1 for a zero of a convolution's
            padding, which the products ``terms[:, 0]`` of the box, at one position, read.
        image: during which input image.
        keep, flip: what happens to the code, ``new = (old & keep) ^ flip``.
        channels, positions, first: the box of reads, half open.
        terms: of a ``psum``, ``product`` or zero of padding, half open.
        stored: whether a wrong weight is that in memory, not the copy of one layer; all ``False``
            unless given.
        beyond: whether one more output channel, computed behind the last one of its group from the
            same memories, would read a wrong input too, at the positions of the box; unless given,
            where all channels read it. A checker that adds channels up is such a channel.
    """

    layer: Integers
    operand: NDArray[np.str_]
    element: Integers
    image: Integers
    keep: Integers
    flip: Integers
    channels: Integers
    positions: Integers
    first: Integers
    terms: Integers
    stored: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    beyond: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if len(self.stored) != len(self.layer):
            object.__setattr__(self, "stored", np.zeros(len(self.layer), np.bool_))
        if len(self.beyond) != len(self.layer):
            everyone = (self.operand == "input") & (self.channels[:, 1] >= _EVERYTHING)
            object.__setattr__(self, "beyond", everyone)

    def __len__(self) -> int:
        return len(self.layer)

    def __getitem__(self, part: slice | NDArray[np.bool_] | Integers) -> Corruption:
        return Corruption(*(getattr(self, column.name)[part] for column in fields(self)))


#: The end of a box that leaves nothing out.
_EVERYTHING = 2**62


def whole_box(n: int) -> Integers:
    """A box that leaves nothing out, (n, 2)."""
    return np.tile(np.array([0, _EVERYTHING], dtype=np.int64), (n, 1))


def check_corruption(name: str, found: Corruption, faults: int, layers: int) -> None:
    """Whether what a chip makes of faults can be: one corruption for each, of what there is.

    Raises:
        ValueError: naming the chip and the column.
    """
    for column in fields(found):
        length = len(getattr(found, column.name))
        if length != faults:
            raise ValueError(f"{name}: {length} values of {column.name} for {faults} faults")
    unknown = np.flatnonzero(~np.isin(found.operand, OPERANDS))
    if len(unknown):
        raise ValueError(
            f"{name} strikes operand {str(found.operand[unknown[0]])!r}: use one of "
            f"{', '.join(OPERANDS)}"
        )
    if faults and not 0 <= found.layer.min() <= found.layer.max() < layers:
        wrong = found.layer[(found.layer < 0) | (found.layer >= layers)][0]
        raise ValueError(f"{name} strikes layer {wrong} of {layers}: they are numbered from 0")
    if faults and found.element.min() < -1:
        raise ValueError(f"{name} strikes element {found.element.min()}: they count from 0")
