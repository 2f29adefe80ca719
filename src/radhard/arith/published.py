"""Circuits of EvoApproxLib by what they compute: all signed ones, and the exact unsigned one.

Mrazek et al., "EvoApprox8b: Library of Approximate Adders and Multipliers for Circuit Design and
Benchmarking of Approximation Methods", DATE 2017; https://github.com/ehw-fit/evoapproxlib. Names
were given anew between releases: a name means nothing without its release.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from radhard.arith.broken import BrokenArray, Exact
from radhard.arith.multiplier import Integers, Multiplier


@dataclass(frozen=True, slots=True)
class Circuit(Multiplier):
    """A multiplier that was published under a name, with what is known of its silicon.

    Attributes:
        of: the multiplier that gives the same products.
        name: in the release.
        release: of the library that gave it the name.
        power_mw, area_um2, delay_ns: as published; ``None`` where not.
    """

    of: Multiplier = field()  # field() alone: what is inherited is no default
    name: str = field()
    release: str = ""
    power_mw: float | None = None
    area_um2: float | None = None
    delay_ns: float | None = None

    @property
    def width(self) -> int:
        return self.of.width

    @property
    def signed(self) -> bool:
        return self.of.signed

    @property
    def terms(self) -> int | None:
        return self.of.terms

    def formula(self, a: Integers, b: Integers) -> Integers:
        return self.of.formula(a, b)


def _array(a: int = 0, b: int = 0, columns: int = 0) -> BrokenArray:
    return BrokenArray(8, True, a, b, columns)


#: Names in the releases v1 and v2022, the products, and mW, square micrometres and ns at 45 nm.
_SIGNED: tuple[tuple[str, str, Multiplier, float, float, float], ...] = (
    ("1KV8", "1KV6", Exact(8, True), 0.425, 729.8, 1.48),
    ("1KVA", "1KV8", _array(columns=2), 0.422, 711.0, 1.48),
    ("1KVB", "1KV9", _array(columns=3), 0.410, 685.2, 1.47),
    ("1KX2", "1KVA", _array(columns=4), 0.391, 641.1, 1.51),
    ("1KR8", "1KVM", _array(a=1), 0.369, 652.8, 1.37),
    ("1KR6", "1KVP", _array(a=1, columns=3), 0.363, 635.0, 1.37),
    ("1KRC", "1KVQ", _array(a=1, columns=4), 0.351, 599.8, 1.36),
    ("1L2H", "1L2J", _array(a=1, b=1), 0.301, 558.9, 1.36),
    ("1KVL", "1KX5", _array(a=2, columns=5), 0.289, 543.0, 1.33),
    ("1KTY", "1KXF", _array(a=3), 0.237, 482.4, 1.19),
    ("1L2D", "1L2L", _array(a=2, b=2), 0.200, 411.6, 1.14),
    ("1L1G", "1L2N", _array(a=3, b=3), 0.126, 284.9, 0.94),
    ("1KR3", "1L12", _array(a=6), 0.052, 172.2, 0.89),
)

#: All of them under both names; of the unsigned ones only the exact one has a closed form.
EVOAPPROX: tuple[Circuit, ...] = (
    *(Circuit(of, f"mul8s_{name}", "v1", *known) for name, _, of, *known in _SIGNED),
    *(Circuit(of, f"mul8s_{name}", "v2022", *known) for _, name, of, *known in _SIGNED),
    Circuit(Exact(8), "mul8u_1JFF", "v1", 0.391),
    Circuit(Exact(8), "mul8u_1JJQ", "v2022", 0.391),
)
