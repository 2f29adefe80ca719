"""How likely each fault is to change the answer: what a change meets first, then a gradient.

A guess that directs sampling. It need not be right, only cheap and telling.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from radhard.foresight.slope import Slopes, slopes_of
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
        slopes = slopes_of(workload, workload.images[torch.from_numpy(chosen)])
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
        for some, position, share in (map(self._on, part) for part in positions.some(here)):
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
        term, place = (self._on(part[:, :1]) for part in (corruption.terms, corruption.positions))
        for some, channel, share in (map(self._on, part) for part in channels.some(here)):
            change = moved[some, None] * self.weights[channel, term[some]]
            felt = self._read(some, channel, place[some], change) * share
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
    """Places ``low <= p < low + extent`` of n faults, (n,), below ``most``."""

    low: Integers
    extent: Integers
    most: int

    @classmethod
    def of(cls, low: Integers, high: Integers, most: int) -> _Ranges:
        """Cut off at ``most``."""
        return cls(low, np.maximum(np.minimum(high, most) - low, 0), most)

    def some(self, chosen: Integers) -> Iterator[tuple[Integers, Integers, Reals]]:
        """Of ranges with these numbers, in parts: numbers, places spread over each, and shares.

        Places are (k, reads), and shares (k,) how many each stands for. How many are looked at does
        not depend on the company that a range is in.
        """
        many = self.extent[chosen] > 1
        for part, reads in ((chosen[~many], 1), (chosen[many], min(_READS, self.most))):
            if not len(part):
                continue
            low, extent = self.low[part], self.extent[part]
            steps = ((np.arange(reads) + 0.5) / reads * extent[:, None]).astype(np.int64)
            yield part, np.where(extent[:, None] > 0, low[:, None] + steps, 0), extent / reads


def _ends(box: Integers) -> tuple[Integers, Integers]:
    return box[:, 0], box[:, 1]
