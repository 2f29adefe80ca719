"""What each fault of a campaign did, packed: what differences of campaigns are made from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.metrics.outcome import RULED_OUT
from radhard.protect.protection import Flags
from radhard.sampling.gradient import proof_of
from radhard.sampling.tally import Tally

Small = NDArray[np.unsignedinteger]
#: Columns that are arrays of numbers, and those that say which fault it was.
_COLUMNS = ("id", "stratum", "index", "image", "cell", "weight")
_PLACE = ("stratum", "index", "image", "weight")


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """n faults with their outcomes, a bit each; ``a + b`` holds the faults of both.

    Attributes:
        id, stratum, index, image, cell, weight: columns of `Faults`, (n,), in small types.
        packed: the outcomes, eight to a byte, (n, bytes).
        names: of the outcomes.

    >>> none = np.zeros(3, np.int64)
    >>> faults = Faults(np.arange(3), none, none, none, none, none, np.ones(3))
    >>> runs = Runs.of(faults, {"sdc1": np.array([True, False, True])})
    >>> len(runs + runs), runs.column("sdc1").tolist()
    (6, [True, False, True])
    """

    id: Small
    stratum: Small
    index: Small
    image: Small
    cell: Small
    weight: NDArray[np.float64]
    packed: NDArray[np.uint8]
    names: tuple[str, ...]

    @classmethod
    def of(cls, faults: Faults, columns: Mapping[str, Flags]) -> Runs:
        """Faults with their outcome columns, (n,) of bool each."""
        held = np.zeros((len(faults), len(columns)), bool)
        for number, hits in enumerate(columns.values()):
            held[:, number] = hits
        places: dict[str, Any] = {name: _small(getattr(faults, name)) for name in _COLUMNS}
        return cls(**places, packed=np.packbits(held, axis=1), names=tuple(columns))

    @classmethod
    def joined(cls, parts: Sequence[Runs]) -> Runs:
        """All faults of the parts, in their order.

        Raises:
            ValueError: for no parts, or parts with other outcomes.
        """
        if len({part.names for part in parts}) != 1:
            raise ValueError(
                f"{len(parts)} parts can't be joined: give at least one, all with the same outcomes"
            )
        return parts[0]._with(lambda name: np.concatenate([getattr(p, name) for p in parts]))

    def __add__(self, other: Runs) -> Runs:
        return Runs.joined([self, other])

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Runs:
        return self._with(lambda name: getattr(self, name)[chosen])

    def _with(self, made: Callable[[str], NDArray[Any]]) -> Runs:
        """With other columns, by name."""
        columns: dict[str, Any] = {name: made(name) for name in (*_COLUMNS, "packed")}
        return Runs(**columns, names=self.names)

    @property
    def faults(self) -> Faults:
        """The faults, for a `Tally`; their masks are not kept, and are those of no change."""
        columns = {name: getattr(self, name).astype(np.int64) for name in _COLUMNS[:-1]}
        none = np.zeros(len(self), np.int64)
        return Faults(keep=none - 1, flip=none, weight=self.weight, **columns)

    def column(self, name: str) -> Flags:
        """Which of the faults had an outcome, (n,).

        Raises:
            KeyError: for an outcome that was not counted.
        """
        if name not in self.names:
            raise KeyError(f"no outcome {name!r}: these faults have {self.names}")
        byte, bit = divmod(self.names.index(name), 8)
        found: Flags = (self.packed[:, byte] >> (7 - bit)) & 1 == 1
        return found


def common(one: Runs, other: Runs) -> tuple[Runs, Runs]:
    """The faults that both have, by their numbers, in one order.

    Raises:
        ValueError: where a number stands for different faults, or none is in both.
    """
    _, mine, theirs = np.intersect1d(one.id, other.id, return_indices=True)
    left, right = one[mine], other[theirs]
    alike = all(np.array_equal(getattr(left, name), getattr(right, name)) for name in _PLACE)
    if not len(left) or not alike:
        raise ValueError(
            f"not the same faults: of {len(one):,} and {len(other):,} faults, {len(left):,} "
            "numbers are in both, and what they struck must be equal: use the same seed"
        )
    return left, right


def paired(one: Runs, other: Runs, metric: str) -> tuple[Flags, Flags]:
    """Of the common faults, those that have an outcome in one alone, and in the other alone.

    Raises:
        ValueError: where they are not the same faults.
    """
    left, right = (part.column(metric) for part in common(one, other))
    return left & ~right, right & ~left


def _small(numbers: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers of 0 or more in as few bytes as hold them; others as they are."""
    if numbers.dtype.kind == "f":
        return numbers
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def tallied(
    faults: Faults, columns: Mapping[str, np.ndarray], space: SiteSpace, proofs: bool
) -> Tally:
    """Sums over faults; where one does what was proved to be impossible, no proof counts.

    Args:
        faults: that were run.
        columns: what they did, (n,) of bool each.
        space: their population.
        proofs: whether proofs hold at all in what was run.
    """
    proved, ids = proof_of(faults.cell), []
    seen = {**columns, "changed": ~columns["masked"]} if "masked" in columns else columns
    for name, least in RULED_OUT.items() if proofs else ():
        ids += faults.id[seen.get(name, False) & (proved >= least)].tolist()
    if ids:
        warnings.warn(
            f"{len(set(ids))} faults (such as number {ids[0]}) did what was proved impossible: "
            "proofs are left aside, so intervals are wider; please report this network",
            RuntimeWarning,
            stacklevel=2,
        )
    return Tally.of(faults, columns, len(space.strata), proofs and not ids)
