"""The best set of options for a guard, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from radhard.campaign.campaign import Campaign
from radhard.search.clean import Cleans
from radhard.search.common import Common, Reals
from radhard.search.design import longer_by, work_of
from radhard.search.integer import Model
from radhard.search.left import Left
from radhard.search.part import PLAIN, Option, Watched
from radhard.search.trial import Goal

#: What can be made least.
Aim = Literal["overhead", "failing", "open"]
#: Sums that differ by less than this share are rounded differently.
_ROUNDING = 1e-9


def allowed(campaign: Campaign, choosing: Cleans, guard: Watched, goal: Goal) -> bool:
    """Whether a guard alone keeps to the limits of a goal, on images that choose."""
    most = (np.inf if m is None else m for m in (goal.area, goal.macs, goal.latency))
    if any(own > limit for own, limit in zip(taken(campaign, guard), most, strict=True)):
        return False
    lost = choosing.under(PLAIN).accuracy - choosing.under(guard).accuracy
    return lost <= goal.accuracy_loss + 1e-12


def taken(campaign: Campaign, part: Watched | Option) -> tuple[float, float, float]:
    """Area, work, and latency without an alarm."""
    work = work_of(part.cost, campaign.network)
    return part.cost.area, work, longer_by(part.cost, campaign)


class Programme:
    """Which options to take with a guard, one per slot at most, within the limits of a goal.

    Failures are those of the faults that choose, accuracy and alarms without a fault those of the
    images that choose. Options that no limit has room for are left out.

    Args:
        common: the faults that choose.
        choosing: the images that choose.
        guard: what watches the run.
        options: that can be taken.
        goal: what limits them; see `allowed` for the guard.
    """

    def __init__(
        self, common: Common, choosing: Cleans, guard: Watched, options: Sequence[Option],
        goal: Goal,
    ) -> None:  # fmt: skip
        self.guard, self._common, self._choosing = guard, common, choosing
        most = [np.inf if m is None else m for m in (goal.area, goal.macs, goal.latency)]
        own = self._taken(guard)
        self._room = [limit - part for limit, part in zip(most, own, strict=True)]
        self._false, self.base = goal.false_alarms + 1e-12, own[0] + own[1]
        self.options = tuple(one for one in options if self._fits(one))
        self._model, slots = Model(len(self.options)), [one.slot for one in self.options]
        self._limit(slots)
        whole, weights = common.plain.probability, common.failing(guard)
        failing = self._table(common.passes, len(weights))
        self._left = {
            "failing": Left(self._model, weights, failing, slots),
            "open": Left(self._model, whole, self._table(common.left, len(whole)), slots),
        }

    def least(
        self, aim: Aim, failing: float | None = None, open_: float | None = None,
        overhead: float | None = None,
    ) -> tuple[Option, ...] | None:  # fmt: skip
        """The options that make something least, and of those the cheapest.

        Args:
            aim: what is made least.
            failing: weight of failures at most.
            open_: share of strikes that can still do something at most.
            overhead: at most, that of the guard among it.

        Returns:
            The options; ``None`` where none will do.
        """
        most = {"failing": failing, "open": open_}
        room = None if overhead is None else overhead - self.base
        found = self._solved(aim, most, room)
        if found is None or aim == "overhead":
            return found
        most[aim] = (
            self._common.open_share(found) if aim == "open"
            else self._common.weight(self.guard, found)
        )  # fmt: skip
        return self._solved("overhead", most, room) or found

    def _solved(
        self, aim: Aim, most: dict[str, float | None], room: float | None
    ) -> tuple[Option, ...] | None:
        model, overheads = self._model.copy(), self._costs(0, 1)
        for name, limit in most.items():
            if limit is not None:
                self._left[name].limit(model, limit * (1 + _ROUNDING))
        if room is not None:
            model.at_most(overheads, room)
        found = model.least(overheads if aim == "overhead" else self._left[aim].costs)
        return None if found is None else tuple(self.options[k] for k in found)

    def _taken(self, part: Watched | Option) -> tuple[float, float, float]:
        return taken(self._common.campaign, part)

    def _costs(self, *kinds: int) -> dict[int, float]:
        """Sums of what options take, by their numbers."""
        taken = [self._taken(option) for option in self.options]
        return {k: sum(own[kind] for kind in kinds) for k, own in enumerate(taken)}

    def _fits(self, option: Option) -> bool:
        fits = all(own <= room for own, room in zip(self._taken(option), self._room, strict=True))
        return fits and self._choosing.false_alarms([option]) <= self._false

    def _table(self, of: Callable[[Option], Reals], count: int) -> Reals:
        """What each option lets through, (count, options)."""
        columns = [of(option) for option in self.options]
        return np.stack(columns, 1) if columns else np.ones((count, 0))

    def _limit(self, slots: Sequence[str]) -> None:
        """Rows of slots, budgets, and false alarms; these have a column for each set of options."""
        model = self._model
        for slot in dict.fromkeys(slots):
            model.row({k: 1.0 for k, name in enumerate(slots) if name == slot}, 1.0)
        for kind in (0, 1):
            model.at_most(self._costs(kind), self._room[kind])
        again: dict[int, float] = {}
        for chosen, share in self._alarming():
            own = model.column()
            again[own] = share
            for option in chosen:
                model.row({option: 1.0, own: -1.0}, 0.0)
        model.at_most(again, self._false)
        # runs that are run again take their time twice: all that may be, so the sum stays linear
        twice = min(self._false, sum(again.values()))
        longer = {k: (1 + twice) * own for k, own in self._costs(2).items()}
        room = self._room[2] - twice * self._taken(self.guard)[2]
        model.at_most({**longer, **again}, room)

    def _alarming(self) -> list[tuple[list[int], float]]:
        """Sets of options that raise false alarms on the same images, and the share of these."""
        columns = [(k, self._choosing.of_option(one)) for k, one in enumerate(self.options)]
        held = [(k, alarms) for k, alarms in columns if alarms is not None and alarms.any()]
        if not held:
            return []
        table = np.stack([alarms for _, alarms in held], 1)
        rows, counts = np.unique(table[table.any(1)], axis=0, return_counts=True)
        numbers = np.array([k for k, _ in held])
        return [
            (numbers[row].tolist(), float(n) / len(table))
            for row, n in zip(rows, counts, strict=True)
        ]
