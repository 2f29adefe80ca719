"""Permanent faults in arrays of approximate multipliers: what they cost, and what repairs them.

The question of Siddique and Hoque (arXiv:2301.07484, arXiv:2101.02860), who compare approximate and
exact multipliers with the same stuck bit, layer by layer and bit by bit, and retune the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.arith.multiplier import Multiplier, full_name
from radhard.arith.multipliers import multiplier_named
from radhard.campaign.ask import Ask
from radhard.campaign.chips import Chips, UnderDefects, under_defects
from radhard.campaign.pool import shared
from radhard.campaign.prepare import chips_of
from radhard.campaign.progress import Progress, Watcher
from radhard.faults.permanent import Permanent
from radhard.network.source import subject
from radhard.network.workload import Workload
from radhard.protect.retune import Retune
from radhard.protect.rules import Bypass, WeightMap
from radhard.rtl.energy import relative_energy
from radhard.stats.bounded import crossed
from radhard.stats.estimate import Estimate

_Table = NDArray[np.float64]
#: The circuit that others are compared with, and what is done where nothing is.
EXACT, NONE = "mul8s_exact", "none"


class Case(NamedTuple):
    """One kind of chips.

    Attributes:
        multiplier: by its full name.
        value: at which a bit of the products is stuck.
        bit: which.
        faulty: elements of the array in which it is.
        layer: the only one that runs on that array; all where empty.
        mitigation: what is done about it.
    """

    multiplier: str
    value: int
    bit: int
    faulty: int
    layer: str = ""
    mitigation: str = NONE


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Attributes:
        multipliers: those of the array, by name, an exact one among them.
        bits: of the products, all of which are struck once at ``rate``.
        rate: faulty elements of all, where bits and layers are compared.
        rates: those of the curves.
        maps: chips of each kind.
        learning: training images that each chip is retuned with.
        epochs: of training in addition, if any.

    Raises:
        ValueError: for names that are none, twice or not comparable, bits or rates that there are
            not, or too few chips, images or epochs.
    """

    multipliers: tuple[str, ...] = (EXACT, "mul8s_1L2H@v1", "mul8s_1KVL@v1", "mul8s_1L1G@v1")
    bits: tuple[int, ...] = tuple(range(16))
    rate: float = 0.01
    rates: tuple[float, ...] = (0.0, 6e-5, 1.2e-4, 0.01, 0.1, 0.3, 0.5)
    maps: int = 20
    learning: int = 500
    epochs: int = 0

    def __post_init__(self) -> None:
        if EXACT not in self.multipliers or len(set(self.multipliers)) < len(self.multipliers):
            raise ValueError(
                f"multipliers {', '.join(self.multipliers)}: name each once, and {EXACT} among "
                "them, which the others are compared with"
            )
        width = 2 * min(one.width for one in self.circuits.values())
        if not self.bits or len(set(self.bits)) < len(self.bits):
            raise ValueError(f"bits {self.bits} can't be: name at least one, and each once")
        for bit in self.bits:
            if not 0 <= bit < width:
                raise ValueError(f"bit {bit} can't be: products have {width}, from 0")
        for rate in (self.rate, *self.rates):
            if not 0 <= rate <= 1:
                raise ValueError(f"a rate of {rate:g} can't be: use faulty elements of all, 0 to 1")
        least = {"maps": 1, "learning": 1, "epochs": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} of {getattr(self, name)} can't be: use {low} or more")

    @property
    def circuits(self) -> dict[str, Multiplier]:
        """The multipliers by their full names."""
        found = (multiplier_named(name) for name in self.multipliers)
        return {full_name(one): one for one in found}

    @property
    def few(self) -> tuple[int, ...]:
        """A low, a middle and a high bit of those that matter: of the upper half of all bits."""
        bits, n = sorted(self.bits), len(self.bits)
        return tuple(dict.fromkeys((bits[n // 2], bits[3 * n // 4], bits[-1])))

    @property
    def mitigations(self) -> dict[str, Retune | None]:
        """What is done about faults, by name."""
        found: dict[str, Retune | None] = {
            NONE: None,
            "map": Retune(WeightMap()),
            "bypass": Retune(Bypass()),
            "hybrid": Retune(),
            "hybrid, placed": Retune(remap=True),
        }
        if self.epochs:
            found["bypass, trained"] = Retune(Bypass(), epochs=self.epochs)
            found["hybrid, trained"] = Retune(epochs=self.epochs)
        return found


def cases(plan: Plan, elements: int, layers: Sequence[str]) -> dict[str, list[Case]]:
    """All that is run, by part of the study; parts share cases.

    Args:
        plan: what is tried.
        elements: of the array; a rate of less than one stands for one.
        layers: of the network.

    >>> {name: len(part) for name, part in cases(Plan(), 128 * 128, ["a", "b"]).items()}
    {'bits': 128, 'layers': 48, 'curves': 720}
    """
    names, at = list(plan.circuits), faulty(plan.rate, elements)
    counts = sorted({faulty(rate, elements) for rate in plan.rates} | {at})
    stuck = [(value, bit) for bit in plan.few for value in (0, 1)]
    return {
        "bits": [Case(name, v, bit, at) for name in names for bit in plan.bits for v in (0, 1)],
        "layers": [
            Case(name, *one, at, layer) for name in names for one in stuck for layer in layers
        ],
        "curves": [
            Case(name, *one, count, "", way)
            for name in names for one in stuck for count in counts for way in plan.mitigations
        ],
    }  # fmt: skip


def faulty(rate: float, elements: int) -> int:
    """How many elements a rate stands for, one at least."""
    return max(1, round(rate * elements))


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What the study found of one network.

    Attributes:
        model, data: the network and its images.
        plan: what was tried.
        elements: of the array.
        layers: of the network.
        energy: of each multiplier, over that of an exact one; ``None`` where power is unknown.
        cells: answers by case.
    """

    model: str
    data: str
    plan: Plan
    elements: int
    layers: tuple[str, ...]
    energy: Mapping[str, float | None]
    cells: Mapping[Case, UnderDefects]

    @property
    def part(self) -> dict[str, list[Case]]:
        """The cases of each part of the study."""
        return cases(self.plan, self.elements, self.layers)

    def gap(self, case: Case, confidence: float = 0.95) -> Estimate:
        """Accuracy that a fault costs this multiplier more than the exact one: chip by chip.

        Each is compared with its own fault-free run, so what the arithmetic costs is not in it.
        """
        own, exact = self.cells[case].golden, self.cells[case._replace(multiplier=EXACT)].golden
        apart = float(own.mean() - exact.mean())
        ends = apart - 1, apart + 1
        return crossed(self._gaps(case), 1.0, -2.0, 2.0, confidence, ends)

    def _gaps(self, case: Case) -> _Table:
        return _lost(self.cells[case]) - _lost(self.cells[case._replace(multiplier=EXACT)])

    @property
    def worst(self) -> tuple[Case, Estimate]:
        """Where an approximate multiplier loses most more than the exact one, and how much.

        The interval holds although the largest of many was picked (Bonferroni).

        Raises:
            ValueError: where there is no approximate one.
        """
        open_to = [
            case for case in self.cells if case.mitigation == NONE and case.multiplier != EXACT
        ]
        if not open_to:
            raise ValueError("no multiplier but the exact one was tried: name another")
        worst = max(open_to, key=lambda case: float(self._gaps(case).mean()))
        return worst, self.gap(worst, 1 - 0.05 / len(open_to))

    def resilience(self, multiplier: str) -> Estimate:
        """Accuracy that a stuck bit costs on average: any bit of the products, 0 or 1 alike."""
        own = [self.cells[case] for case in self.part["bits"] if case.multiplier == multiplier]
        free = self.free(multiplier).value
        lost = np.mean([_lost(one) for one in own], 0)
        return crossed(lost, 1.0, -1.0, ends=(free - 1, free))

    def free(self, multiplier: str) -> Estimate:
        """Accuracy without faults."""
        own = (one for case, one in self.cells.items() if case.multiplier == multiplier)
        return next(own).golden_accuracy

    def lead(self, case: Case, over: str) -> Estimate:
        """Accuracy with one mitigation less that with another, on the same chips."""
        return self.cells[case].lead(self.cells[case._replace(mitigation=over)])


def _lost(found: UnderDefects) -> _Table:
    """Right answers that a fault takes, (chips, images)."""
    return found.golden.astype(np.float64) - found.correct


def approximate_study(
    asks: Sequence[Ask],
    plan: Plan,
    store: Path,
    watch: Watcher | None = None,
    workers: int = 1,
) -> Iterator[Findings]:
    """Run the study; what ``store`` holds already is neither retuned nor run again.

    Args:
        asks: one per network.
        plan: what is tried.
        store: folder of the answers, chip by chip.
        watch: called after each kind of chips.
        workers: processes that share the kinds; with 1 all is done in this one.

    Raises:
        ValueError: when a network can't be had, or has no training images.
    """
    ready = [_ready(ask, plan) for ask in asks]  # so that nothing has run when one can't be had
    for chips, learning, data in ready:
        work = chips.workload
        layers = tuple(layer.name for layer in work.layers)
        elements = chips.array.rows * chips.array.cols
        parts = cases(plan, elements, layers)
        done: dict[Case, UnderDefects] = {}
        drawn: dict[Permanent, UnderDefects] = {}
        every = dict.fromkeys(case for part in parts.values() for case in part)
        given = chips, learning, plan, store / "chips"
        found = shared(partial(_runner, *given), ((case,) for case in every), workers)
        for name, part in parts.items():
            for number, case in enumerate(part, 1):
                if case not in done:
                    asked = _asked(chips, learning, plan, case)
                    own = UnderDefects(asked, *next(found))
                    first = drawn.setdefault(asked.permanent, own)
                    done[case] = replace(own, arrays=first.arrays)  # the same, held once
                if watch:
                    title, loss = f"{work.name}: {name}", done[case].loss
                    watch(Progress(title, number, len(part), number, "loss", loss, workers))
        energy = {name: relative_energy(work, one) for name, one in plan.circuits.items()}
        yield Findings(work.name, data, plan, elements, layers, energy, done)


def _runner(
    chips: Chips, learning: Workload, plan: Plan, store: Path
) -> Callable[[Case], tuple[Any, ...]]:
    """Gives what chips of a kind answer: all of `UnderDefects` but the question."""

    def run(case: Case) -> tuple[Any, ...]:
        found = under_defects(_asked(chips, learning, plan, case), plan.maps, store)
        names = [part.name for part in fields(found) if part.name != "chips"]
        return tuple(getattr(found, name) for name in names)

    return run


def _ready(ask: Ask, plan: Plan) -> tuple[Chips, Workload, str]:
    """Chips without a fault yet, the same network with training images, and the data's name."""
    chips, data, _ = chips_of(ask, Permanent("product"))
    if data == ask.model:
        raise ValueError(
            f"{ask.model} gives its own images, and retuning learns from others: let it give a "
            "network alone, and name a data set"
        )
    how = ask.reading(plan.learning)
    training = subject(ask.model, ask.data, ask.weights, train=True, how=how)
    if len(training.images) < plan.learning:
        raise ValueError(
            f"{plan.learning} images to retune with asked for, but {data} has "
            f"{len(training.images)}: use fewer"
        )
    learning = training.images[-plan.learning :], training.labels[-plan.learning :]
    return chips, chips.workload.with_(*learning), data


def _asked(chips: Chips, learning: Workload, plan: Plan, case: Case) -> Chips:
    """The question of a case."""
    retune = plan.mitigations[case.mitigation]
    return replace(
        chips,
        permanent=Permanent("product", case.value, case.bit, count=case.faulty),
        multiplier=plan.circuits[case.multiplier],
        layers=(case.layer,) if case.layer else (),
        retune=retune,
        learning=None if retune is None else learning,
    )
