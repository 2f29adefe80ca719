"""What all samplers share: drawing with weights, and cutting weighted faults into cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import CELLS, Faults
from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace
from radhard.sampling.tally import Event, Tally
from radhard.stats.ball import Cells, contrast
from radhard.stats.estimate import Estimate

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Weights of a cell differ by this in log at most, where they follow from the stratum.
_LEVEL = 0.5
#: Average runs that a cell may weigh as much as and still be joined with others: it would lend them
#: its rate, or they theirs.
_HEAVY = 3


class Outlook(NamedTuple):
    """What is thought of n faults before they are run; estimates are right whatever it says.

    Attributes:
        chance: of another answer, (n,), in [0, 1].
        group: which of up to 4 kinds of faults may do differently at the same chance, (n,).
        proof: what is proved, which must be true: 1 where the answer stays, 2 where nothing
            changes, 0 elsewhere, (n,); nothing where ``None``.
    """

    chance: Reals
    group: NDArray[np.int64]
    proof: NDArray[np.uint8] | None = None


Score = Callable[[Faults], Outlook]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Which faults an estimate is about.

    Attributes:
        drawn: the population that the faults were drawn from.
        target: probability of each stratum in the population that is meant, (strata,).
        events: what is counted; they exclude each other.
        ruled_out: for each, the proof from which on it can't be, as in `Outlook`: 0 where it can't
            be at all, 3 where no proof says so, as where nothing is stated.
        least: runs that a cell has at least; others are joined with their neighbours.
    """

    drawn: SiteSpace
    target: Reals
    events: Sequence[Event]
    ruled_out: Sequence[int] = ()
    least: int = 3

    def never(self, proof: int) -> list[bool]:
        """Which of the events a proof rules out."""
        return [least <= proof for least in self.ruled_out or [3] * len(self.events)]

    @property
    def factor(self) -> Reals:
        """By which the weights of each stratum's faults are to be multiplied, (strata,)."""
        true = self.drawn.probability
        found: Reals = np.divide(self.target, true, out=np.zeros_like(true), where=true > 0)
        return found


@runtime_checkable
class Sampler(Protocol):
    """Two pure functions that belong together: which faults to try, and what they tell."""

    @property
    def name(self) -> str:
        """The name that tables and campaign files use."""
        ...

    @property
    def scored(self) -> bool:
        """Whether `draw` needs a score."""
        ...

    def draw(
        self,
        space: SiteSpace,
        n: int,
        rng: np.random.Generator,
        score: Score | None = None,
        start: int = 0,
    ) -> Faults:
        """``n`` faults of ``space`` after ``start`` others, numbered from 0, each with a weight."""
        ...

    def cells(self, asked: Asked, tally: Tally) -> Cells:
        """The faults in cells of like weight, whose share of the population is known."""
        ...


class Estimating:
    """What a sampler's cells say of one outcome."""

    __slots__ = ()

    def estimate(
        self: Sampler,
        space: SiteSpace,
        tally: Tally,
        metric: str,
        confidence: float = 0.95,
        anytime: bool = False,
    ) -> Estimate:
        """The probability of outcome ``metric`` in ``space``.

        ``anytime`` asks for an interval that stays valid when a look at it decides whether to
        go on.
        """
        asked = Asked(space, space.probability, [{metric: 1}])
        return contrast(self.cells(asked, tally), [1.0], confidence, anytime)


@dataclass(frozen=True, slots=True)
class Tilted(Estimating):
    """Strata drawn from a proposal of the subclass, sites and images uniformly within them.

    The weight of a fault is the probability of its stratum over that in the proposal. Strata of
    like weight are a cell, of which it is known how probable it is.
    """

    @property
    def scored(self) -> bool:
        """``False``."""
        return False

    def proposal(self, space: SiteSpace) -> Reals:
        """With which probability each stratum is drawn, (strata,); they sum to 1."""
        raise NotImplementedError

    def draw(
        self,
        space: SiteSpace,
        n: int,
        rng: np.random.Generator,
        score: Score | None = None,
        start: int = 0,
    ) -> Faults:
        """``n`` faults of ``space``.

        Raises:
            ValueError: for a proposal that is none.
        """
        return drawn(space, self._proposed(space), self.places(n, rng), rng)

    def _proposed(self, space: SiteSpace) -> Reals:
        proposal = np.asarray(self.proposal(space))
        _check_proposal(type(self).__name__, proposal, space)
        return proposal

    def places(self, n: int, rng: np.random.Generator) -> Reals:
        """Where in the proposal to draw, (n,) in [0, 1)."""
        return rng.random(n)

    def order(self, proposal: Reals, level: Integers, runs: int) -> Integers:
        """The cell of each stratum, (strata,), of those with weights of such a level."""
        return level

    def cells(self, asked: Asked, tally: Tally) -> Cells:
        """Strata of like weight."""
        proposal = self._proposed(asked.drawn)
        weight = np.divide(asked.target, proposal, out=np.zeros_like(proposal), where=proposal > 0)
        level = np.rint(np.log(weight.clip(1e-300)) / _LEVEL).astype(np.int64)
        cell = self.order(proposal, level, tally.total)
        members = np.flatnonzero(asked.target > 0)
        runs = cell[tally.groups.key // CELLS]
        rows = cut((cell[members], asked.target[members]), runs, tally, asked)
        return as_cells([rows], [asked.never(0)])


def _check_proposal(name: str, proposal: Reals, space: SiteSpace) -> None:
    """Whether strata are drawn with probabilities."""
    count = len(space.strata)
    if proposal.shape != (count,):
        raise ValueError(f"{name} proposes shape {proposal.shape}: one number per stratum, {count}")
    if not np.isfinite(proposal).all() or (proposal < 0).any():
        k = int(np.flatnonzero(~(proposal >= 0) | np.isinf(proposal))[0])
        raise ValueError(
            f"{name} proposes {proposal[k]} for stratum {k}: probabilities are numbers from 0 on"
        )
    if not np.isclose(proposal.sum(), 1.0, rtol=1e-6):
        raise ValueError(f"{name} proposes probabilities whose sum is {proposal.sum():.6g}: 1")


class Rows(NamedTuple):
    """Cells of a population.

    Attributes:
        cells: sums per cell, (k, 4 + 2 events), as `cut` says.
        gaps: probability of what lies between two cells, and which these are, (gaps, 3).
    """

    cells: Reals
    gaps: Reals


_NO_GAPS = np.zeros((0, 3))


def cut(
    population: tuple[Integers, Reals],
    cell: Integers,
    tally: Tally,
    asked: Asked,
    chosen: Flags | None = None,
) -> Rows:
    """Cells by number, neighbours joined until each has enough runs.

    Args:
        population: number and probability of what the population consists of, (m,) each.
        cell: number of each group of the tally, (g,).
        tally: the faults.
        asked: what is counted.
        chosen: which groups of the tally belong to this population, (g,); all where ``None``.

    Returns:
        Per cell: probability, runs, sums of their weights and of the squares; of those with each
        event how many, and the sum of weights.
    """
    sums, factor = tally.groups, asked.factor[tally.groups.key // CELLS]
    live = factor > 0 if chosen is None else chosen & (factor > 0)
    numbers, place = np.unique(np.concatenate([population[0], cell[live]]), return_inverse=True)
    first, later = place[: len(population[0])], place[len(population[0]) :]
    parts = [sums.n, *(sums.weights[k] * factor ** (k + 1) for k in (0, 1))]
    had = [sums.having(event) for event in asked.events]
    parts += [n for n, _ in had]
    parts += [factor * weights[0] for _, weights in had]
    size = len(numbers)
    columns = [np.bincount(first, population[1], size)]
    columns += [np.bincount(later, part[live], size) for part in parts]
    return _joined(np.stack(columns, 1).astype(np.float64), asked.least)


def as_cells(
    parts: Sequence[Rows], never: Sequence[Sequence[bool]], looked_at: float = np.inf
) -> Cells:
    """What `cut` made of one or more populations, in each of which some events are ruled out.

    Of the first, nothing is proved.
    """
    rows = np.concatenate(_guessed([part.cells for part in parts], never))
    start = np.cumsum([0, *(len(part.cells) for part in parts)])
    gaps = [part.gaps + np.array([0, k, k]) for part, k in zip(parts, start, strict=False)]
    mass, runs, weight, weight2 = rows[:, :4].T
    n = np.divide(weight**2, weight2, out=np.zeros_like(weight), where=weight2 > 0)
    events = (rows.shape[1] - 4) // 2
    hits = tuple(rows[:, 4 : 4 + events].sum(0).round().astype(int).tolist())
    shares = (rows[:, 4 + events :] / np.maximum(weight, 1e-300)[:, None]).clip(0, 1)
    excluded = [np.tile(one, (len(part.cells), 1)) for part, one in zip(parts, never, strict=True)]
    between = np.concatenate(gaps)
    total = max(float(mass.sum() + between[:, 0].sum()), 1e-300)
    between = between / [total, 1, 1]
    ran = round(float(runs.sum()))
    never_of = np.concatenate(excluded)
    return Cells(mass / total, n, shares, never_of, ran, hits, looked_at, between, never[0])


def _guessed(parts: Sequence[Reals], never: Sequence[Sequence[bool]]) -> list[Reals]:
    """Populations without runs with the shares of all others, of what is not ruled out in them.

    They have no runs still, so that intervals leave their shares open.
    """
    tried = np.sum([part.sum(0) for part in parts if part[:, 1].any()] or [parts[0].sum(0)], 0)
    events = (len(tried) - 4) // 2
    found = []
    for rows, ruled_out in zip(parts, never, strict=True):
        if not rows[:, 1].any() and tried[1]:
            can_be = ~np.array(ruled_out)
            own, had = rows.copy(), tried[4 + events :]
            own[:, 2] = max(float(tried[2] - had[~can_be].sum()), 1e-300)
            own[:, 3], own[:, 4 + events :] = np.inf, had * can_be
            found.append(own)
        else:
            found.append(rows)
    return found


def _joined(rows: Reals, least: int) -> Rows:
    """Neighbours put together until each has enough runs, which the second column counts.

    What cells without runs weigh lies between the nearest ones that have some, and may have the
    rate of either. Where it is more than `_HEAVY` runs weigh, it is a cell of no runs, whose
    estimate is that of its neighbours.
    """
    ran = rows[:, 1] > 0
    if not ran.any():
        return Rows(rows.sum(0, keepdims=True), _NO_GAPS)
    found = rows[ran]
    after = np.cumsum(ran)  # number of the next cell with runs; its own is one less
    gap = np.bincount(after, np.where(ran, 0.0, rows[:, 0]), len(found) + 1)
    heavy = _HEAVY * rows[:, 0].sum() / rows[:, 1].sum()
    free = [_between(found, int(k), gap[k]) for k in np.flatnonzero(gap > heavy)]
    group = _groups((found[:, 1] >= least) | (found[:, 0] > heavy), found[:, 1], least)
    joined = np.stack([np.bincount(group, column) for column in found.T], 1)
    light = np.flatnonzero((gap > 0) & (gap <= heavy))
    sides = (group[np.clip(light - side, 0, len(found) - 1)] for side in (1, 0))
    gaps = np.stack([gap[light], *sides], 1)
    return Rows(np.concatenate([joined, np.reshape(free, (-1, rows.shape[1]))]), gaps)


def _between(rows: Reals, k: int, mass: float) -> Reals:
    """A cell without runs before cell k, with the shares that both its neighbours have together."""
    found: Reals = rows[max(k - 1, 0) : k + 1].sum(0)
    found[0], found[1], found[3] = mass, 0.0, np.inf
    found[4 : 4 + (len(found) - 4) // 2] = 0.0
    return found


def _groups(whole: Flags, runs: Reals, least: int) -> Integers:
    """Numbers of groups of neighbours, each of as few as have enough runs or a whole cell, (k,)."""
    found, number, own = [], 0, 0.0
    for alone, some in zip(whole, runs, strict=True):
        found.append(number)
        own += some
        if alone or own >= least:
            number, own = number + 1, 0.0
    return np.minimum(found, max(number - 1, 0))  # what is left over joins the last one


def drawn(space: SiteSpace, proposal: Reals, places: Reals, rng: np.random.Generator) -> Faults:
    """Faults at places (n,) in [0, 1) of a proposal (strata,) that sums to 1, each weighted."""
    edges = np.cumsum(proposal)
    stratum = np.searchsorted(edges, places * edges[-1], side="right")
    stratum = np.minimum(stratum, len(edges) - 1)
    true = space.probability
    weight = np.divide(true, proposal, out=np.ones_like(proposal), where=proposal > 0)
    weight[np.isclose(weight, 1.0, rtol=1e-12)] = 1.0
    return within(space, stratum, weight[stratum], rng)


def within(
    space: SiteSpace, stratum: NDArray[np.int64], weight: Reals, rng: np.random.Generator
) -> Faults:
    """Faults of these strata: site, image and masks drawn."""
    n = len(stratum)
    index = rng.integers(0, space.sizes[stratum])
    image = rng.integers(0, space.images, n)
    bit, width = space.bits[:, stratum]
    keep, flip = space.model.masks(bit, width, rng)
    return Faults(np.arange(n), stratum, index, image, keep, flip, weight)
