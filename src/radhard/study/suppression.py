"""The neuron-gradient study: suppressors of wrong values against each other, error rate by rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from radhard.accel.chip import Accelerator
from radhard.campaign.ask import Ask
from radhard.campaign.pool import shared
from radhard.campaign.prepare import prepare
from radhard.campaign.progress import Progress, Watcher
from radhard.campaign.rates import Errors, UnderErrors, seconds_per_image, under_errors
from radhard.faults.rate import NeuronErrors, WeightErrors
from radhard.network.source import subject
from radhard.network.workload import HOST, Workload
from radhard.protect.bound import RangeRestriction, ValueThreshold
from radhard.protect.gradient import Gate, Neighbours, NeuronGradientSuppressor
from radhard.protect.median import MedianFeature
from radhard.protect.protection import Cost, Protection
from radhard.protect.tap import Tap

#: Training images on which statistics and bounds are learned, and weights retuned, at most.
_LEARNING_IMAGES, _RETUNING_IMAGES = 2000, 10_000
#: What the gradient suppressor is compared with, pair by pair.
REFERENCE = "value threshold"
BEST = "gradients"


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One way to suppress wrong values.

    Attributes:
        name: for tables.
        protections: what it is.
        cost: per inference.
        overhead: process time of its software over that of the bare network, on this machine.
    """

    name: str
    protections: tuple[Protection, ...]
    cost: Cost
    overhead: float


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Accuracy of one network against error rate.

    Attributes:
        model: the network.
        macs: multiply-accumulates of one inference.
        rates: error rates, ascending; the first is 0, the network without errors.
        contenders: in the order of tables.
        cells: by name of the contender and rate.
        ratios: per layer, mean deviation of differences over that of values, and the neighbours
            that were chosen by it.
    """

    model: str
    macs: int
    rates: tuple[float, ...]
    contenders: tuple[Contender, ...]
    cells: Mapping[tuple[str, float], UnderErrors]
    ratios: Mapping[str, tuple[float, Neighbours]]

    def leads(self, name: str = BEST, over: str = REFERENCE) -> dict[float, str]:
        """At each rate ``ahead``, ``behind`` or ``level``, by the interval of the paired lead."""
        found = {rate: self.cells[name, rate].lead(self.cells[over, rate]) for rate in self.rates}
        return {
            rate: "ahead" if lead.low > 0 else "behind" if lead.high < 0 else "level"
            for rate, lead in found.items()
        }


def suppression_study(
    asks: Sequence[Ask],
    errors: Sequence[Errors],
    repetitions: int,
    store: str | Path,
    watch: Watcher | None = None,
    device: torch.device = HOST,
    workers: int = 1,
) -> Iterator[Curves]:
    """Run the study; what ``store`` holds already is not run again.

    Args:
        asks: one per network.
        errors: one kind of errors, at the rates of the study.
        repetitions: inferences per image and rate.
        store: folder of the results.
        watch: called after each cell.
        device: where inferences run.
        workers: processes that share the cells; with 1 all is done in this one.

    Raises:
        ValueError: when a network can't be had, or no rate is given.
    """
    if not errors:
        raise ValueError("no error rate is given: name at least one, such as 1e-3")
    ready = [
        prepare(ask, device=device) for ask in asks
    ]  # so that nothing has run when one can't be had
    faultless = replace(errors[0], rate=0.0)
    given = (faultless, *sorted(errors, key=lambda one: one.rate))
    for ask, prepared in zip(asks, ready, strict=True):
        work = prepared.campaign.workload
        how = ask.reading(_RETUNING_IMAGES)
        learning = subject(ask.model, ask.data, ask.weights, train=True, how=how)
        learn, tune = (
            work.with_(learning.images[-count:], learning.labels[-count:])
            for count in (_LEARNING_IMAGES, _RETUNING_IMAGES)
        )
        contenders, chosen = _contenders(work, learn, tune, prepared.campaign.chip)
        cells: dict[tuple[str, float], UnderErrors] = {}
        tasks = list(product(range(len(contenders)), range(len(given))))
        parts = [contender.protections for contender in contenders]
        asked = work, parts, given, repetitions, ask.seed, Path(store) / "cells"
        found = shared(partial(_runner, *asked), tasks, workers)
        for (who, which), cell in zip(tasks, found, strict=True):
            cells[contenders[who].name, given[which].rate] = cell
            if watch:
                title, done = f"{work.name}: {contenders[who].name}", len(cells)
                how_far = title, done, len(tasks), done, "accuracy", cell.accuracy, workers
                watch(Progress(*how_far))
        names = [layer.name for layer in work.layers]
        ratios = {names[number]: pair for number, pair in _by_layer(work, learn, chosen).items()}
        macs = sum(layer.macs for layer in work.layers)
        rates = tuple(one.rate for one in given)
        yield Curves(work.name, macs, rates, contenders, cells, ratios)


def _runner(
    work: Workload,
    parts: Sequence[tuple[Protection, ...]],
    given: Sequence[Errors],
    repetitions: int,
    seed: int,
    store: Path,
) -> Callable[[int, int], UnderErrors]:
    """Gives what one of the contenders makes of one of the rates."""

    def run(who: int, which: int) -> UnderErrors:
        times = 1 if given[which].rate == 0 else repetitions
        return under_errors(work, given[which], parts[who], times, seed, store)

    return run


def _contenders(
    work: Workload, learn: Workload, tune: Workload, chip: Accelerator
) -> tuple[tuple[Contender, ...], NeuronGradientSuppressor]:
    """All suppressors, learned, and the one whose neighbours are shown."""
    always = NeuronGradientSuppressor().best(learn)
    outputs = NeuronGradientSuppressor(tap=Tap.OUTPUT).best(learn)
    gated = {
        gate: outputs.gated(gate, learn)
        for gate in (Gate.ROW_CHECKSUM, Gate.ROW_COLUMN_CHECKSUM, Gate.ORACLE)
    }
    named: dict[str, tuple[Protection, ...]] = {
        "none": (),
        REFERENCE: (ValueThreshold().learned(learn),),
        "median feature": (MedianFeature(),),
        "median feature, trained": (MedianFeature().trained(tune),),
        "clamp": (RangeRestriction().learned(learn),),
        "clip to zero": (RangeRestriction(zero=True).learned(learn),),
        BEST: (always,),
        **{f"{BEST}, {gate.value}": (one,) for gate, one in gated.items()},
    }
    bare = seconds_per_image(work)
    found = tuple(
        Contender(
            name,
            parts,
            sum((part.cost(work, chip) for part in parts), Cost()),
            seconds_per_image(work, parts) / bare if parts else 1.0,
        )
        for name, parts in named.items()
    )
    return found, always


def _by_layer(
    work: Workload, learn: Workload, chosen: NeuronGradientSuppressor
) -> dict[int, tuple[float, Neighbours]]:
    from radhard.protect.tap import tapped

    assert isinstance(chosen.neighbours, tuple)
    neighbours, ratios = dict(chosen.neighbours), chosen.ratios(learn)
    numbers = tapped(work, Tap.ACTIVATION, last=False)
    return {numbers[step]: (ratios[step], neighbours[step]) for step in ratios}


def errors_named(kind: str, rate: float) -> Errors:
    """The errors of a kind, as `radhard study` names them.

    Raises:
        ValueError: for another kind.

    >>> errors_named("weight-bit", 1e-5)
    WeightErrors(rate=1e-05)
    """
    kinds: dict[str, Errors] = {
        "neuron": NeuronErrors(rate),
        "neuron-bit": NeuronErrors(rate, per_bit=True),
        "activation": NeuronErrors(rate, after_activation=True),
        "weight-bit": WeightErrors(rate),
    }
    if kind not in kinds:
        raise ValueError(f"no errors {kind!r}: use one of {', '.join(kinds)}")
    return kinds[kind]
