"""Stuck bits that a chip has for all its life: how many, where, and which chips there are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from radhard.arith.array import Array, Defect, Site
from radhard.arith.multiplier import Multiplier
from radhard.arith.netlist import Netlist

_HOW = (
    'as in "product sa1 bit=12 rate=0.01", "weight rate=0.001" (bits and values at random), '
    '"gate node=O[3] sa0 count=1", or "single" for one stuck bit per chip'
)
#: The sites that every array has, whatever its multiplier.
_REGISTERS: tuple[Site, ...] = ("weight", "activation", "product", "psum")


@dataclass(frozen=True, slots=True)
class Permanent:
    """What is wrong with the chips of a population, each of which is drawn by its number.

    Faulty processing elements are drawn without replacement; each has one stuck bit. The rate is
    that of faulty elements among all, as in Zhang et al. (VTS 2018): 0.012 % of 256 x 256 are
    eight. What is not said is drawn for each element.

    Attributes:
        site: what is stuck, or empty for any of weight, activation, product and psum, in which all
            bits are as likely.
        value: 0, 1, or ``None`` for either.
        bit: which, or ``None`` for any.
        rate: faulty elements of all; or
        count: their number.
        node: of gates, which net, or empty for any.

    Raises:
        ValueError: for another site or value, a rate outside 0 to 1, or a count below 1.

    >>> import radhard as rh
    >>> drawn = Permanent("product", 1, 12, rate=0.00012).drawn(rh.Array(256, 256), seed=0, chip=3)
    >>> len(drawn.defects), drawn.defects[0].bit
    (8, 12)
    """

    site: Site | str = ""
    value: int | None = None
    bit: int | None = None
    rate: float | None = None
    count: int = 1
    node: str = ""

    def __post_init__(self) -> None:
        if self.site and self.site not in get_args(Site):
            raise ValueError(
                f"permanent faults of {self.site!r} can't be: use {', '.join(get_args(Site))}"
            )
        if self.value not in (0, 1, None) or (self.bit is not None and self.bit < 0):
            raise ValueError(
                f"bit {self.bit} stuck at {self.value} can't be: bits count from 0, and are stuck "
                "at 0 or 1"
            )
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ValueError(
                f"a rate of {self.rate:g} can't be: use faulty elements of all, 0 to 1"
            )
        if self.count < 1:
            raise ValueError(f"{self.count} faulty elements can't be: use 1 or more")
        if self.node and self.site != "gate":
            raise ValueError(f"node {self.node} needs gates: {_HOW}")
        if self.bit is not None and self.site in ("", "gate"):
            raise ValueError(f"bit {self.bit} needs a site with bits: {_HOW}")

    @classmethod
    def parsed(cls, text: str) -> Permanent:
        """From words, such as ``product sa1 bit=12 rate=0.01``.

        Raises:
            ValueError: for words that mean nothing, with those that do.

        >>> Permanent.parsed("product sa0 bit=15 rate=0.01")
        Permanent(site='product', value=0, bit=15, rate=0.01, count=1, node='')
        """
        given: dict[str, Any] = {}
        kinds = {"bit": int, "rate": float, "count": int, "node": str}
        for word in text.split():
            name, equals, value = word.partition("=")
            try:
                if equals:
                    found = {name: kinds[name](value)}
                elif word in ("sa0", "sa1"):
                    found = {"value": int(word[2])}
                elif word == "single":
                    found = {"count": 1}
                elif word in get_args(Site):
                    found = {"site": word}
                else:
                    raise KeyError(word)
            except (KeyError, ValueError):
                raise ValueError(
                    f"permanent faults {text!r}: {word!r} means nothing here: write a site "
                    f"({', '.join(get_args(Site))}), sa0 or sa1, {', '.join(kinds)}=..., {_HOW}"
                ) from None
            if found.keys() & given.keys():
                raise ValueError(
                    f"permanent faults {text!r}: {word!r} says anew what another word has said"
                )
            given |= found
        if not given:
            raise ValueError(f"permanent faults {text!r} say nothing: {_HOW}")
        if "rate" in given and "count" in given:
            raise ValueError(f"permanent faults {text!r}: choose rate or count")
        return cls(**given)

    @property
    def name(self) -> str:
        """In words that `parsed` reads."""
        parts = [self.site] if self.site else []
        parts += [f"sa{self.value}"] if self.value is not None else []
        parts += [f"bit={self.bit}"] if self.bit is not None else []
        parts += [f"node={self.node}"] if self.node else []
        parts += [f"rate={self.rate:g}"] if self.rate is not None else [f"count={self.count}"]
        return " ".join(parts)

    def faulty(self, array: Array) -> int:
        """How many elements of an array are faulty.

        Raises:
            ValueError: for more than there are.
        """
        elements = array.rows * array.cols
        count = self.count if self.rate is None else round(self.rate * elements)
        if self.rate and not count:
            raise ValueError(
                f"a rate of {self.rate:g} is no element of {elements}: use count=1 for one"
            )
        if count > elements:
            raise ValueError(f"{count} faulty elements of {elements} can't be: use fewer")
        return count

    def drawn(
        self, array: Array, multiplier: Multiplier | None = None, seed: int = 0, chip: int = 0
    ) -> Array:
        """The array of a chip; it depends on these faults, the seed and the chip's number alone.

        Args:
            array: rows, columns and dataflow.
            multiplier: of its elements, which gates and widths are of; 8 x 8 bits where ``None``.
            seed: of all chips.
            chip: its number.

        Raises:
            ValueError: for more faulty elements than there are, bits that a site does not have, or
                gates of a multiplier that is no netlist.
        """
        kinds = list(self._kinds(array, multiplier))
        random = np.random.Generator(np.random.Philox(key=[seed, chip]))
        places = random.choice(array.rows * array.cols, self.faulty(array), replace=False)
        which = random.integers(len(kinds), size=len(places))
        found = []
        for place, kind in zip(np.sort(places).tolist(), which.tolist(), strict=True):
            row, col = divmod(place, array.cols)
            found.append(replace(kinds[kind], row=row, col=col))
        return replace(array, defects=tuple(found))

    def every(self, array: Array, multiplier: Multiplier | None = None) -> Iterator[Array]:
        """The arrays with one of these faults each: of all elements, sites, bits and values."""
        for place in range(array.rows * array.cols):
            row, col = divmod(place, array.cols)
            for kind in self._kinds(array, multiplier):
                yield replace(array, defects=(replace(kind, row=row, col=col),))

    def kinds(self, array: Array, multiplier: Multiplier | None = None) -> int:
        """How many different faults an element can have."""
        return sum(1 for _ in self._kinds(array, multiplier))

    def _kinds(self, array: Array, multiplier: Multiplier | None) -> Iterator[Defect]:
        """All faults of the first element."""
        width = multiplier.width if multiplier is not None else 8
        bits = {"weight": width, "activation": width, "product": 2 * width}
        bits["psum"] = array.psum_bits
        values = (0, 1) if self.value is None else (self.value,)
        if self.site == "gate":
            for node, value in itertools.product(self._nodes(multiplier), values):
                yield Defect(0, 0, "gate", value, node=node)
            return
        for site in _REGISTERS if not self.site else (self.site,):
            own = range(bits[site]) if self.bit is None else (self.bit,)
            if max(own) >= bits[site]:
                raise ValueError(f"{site} has no bit {self.bit}: it has {bits[site]}, from 0")
            for bit, value in itertools.product(own, values):
                yield Defect(0, 0, site, value, bit)  # type: ignore[arg-type]

    def _nodes(self, multiplier: Multiplier | None) -> tuple[str, ...]:
        if not isinstance(multiplier, Netlist):
            name = multiplier.name if multiplier is not None else "an exact multiplier"
            raise ValueError(
                f"gates of {name} can't be stuck: it is no netlist; use a .v file of gates"
            )
        return (self.node,) if self.node else multiplier.nodes
