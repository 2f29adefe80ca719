"""What multiplies and adds in layers, where it is not exact products and sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from radhard.network.arithmetic import Datapath
from radhard.network.layer import Layer

#: One for all layers, or by their names.
Datapaths = Datapath | Mapping[str, Datapath]


def by_layer(given: Datapaths, layers: tuple[Layer, ...]) -> dict[str, Datapath]:
    """What computes each layer that has any, by name.

    Given one, it computes all layers but look-ups in tables, which multiply nothing.

    Raises:
        TypeError: for what is none.
        ValueError: for names that no layer has, or layers that it can't compute.
    """
    multiplying = {layer.name: layer for layer in layers if layer.kind != "embedding"}
    found = dict(given) if isinstance(given, Mapping) else dict.fromkeys(multiplying, given)
    for name, datapath in found.items():
        if isinstance(datapath, type) or not isinstance(datapath, Datapath):
            raise TypeError(
                f"arithmetic {datapath!r} can't be: use an object with name, linear and sums, as "
                "help(radhard.Datapath) says"
            )
        if name not in multiplying:
            known = ", ".join(multiplying)
            raise ValueError(f"arithmetic for {name!r}: no layer of that name; there are {known}")
        layer = multiplying[name]
        if not _computes(layer):
            raise ValueError(
                f"layer {name} ({layer.kind}) can't have arithmetic of its own: that is for linear "
                "layers, products of matrices and convolutions of one or two dimensions; give it, "
                f"or a multiplier or array, by name to {_able(multiplying.values())}"
            )
    return found


def _able(layers: Iterable[Layer]) -> str:
    """The layers that can have it."""
    able = [layer.name for layer in layers if _computes(layer)]
    return ", ".join(able) if able else "none of its layers, which are all of other kinds"


def _computes(layer: Layer) -> bool:
    return layer.has_windows or layer.kind in {"linear", "matmul"}
