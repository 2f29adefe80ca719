"""Faults that provably change nothing, or not the answer, without a run.

A proof holds whichever way the engine runs a fault, to the last bit: where sums of floats depend on
the order of their terms, all orders are allowed for (`radhard.foresight.interval`). What is not
proved may still be harmless.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.change import altered, of_channels
from radhard.engine.layerstage import numbers_of
from radhard.engine.maps import golden_sums
from radhard.engine.rounding import rounding_of
from radhard.engine.strike import by_operand, held_inputs, read_again
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.foresight import interval
from radhard.foresight.link import Link, links_behind
from radhard.foresight.price import Prices, rounding_error
from radhard.formats.integer import IntegerFormat
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.operation import Geometry
from radhard.network.workload import Workload

Levels = NDArray[np.uint8]
Integers = NDArray[np.int64]

#: By which share a sum of integers may err when it gets its scale.
_SCALE_ERROR = 2.0**-20
#: A change this small a share of a float32 that it is added to is lost.
_ABSORBED = 0.99 * 2.0**-25


@dataclass(frozen=True, slots=True, eq=False)
class Proofs:
    """What can be said of faults without running them, whatever watches the runs.

    Attributes:
        workload: the network with its images.
        links: for each layer, the steps value by value behind it that are understood.
    """

    workload: Workload
    links: tuple[tuple[Link, ...], ...]

    @classmethod
    def of(cls, workload: Workload) -> Proofs:
        """For all images of a workload."""
        users = workload.program.users()
        links = tuple(tuple(links_behind(workload, layer, users)) for layer in workload.layers)
        return cls(workload, links)

    def level(self, trace: Trace, corruption: Corruption) -> Levels:
        """What is proved of n corruptions, (n,).

        0 says nothing. 1 says that the class on top stays what it is fault-free, and so that the
        answer is neither lost nor gained. 2 says that no logit changes in any bit.

        Args:
            trace: the golden run of the images that are struck.
            corruption: n corruptions.

        >>> import torch, radhard as rh
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> work = rh.capture(model, torch.zeros(1, 1, 2, 2), torch.tensor([0]))
        >>> space = rh.Campaign(work, rh.chips.Software(("weight",))).space()
        >>> faults = rh.Importance().draw(space, 100, np.random.default_rng(0))
        >>> struck = rh.chips.SOFTWARE.corrupt(work, space, faults)  # zeros are multiplied
        >>> int((Proofs.of(work).level(rh.record(work), struck) == 2).sum()) > 90
        True
        """
        found = np.zeros(len(corruption), np.uint8)
        with torch.no_grad():
            for number, operand, chosen in by_operand(corruption):
                struck = _Struck(self._place(trace, number), trace, number, corruption[chosen])
                found[chosen] = getattr(struck, operand)()
        for _, again, _ in read_again(trace.workload, corruption):
            found[again] = 0
        return found

    def _place(self, trace: Trace, number: int) -> _Place:
        """Of a layer in a golden run, made when first needed."""
        key = "proof", number
        if key not in trace.maps:
            trace.maps[key] = _Place.of(
                trace, number, self._prices(trace), self._chain(trace, number)
            )
        found: _Place = trace.maps[key]
        return found

    def _prices(self, trace: Trace) -> Prices:
        if "prices" not in trace.maps:
            layers = range(len(self.workload.layers)) if _served(trace) else ()
            ends = {self._end(number, self._chain(trace, number)) for number in layers}
            trace.maps["prices"] = Prices.found(trace, ends) if _served(trace) else Prices({})
        found: Prices = trace.maps["prices"]
        return found

    def _chain(self, trace: Trace, number: int) -> tuple[Link, ...]:
        """The longest one behind a layer whose golden values are all stored."""
        links = self.links[number]
        for count in range(len(links), 0, -1):
            sides = {link.added for link in links[:count]} - {None}
            if {links[count - 1].step, *sides} <= trace.values.keys():
                return links[:count]
        return ()

    def _end(self, number: int, chain: tuple[Link, ...]) -> int:
        return chain[-1].step if chain else self.workload.layers[number].step


def _served(trace: Trace) -> bool:
    """Whether bounds hold for a golden run: on a processor, in float32, of numbers."""
    values = trace.logits
    return values.device.type == "cpu" and values.dtype == torch.float32 and trace.finite


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A layer in a golden run, as compiled bounds take it.

    Attributes:
        chain: what follows it, and what changes cost at its end.
        sums: golden sums, their errors and their places; ``None`` where none are understood.
        finish: how sums become outputs.
        inputs: golden operands (images, elements).
        weights: (output channels, fan-in) as they are multiplied.
        geometry: which products read what.
    """

    chain: tuple[Any, ...]
    sums: tuple[Any, ...] | None = None
    finish: tuple[Any, ...] = ()
    inputs: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    geometry: tuple[Any, ...] = ()

    @classmethod
    def of(
        cls, trace: Trace, number: int, prices: Prices, links: tuple[Link, ...]
    ) -> _Place | None:
        """``None`` where no bounds hold for the golden run."""
        workload, layer = trace.workload, trace.workload.layers[number]
        if not _served(trace):
            return None
        end = links[-1].step if links else layer.step
        chain = _chain_arrays(trace, links, end, prices.of.get(end))
        how, given = workload.arithmetic[number], workload.parameters[number]
        finish = rounding_of(how.output)
        layout = workload.program.rows[layer.step]
        plainly = how.accumulator in (None, how.output) and how.plain
        if (
            given is None or finish is None or rounding_of(how.input) is None or not plainly
            or not layer.has_windows or how.weight.significant > 24
            or not (layout is not None and (layout.first or how.sums_are_outputs))
        ):  # fmt: skip
            return cls(chain)
        sums = golden_sums(trace, number)
        if sums.dtype not in (torch.float32, torch.float64):
            return cls(chain)
        inputs = how.operand(trace.values[layer.operands[0]])
        weights = layer.weight_rows(given.weight).float().contiguous()
        unit, error = np.ones(layer.channels), 0.0
        if how.exact:
            unit[:] = how.unit(given).double().reshape(-1).numpy()
            error = _SCALE_ERROR if isinstance(how.output, IntegerFormat) else 0.0
        noise, lost = _noise(layer, how, given, inputs)
        held = sums.contiguous().numpy(), noise, lost, layer.channels, layer.inner
        finishing = finish._replace(numbers=finish.numbers.astype(np.float64)), unit, error
        own = inputs.float().contiguous().numpy()
        return cls(chain, held, finishing, own, weights.numpy(), _geometry(layer))


def _noise(
    layer: Layer, how: Arithmetic, given: Parameters, inputs: Tensor
) -> tuple[NDArray[np.float64], float]:
    """By how much golden sums may differ in another order, (images, channels); and the share."""
    if how.exact:
        return np.zeros((len(inputs), layer.channels)), 0.0
    rows, x = layer.weight_rows(given.weight).double(), inputs.double()
    one = rows.abs().sum(1) * x.abs().amax(1)[:, None]
    two = rows.square().sum(1).sqrt() * x.square().sum(1).sqrt()[:, None]
    bias = 0.0 if given.bias is None else given.bias.double().abs().reshape(-1)
    error = rounding_error(layer.fan_in)
    return (error * (torch.minimum(one, two) * 1.001 + bias)).numpy(), error


def _geometry(layer: Layer) -> tuple[Any, ...]:
    """Which products read what, as compiled bounds take it."""
    numbers = numbers_of(layer.geometry or Geometry((1, 1), (1, 1), (0, 0)))
    plane = layer.plane if layer.geometry else (1, layer.positions)
    own = layer.channels // layer.bounds["groups"], layer.bounds["c"]
    shape = layer.bounds["f"] if layer.geometry else layer.positions, *own, *plane
    return layer.geometry is not None, numbers, tuple(map(int, shape)), layer.fan_in


def _chain_arrays(
    trace: Trace, links: tuple[Link, ...], end: int, price: Tensor | None
) -> tuple[Any, ...]:
    """As compiled bounds take a chain."""
    table = np.zeros((len(links), max([2, *(len(link.numbers) for link in links)])), np.float32)
    for row, link in zip(table, links, strict=True):
        row[: len(link.numbers)] = link.numbers
    none = np.zeros((1, 1), np.float32)
    added = [trace.values[link.added] for link in links if link.added is not None]
    side = added[0].contiguous().numpy() if added else none
    codes = np.array([link.code for link in links], np.int64)
    golden = trace.values[end].contiguous().numpy()
    cost = none if price is None else price.contiguous().numpy()
    return codes, table, side, golden, cost, price is not None


@dataclass(frozen=True, slots=True, eq=False)
class _Struck:
    """Corruptions of one layer and operand; each method gives what is proved of them, (n,)."""

    place: _Place | None
    trace: Trace
    number: int
    corruption: Corruption

    def output(self) -> Levels:
        """A wrong output."""
        golden = self.trace.values[self._layer.step][self._image, self._element]
        change = altered(golden, self.corruption, self._how.output)
        return self._of_values(change.after, change.after, change.after == golden)

    def psum(self) -> Levels:
        """A wrong sum of some of an output's products."""
        return self._sum(alone=False)

    def product(self) -> Levels:
        """A wrong product."""
        return self._sum(alone=True)

    def weight(self) -> Levels:
        """A wrong weight."""
        layer, place, corruption = self._layer, self.place, self.corruption
        channel, term = layer.weight_place(self._element)
        how = replace(self._how, weight=of_channels(self._how.weight, channel))
        held = layer.weight_rows(self.trace.workload.weight(self.number))[channel, term]
        change = altered(held, corruption, how.weight)
        same = change.after == change.before
        if place is None or place.sums is None:
            return _levels(same)
        before, after = (
            how.integer_weight(part) if how.exact else part
            for part in (change.before, change.after)
        )
        m = channel.numpy()
        low, high = corruption.positions.clip(0, layer.positions).T
        low = np.maximum(low, corruption.first - m * layer.positions)
        first, end = corruption.channels.T
        high = np.where((m >= first) & (m < end), high, 0)
        wrong = corruption.image, m, term.numpy(), (after.double() - before.double()).numpy()
        into = np.zeros(len(corruption), np.uint8)
        given = place.inputs, place.geometry, place.sums, place.finish, place.chain
        interval.of_weights(wrong, (low, high), *given, into)
        return np.maximum(into, _levels(same))

    def input(self) -> Levels:
        """A wrong input."""
        layer, place, corruption, how = self._layer, self.place, self.corruption, self._how
        change = altered(held_inputs(self.trace, self.number, corruption), corruption, how.input)
        same = change.after == change.before
        if place is None or place.sums is None:
            return _levels(same)
        before, after = (
            how.operand(part) if how.exact else part for part in (change.before, change.after)
        )
        moved = (after.double() - before.double()).numpy()
        wrong = corruption.image, corruption.element, moved, corruption.terms[:, 0]
        channels = corruption.channels.clip(0, layer.channels)
        positions = corruption.positions.clip(0, layer.positions)
        reads = np.column_stack([channels, positions, corruption.first])
        into = np.zeros(len(corruption), np.uint8)
        given = place.weights, place.geometry, place.sums, place.finish, place.chain
        interval.of_inputs(wrong, reads, *given, into)
        return np.maximum(into, _levels(same))

    def _sum(self, alone: bool) -> Levels:
        layer, place, how, corruption = self._layer, self.place, self._how, self.corruption
        given = self.trace.workload.parameters[self.number]
        if place is None or place.sums is None or given is None or not (how.exact or _as_torch()):
            return np.zeros(len(corruption), np.uint8)
        channel, position = layer.output_place(self._element)
        part = np.empty(len(corruption))
        wrong = corruption.image, channel.numpy(), position.numpy(), corruption.terms, alone
        interval.held_sums(wrong, place.inputs, place.weights, place.geometry, how.exact, part)
        scale = given.scale.reshape(-1)[channel] if given.scale.numel() > 1 else given.scale
        own = Parameters(None, None, scale)
        held = how.held(torch.from_numpy(part), own)
        after = altered(held, corruption, how.latch).after
        sums = torch.from_numpy(place.sums[0])[self._image, self._element].double()
        if how.exact:
            value, free = (
                how.finished(total, own).float()
                for total in (how.with_altered(sums, held, after, own), sums)
            )
            return self._of_values(value, value, value == free)
        change = torch.where(after == held, 0.0, after - held)
        room = torch.from_numpy(place.sums[1])[self._image, channel] + place.sums[2] * change.abs()
        same = change == 0
        if how.sums_are_outputs:
            same |= change.abs() < _ABSORBED * (sums.abs() - room)
        ends = np.empty((len(part), 2), np.float32)
        between = (sums + change - room).numpy(), (sums + change + room).numpy()
        interval.outputs(channel.numpy(), *between, place.finish, ends)
        return self._of_values(torch.from_numpy(ends[:, 0]), torch.from_numpy(ends[:, 1]), same)

    def _of_values(self, low: Tensor, high: Tensor, same: Tensor) -> Levels:
        """Of outputs that lie between two values, or are the same as ever."""
        if self.place is None:
            return _levels(same)
        into = np.zeros(len(same), np.uint8)
        image, element = self.corruption.image, self.corruption.element
        channel = np.asarray(self._layer.output_place(element)[0])
        ends = low.contiguous().numpy(), high.contiguous().numpy()
        interval.of_values(image, channel, element, *ends, self.place.chain, into)
        return np.maximum(into, _levels(same))

    @property
    def _layer(self) -> Layer:
        return self.trace.workload.layers[self.number]

    @property
    def _how(self) -> Arithmetic:
        return self.trace.workload.arithmetic[self.number]

    @property
    def _image(self) -> Tensor:
        return torch.from_numpy(self.corruption.image).to(self.trace.logits.device)

    @property
    def _element(self) -> Tensor:
        return torch.from_numpy(self.corruption.element).to(self.trace.logits.device)


def _levels(same: Tensor) -> Levels:
    """2 where nothing changes."""
    found: Levels = (same.to(torch.uint8) * interval.SAME).cpu().numpy()
    return found


@functools.cache
def _as_torch() -> bool:
    """Whether compiled sums of floats are those of PyTorch's cumulative sums, to the last bit."""
    random = torch.Generator().manual_seed(0)
    x, w = (torch.randn(64, 333, generator=random) for _ in range(2))
    sums = (x * w).cumsum(1)[:, -1]
    into, place = np.empty(len(x)), np.arange(len(x))
    wrong = place, place, 0 * place, np.tile(np.array([0, x.shape[1]]), (len(x), 1)), False
    one = Geometry((1, 1), (1, 1), (0, 0))
    geometry = False, numbers_of(one), (1, 1, 1, 1, 1), x.shape[1]
    interval.held_sums(wrong, x.numpy(), w.numpy(), geometry, False, into)
    return bool((torch.from_numpy(into) == sums.double()).all())
