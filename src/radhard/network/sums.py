"""Which sums of a layer are asked of its arithmetic, whatever kind that is."""

from __future__ import annotations

from torch import Tensor

from radhard.network.arithmetic import Arithmetic
from radhard.network.layer import Layer, Product
from radhard.network.stepwise import Latched
from radhard.network.terms import All, Along, Each, Place, Some, taps_of


def whole(layer: Layer, how: Arithmetic) -> Product:
    """All sums of a layer, as its arithmetic takes them."""
    if how.each_step:
        return Latched.of(layer, how).product
    return All(layer) if how.gathers else layer.product


def along(layer: Layer, channel: Tensor) -> Along:
    """Those of one channel of each run; see `Along`."""
    padded = layer.geometry is not None and any(layer.geometry.padding)
    inside = taps_of(layer, channel.device)[:, 0] >= 0 if padded else None
    return Along(channel, inside, per_group_of(layer))


def some(layer: Layer, how: Arithmetic, position: Tensor) -> Product:
    """Those at some positions; see `Some`."""
    if how.each_step:
        return Latched.of(layer, how).windows
    inside = None
    if layer.geometry is not None and any(layer.geometry.padding):
        inside = (taps_of(layer, position.device)[:, :1] >= 0)[position]
    return Some(position, inside)


def each(layer: Layer, how: Arithmetic, place: Place, inside: Tensor | None) -> Product:
    """One output each; see `Each`."""
    if how.each_step:
        return Latched.of(layer, how).one_output
    place = place._replace(per_group=per_group_of(layer))
    return Each(place, inside if how.gathers else None)


def per_group_of(layer: Layer) -> int:
    """Output channels of a group."""
    return layer.channels // layer.bounds["groups"]
