"""Drawn faults, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace

#: Numbers of cells are below this.
CELLS = 4096

_TITLE = "# radhard faults: id component layer bit element image keep flip weight"


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """Candidates of which faults were chosen, block by block, summed up; columns are (m,).

    Attributes:
        first: place of the block's first fault among the faults.
        stratum, cell: as of `Faults`.
        count: candidates.
        size: candidates of each block.
    """

    first: Integers
    stratum: Integers
    cell: Integers
    count: Integers
    size: int

    @classmethod
    def nothing(cls) -> Offered:
        """No candidates."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none, none, 0)

    @property
    def looked_at(self) -> int:
        """Candidates of all blocks."""
        return len(np.unique(self.first)) * self.size

    def before(self, count: int) -> Offered:
        """Those of the blocks that begin among the first ``count`` faults."""
        own = self.first < count
        return Offered(
            self.first[own], self.stratum[own], self.cell[own], self.count[own], self.size
        )

    @classmethod
    def joined(cls, parts: Sequence[Offered], sizes: Sequence[int]) -> Offered:
        """Of parts with so many faults each."""
        start = np.cumsum([0, *sizes])[:-1]
        first = [part.first + at for part, at in zip(parts, start, strict=True)]
        stratum, cell, count = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("stratum", "cell", "count")
        )
        size = max(part.size for part in parts)
        return cls(np.concatenate(first), stratum, cell, count, size)


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
        cell: which of its cells the sampler drew it for, below `CELLS`; 0 where it has none.
        offered: the candidates that the faults were chosen from, where the sampler has some; a part
            that is not the first few has none.
    """

    id: Integers
    stratum: Integers
    index: Integers
    image: Integers
    keep: Integers
    flip: Integers
    weight: NDArray[np.float64]
    cell: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    offered: Offered | None = None

    def __post_init__(self) -> None:
        if len(self.cell) != len(self.id):
            object.__setattr__(self, "cell", np.zeros(len(self.id), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, part: slice | NDArray[np.bool_] | Integers) -> Faults:
        found = Faults.of({name: getattr(self, name)[part] for name in COLUMNS})
        leading = isinstance(part, slice) and part.indices(len(self))[::2] == (0, 1)
        if self.offered is None or not leading:
            return found
        return replace(found, offered=self.offered.before(len(found)))

    @classmethod
    def of(cls, columns: Mapping[str, Any], offered: Offered | None = None) -> Faults:
        """Of the columns called `COLUMNS`; others are left alone."""
        return cls(**{name: columns[name] for name in COLUMNS}, offered=offered)

    @classmethod
    def joined(cls, parts: Sequence[Faults]) -> Faults:
        """All faults of the parts, in their order."""
        found = cls.of(
            {name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS}
        )
        offered = [part.offered for part in parts if part.offered is not None]
        if len(offered) < len(parts):
            return found
        return replace(found, offered=Offered.joined(offered, [len(part) for part in parts]))

    def to_text(self, space: SiteSpace) -> str:
        """One line per fault, readable and exact; `from_text` gives all back but the cells."""
        lines = [_TITLE]
        for k in range(len(self)):
            stratum = space.stratum(int(self.stratum[k]))
            mask = (1 << stratum.width) - 1
            lines.append(
                f"{self.id[k]} {_word(stratum.component)} {_word(stratum.layer)} {stratum.bit} "
                f"{self.index[k]} "
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


#: Characters of a line that a message has, at most.
_SHOWN = 200
#: The columns of `Faults` that are stored.
COLUMNS = ("id", "stratum", "index", "image", "keep", "flip", "weight", "cell")


def _parsed(
    line: str, number: int, places: dict[tuple[str, str, int], int], space: SiteSpace
) -> tuple[int, int, int, int, int, int, float]:
    try:
        id_, component, layer, bit, element, image, keep, flip, weight = line.split()
        component, layer = unquote(component), unquote(layer)
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
        if not 0 <= int(id_) < 1 << 63:
            raise ValueError("the number of a fault is 0 or more, and takes up to 63 bits")
        if not 0 <= float(weight) < inf:
            raise ValueError(f"weight {weight} can't be: use a number of 0 or more, such as 1")
        return int(id_), place, int(element), int(image), held, flips, float(weight)
    except ValueError as error:
        said = repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
        raise ValueError(f"line {number} of the fault list, {said}: {error!s:.{_SHOWN}}") from None


def _word(name: str) -> str:
    """A name without blanks, which are written as in the addresses of pages."""
    return quote(name, safe="".join(chr(k) for k in range(33, 127) if chr(k) not in "%#"))


def _extended(pattern: int, width: int, ones: bool) -> int:
    """A pattern of ``width`` bits as int64, the bits above it all set or all clear."""
    if not 0 <= pattern < 1 << width:
        raise ValueError(f"mask {pattern:#x} does not fit {width} bits")
    above = (1 << 64) - (1 << width)
    full = pattern | above if ones else pattern
    return full - (1 << 64) if full >= 1 << 63 else full
