"""How likely each fault is to change the answer: what a change meets first, then a gradient.

A guess that directs sampling. It need not be right, only cheap and telling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.change import altered, of_channels
from radhard.engine.layerstage import numbers_of
from radhard.engine.strike import by_operand, read_again
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.foresight.partial import partial_sums
from radhard.foresight.straight import Straight
from radhard.foresight.tail import Tail
from radhard.formats.number import NumberFormat
from radhard.network.layer import Layer
from radhard.network.operation import Geometry
from radhard.network.workload import Workload

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

#: Images that run backwards, at most.
_BACKWARD = 2
#: Reads of a wrong weight or input that are looked at, at most.
_READS = 32
#: Ratio from which the reads of a wrong weight are looked at one by one.
_TELLING = 1e-4
#: Ratio that reads may have which are not looked at, where typical ones have more.
_HIDDEN = 0.02
#: Ratios are at least this.
_LEAST = 1e-12
#: Chance of another answer at a large ratio; the ratio of half of that; the power of small ones.
_CHANCE, _EVEN, _STEEP = 0.92, 1.5, 1.6
_NOBODY = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """How much the decision margin feels the values around one layer, whatever the image.

    Attributes:
        tail: elementwise steps behind the layer: what they hold back is not felt.
        inputs: root mean square over images of gradients in the layer's inputs, through this layer
            alone, (elements,).
        results: the same at the end of the tail, (elements,).
        typical: root mean square of the latter.
        held: root mean square of the layer's inputs.
        guessed: whether no gradient is seen of this layer's results, and the others are of a size
            that is a guess: a change of all values by as much as they are changes the margin by as
            much as it is.
    """

    tail: Tail
    inputs: Tensor
    results: Tensor
    typical: float
    held: float
    guessed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """What changes of values do to the decision margin, the highest logit less the second highest.

    Attributes:
        workload: the network with its images.
        slopes: per layer.
        weights: per layer: (channels, fan-in) of real values; ``None`` where it has none.
    """

    workload: Workload
    slopes: tuple[Slopes, ...]
    weights: tuple[Tensor | None, ...]

    @classmethod
    def of(cls, workload: Workload) -> Margins:
        """Run a few of the images, spread over all of them, forwards and backwards."""
        count = len(workload.images)
        chosen = np.unique(np.linspace(0, count - 1, min(_BACKWARD, count)).round().astype(int))
        slopes = _slopes(workload, workload.images[torch.from_numpy(chosen)])
        weights = tuple(
            layer.weight_rows(workload.weight(number)).contiguous()
            if workload.parameters[number] is not None
            else None
            for number, layer in enumerate(workload.layers)
        )
        return cls(workload, slopes, weights)

    @property
    def flat(self) -> tuple[str, ...]:
        """Names of the layers whose results the margin does not feel, of which nothing is known.

        An operation behind them has no gradient, or one that is 0 everywhere.
        """
        pairs = zip(self.workload.layers, self.slopes, strict=True)
        return tuple(layer.name for layer, slopes in pairs if slopes.guessed)

    def chance(self, trace: Trace, corruption: Corruption) -> Reals:
        """Probability that the answer changes, about: (n,).

        Fitted to LeNet-5 and a small convolutional network in float32 on arrays and on NVDLA.

        Args:
            trace: the golden run of the images that are struck.
            corruption: n corruptions.
        """
        return _CHANCE / (1 + (_EVEN / self.ratio(trace, corruption)) ** _STEEP)

    def ratio(self, trace: Trace, corruption: Corruption) -> Reals:
        """Change of the margin relative to it, about, of n corruptions: (n,), above 0.

        A wrong value is followed as it is up to where the elementwise operations behind its layer
        end, so that what an activation function holds back does not count; from there to first
        order. Where many outputs read it, some are looked at. Infinity says that infinities, or
        numbers that are none, go on.
        """
        found = self._alone(trace, corruption)
        for number, hit, element in read_again(trace.workload, corruption):
            part = replace(corruption[hit], element=element, layer=np.full(len(hit), number))
            found[hit] += self._alone(trace, part)
        return found

    def _alone(self, trace: Trace, corruption: Corruption) -> Reals:
        """The same for one layer that reads a wrong weight, whoever else does."""
        margin = trace.workload.task.lead(trace.logits.double()).clamp(min=1e-30)
        found = np.full(len(corruption), _LEAST)
        for number, operand, chosen in by_operand(corruption):
            look = _Look(self, trace, number, corruption[chosen], margin)
            found[chosen] = (getattr(look, operand)() / look.margin).cpu().numpy()
        ratio: Reals = np.nan_to_num(found, nan=np.inf, posinf=np.inf).clip(min=_LEAST)
        return ratio


class _Look:
    """Corruptions of one layer and operand; each method gives what they do to margins, (n,)."""

    def __init__(
        self, margins: Margins, trace: Trace, number: int, corruption: Corruption, margin: Tensor
    ) -> None:
        self.workload, self.trace = margins.workload, trace
        self.layer: Layer = self.workload.layers[number]
        self.how, self.given = self.workload.arithmetic[number], self.workload.parameters[number]
        self.slopes, self.weights = margins.slopes[number], margins.weights[number]
        self.corruption = corruption
        self.device = trace.logits.device
        self.image, self.element = self._on(corruption.image), self._on(corruption.element)
        self.margin = margin[self.image]

    def output(self) -> Tensor:
        """A wrong output."""
        golden = self.trace.values[self.layer.step][self.image, self.element]
        return self._felt(self.image, self.element, golden, self._moved(golden, self.how.output))

    def psum(self) -> Tensor:
        """A wrong sum of some of an output's products."""
        golden = self.trace.values[self.layer.step][self.image, self.element]
        held = self._sums() if self.layer.has_windows else golden
        unit = self._unit()
        moved = self._moved((held / unit).to(held.dtype), self.how.latch) * unit
        return self._felt(self.image, self.element, golden, moved.to(golden.dtype))

    def product(self) -> Tensor:
        """A wrong product: a sum of one."""
        return self.psum()

    def _unit(self) -> Tensor:
        """The real value of 1 where partial sums are held, (n,) or of no dimension."""
        if self.given is None or not self.how.wraps:
            return torch.ones((), device=self.device)
        unit = self.how.unit(self.given).reshape(-1)
        return unit[self.layer.output_place(self.element)[0]] if len(unit) > 1 else unit[0]

    def weight(self) -> Tensor:
        """A wrong weight, at some of the positions that read it."""
        layer, corruption = self.layer, self.corruption
        assert self.weights is not None
        channel, term = layer.weight_place(self.element)
        moved = self._moved(self.weights[channel, term], of_channels(self.how.weight, channel))
        inputs = self.trace.values[layer.operands[0]]
        late = corruption.first - channel.cpu().numpy() * layer.positions
        low = np.maximum(corruption.positions[:, 0], late)
        positions = _Ranges.of(low, corruption.positions[:, 1], layer.positions)
        typical = self.slopes.held * self.slopes.typical
        found = moved.abs().double() * typical * self._on(positions.extent)
        here = torch.nonzero(~(found < _TELLING * self.margin))[:, 0].cpu().numpy()
        if not layer.has_windows or not len(here):
            return found
        some, (position, share) = self._on(here), map(self._on, positions.some(here))
        source = layer.tap(channel[some, None], position, term[some, None])
        x = inputs[self.image[some, None], source.clamp(min=0)]
        change = moved[some, None] * torch.where(source >= 0, x, 0.0)
        felt = self._read(some, channel[some, None], position, change) * share
        found[some] = self._not_less(felt, found[some], share, some)
        return found

    def input(self) -> Tensor:
        """A wrong input, in the channels that read it where it is one product of each."""
        layer, corruption = self.layer, self.corruption
        inputs = self.trace.values[layer.operands[0]]
        held = inputs[self.image, self.element.clamp(min=0)]
        moved = self._moved(torch.where(self.element < 0, 0.0, held), self.how.input)
        positions = _Ranges.of(*_ends(corruption.positions), layer.positions)
        channels = _Ranges.of(*_ends(corruption.channels), layer.channels)
        read = positions.extent * channels.extent / (layer.channels * layer.positions)
        slope = self.slopes.inputs[self.element.clamp(min=0)]
        found = moved.abs().double() * slope * self._on(read)
        terms = corruption.terms[:, 1] - corruption.terms[:, 0]
        here = np.flatnonzero((terms == 1) & (positions.extent == 1))
        if self.weights is None or not len(here):
            return found
        some, (channel, share) = self._on(here), map(self._on, channels.some(here))
        term, position = (
            self._on(part[here, :1]) for part in (corruption.terms, corruption.positions)
        )
        change = moved[some, None] * self.weights[channel, term]
        felt = self._read(some, channel, position, change) * share
        found[some] = self._not_less(felt, found[some], share, some)
        return found

    def _sums(self) -> Tensor:
        """The sums of products that are struck, of real values."""
        layer, (channel, position) = self.layer, self.layer.output_place(self.element)
        assert self.weights is not None
        geometry = layer.geometry or Geometry((1, 1), (1, 1), (0, 0))
        plane = layer.plane if layer.geometry else (1, layer.positions)
        sizes = (layer.fan_in, layer.bounds["f"] if layer.geometry else layer.positions)
        groups = (layer.channels // layer.bounds["groups"], layer.bounds["c"])
        sums = np.empty(len(self.image), np.float32)
        inputs, weights = (
            part.cpu().numpy() for part in (self.trace.values[layer.operands[0]], self.weights)
        )
        places = (self.corruption.image, channel.cpu().numpy(), position.cpu().numpy())
        partial_sums(
            (*places, self.corruption.terms), inputs, weights, (*sizes, *groups, *plane),
            numbers_of(geometry), layer.geometry is not None, sums,
        )  # fmt: skip
        return torch.from_numpy(sums).to(self.device)

    def _moved(self, held: Tensor, fmt: NumberFormat) -> Tensor:
        """By how much values (n,) of a format change."""
        change = altered(fmt.round(held), self.corruption, fmt)
        return change.after - change.before

    def _read(self, some: Tensor, channel: Tensor, position: Tensor, change: Tensor) -> Tensor:
        """Sum over reads, (k, reads), of some of the corruptions; outputs change by ``change``."""
        layer = self.layer
        place = layer.output_element(channel, position).reshape(-1)
        image = self.image[some, None].expand(change.shape).reshape(-1)
        golden = self.trace.values[layer.step][image, place]
        felt = self._felt(image, place, golden, change.reshape(-1).to(golden.dtype))
        return felt.view(change.shape).sum(1)

    def _not_less(self, felt: Tensor, typical: Tensor, share: Tensor, some: Tensor) -> Tensor:
        """What some corruptions do, where reads that were not looked at may differ."""
        hidden = torch.minimum(typical, _HIDDEN * self.margin[some])
        return torch.where(share > 1, torch.maximum(felt, hidden), felt)

    def _felt(self, image: Tensor, element: Tensor, golden: Tensor, moved: Tensor) -> Tensor:
        """What outputs that change, (m,), do to the margin."""
        tail, trace = self.slopes.tail, self.trace
        held = trace.values.get(tail.end)
        clean = tail.passed(trace, image, element, golden) if held is None else held[image, element]
        change = tail.passed(trace, image, element, golden + moved)
        change = change.to(golden.dtype) - clean.to(golden.dtype)
        if tail.end == self.workload.program.output:
            return self._answered(image, element, change.double())
        slope = self.slopes.results[element]
        # what pooling holds back now may pass once it is larger
        slope = torch.where((slope == 0) & (change > 0), self.slopes.typical, slope)
        return change.abs().double() * slope

    def _answered(self, image: Tensor, element: Tensor, change: Tensor) -> Tensor:
        """What logits that change, (m,), take of the margin: all of it where another one wins."""
        task = self.workload.task
        place, chosen = element // task.classes, element % task.classes
        logits = self.trace.logits.view(len(self.trace.logits), -1, task.classes)[image, place]
        best, second = logits.topk(2, dim=1).values.double().unbind(1)
        own = logits.gather(1, chosen[:, None])[:, 0].double()
        wins = logits.argmax(1) == chosen
        gap = torch.where(wins, best - second, best - own).clamp(min=1e-30)
        toward: Tensor = torch.where(wins, -change, change).nan_to_num(nan=torch.inf) / gap
        return toward.clamp(min=0) * task.lead(self.trace.logits[image].double()).clamp(min=1e-30)

    def _on(self, part: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(part)).to(self.device)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranges:
    """Places ``low <= p < low + extent`` of n faults, (n,)."""

    low: Integers
    extent: Integers

    @classmethod
    def of(cls, low: Integers, high: Integers, most: int) -> _Ranges:
        """Cut off at ``most``."""
        return cls(low, np.maximum(np.minimum(high, most) - low, 0))

    def some(self, chosen: Integers) -> tuple[Integers, Reals]:
        """Places spread over some of the ranges, (k, reads), and how many each stands for, (k,)."""
        low, extent = self.low[chosen], self.extent[chosen]
        reads = max(1, min(_READS, int(extent.max(initial=1))))
        steps = ((np.arange(reads) + 0.5) / reads * extent[:, None]).astype(np.int64)
        return np.where(extent[:, None] > 0, low[:, None] + steps, 0), extent / reads


def _ends(box: Integers) -> tuple[Integers, Integers]:
    return box[:, 0], box[:, 1]


def _tails(workload: Workload) -> tuple[Tail, ...]:
    """Of each layer; the same for all images."""
    users = workload.program.users()
    return tuple(Tail.of(workload, layer, users) for layer in workload.layers)


def _slopes(workload: Workload, images: Tensor) -> tuple[Slopes, ...]:
    """Those of all layers; operations without a derivative are left out."""
    try:
        return _Backwards(workload, images).slopes()
    except RuntimeError:
        blind = _underivable(workload, images)
        if not blind:
            raise
        return _Backwards(workload, images, blind).slopes()


class _Backwards:
    """One pass backwards serves all images, which do not influence each other."""

    def __init__(self, workload: Workload, images: Tensor, blind: frozenset[int] = frozenset()):
        self.workload = workload
        self.tails = workload.once("tails", lambda: _tails(workload))
        self.ends = {tail.end for tail in self.tails}
        self.inputs: list[Tensor] = []
        self.straight = Straight(workload.program, blind)
        with torch.enable_grad():
            given = images.clone()
            given.requires_grad_(given.is_floating_point())
            self.values = workload.program.values(given, self._evaluate)
            self.margin = workload.task.lead(self.values[workload.program.output])
            if self.margin.requires_grad:
                self.margin.sum().backward()

    def slopes(self) -> tuple[Slopes, ...]:
        """Of all layers."""
        return tuple(map(self._of, self.workload.layers, self.tails, self.inputs))

    def _evaluate(self, index: int, values: Any) -> Any:
        number = self.workload.numbers.get(index)
        if number is None:
            found = self.straight.run(index, values)
        else:
            source = self.workload.layers[number].operands[0]
            own = self._taken(number, values(source))
            self.inputs.append(own)
            step = self.workload.program.steps[index]
            real = values(source).is_floating_point()
            found = step.run(lambda s: own if s == source and real else values(s))
            if not real:
                found = found + torch.zeros_like(found).requires_grad_(True)
        carrier = self.straight.carrier(index, found)
        if index in self.ends and carrier.requires_grad:
            carrier.retain_grad()
        return found

    def _taken(self, number: int, value: Tensor) -> Tensor:
        """A layer's input, whose gradient through this layer alone is wanted.

        Of a look-up: what rows with one 1 each have for a root mean square; nothing is felt there.
        """
        if not value.is_floating_point():
            rows = self.workload.layers[number].fan_in
            return torch.full(value.shape, rows**-0.5, dtype=self.workload.formats.carrier)
        own = value + torch.zeros_like(value).requires_grad_(True)
        own.retain_grad()
        return own

    def _of(self, layer: Layer, tail: Tail, own: Tensor) -> Slopes:
        end = self.values[tail.end]
        results = self._felt(tail.end, self.straight.carrier(tail.end, end))
        reached = self._felt(layer.operands[0], own)
        guessed = not results.any()
        if guessed:
            results, reached = self._guess(results, end), self._guess(reached, own)
        typical, held = _rms(results), _rms(own.detach())
        return Slopes(tail, reached, results, typical, held, guessed)

    def _felt(self, step: int, value: Tensor) -> Tensor:
        """Root mean square over images of gradients in a value, (elements,); 0 if it has none."""
        layout = self.workload.program.rows[step]
        assert layout is not None
        none = torch.zeros_like(value, dtype=self.margin.dtype)
        rows = layout.split(none if value.grad is None else value.grad)
        return rows.square().mean(0).sqrt()

    def _guess(self, felt: Tensor, value: Tensor) -> Tensor:
        """A slope for values that nothing is known of, (elements,)."""
        size = _rms(value.detach().to(self.margin.dtype)) or 1.0
        margin = float(self.margin.detach().mean())
        return torch.full_like(felt, margin / (size * len(felt) ** 0.5), dtype=self.margin.dtype)


def _underivable(workload: Workload, images: Tensor) -> frozenset[int]:
    """The steps that autograd can't derive, each tried on its own."""
    found = set()

    def evaluate(index: int, values: Any) -> Any:
        step = workload.program.steps[index]
        own = {k: _leaf(values(k)) for k in step.inputs}
        try:
            with torch.enable_grad():
                value = Straight(workload.program).run(index, own.__getitem__)
            if isinstance(value, Tensor) and value.requires_grad:
                value.sum().backward()
        except RuntimeError:
            found.add(index)
        with torch.no_grad():
            return step.run(values)

    workload.program.values(images, evaluate)
    return frozenset(found)


def _leaf(value: Any) -> Any:
    real = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().clone().requires_grad_(True) if real else value


def _rms(value: Tensor) -> float:
    return float(value.square().mean().sqrt())
