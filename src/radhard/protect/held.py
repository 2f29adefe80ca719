"""What the weights of a layer are on an array, and what its elements make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.arith.array import Defect
from radhard.arith.elements import elements
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.multiplied import Multiplied, Placing, Port, port_of
from radhard.network.stored import with_stored
from radhard.network.sums import per_group_of
from radhard.network.workload import Workload

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


class Held(NamedTuple):
    """What a rule is told of a layer.

    Attributes:
        codes: weights (k, n) as codes of the multiplier's port.
        element: of each weight, the number of its element in the array, (k, n).
        tile: of each weight, which of the tiles that its sums consist of it is in, (k, n).
        kind: of each weight, the kind of its element, (k, n).
        faulty: which kinds have stuck bits, (kinds,).
        products: gives those of a kind, ``[weight, operand]``.
        operands, weights: what codes stand for, (256,) each.
        shares: how often each operand occurs in this layer, (256,), adding up to 1.
        broken: elements that have stuck bits, (rows, cols).
        sums: stuck bits of the partial sums that elements pass on.
    """

    codes: Integers
    element: Integers
    tile: Integers
    kind: Integers
    faulty: NDArray[np.bool_]
    products: Callable[[int], NDArray[np.int32]]
    operands: Integers
    weights: Integers
    shares: Reals
    broken: NDArray[np.bool_]
    sums: tuple[Defect, ...]

    @property
    def centre(self) -> float:
        """The mean of operands."""
        return float(self.operands @ self.shares)

    @property
    def spread(self) -> float:
        """The variance of operands."""
        return float((self.operands - self.centre) ** 2 @ self.shares)


def held_by(
    workload: Workload, number: int, operand: Tensor, own: Multiplied | None = None
) -> Held:
    """What a layer's weights are, and on which elements; see `Held`.

    Raises:
        ValueError: where weights do not stay in elements.
    """
    layer, how, given = (
        workload.layers[number], workload.arithmetic[number], workload.parameters[number]
    )  # fmt: skip
    own = own or how.own  # type: ignore[assignment]
    assert isinstance(own, Multiplied)
    assert given is not None
    array = own.array
    if array.dataflow != "ws" and array.rows * array.cols > 1:
        raise ValueError(
            f"weights do not stay in the elements of {array.name}, so that none has faults of its "
            "own to be retuned for: use a weight-stationary array (ws)"
        )
    ports = port_of(own.multiplier, how.input), port_of(own.multiplier, how.weight)
    codes = ports[1].codes(layer.weight_rows(given.weight)).numpy().T.astype(np.int64)
    k, n = np.indices(codes.shape)
    n = n % per_group_of(layer)
    if own.placing is not None:
        k, n = np.array(own.placing.terms)[k], np.array(own.placing.channels)[n]
    element = np.asarray(k % array.rows * array.cols + n % array.cols, np.int64)
    tile = np.asarray(k // array.rows, np.int64)
    made = elements(array, own.multiplier)
    kinds = made.kinds[0]

    def products(kind: int) -> NDArray[np.int32]:
        return _less_zero_points(made.products(kind), ports)

    counted = np.bincount(ports[0].codes(operand).numpy().ravel(), minlength=256)
    sums, hurt = tuple(one for one in array.defects if one.site == "psum"), made.faulty[kinds]
    for one in sums:
        hurt[one.row, one.col] = True
    return Held(
        codes, element, tile, kinds.reshape(-1)[element], made.faulty, products, ports[0].integers,
        ports[1].integers, counted / counted.sum(), hurt, sums,
    )  # fmt: skip


def broken(own: Multiplied) -> NDArray[np.bool_]:
    """Which elements of an array give wrong products, (rows, cols)."""
    made = elements(own.array, own.multiplier)
    return made.faulty[made.kinds[0]]


def _less_zero_points(products: NDArray[np.int32], ports: tuple[Port, Port]) -> NDArray[np.int32]:
    """Products of codes as they count in sums, ``[weight, operand]``."""
    a, w = (np.arange(256, dtype=np.int32) for _ in ports)
    zero_a, zero_w = ports[0].zero, ports[1].zero
    surplus = zero_w * a[None] + zero_a * w[:, None] - zero_a * zero_w
    return products - surplus if zero_a or zero_w else products


def integers_of(codes: Integers, port: Port) -> Tensor:
    """What weights (k, n) stand for, (n, k)."""
    return torch.from_numpy(port.integers[codes].T.astype(np.float64))


def as_weight(layer: Layer, how: Arithmetic, like: Tensor, rows: Tensor) -> Tensor:
    """Integers (n, k) as a weight of the layer's own shape, in real values."""
    element = torch.arange(like.numel())
    channel, place = layer.weight_place(element)
    integers = rows[channel, place].view(like.shape)
    scale: Tensor = how.weight.scales(integers)  # type: ignore[attr-defined]
    return (integers * scale).to(like.dtype)


def applied(
    workload: Workload, number: int, new: tuple[Tensor, ...], off: Tensor | None
) -> tuple[Arithmetic, Parameters, Tensor]:
    """How a layer computes with what was learned; ``off`` is added to its sums, by channel."""
    how, given = workload.arithmetic[number], workload.parameters[number]
    layer = workload.layers[number]
    weight, passed, terms, columns = new
    assert given is not None
    assert isinstance(how.own, Multiplied)
    bypassed = tuple((int(p) // how.own.array.cols, int(p) % how.own.array.cols)
                     for p in torch.nonzero(passed)[:, 0])  # fmt: skip
    placing = Placing(tuple(terms.tolist()), tuple(columns.tolist()))
    plain = placing == Placing(tuple(range(len(terms))), tuple(range(len(columns))))
    array = replace(how.own.array, bypassed=bypassed)
    own = Multiplied(how.own.multiplier, array, None if plain else placing)
    how = replace(how, own=own)
    bias, change = given.bias, torch.zeros(layer.channels, dtype=torch.float64)
    if off is not None:
        change = torch.round(off)
        shape = [-1, *[1] * (weight.dim() - 2)]
        more = change.view(shape) * how.unit(given)
        bias = more if bias is None else bias + more
    held = how.integer_weight(weight)
    return how, Parameters(held, bias, given.scale), change


def with_learned(workload: Workload, learned: Mapping[int, tuple[Tensor, ...]]) -> Workload:
    """A network with what was learned of its layers, by number: as `applied`, and the bias."""
    weights, biases, datapaths = {}, {}, {}
    for number, (*new, off) in learned.items():
        own = workload.arithmetic[number].own if number < len(workload.layers) else None
        if (
            not isinstance(own, Multiplied)
            or workload.parameters[number] is None
            or (
                workload.weight(number).shape != new[0].shape
                or len(new[1]) != own.array.rows * own.array.cols
            )
        ):
            raise ValueError(
                f"what was learned of layer {number} is for another network or array than "
                f"{workload.name} in {workload.computing}: fit to this one"
            )
        how, given, _ = applied(workload, number, tuple(new), off)
        weights[number] = new[0]
        if given.bias is not None:
            biases[number] = given.bias
        if how.own is not None:
            datapaths[number] = how.own
    return with_stored(workload, weights, biases, datapaths) if weights else workload
