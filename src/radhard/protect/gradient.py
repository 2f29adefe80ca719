"""Neuron-gradient statistics: wrong values by their differences from neighbours.

Amarnath, Mejri, Ma and Chatterjee, "Soft error resilient deep learning systems using neuron
gradient statistics", IOLTS 2022; localisation from both sides as in their IEEE TCAD 43(4), 2024.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from radhard.accel.chip import Accelerator
from radhard.engine.guard import Sight, StepGuard
from radhard.network.workload import Workload
from radhard.protect.area import guarding
from radhard.protect.bound import element_cost, floored
from radhard.protect.checksum import Checksum, ChecksumGuard
from radhard.protect.differences import Differences, Replacement
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.tap import Tap, TapGuard, observed, tapped
from radhard.stats.moments import ArrayMoments

Places = NDArray[np.int64]


class Axis(StrEnum):
    """Along which neurons are neighbours."""

    CHANNEL = "channel"
    SPATIAL = "spatial"


class Ordering(StrEnum):
    """In which order neurons along the axis stand."""

    IDENTITY = "identity"
    #: Each neuron is followed by the one, of those left, that it correlates with most.
    CHAIN = "chain"
    #: The order of the leaves of a hierarchical clustering by correlation.
    DENDROGRAM = "dendrogram"


class Granularity(StrEnum):
    """What shares a mean and a deviation."""

    NEURON = "neuron"
    CHANNEL = "channel"
    LAYER = "layer"


class Gate(StrEnum):
    """What switches the suppression on."""

    ALWAYS = "always"
    ROW_CHECKSUM = "row checksum"
    ROW_COLUMN_CHECKSUM = "row and column checksum"
    #: Exactly when a fault has struck the layer: the limit of what a detector could do.
    ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who is compared with whom.

    Attributes:
        axis: along which neurons are neighbours; layers without positions use channels.
        ordering: their order.
        lag: how many places apart, at least 1.
    """

    axis: Axis = Axis.CHANNEL
    ordering: Ordering = Ordering.IDENTITY
    lag: int = 1


#: What `NeuronGradientSuppressor.best` chooses from, for each layer.
CHOICES = tuple(
    Neighbours(axis, ordering)
    for axis, orderings in (
        (Axis.SPATIAL, (Ordering.IDENTITY,)),
        (Axis.CHANNEL, (Ordering.IDENTITY, Ordering.CHAIN)),
    )
    for ordering in orderings
)


@dataclass(frozen=True, slots=True)
class NeuronGradientSuppressor(Protection):
    """Suppresses values whose differences from their neighbours are outside what training showed.

    Attributes:
        neighbours: who is compared with whom, the same in every layer, or one for each tapped step
            as `best` chooses.
        kappa, kappa_dense: how many deviations a difference may lie from its mean, behind
            convolutions and behind dense layers (Chebyshev: at most 1/kappa^2 do).
        granularity: what shares a mean and a deviation.
        both_sides: flag a value only where both of its differences are odd; without, its clean
            neighbour is flagged too.
        replacement: what a wrong value becomes.
        gate: what switches it on. All but ``always`` look at outputs of layers: tap=Tap.OUTPUT.
        tap: where values are watched.
        fitted: from `learned`; learned by `guard` from the workload's images where empty.

    Raises:
        ValueError: for numbers that can't be, or a gate at another tap.
    """

    neighbours: Neighbours | tuple[tuple[int, Neighbours], ...] = Neighbours()
    kappa: float = 6.0
    kappa_dense: float = 4.0
    granularity: Granularity = Granularity.NEURON
    both_sides: bool = True
    replacement: Replacement = Replacement.ZERO
    gate: Gate = Gate.ALWAYS
    tap: Tap = Tap.ACTIVATION
    fitted: Fitted = UNFITTED
    checksum: Checksum = Checksum()  # noqa: RUF009 - frozen, so it can be shared

    def __post_init__(self) -> None:
        if not (self.kappa > 0 and self.kappa_dense > 0):
            raise ValueError(f"kappa {self.kappa}, {self.kappa_dense} can't be: use more than 0")
        if self.gate != Gate.ALWAYS and self.tap != Tap.OUTPUT:
            raise ValueError(
                f"gate {self.gate.value!r} looks at outputs of layers: use tap=Tap.OUTPUT with it"
            )
        each = [self.neighbours] if isinstance(self.neighbours, Neighbours) else [
            chosen for _, chosen in self.neighbours
        ]  # fmt: skip
        if any(chosen.lag < 1 for chosen in each):
            raise ValueError("a lag below 1 can't be: neighbours are at least 1 apart")

    def learned(self, training: Workload) -> NeuronGradientSuppressor:
        """With the statistics of differences over the images of ``training``, in one pass.

        Raises:
            ValueError: for a lag at which neighbours can't be told apart: half or all of the way
                around the neurons of a layer.
        """
        steps = tapped(training, self.tap, last=False)
        orders = {step: self._order(training, step) for step in steps}
        found: dict[int, ArrayMoments] = {}
        for values, _ in observed(training, steps):
            for step, seen in values.items():
                axis, before = orders[step]
                unlike = seen - seen.index_select(axis, torch.from_numpy(before))
                more = ArrayMoments.of(unlike.numpy())
                found[step] = found[step] + more if step in found else more
        fitted = {
            step: (torch.tensor(orders[step][0]), torch.from_numpy(orders[step][1]),
                   *self._shared(training, step, moments))
            for step, moments in found.items()
        }  # fmt: skip
        return replace(self, fitted=Fitted(fitted)).gated(self.gate, training)

    def gated(self, gate: Gate, training: Workload) -> NeuronGradientSuppressor:
        """With another gate, whose checksum, if it is one, learns on ``training``."""
        checksum = self.checksum
        if gate in {Gate.ROW_CHECKSUM, Gate.ROW_COLUMN_CHECKSUM}:
            both = gate == Gate.ROW_COLUMN_CHECKSUM
            checksum = replace(checksum, channels=both).learned(training)
        return replace(self, gate=gate, checksum=checksum)

    def best(
        self, training: Workload, choices: Sequence[Neighbours] = CHOICES
    ) -> NeuronGradientSuppressor:
        """Learned with the neighbours, for each layer, whose differences are smallest.

        Smallest is the mean deviation of differences over that of values; see `ratios`.
        """
        steps = tapped(training, self.tap, last=False)
        ratio = {choice: replace(self, neighbours=choice).ratios(training) for choice in choices}
        chosen = tuple(
            (step, min((c for c in choices if step in ratio[c]), key=lambda c: ratio[c][step]))
            for step in steps
            if any(step in ratio[choice] for choice in choices)
        )
        return replace(self, neighbours=chosen).learned(training)

    def ratios(self, training: Workload) -> dict[int, float]:
        """Mean deviation of differences over mean deviation of values, by tapped step.

        Below 1, thresholds on differences are tighter than thresholds on values; that takes a
        correlation of neighbours above 0.5. Steps without such neighbours are left out.
        """
        found: dict[int, tuple[ArrayMoments, ArrayMoments]] = {}
        orders = {}
        for step in tapped(training, self.tap, last=False):
            try:
                orders[step] = self._order(training, step)
            except ValueError:
                continue
        for values, _ in observed(training, orders):
            for step, seen in values.items():
                axis, before = orders[step]
                unlike = seen - seen.index_select(axis, torch.from_numpy(before))
                more = ArrayMoments.of(seen.numpy()), ArrayMoments.of(unlike.numpy())
                held = found.get(step)
                found[step] = (held[0] + more[0], held[1] + more[1]) if held else more
        return {
            step: float(unlike.deviation.mean() / max(own.deviation.mean(), 1e-12))
            for step, (own, unlike) in found.items()
        }

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        learned = self if self.fitted else self.learned(workload)
        steps = tapped(workload, self.tap, last=False)
        parts = {
            step: learned._differences(workload.layers[number].geometry is not None, step)
            for step, number in steps.items()
            if step in learned.fitted.tensors
        }
        if self.gate == Gate.ALWAYS:
            return TapGuard(parts)
        checks = None
        if self.gate != Gate.ORACLE:
            checks = learned.checksum.guard(workload)
        return GatedGuard(parts, checks)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """A subtraction, two comparisons and a conjunction, and two numbers, per neuron."""
        steps = tapped(workload, self.tap, last=False)
        values = element_cost(workload, steps, 1)
        stored = {Granularity.NEURON: values, Granularity.LAYER: float(len(steps))}.get(
            self.granularity,
            float(sum(workload.layers[number].channels for number in steps.values())),
        )
        own = guarding(4 * values, 64 * stored, chip, workload)
        if self.gate in {Gate.ALWAYS, Gate.ORACLE}:
            return own
        both = self.gate == Gate.ROW_COLUMN_CHECKSUM
        found = own + Checksum(channels=both).cost(workload, chip)
        return replace(found, rerun=0.0)

    def _differences(self, convolution: bool, step: int) -> Differences:
        axis, before, mean, sd = self.fitted.tensors[step]
        reach = (self.kappa if convolution else self.kappa_dense) * sd
        bounds = mean - reach, mean + reach
        return Differences(int(axis), before, bounds, self.both_sides, self.replacement)

    def _shared(
        self, training: Workload, step: int, moments: ArrayMoments
    ) -> tuple[Tensor, Tensor]:
        """Mean and deviation (m, positions), (m, 1) or (1, 1)."""
        axes = {Granularity.NEURON: (), Granularity.CHANNEL: (1,), Granularity.LAYER: (0, 1)}
        pooled = moments.pooled(axes[self.granularity])
        sd = floored(pooled.deviation)
        return torch.from_numpy(pooled.mean).float(), torch.from_numpy(sd).float()

    def _order(self, training: Workload, step: int) -> tuple[int, Places]:
        """Axis of (n, m, positions), and the neighbour before each place along it."""
        chosen = self.neighbours
        if not isinstance(chosen, Neighbours):
            chosen = dict(chosen).get(step, Neighbours())
        values = next(observed(training, [step]))[0][step]
        axis = 2 if chosen.axis == Axis.SPATIAL and values.shape[2] > 1 else 1
        count = values.shape[axis]
        if (2 * chosen.lag) % count == 0:
            raise ValueError(
                f"a lag of {chosen.lag} can't tell {count} neurons of step {step} apart, which "
                "stand in a circle: use one that is neither a half nor a whole way around"
            )
        order = ordered(values, axis, chosen.ordering)
        before = np.empty(count, np.int64)
        before[order] = np.roll(order, chosen.lag)
        return axis, before


class GatedGuard(nn.Module):
    """Suppresses only in runs for which a detector fires; that is its alarm."""

    def __init__(self, parts: Mapping[int, nn.Module], checks: ChecksumGuard | None) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({str(step): part for step, part in parts.items()})
        self.checks = checks
        covered = parts.keys() if checks is None else parts.keys() & set(checks.steps)
        self._steps = frozenset(covered)

    @property
    def steps(self) -> Collection[int]:
        """The layers that it watches."""
        return self._steps

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """See `radhard.engine.guard.StepGuard`."""
        fired = sight.struck if self.checks is None else self.checks.fired(sight)
        corrected = self.parts[str(sight.step)](sight.output)
        return torch.where(fired[:, None, None], corrected, sight.output), fired


def ordered(values: Tensor, axis: int, ordering: Ordering) -> Places:
    """An order of the places along an axis of fault-free values (n, m, positions)."""
    count = values.shape[axis]
    if ordering == Ordering.IDENTITY or count < 3:
        return np.arange(count)
    rows = values.movedim(axis, 0).reshape(count, -1).numpy().astype(np.float64)
    rows = rows - rows.mean(1, keepdims=True)
    size = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, size, out=np.zeros_like(rows), where=size > 0)
    alike = rows @ rows.T
    return _chained(alike) if ordering == Ordering.CHAIN else _leaves(alike)


def _chained(alike: NDArray[np.float64]) -> Places:
    """Nearest neighbours one after the other, from the most correlated pair on."""
    alike = alike.copy()
    np.fill_diagonal(alike, -np.inf)
    place = int(alike.max(1).argmax())
    order, left = [place], alike
    for _ in range(len(alike) - 1):
        left[:, place] = -np.inf
        place = int(left[place].argmax())
        order.append(place)
    return np.array(order)


def _leaves(alike: NDArray[np.float64]) -> Places:
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    apart = np.clip(1 - alike, 0, None)
    np.fill_diagonal(apart, 0)
    found: Places = leaves_list(linkage(squareform(apart, checks=False), "average")).astype(
        np.int64
    )
    return found
