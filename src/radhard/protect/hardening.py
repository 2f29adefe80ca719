"""Selective latch hardening: which latches to build how (Li et al., SC'17, section 6.3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from radhard.accel.chip import Accelerator
from radhard.faults.space import SiteSpace
from radhard.network.workload import Workload
from radhard.protect.protection import Cost, Protection, spared

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LatchType:
    """How a latch can be built.

    Attributes:
        name: for tables.
        area: in units of a plain latch, at least 1.
        reduction: how many times fewer upsets than a plain latch, at least 1.

    Raises:
        ValueError: for smaller numbers.
    """

    name: str
    area: float
    reduction: float

    def __post_init__(self) -> None:
        if not (self.area >= 1 and self.reduction >= 1):
            raise ValueError(
                f"latch type {self.name}: area {self.area} and reduction {self.reduction} can't "
                "be: both are relative to a plain latch, so use 1 or more"
            )


PLAIN = LatchType("plain", 1.0, 1.0)
#: Sullivan et al., SELSE'16, as Li et al. quote it.
LATCH_TYPES = (
    PLAIN,
    LatchType("strike suppression", 1.15, 6.3),
    LatchType("redundant node", 2.0, 37.0),
    LatchType("triplication", 3.5, 1e6),
)


@dataclass(frozen=True, slots=True, eq=False)
class Hardening:
    """A choice of latch types.

    Attributes:
        types: what can be chosen.
        chosen: number of the type of each class of latches, (classes,).
        added_area: of all latches, as a share of the area of plain ones.
        reduction: how many times smaller the rate of failures became.
    """

    types: tuple[LatchType, ...]
    chosen: NDArray[np.int64]
    added_area: float
    reduction: float


@dataclass(frozen=True, slots=True)
class HardenedLatches(Protection):
    """Latches of the types that reach a goal with the least area, or the most within an area.

    Attributes:
        target: by how much the rate of failures is to shrink, or
        budget: the area that may be added, as a share of the area of plain latches.
        types: what can be chosen; a table of your own may replace it.
        reductions: per component and bit, how many times fewer upsets, from `learned`.
        added_area: as a share of the chip's storage, from `learned`.

    Raises:
        ValueError: unless exactly one of target (at least 1) and budget (at least 0) is given.

    >>> found = HardenedLatches(target=6.3).choose([1, 1], [0.2, 0.0])
    >>> [found.types[k].name for k in found.chosen], round(found.added_area, 3)
    (['strike suppression', 'plain'], 0.075)
    """

    by_bit: ClassVar[bool] = True

    target: float | None = None
    budget: float | None = None
    types: tuple[LatchType, ...] = LATCH_TYPES
    reductions: tuple[tuple[str, int, float], ...] = ()
    added_area: float = 0.0

    def __post_init__(self) -> None:
        if (self.target is None) == (self.budget is None):
            raise ValueError(
                "give either a target or a budget, such as HardenedLatches(target=100)"
            )
        if self.target is not None and not self.target >= 1:
            raise ValueError(f"target {self.target!r} can't be: use a factor of 1 or more")
        if self.budget is not None and not self.budget >= 0:
            raise ValueError(f"budget {self.budget!r} can't be: use a share of area of 0 or more")

    def choose(self, count: Sequence[float] | Reals, rate: Sequence[float] | Reals) -> Hardening:
        """The best types for classes of latches, by integer programming.

        Args:
            count: latches per class, (classes,).
            rate: of failures per latch of each class, in any unit, (classes,).

        Raises:
            ValueError: for numbers that can't be, or a target beyond the best type's reduction.
        """
        counts, rates = np.asarray(count, np.float64), np.asarray(rate, np.float64)
        if counts.shape != rates.shape or counts.ndim != 1 or not (counts > 0).all():
            raise ValueError(f"{counts.shape} counts and {rates.shape} rates: give one of each")
        if not (rates >= 0).all():
            raise ValueError("rates below 0 can't be")
        base = float(counts @ rates)
        area = np.outer(counts / counts.sum(), [t.area - 1 for t in self.types])
        left = np.outer(counts * rates / max(base, 1e-300), [1 / t.reduction for t in self.types])
        best = max(t.reduction for t in self.types)
        if self.target is not None and self.target > best and base > 0:
            raise ValueError(
                f"a reduction of {self.target:g} can't be: the best latch type reaches {best:g}"
            )
        chosen = self._solved(area, left)
        each = np.arange(len(counts))
        remaining = float(left[each, chosen].sum())
        reduction = 1 / remaining if remaining > 0 else np.inf
        return Hardening(self.types, chosen, float(area[each, chosen].sum()), reduction)

    def learned(
        self, space: SiteSpace, failures: Sequence[float] | Reals, latches: Collection[str]
    ) -> HardenedLatches:
        """With latches told apart by component and bit, chosen for measured failures.

        Args:
            space: the plain chip's population.
            failures: probability of a failure given a strike, per stratum, (strata,).
            latches: the components that are latches.
        """
        classes: dict[tuple[str, int], list[int]] = {}
        for number, stratum in enumerate(space.strata):
            if stratum.component in latches:
                classes.setdefault((stratum.component, stratum.bit), []).append(number)
        exposure, failing = space.exposure, np.asarray(failures, np.float64)
        count = np.array([exposure[members].sum() for members in classes.values()])
        rate = np.array(
            [(exposure[members] * failing[members]).sum() for members in classes.values()]
        )
        found = self.choose(count, rate / count)
        chosen = [found.types[kind].reduction for kind in found.chosen]
        reductions = tuple((*place, r) for place, r in zip(classes, chosen, strict=True))
        share = float(count.sum() / exposure.sum())
        return replace(self, reductions=reductions, added_area=found.added_area * share)

    def harden(self, space: SiteSpace) -> SiteSpace:
        """Fewer upsets in the latches that were chosen.

        Where nothing has been measured all latches count alike, which takes more area than needed.

        Raises:
            ValueError: where the chip has no latches.
        """
        chosen = self._chosen(space)
        held = {(component, bit): r for component, bit, r in chosen.reductions}
        shares = [1 / held.get((s.component, s.bit), 1.0) for s in space.strata]
        return spared(space, np.array(shares))

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Latch area."""
        return Cost(area=self._chosen(chip.sites(workload)).added_area)

    def _chosen(self, space: SiteSpace) -> HardenedLatches:
        """As it is, or chosen for latches that all fail alike, component by component."""
        if self.reductions:
            return self
        exposure: dict[str, float] = {}
        for stratum in space.strata:
            if stratum.storage == "latch":
                held = exposure.get(stratum.component, 0.0)
                exposure[stratum.component] = held + stratum.exposure
        if not exposure:
            raise ValueError(
                "the chip has no latches to harden: its components are "
                f"{sorted({s.component for s in space.strata})}"
            )
        count = np.array(list(exposure.values()))
        found = self.choose(count, np.ones(len(count)))
        chosen = dict(zip(exposure, (found.types[k].reduction for k in found.chosen), strict=True))
        reductions = tuple(
            (s.component, s.bit, chosen[s.component]) for s in space.strata if s.component in chosen
        )
        share = float(count.sum() / space.exposure.sum())
        return replace(self, reductions=reductions, added_area=found.added_area * share)

    def _solved(self, area: Reals, left: Reals) -> NDArray[np.int64]:
        from scipy.optimize import Bounds, LinearConstraint, milp

        classes, types = area.shape
        once = np.kron(np.eye(classes), np.ones(types))
        if self.target is not None:
            goal, limited, most = area, left, 1 / self.target
        else:
            assert self.budget is not None
            goal, limited, most = left, area, self.budget
        found = milp(
            goal.ravel(),
            constraints=[
                LinearConstraint(once, 1, 1),
                LinearConstraint(limited.ravel()[None] / max(most, 1e-12), 0, 1 + 1e-9),
            ],
            bounds=Bounds(0, 1),
            integrality=1,
            options={"mip_rel_gap": 1e-4, "time_limit": 60},
        )
        if found.x is None:
            raise ValueError(f"no choice of latch types fits: {found.message}")
        chosen: NDArray[np.int64] = found.x.reshape(classes, types).argmax(1)
        return chosen


def residual_rates(count: Sequence[float] | Reals, rate: Sequence[float] | Reals) -> Reals:
    """What is left after perfect protection of the worst latches: the sensitivity curve.

    Returns:
        (classes + 1, 2): the share of latches protected, worst first, and the share of the rate of
        failures that is left.
    """
    counts, rates = np.asarray(count, np.float64), np.asarray(rate, np.float64)
    order = np.argsort(-rates)
    share = np.concatenate([[0.0], np.cumsum(counts[order]) / counts.sum()])
    gone = np.cumsum((counts * rates)[order]) / max(float(counts @ rates), 1e-300)
    return np.stack([share, 1 - np.concatenate([[0.0], gone])], 1)


def asymmetry(count: Sequence[float] | Reals, rate: Sequence[float] | Reals) -> float:
    """Beta: how few latches carry the failures, by least squares on `residual_rates`.

    The curve is ``(exp(-beta x) - exp(-beta)) / (1 - exp(-beta))``; the published form of the fit
    is not known.
    """
    from scipy.optimize import minimize_scalar

    share, left = residual_rates(count, rate).T

    def misfit(beta: float) -> float:
        curve = (np.exp(-beta * share) - np.exp(-beta)) / -np.expm1(-beta)
        return float(((curve - left) ** 2).sum())

    return float(minimize_scalar(misfit, bounds=(1e-3, 500.0), method="bounded").x)
