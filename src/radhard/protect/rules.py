"""Rules for weights on faulty elements of an array: what they become, and what is passed by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from radhard.arith.weightmap import Mapped, variance_map, weight_map
from radhard.protect.held import Held, Integers, Reals


class Chosen(NamedTuple):
    """What a rule makes of a layer.

    Attributes:
        codes: weights (k, n).
        bypassed: numbers of elements.
    """

    codes: Integers
    bypassed: Integers


@runtime_checkable
class Rule(Protocol):
    """What becomes of weights on faulty elements; classes of your own inherit from this one."""

    @property
    def compensates(self) -> bool:
        """Whether what is left of the error is taken off the bias, on average."""
        ...

    @property
    def rivals(self) -> tuple[Rule, ...]:
        """Rules that are tried as well; the one that leaves the network the least loss is taken."""
        return ()

    def chosen(self, held: Held) -> Chosen:
        """Weights and bypassed elements of a layer."""
        ...


@dataclass(frozen=True, slots=True)
class Keep(Rule):
    """Weights stay what they are, for layers that are only placed.

    Attributes:
        compensated: whether mean errors are taken off the biases.
    """

    compensated: bool = True

    @property
    def compensates(self) -> bool:
        """As it says."""
        return self.compensated

    def chosen(self, held: Held) -> Chosen:
        """See `Rule`."""
        return Chosen(held.codes, np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class WeightMap(Rule):
    """Each weight on a faulty element becomes the one whose products are nearest there.

    Attributes:
        measured: whether operands count as often as the layer has them; else each once, as ALWANN.
        healthy: whether weights on healthy elements are mapped, too, for the multiplier's own
            errors.
    """

    measured: bool = True
    healthy: bool = False

    @property
    def compensates(self) -> bool:
        """No."""
        return False

    def chosen(self, held: Held) -> Chosen:
        """See `Rule`."""

        def mapped(kind: int) -> Mapped:
            shares = held.shares if self.measured else None
            return weight_map(held.products(kind), held.operands, held.weights, shares)

        return Chosen(_replaced(held, mapped, self.healthy), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Bypass(Rule):
    """Faulty elements are passed by: their weights count for nothing (FAP).

    So are those whose partial sums have stuck bits, which no weight of theirs can mend.
    """

    @property
    def compensates(self) -> bool:
        """No."""
        return False

    def chosen(self, held: Held) -> Chosen:
        """See `Rule`."""
        return Chosen(held.codes, np.flatnonzero(held.broken))


@dataclass(frozen=True, slots=True)
class Hybrid(Rule):
    """Element by element, the map or the bypass, whichever leaves less error in this layer.

    Errors are variances, as a constant one is taken off the bias: of products, whose weights are
    mapped to those of least variance, and of partial sums with stuck bits, which no map can mend.
    That looks at each element by itself, so the plain map and the plain bypass are tried for the
    whole network, too.

    Attributes:
        healthy: whether weights on healthy elements are mapped, too.
    """

    healthy: bool = False

    @property
    def compensates(self) -> bool:
        """Yes."""
        return True

    @property
    def rivals(self) -> tuple[Rule, ...]:
        """The map and the bypass."""
        return WeightMap(healthy=self.healthy), Bypass()

    def chosen(self, held: Held) -> Chosen:
        """See `Rule`."""
        maps: dict[int, Mapped] = {}

        def mapped(kind: int) -> Mapped:
            maps[kind] = variance_map(held.products(kind), held.operands, held.weights, held.shares)
            return maps[kind]

        codes = _replaced(held, mapped, self.healthy)
        after = np.zeros(held.codes.shape)
        for kind, found in maps.items():
            here = held.kind == kind
            after[here] = found.after[held.codes[here]]
        nothing = held.weights[held.codes].astype(np.float64) ** 2 * held.spread
        worse = np.ones(held.broken.size) * held.broken.ravel()  # elements without weights
        here = held.broken.ravel()[held.element]
        used = np.unique(held.element[here])
        gained = np.bincount(held.element[here], (after - nothing)[here], len(worse))
        worse[used] = (gained + of_stuck_sums(held))[used]
        return Chosen(codes, np.flatnonzero(worse > 0))


def of_stuck_sums(held: Held) -> Reals:
    """Variances that stuck bits of partial sums add to a layer's sums, by element.

    A stuck bit is wrong where the sum that passes has the other value there, which is as likely as
    for a normal sum of the same mean and variance.
    """
    from scipy.special import ndtr  # which takes long to import

    found, cols = np.zeros(held.broken.size), held.broken.shape[1]
    weights = held.weights[held.codes].astype(np.float64)
    row, col = held.element // cols, held.element % cols
    for one in held.sums:
        parts = weights * held.centre, weights**2 * held.spread
        above = (row <= one.row) & (col == one.col)
        moments = np.zeros((2, held.tile.max() + 1, weights.shape[1]))
        for total, part in zip(moments, parts, strict=True):
            np.add.at(total, (held.tile, np.arange(weights.shape[1])), np.where(above, part, 0.0))
        mean, deviation = moments[0] / 2**one.bit, np.sqrt(moments[1]) / 2**one.bit
        wide = np.clip(deviation, 1e-9, 2)  # beyond, both values are as likely
        ends = [ndtr((2 * np.arange(-8, 9)[:, None, None] + k - mean % 2) / wide) for k in (1, 2)]
        is_set = (ends[1] - ends[0]).sum(0)
        passes = (col == one.col).any(0)
        found[one.row * cols + one.col] += 4**one.bit * (is_set * (1 - is_set))[:, passes].sum()
    return found


def _replaced(held: Held, mapped: Callable[[int], Mapped], healthy: bool) -> Integers:
    """Weights by the maps of their elements' kinds."""
    codes = held.codes.copy()
    for kind in np.unique(held.kind).tolist():
        if held.faulty[kind] or healthy:
            here = held.kind == kind
            codes[here] = mapped(kind).to[held.codes[here]]
    return codes
