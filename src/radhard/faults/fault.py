"""Drawn faults, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace

_TITLE = "# radhard faults: id component layer bit element image keep flip weight"


@dataclass(frozen=True, slots=True, eq=False)
class Faults:
    """n faults; all columns are (n,).

    Attributes:
        id: number of the fault within its campaign.
        stratum: number of the stratum in its space.
        index: which value of the stratum.
        image: during which input image.
        keep, flip: what happens to the code, ``new = (old & keep) ^ flip``.
        weight: probability of the fault over the probability with which it was drawn.
        cell: which of its cells the sampler drew it for; 0 where it has none.
    """

    id: Integers
    stratum: Integers
    index: Integers
    image: Integers
    keep: Integers
    flip: Integers
    weight: NDArray[np.float64]
    cell: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if len(self.cell) != len(self.id):
            object.__setattr__(self, "cell", np.zeros(len(self.id), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, part: slice | NDArray[np.bool_] | Integers) -> Faults:
        return Faults(*(getattr(self, column.name)[part] for column in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Faults]) -> Faults:
        """All faults of the parts, in their order."""
        names = [column.name for column in fields(cls)]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def to_text(self, space: SiteSpace) -> str:
        """One line per fault, readable and exact; `from_text` gives all back but the cells."""
        lines = [_TITLE]
        for k in range(len(self)):
            stratum = space.stratum(int(self.stratum[k]))
            mask = (1 << stratum.width) - 1
            lines.append(
                f"{self.id[k]} {stratum.component} {stratum.layer} {stratum.bit} {self.index[k]} "
                f"{self.image[k]} {int(self.keep[k]) & mask:#x} {int(self.flip[k]) & mask:#x} "
                f"{float(self.weight[k])!r}"
            )
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str, space: SiteSpace) -> Faults:
        """Faults as written by `to_text` or by hand; blank lines and ``#`` comments are skipped.

        Where several layers read one stored value, each of their names stands for it.

        Raises:
            ValueError: naming the first line that can't be read and why.
        """
        places = {
            (s.component, layer, s.bit): number
            for number, s in enumerate(space.strata)
            for layer in (s.layer, *s.also)
        }
        rows = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                rows.append(_parsed(line, number, places, space))
        columns = list(zip(*rows, strict=True)) or [()] * 7
        id_, stratum, index, image, keep, flip = (np.array(c, np.int64) for c in columns[:6])
        weight = np.array(columns[6], dtype=np.float64)
        return cls(id_, stratum, index, image, keep, flip, weight)


def _parsed(
    line: str, number: int, places: dict[tuple[str, str, int], int], space: SiteSpace
) -> tuple[int, int, int, int, int, int, float]:
    try:
        id_, component, layer, bit, element, image, keep, flip, weight = line.split()
        place = places.get((component, layer, int(bit)))
        if place is None:
            raise ValueError(f"no stratum {component} {layer} bit {bit}")
        stratum = space.stratum(place)
        for value, limit, what in (
            (int(element), stratum.size, "element"), (int(image), space.images, "image"),
        ):  # fmt: skip
            if not 0 <= value < limit:
                raise ValueError(f"{what} {value} is not in 0..{limit - 1}")
        held = _extended(int(keep, 0), stratum.width, ones=True)
        flips = _extended(int(flip, 0), stratum.width, ones=False)
        return int(id_), place, int(element), int(image), held, flips, float(weight)
    except ValueError as error:
        raise ValueError(f"line {number} of the fault list, {line!r}: {error}") from None


def _extended(pattern: int, width: int, ones: bool) -> int:
    """A pattern of ``width`` bits as int64, the bits above it all set or all clear."""
    if not 0 <= pattern < 1 << width:
        raise ValueError(f"mask {pattern:#x} does not fit {width} bits")
    above = (1 << 64) - (1 << width)
    full = pattern | above if ones else pattern
    return full - (1 << 64) if full >= 1 << 63 else full
