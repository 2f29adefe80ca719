"""Bounds on activations: what lies outside is clamped, or taken for wrong and set to zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
from torch import Tensor, nn

from radhard.accel.chip import Accelerator
from radhard.engine.guard import Bounds, StepGuard
from radhard.engine.noisy import run_noisy, with_wrong_weights
from radhard.faults.rate import NeuronErrors, WeightErrors
from radhard.network.workload import HOST, Workload
from radhard.protect.area import guarding
from radhard.protect.extremes import extremes
from radhard.protect.instead import Instead, check_instead, ends, means, nearest
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.rounding import slack
from radhard.protect.tap import Tap, TapGuard, observed, placed, rectified, tapped
from radhard.stats.moments import ArrayMoments


class Bounded(nn.Module):
    """Clamps values to [low, high], or sets those outside ``instead`` to another.

    Not-a-number lies outside.
    """

    low: Tensor
    high: Tensor
    instead: Tensor | None

    def __init__(self, low: Tensor, high: Tensor, instead: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("instead", instead)

    def forward(self, values: Tensor) -> Tensor:
        """Values (n, m, positions); bounds broadcast."""
        low, high = self.low.to(values.dtype), self.high.to(values.dtype)
        inside = (values >= low) & (values <= high)
        if self.instead is not None:
            return torch.where(inside, values, self.instead.to(values.dtype))
        near = torch.where(values > high, high, low)
        return torch.where(inside, values, near)

    def convert(self, dtype: torch.dtype) -> None:
        """See `radhard.protect.rounding.Converting`."""
        reach = slack(dtype) * torch.maximum(self.low.abs(), self.high.abs())
        largest = min(torch.finfo(dtype).max, torch.finfo(self.high.dtype).max)
        self.low = (self.low - reach).clamp(min=-largest)
        self.high = (self.high + reach).clamp(max=largest)

    def touch(self, values: Tensor, place: Tensor) -> Tensor:
        """See `radhard.protect.tap.Pointwise`."""
        low, high = (placed(end, place).to(values.dtype) for end in (self.low, self.high))
        if ((values >= low) & (values <= high)).all():
            return values
        other = None if self.instead is None else placed(self.instead, place)
        return Bounded(low, high, other).forward(values)

    def bounds(self) -> Bounds:
        """See `radhard.protect.tap.Bounding`."""
        low, high = self.low.reshape(-1), self.high.reshape(-1)
        if self.instead is not None:
            other = self.instead.reshape(-1)
            return Bounds(low, high, other, other)
        return Bounds(low, high, low, high)


def element_cost(workload: Workload, steps: Mapping[int, int], operations: float) -> float:
    """Operations on all values of some steps."""
    rows = [workload.program.rows[step] for step in steps]
    return operations * sum(layout.elements for layout in rows if layout is not None)


@dataclass(frozen=True, slots=True)
class RangeRestriction(Protection):
    """Clamps values behind each activation to their learned range (Ranger; Chen et al., DSN'21).

    Pooling and reshaping take the bounds of what they read, concatenation the lowest lower and the
    highest upper bound; zeros of padding that were seen there lie within. Not-a-number becomes the
    lower bound.

    Attributes:
        cushion: by which share of its magnitude each bound is moved outwards, at least 0.
        zero: set what lies outside to 0 instead (range supervision with zeroing; "Just say zero").
        fitted: the bounds, from `learned`; where empty, `guard` learns from the workload's images.
        instead: ``mean`` sets it to the fault-free mean of the layer; `learned` says which.

    Raises:
        ValueError: for a negative cushion, or two replacements.

    >>> RangeRestriction(cushion=0.1)
    RangeRestriction(cushion=0.1, zero=False, fitted=Fitted(e3b0c44298fc1c14), instead=None)
    """

    cushion: float = 0.0
    zero: bool = False
    fitted: Fitted = UNFITTED
    instead: Instead | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.cushion < inf:
            raise ValueError(f"cushion {self.cushion!r} can't be: use a share of 0 or more")
        check_instead(self.zero, self.instead)

    def learned(self, training: Workload, outside: float = 0.0) -> RangeRestriction:
        """With the fault-free ranges over ``training``, carried on through pooling and so on.

        Args:
            training: the network with images to learn from.
            outside: share of a step's values that its bounds leave out at each end, below 0.5. What
                is carried on is left as it is then, as it lies within by itself.
        """
        steps = tapped(training, Tap.ACTIVATION, last=False)
        own = extremes(training, steps, outside=outside)
        carried = {} if outside else _carried(training, own)
        for step, (low, high) in extremes(training, dict.fromkeys(carried, 0)).items():
            least, most = carried[step]  # zeros of padding, and rounding, may lie beyond
            carried[step] = torch.minimum(least, low), torch.maximum(most, high)
        found: dict[int, tuple[Tensor, ...]] = {**own, **carried}
        if self.instead:
            own_means = means(training, {step: nearest(training, step, steps) for step in found})
            found = {step: (*found[step], mean) for step, mean in own_means.items()}
        return replace(self, fitted=Fitted(found))

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        fitted = (self.fitted or self.learned(workload).fitted).tensors
        grown = 1 + self.cushion
        parts = {}
        for step, (least, most, *mean) in fitted.items():
            low = torch.where(least < 0, least * grown, least / grown)
            high = torch.where(most > 0, most * grown, most / grown)
            parts[step] = Bounded(*ends((low, high, *mean), self.zero))
        return TapGuard(parts)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two comparisons per activation; two bounds per layer."""
        steps = tapped(workload, Tap.ACTIVATION, last=False)
        return guarding(element_cost(workload, steps, 2), 64 * len(steps), chip, workload)


#: Operations that give nothing larger or smaller than what they read.
_KEEPS_RANGE = ("max_pool", "avg_pool", "reshape", "flatten", "view", "mean", "cat")


def _carried(
    workload: Workload, own: Mapping[int, tuple[Tensor, Tensor]]
) -> dict[int, tuple[Tensor, Tensor]]:
    """Bounds of pooled, reshaped and concatenated values."""
    program, found = workload.program, dict(own)
    for index, step in enumerate(program.steps):
        sources = [s for s in step.inputs if program.rows[s] is not None]
        kept = any(name in str(step.op) for name in _KEEPS_RANGE)
        if kept and program.rows[index] is not None and sources and found.keys() >= set(sources):
            lows, highs = zip(*(found[s] for s in sources), strict=True)
            found[index] = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
    return {step: pair for step, pair in found.items() if step not in own}


@dataclass(frozen=True, slots=True)
class ClippedActivation(Protection):
    """``x if 0 <= x <= T else 0`` behind each activation (FT-ClipAct: Hoang et al., DATE'20).

    It takes the place of rectifiers: layers without one, whose values may be negative, are left
    alone.

    Attributes:
        thresholds: T per step, from `learned` (the largest value seen) or `tuned`; learned by
            `guard` where empty.

    Raises:
        ValueError: from `learned`, `tuned`, `guard` and `cost`, for a network without rectifiers.
    """

    thresholds: Fitted = UNFITTED

    def learned(self, training: Workload, outside: float = 0.0) -> ClippedActivation:
        """With the largest fault-free values as thresholds, where the search of `tuned` begins.

        Args:
            training: the network with images to learn from.
            outside: share of a step's values that lies above its threshold, below 0.5.
        """
        steps = rectified(training, "ClippedActivation")
        found = extremes(training, steps, outside=outside)
        return ClippedActivation(Fitted({step: (high,) for step, (_, high) in found.items()}))

    def tuned(
        self,
        workload: Workload,
        rates: Sequence[float] = (1e-5, 1e-4, 1e-3),
        repetitions: int = 3,
        rounds: tuple[int, int] = (2, 4),
        least_gain: float = 1e-3,
    ) -> ClippedActivation:
        """With thresholds found layer by layer, by FT-ClipAct's search of intervals.

        A layer's interval is first 0 to the largest value seen. Four thresholds, evenly from end to
        end of the interval, are tried on the images of ``workload`` with bit errors in the layer's
        weights; the interval becomes that between the neighbours of the best. What is best is the
        area under accuracy against the logarithm of the error rate.

        Args:
            workload: with labelled images that were not trained on.
            rates: bit error rates of the layer's weights, ascending.
            repetitions: trials per rate, the same for all thresholds.
            rounds: least and most rounds per layer.
            least_gain: the search of a layer ends when a round gains no more than this.
        """
        workload = workload.on(HOST)
        start = self if self.thresholds else self.learned(workload)
        found = start
        for step, number in rectified(workload, "ClippedActivation").items():
            wrong = [
                with_wrong_weights(workload, WeightErrors(rate), (0, trial), (number,))
                for rate in rates
                for trial in range(repetitions)
            ]
            low, high = 0.0, float(start.thresholds.tensors[step][0])
            best, value = -1.0, high
            for turn in range(rounds[1]):
                tried = np.linspace(low, high, 4)
                areas = [_area(found.with_threshold(step, float(t)), wrong, rates) for t in tried]
                place = int(np.argmax(areas))
                gain = areas[place] - best
                if gain > 0:
                    best, value = areas[place], float(tried[place])
                low, high = float(tried[max(place - 1, 0)]), float(tried[min(place + 1, 3)])
                if turn + 1 >= rounds[0] and gain <= least_gain:
                    break
            found = found.with_threshold(step, value)
        return found

    def with_threshold(self, step: int, value: float) -> ClippedActivation:
        """The same with another threshold at one step."""
        held = dict(self.thresholds.tensors)
        held[step] = (torch.tensor(value, dtype=held[step][0].dtype),)
        return ClippedActivation(Fitted(held))

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        held = (self.thresholds or self.learned(workload).thresholds).tensors
        zero = torch.zeros(())
        return TapGuard({step: Bounded(zero, high, zero) for step, (high,) in held.items()})

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """One comparison per activation beside that of the activation itself."""
        steps = rectified(workload, "ClippedActivation")
        return guarding(element_cost(workload, steps, 1), 32 * len(steps), chip, workload)


def _area(
    protection: ClippedActivation, wrong: Sequence[Workload], rates: Sequence[float]
) -> float:
    """Area under accuracy against the logarithm of the error rate, over that of accuracy 1."""
    shares = []
    for work in wrong:
        guard = protection.guard(work)
        logits = run_noisy(work, NeuronErrors(0.0), {}, (0, 0), guard).logits
        shares.append(float(work.task.right(logits, work.labels).double().mean()))
    means = np.array(shares).reshape(len(rates), -1).mean(1)
    if len(rates) == 1:
        return float(means[0])
    place = np.log10(rates)
    return float(np.trapezoid(means, place) / (place[-1] - place[0]))


@dataclass(frozen=True, slots=True)
class ValueThreshold(Protection):
    """Zeroes values further than kappa deviations from their neuron's mean.

    Attributes:
        kappa, kappa_dense: deviations behind convolutions and behind dense layers, above 0.
        tap: where.
        fitted: mean and deviation per neuron, from `learned`; learned by `guard` where empty.

    Raises:
        ValueError: for a kappa that is not above 0.
    """

    kappa: float = 6.0
    kappa_dense: float = 4.0
    tap: Tap = Tap.ACTIVATION
    fitted: Fitted = UNFITTED

    def __post_init__(self) -> None:
        if not (0 < self.kappa < inf and 0 < self.kappa_dense < inf):
            raise ValueError(f"kappa {self.kappa}, {self.kappa_dense} can't be: use more than 0")

    def learned(self, training: Workload) -> ValueThreshold:
        """With mean and deviation of each neuron over the images of ``training``."""
        moments: dict[int, ArrayMoments] = {}
        for values, _ in observed(training, tapped(training, self.tap, last=False)):
            for step, seen in values.items():
                more = ArrayMoments.of(seen.numpy())
                moments[step] = moments[step] + more if step in moments else more
        fitted = {step: _tensors(m) for step, m in moments.items()}
        return replace(self, fitted=Fitted(fitted))

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        fitted = (self.fitted or self.learned(workload).fitted).tensors
        parts = {}
        for step, number in tapped(workload, self.tap, last=False).items():
            mean, sd = fitted[step]
            convolution = workload.layers[number].geometry is not None
            reach = (self.kappa if convolution else self.kappa_dense) * sd
            parts[step] = Bounded(mean - reach, mean + reach, torch.zeros_like(mean))
        return TapGuard(parts)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two comparisons, and two numbers in memory, per neuron."""
        steps = tapped(workload, self.tap, last=False)
        values = element_cost(workload, steps, 1)
        return guarding(2 * values, 64 * values, chip, workload)


#: Deviations below this share of a step's typical one are taken to be it: dead neurons.
FLOOR = 0.05


def _tensors(moments: ArrayMoments) -> tuple[Tensor, Tensor]:
    sd = floored(moments.deviation)
    return torch.from_numpy(moments.mean).float(), torch.from_numpy(sd).float()


def floored(
    deviation: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Deviations kept above 0: a neuron that never moved in training may move once."""
    typical = float(np.sqrt(np.mean(deviation**2)))
    return np.maximum(deviation, max(FLOOR * typical, 1e-6))
