"""What multiplies and adds in layers, where it is not exact products and sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from radhard.network.layer import Layer

if TYPE_CHECKING:
    from radhard.network.arithmetic import Arithmetic, Parameters
    from radhard.network.terms import Terms


@runtime_checkable
class Datapath(Protocol):
    """Arithmetic of your own: an approximate multiplier, or a faulty one, for the whole run.

    A frozen dataclass of plain fields, so that a campaign can be asked again from its data.
    `radhard.testing.check_arithmetic` tries one. Everything that runs a network runs on it, fault-
    free and faulty: touched outputs are computed anew from faulty operands, as whole runs do.
    """

    @property
    def name(self) -> str:
        """For tables, pages and names of folders."""
        ...

    @property
    def linear(self) -> bool:
        """Whether sums are those of exact products: differences of operands then tell theirs."""
        ...

    def sums(self, how: Arithmetic, terms: Terms, operand: Tensor, given: Parameters) -> Tensor:
        """The sums of a layer's products, with the bias.

        Asked for all outputs, for some positions, and for single outputs or parts of their sums;
        each result must depend on its own operands alone.

        Args:
            how: the formats; `Arithmetic.ordinary` gives exact sums, of operands that were changed,
                and `Arithmetic.bias` the bias among sums.
            terms: which products are added up: called, ``terms(x, w, bias)``, exact ones; in
                ``terms.summed(multiply, x, w, bias)`` those of a function.
            operand: as `Arithmetic.operand` gives it: integers, in float64, where formats are
                integers (less their zero point) or fixed point, else reals.
            given: weight and bias likewise.
        """
        ...


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
        if not (layer.has_windows or layer.kind in {"linear", "matmul"}):
            raise ValueError(
                f"layer {name} ({layer.kind}) can't have arithmetic of its own: that is for linear "
                "layers, products of matrices and two-dimensional convolutions; name the layers "
                f"that have it, as in arithmetic={{{next(iter(multiplying))!r}: ...}}"
            )
    return found
