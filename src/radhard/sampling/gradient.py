"""Sampling faults by what they should do to the decision, with intervals that don't believe it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.faults.fault import CELLS, Faults, Offered
from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace
from radhard.sampling.proposals import evenly
from radhard.sampling.sampler import (
    Asked,
    Estimating,
    Outlook,
    Score,
    as_cells,
    cut,
    drawn,
)
from radhard.sampling.tally import Tally
from radhard.stats.ball import Cells

Reals = NDArray[np.float64]
#: Candidates per fault, at most.
_MOST = 10_000
#: Faults that are chosen together, from the same candidates.
BLOCK = 100
#: Candidates that are scored together, about.
_TOGETHER = 200_000
#: Share of the runs that follows the true probabilities in the first faults, how many these are,
#: and by which power of the number of faults it falls from there.
_DEFENCE, _EARLY, _FALL = 0.8, 200, 0.25
#: Share of the runs that tries faults of which something is proved.
_AUDIT = 0.1
#: Steps of this, modulo 1, are spread evenly, however many.
_GOLDEN = (5**0.5 - 1) / 2
#: Chances are below one by this at least, and levels of cells are as far apart in log odds.
_SURE, _LEVEL = 0.01, 1.0
#: Groups that are told apart, levels in each, and the one of even odds.
_GROUPS, _LEVELS, _EVEN = 4, 32, 24
#: Proofs that are told apart, none among them.
_PROOFS = 3


@dataclass(frozen=True, slots=True)
class GradientImportance(Estimating):
    """Two phases: many candidates are looked at; of these, run the telling ones.

    The score says with which chance P each candidate changes the answer, and what is proved of it.
    Of the candidates, drawn with their true probability, those are run in proportion to
    ``e + (1 - e) sqrt(P (1 - P)) / mean``: a share e follows the true probabilities, so that no
    weight exceeds 1/e, whatever the score (Hesterberg, Technometrics 1995). It is 0.8 for the first
    200 faults and falls with the fourth root of their number from there: that balances what may
    hide among faults that are taken for harmless with what is known of the others. Candidates of
    which something is proved get a tenth of the runs, to try the proofs.

    Candidates of like P, group and proof are a cell, whose share of all candidates is known. The
    interval is that of `radhard.stats.ball`: an outcome that a cell has not shown may yet be there
    as often as the cell's own runs allow, whatever its score, unless it is proved to be impossible.
    A wrong score thus costs precision, and nothing else.

    Attributes:
        candidates: per fault that is run.
        least: chance that each fault is taken to have at least, whatever its score.
        proofs: whether what is proved of candidates is used.

    Raises:
        ValueError: for fewer than 2 candidates or more than 10,000, or unless 0 < least < 0.5.
    """

    candidates: int = 100
    least: float = 1e-5
    proofs: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.candidates <= _MOST or not 0 < self.least < 0.5:
            raise ValueError(
                f"{self} can't be: use 2 or more candidates, at most {_MOST:,}, and 0 < least < 0.5"
            )

    @property
    def name(self) -> str:
        """``gradient-importance``."""
        return "gradient-importance"

    @property
    def scored(self) -> bool:
        """``True``."""
        return True

    def draw(
        self,
        space: SiteSpace,
        n: int,
        rng: np.random.Generator,
        score: Score | None = None,
        start: int = 0,
    ) -> Faults:
        """``n`` faults of ``space``; the first few do not depend on how many follow.

        Raises:
            ValueError: without a score.
        """
        if score is None:
            raise ValueError(
                "gradient importance needs the score of each fault: run it in a Campaign, or give "
                "draw(..., score=...)"
            )
        size, blocks = BLOCK * self.candidates, []
        together = max(1, _TOGETHER // size) * BLOCK
        for first in range(0, max(n, 1), together):
            some = range(first, min(first + together, max(n, 1)), BLOCK)
            offers = [_Offer.of(space, size, rng) for _ in some]
            outlook = score(Faults.joined([offer.faults for offer in offers]))
            cell, doubt = self._cell(outlook)
            for k, (done, offer) in enumerate(zip(some, offers, strict=True)):
                own = slice(k * size, (k + 1) * size)
                share = _shares(
                    cell[own] // (_GROUPS * _LEVELS), doubt[own], defence(start + done + BLOCK)
                )
                blocks.append(offer.taken(cell[own], share))
        return replace(Faults.joined(blocks)[:n], id=np.arange(n))

    def _cell(self, outlook: Outlook) -> tuple[Integers, Reals]:
        """The cells of candidates, (n,), and the standard deviation that their outcomes may have.

        Weights do not differ within a cell.
        """
        chance = outlook.chance.clip(self.least, 1 - _SURE)
        level = np.rint(np.log(chance / (1 - chance)) / _LEVEL).astype(np.int64) + _EVEN
        level = level.clip(0, _LEVELS - 1)
        said = 1 / (1 + np.exp(_LEVEL * (_EVEN - level)))
        alike = level * _GROUPS + outlook.group % _GROUPS
        if self.proofs and outlook.proof is not None:
            alike = alike + outlook.proof.astype(np.int64) * (_GROUPS * _LEVELS)
        return alike, np.sqrt(said * (1 - said))

    def cells(self, asked: Asked, tally: Tally) -> Cells:
        """Candidates of like score and proof."""
        key, mass = tally.offered
        mass = mass / max(float(mass.sum()), 1e-300)
        factor, own = asked.factor[key // CELLS], tally.groups.key % CELLS
        kept, parts, never = factor > 0, [], []
        place = _place(key, asked)[kept]
        runs = _place(tally.groups.key, asked)
        for proof in range(_PROOFS):
            ours = proof_of(key[kept]) == proof
            tried = own // (_GROUPS * _LEVELS) == proof
            if not ours.any() and proof:
                continue
            population = place[ours], (mass * factor)[kept][ours]
            parts.append(cut(population, runs, tally, asked, tried))
            never.append(asked.never(proof if tally.proofs else 0))
        return as_cells(parts, never, max(tally.looked_at * _telling(asked, tally), 1.0))


class _Offer(NamedTuple):
    """Candidates of a block, and the chances by which some of them are taken.

    Attributes:
        faults: the candidates.
        mixed: (candidates,) their numbers in random order.
        turn: from 0 to 1.
        within: (BLOCK,) from 0 to 1.
    """

    faults: Faults
    mixed: Integers
    turn: float
    within: Reals

    @classmethod
    def of(cls, space: SiteSpace, size: int, rng: np.random.Generator) -> _Offer:
        """So many candidates, drawn by their true probability."""
        faults = drawn(space, space.probability, evenly(size, rng), rng)
        return cls(faults, rng.permutation(size), rng.random(), rng.random(BLOCK))

    def taken(self, cell: Integers, share: Reals) -> Faults:
        """Those that are run, given the cells of candidates, and how often each is run, (n,)."""
        order = self.mixed[np.argsort(cell[self.mixed].astype(np.uint16), kind="stable")]
        edges = np.cumsum(share[order])
        # one place in each of equal parts, of which any first few are spread about evenly
        part = np.argsort(np.argsort((self.turn + np.arange(BLOCK) * _GOLDEN) % 1))
        places = (part + self.within) / BLOCK * edges[-1]
        taken = order[np.minimum(np.searchsorted(edges, places, side="right"), len(edges) - 1)]
        weight = share.mean() / share[taken]
        offered = _summed(self.faults.stratum, cell)
        return replace(self.faults[taken], weight=weight, cell=cell[taken], offered=offered)


def defence(n: int) -> float:
    """Share of the runs that follows the true probabilities, around the n-th fault."""
    return float(_DEFENCE * min(1.0, _EARLY / n) ** _FALL)


def _shares(proof: Integers, doubt: Reals, defence: float) -> Reals:
    """How often candidates are run, (n,); 1 on average."""
    proved = proof > 0
    share = np.ones(len(proof))
    part = proved.mean()
    if part < 1:
        some = doubt[~proved]
        share[~proved] = defence + (1 - defence) * some / some.mean()
        audit = min(_AUDIT, part)
        share[~proved] *= (1 - audit) / (1 - part)
        share[proved] = audit / max(part, 1e-300)
    return share


def _summed(stratum: Integers, cell: Integers) -> Offered:
    """The candidates of a block."""
    key, count = np.unique(stratum * CELLS + cell, return_counts=True)
    zero = np.zeros(len(key), np.int64)
    return Offered(zero, key // CELLS, key % CELLS, count, len(cell))


def proof_of(key: Integers) -> Integers:
    """What is proved of the faults of a cell: see `radhard.sampling.sampler.Outlook`."""
    return key % CELLS // (_GROUPS * _LEVELS)


def _place(key: Integers, asked: Asked) -> Integers:
    """Where groups stand among the cells: by score, and by the factor of their weights."""
    factor = asked.factor[key // CELLS]
    level = np.rint(2 * np.log(factor.clip(1e-300))).astype(np.int64)
    place: Integers = key % CELLS * 10_000 + level.clip(-4000, 4000) + 5000
    return place


def _telling(asked: Asked, tally: Tally) -> float:
    """The share of the candidates that, weighted alike, would tell as much of the target."""
    key, mass = tally.offered
    factor = asked.factor[key // CELLS]
    all_alike = float(mass.sum() * (mass @ factor**2))
    return float(mass @ factor) ** 2 / all_alike if all_alike else 0.0
