"""The stuck bits of an array, gathered: of each element all that values meet on their way to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.arith.array import Array, Defect
from radhard.arith.multiplier import Integers, Multiplier
from radhard.arith.netlist import Netlist

#: Bits that are kept, and set, of each element: (2, rows, cols).
Masks = NDArray[np.int64]


class Stuck(NamedTuple):
    """What elements make of operands, products and sums.

    Attributes:
        weight, activation: all that these meet on their way, that of the element included.
        product, psum: of the element.
        drain: of sums that leave.
        own: of the element's own registers, of activations and of weights.
    """

    weight: Masks
    activation: Masks
    product: Masks
    psum: Masks
    drain: Masks
    own: tuple[Masks, Masks]


def stuck_bits(array: Array, multiplier: Multiplier) -> Stuck:
    """Those of an array.

    Raises:
        ValueError: for bits that registers or products do not have, or gates of multipliers that
            have none.
    """
    for one in array.defects:
        _check(one, multiplier)
    own = {site: _own(array, site) for site in ("weight", "activation", "product", "psum")}
    for place in array.bypassed:
        for site in ("product", "psum"):
            own[site][(slice(None), *place)] = (-1, 0)
    weight, activation = own["weight"], own["activation"]
    registers = activation, weight
    if array.dataflow == "is":
        weight, activation = _along(weight, 2), _along(activation, 1)
    else:
        weight, activation = _along(weight, 1), _along(activation, 2)
    drain = _below(own["psum"]) if array.dataflow == "os" else _identity(array)
    return Stuck(weight, activation, own["product"], own["psum"], drain, registers)


def circuits(array: Array, multiplier: Multiplier) -> tuple[list[Multiplier], Integers]:
    """All multipliers that elements have, and which has which; those passed by have one more."""
    which = np.zeros((array.rows, array.cols), np.int64)
    kinds = [multiplier]
    nets: dict[tuple[int, int], Netlist] = {}
    for one in array.defects:
        if one.site == "gate":
            place = (one.row, one.col)
            before = nets.get(place, multiplier)
            assert isinstance(before, Netlist)
            nets[place] = before.stuck_at(one.node, one.value)
    for place, net in nets.items():
        if net not in kinds:
            kinds.append(net)
        which[place] = kinds.index(net)
    for place in array.bypassed:
        which[place] = len(kinds)
    return kinds, which


def _identity(array: Array) -> Masks:
    masks = np.zeros((2, array.rows, array.cols), np.int64)
    masks[0] = -1
    return masks


def _own(array: Array, site: str) -> Masks:
    """Of the defects of a site, in the elements where they are; later ones win."""
    masks = _identity(array)
    for one in array.defects:
        if one.site == site:
            bit, place = np.int64(1) << one.bit, (one.row, one.col)
            masks[0][place] &= ~bit
            masks[1][place] = masks[1][place] & ~bit | bit * one.value
    return masks


def _along(own: Masks, axis: int) -> Masks:
    """What values meet that pass all elements on their way, their own included."""
    masks = np.moveaxis(own, axis, 1).copy()
    for k in range(1, masks.shape[1]):
        masks[:, k] = _then(masks[:, k - 1], masks[:, k])
    return np.moveaxis(masks, 1, axis)


def _below(own: Masks) -> Masks:
    """What sums meet that leave through all rows below."""
    masks = own.copy()
    masks[0, -1], masks[1, -1] = -1, 0
    for row in range(own.shape[1] - 2, -1, -1):
        masks[:, row] = _then(own[:, row + 1], masks[:, row + 1])
    return masks


def _then(first: Masks, second: Masks) -> Masks:
    """The masks that do what one does and then another."""
    return np.stack([first[0] & second[0], first[1] & second[0] | second[1]])


def _check(one: Defect, multiplier: Multiplier) -> None:
    bits = {"weight": 1, "activation": 1, "product": 2}.get(one.site, 0) * multiplier.width
    if bits and one.bit >= bits:
        raise ValueError(f"{one}: {multiplier.name} has {bits} bits there, from 0")
    if one.site == "gate" and not isinstance(multiplier, Netlist):
        raise ValueError(
            f"{one}: {multiplier.name} is no netlist: read one, as in "
            "multiplier_named('mine.v@signed')"
        )
