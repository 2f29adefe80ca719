"""Which designs to try: the best of all combinations, at several rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from radhard.search.clean import Cleans
from radhard.search.common import Common
from radhard.search.design import Design, rate_of
from radhard.search.offer import Offer
from radhard.search.part import PLAIN, Option, Watched
from radhard.search.programme import Aim, Programme, allowed, taken
from radhard.search.trial import Goal, Watch

#: Failures on common faults at which the cheapest design is asked for, as shares of the target: a
#: design was chosen for these faults, so that others show more, and the interval takes some too.
_OF_TARGET = (2.0, 1.0, 0.6, 0.35, 0.2, 0.1, 0.0)
#: The same as shares of those without protections.
_OF_PLAIN = (0.3, 0.1, 0.03, 0.01)
#: Shares of the strikes that a design may leave open, whatever the common faults have shown.
_OPEN = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.0)
#: How many guards are tried with the least that they can leave within the budgets.
_GUARDS = 4


class Finder:
    """Designs that no combination of guards and options beats on common faults.

    Args:
        common: the faults that choose.
        choosing: images without a fault that choose.
        cleans: images without a fault that measure.
        offer: what can be added to guards.
        goal: what is asked for.
        floor: rate of failures that no design stops.
    """

    def __init__(
        self, common: Common, choosing: Cleans, cleans: Cleans, offer: Offer, goal: Goal,
        floor: float,
    ) -> None:  # fmt: skip
        self.common, self.choosing, self.cleans = common, choosing, cleans
        self.offer, self.goal, self.floor = offer, goal, floor
        self._guards, self._programmes = list[Watched](), list[Programme]()
        self._options = dict[Watched, list[Option]]()

    @property
    def offered(self) -> int:
        """How many options could be added to a guard, at most."""
        return max(map(len, self._options.values()))

    def add(self, guards: Sequence[Watched], workers: int = 1, watch: Watch | None = None) -> None:
        """Try guards; those that exceed a limit alone are not run.

        Args:
            guards: any.
            workers: processes that share them.
            watch: called with the name of each guard that is run, how many were before it, and
                how many there are.
        """
        given = self.common.campaign, self.choosing
        self._guards = [guard for guard in guards if allowed(*given, guard, self.goal)]

        def tell(guard: Watched, done: int) -> None:
            if watch:
                watch(guard.name, done, len(self._guards))

        self.common.under_all(self._guards, workers, tell)

    def ready(self) -> None:
        """After the last guard: make programmes of those that do more than others."""
        kept = list[Watched]()
        for guard in sorted(self._guards, key=lambda one: sum(self._taken(one))):
            if not any(self._dominates(other, guard) for other in kept):
                kept.append(guard)
        for guard in kept:
            options = self._options[guard] = self.offer.to(guard)
            given = self.common, self.choosing, guard, options, self.goal
            self._programmes.append(Programme(*given))

    def _taken(self, guard: Watched) -> tuple[float, ...]:
        return taken(self.common.campaign, guard)

    def _dominates(self, one: Watched, other: Watched) -> bool:
        """Whether a guard takes no more than another, and leaves no failure that it does not."""
        failing = [self.common.under(guard).columns["sdc1"] for guard in (one, other)]
        less = all(a <= b for a, b in zip(self._taken(one), self._taken(other), strict=True))
        return less and bool((failing[0] <= failing[1]).all())

    def first(self) -> list[Design]:
        """No protections, and what is best by the failures of the common faults.

        For a target, the cheapest designs at several rates about it; within budgets alone, those
        that leave least, with each of some guards, and cheaper ones.
        """
        plain = self._design(PLAIN, ())
        levels = [share * plain.weight for share in _OF_PLAIN]
        if self.goal.rate is None:
            return _once([plain, *self._least(), *self._cheapest(levels)])
        target = self._target(plain)
        own = [share * target for share in _OF_TARGET]
        more = [level for level in levels if level > own[0]]
        return _once([plain, *self._cheapest([*more, *own])])

    def more(self, first: Sequence[Design]) -> list[Design]:
        """Other designs that may meet a target: the cheapest that leave less and less open."""
        if self.goal.rate is None:
            return []
        plain, found = first[0], list[Design | None]()
        for share in _OPEN:
            most, target = share * plain.open, self._target(plain)
            best = self._best("overhead", target, most)
            found.append(best or self._best("overhead", None, most))
        found.append(self._best("open", None, None))
        before = {_key(design) for design in first}
        return [d for d in _once(one for one in found if one) if _key(d) not in before]

    def closed(self) -> Design | None:
        """The cheapest design without a guard that leaves nothing open, whatever the budgets."""
        freely = replace(self.goal, rate=0.0, area=None, macs=None, latency=None)
        options = self._options[PLAIN]
        programme = Programme(self.common, self.choosing, PLAIN, options, freely)
        chosen = programme.least("overhead", open_=0.0)
        return None if chosen is None else self._design(PLAIN, chosen)

    def _target(self, plain: Design) -> float:
        """The target rate as weight of failures of common faults."""
        assert self.goal.rate is not None
        whole = rate_of(plain.measured([self.common])).value - self.floor
        asked = max(self.goal.rate - self.floor, 0.0)
        return plain.weight * asked / whole if whole > 0 else 0.0

    def _least(self) -> list[Design]:
        """What leaves the fewest failures with each of the best guards; of all, the least open."""
        found = [(p, p.least("failing")) for p in self._programmes]
        designs = [(self._design(p.guard, chosen or ()), p) for p, chosen in found]
        designs.sort(key=lambda pair: (pair[0].weight, pair[0].overhead))
        best, programme = designs[0]
        closing = programme.least("open", failing=best.weight)
        more = [] if closing is None else [self._design(best.guard, closing)]
        return [*(design for design, _ in designs[:_GUARDS]), *more]

    def _cheapest(self, levels: Iterable[float]) -> list[Design]:
        found = (self._best("overhead", level, None) for level in levels)
        return [design for design in found if design is not None]

    def _best(self, aim: Aim, failing: float | None, open_: float | None) -> Design | None:
        """Of all guards and options, what makes something least."""
        best: Design | None = None
        for programme in self._programmes:
            room = best.overhead if best is not None and aim == "overhead" else None
            chosen = programme.least(aim, failing, open_, room)
            if chosen is None:
                continue
            tried = self._design(programme.guard, chosen)
            if best is None or _rank(aim, tried) < _rank(aim, best):
                best = tried
        return best

    def _design(self, guard: Watched, options: Sequence[Option]) -> Design:
        return Design.of(self.common, self.cleans, guard, options)


def _rank(aim: Aim, design: Design) -> tuple[float, ...]:
    """What is made least, and what of equals."""
    first = {"overhead": design.overhead, "failing": design.weight, "open": design.open}[aim]
    return first, design.overhead, design.weight, design.open


def _key(design: Design) -> tuple[Watched, frozenset[Option]]:
    return design.guard, frozenset(design.options)


def _once(designs: Iterable[Design]) -> list[Design]:
    found: dict[tuple[Watched, frozenset[Option]], Design] = {}
    for design in designs:
        found.setdefault(_key(design), design)
    return list(found.values())
