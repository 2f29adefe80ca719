"""From corruptions of one layer to its faulty outputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.change import Change, altered, of_channels
from radhard.engine.reweigh import under_own_weights, wrong_weights
from radhard.engine.trace import Trace, filled, run_steps
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.faults.model import Integers
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Product
from radhard.network.program import Span
from radhard.network.stepwise import Latched
from radhard.network.sums import each
from radhard.network.terms import Each, Place
from radhard.network.workload import Workload

#: Operands that are gathered at once for outputs that are computed one by one, about.
_GATHERED = 1 << 23


def by_operand(corruption: Corruption) -> Iterator[tuple[int, str, Integers]]:
    """Layers and operands that corruptions strike: number, operand, and which corruptions."""
    kind = corruption.layer * len(OPERANDS)
    for place, operand in enumerate(OPERANDS):
        kind[corruption.operand == operand] += place
    order = np.arange(len(kind))
    if (kind[1:] < kind[:-1]).any():
        order = np.argsort(kind, kind="stable")
    starts = np.flatnonzero(np.diff(kind[order], prepend=-1))
    for start, end in itertools.pairwise((*starts.tolist(), len(kind))):
        number, place = divmod(int(kind[order[start]]), len(OPERANDS))
        yield number, OPERANDS[place], order[start:end]


def struck_outputs(trace: Trace, number: int, corruption: Corruption) -> tuple[Tensor, Change]:
    """The outputs of layer ``number``, (n, elements), under n corruptions of one operand each.

    Guards have not seen them yet. All corruptions must share layer and operand.
    """
    image = torch.from_numpy(corruption.image).to(trace.workload.device)
    golden = trace.golden(trace.workload.layers[number].step, image)
    compute = {"weight": _under_weights, "input": _under_inputs}[str(corruption.operand[0])]
    faulty, fault_free, change = compute(trace, number, corruption, image)
    same = (faulty == fault_free) | ~_boxes(trace, number, corruption)
    return torch.where(same, golden, faulty), change


def single(trace: Trace, number: int, corruption: Corruption) -> NDArray[np.bool_]:
    """Which corruptions of layer ``number`` can change one of its outputs only, (n,)."""
    layer = trace.workload.layers[number]
    one: NDArray[np.bool_] = np.isin(corruption.operand, ("product", "psum", "output"))
    if not layer.has_windows:
        return one
    boxes = (corruption.channels, corruption.positions)
    narrow = np.all([box[:, 1] - box[:, 0] == 1 for box in boxes], axis=0)
    first = corruption.channels[:, 0] * layer.positions + corruption.positions[:, 0]
    one |= narrow & (corruption.first <= first)
    return one


def struck_values(
    trace: Trace, number: int, corruption: Corruption
) -> tuple[Tensor, Tensor, Tensor, Change]:
    """What `single` corruptions change: element, golden and faulty values, (n,); and by what."""
    layer, device = trace.workload.layers[number], trace.workload.device
    image, element = (
        torch.from_numpy(part).to(device) for part in (corruption.image, corruption.element)
    )
    operand = str(corruption.operand[0])
    if operand in {"weight", "input"}:
        m, p = (
            torch.from_numpy(box[:, 0]).to(device)
            for box in (corruption.channels, corruption.positions)
        )
        element = layer.output_element(m, p)
    golden = trace.values[layer.step][image, element]
    if operand == "output":
        how = trace.workload.arithmetic[number]
        change = altered(golden, corruption, how.output)
        return element, golden, change.after, change
    struck = struck_sums(trace, number, corruption, element)
    how, carrier = trace.workload.arithmetic[number], trace.workload.formats.carrier
    how = replace(how, weight=struck.weight)
    faulty, free = (
        how.finished(sums, struck.given).to(carrier) for sums in (struck.faulty, struck.free)
    )
    change = struck.change
    same = (faulty == free) | (torch.isnan(faulty) & torch.isnan(free))
    return element, golden, torch.where(same, golden, faulty), change


class Struck(NamedTuple):
    """The sum of one output of each of n corruptions.

    Attributes:
        faulty, free: with a wrong operand or partial sum, and without, (n,).
        given: bias and scale of each, as `Arithmetic.finished` takes them.
        weight: the format of the weights of each.
        change: what was struck.
    """

    faulty: Tensor
    free: Tensor
    given: Parameters
    weight: NumberFormat
    change: Change


def struck_sums(trace: Trace, number: int, corruption: Corruption, element: Tensor) -> Struck:
    """The sums of one output (n,) of each corruption, before they are scaled and rounded."""
    workload, layer = trace.workload, trace.workload.layers[number]
    how, given = workload.arithmetic[number], workload.parameters[number]
    assert given is not None
    channel, position = layer.output_place(element)
    window = layer.window(channel, position)
    image = torch.from_numpy(corruption.image).to(element.device)
    x = trace.values[layer.operands[0]][image[:, None], window.clamp(min=0)]
    x = torch.where(window >= 0, how.input.round(x), 0.0)
    how = replace(how, weight=of_channels(how.weight, channel))
    w = how.weight.round(layer.weight_rows(workload.weight(number))[channel])
    bias = given.bias.reshape(-1)[channel] if given.bias is not None else None
    scale = given.scale.reshape(-1)[channel] if given.scale.numel() > 1 else given.scale

    taps = torch.arange(layer.fan_in, device=element.device)
    terms = each(layer, how, Place(channel[:, None], position[:, None], taps), window >= 0)

    def sums(x: Tensor, w: Tensor, bias: Tensor | None, over: Product = terms) -> Tensor:
        if how.exact:
            w = how.integer_weight(w)
        found = how.sums(over, how.operand(x), Parameters(w, bias, scale))
        return found.to(torch.float64) if found.is_floating_point() else found

    own = Parameters(w, bias, scale)
    fault_free = sums(x, w, bias)
    operand, span = str(corruption.operand[0]), torch.from_numpy(corruption.terms).to(x.device)
    if operand in {"psum", "product"} and how.each_step:
        faulty, change = _struck_latch(Latched.of(layer, how), how, x, own, corruption)
    elif operand in {"psum", "product"}:
        assert isinstance(terms, Each)
        if operand == "product":
            one = span[:, :1]
            part = sums(x.gather(1, one), w.gather(1, one), None, terms.alone(one))
        else:
            within = (taps >= span[:, :1]) & (taps < span[:, 1:])
            part = sums(x, w, None, terms.only(within))
            part = torch.zeros_like(part) + part
        change = altered(how.held(part, own), corruption, how.latch)
        faulty = how.with_altered(fault_free, change.before, change.after, own)
    else:
        wrong = torch.from_numpy(corruption.element).to(element.device)
        if operand == "weight":
            own_channel, tap = layer.weight_place(wrong)
            change = altered(w.gather(1, tap[:, None])[:, 0], corruption, how.weight)
            hit = (taps == tap[:, None]) & (own_channel == channel)[:, None]
            faulty = sums(x, torch.where(hit, change.after[:, None], w), bias)
        else:
            change = altered(held_inputs(trace, number, corruption), corruption, how.input)
            hit = torch.where(wrong[:, None] < 0, taps == span[:, :1], window == wrong[:, None])
            over = terms.with_inside(hit) if isinstance(terms, Each) else terms
            faulty = sums(torch.where(hit, change.after[:, None], x), w, bias, over)
    return Struck(faulty, fault_free, own, how.weight, change)


def held_inputs(trace: Trace, number: int, corruption: Corruption) -> Tensor:
    """The inputs of a layer that n corruptions strike, as they are held, (n,)."""
    values = trace.values[trace.workload.layers[number].operands[0]]
    image, element = (
        torch.from_numpy(part).to(values.device) for part in (corruption.image, corruption.element)
    )
    held = trace.workload.arithmetic[number].input.round(values[image, element.clamp(min=0)])
    return torch.where(element < 0, 0.0, held)


def _struck_latch(
    latched: Latched, how: Arithmetic, x: Tensor, given: Parameters, corruption: Corruption
) -> tuple[Tensor, Change]:
    """Sums with the bias, (n,), where each step is rounded and one latch on the way is struck."""
    operand, weight = how.operand(x), how.integer_weight(given.weight)
    masks = corruption.keep, corruption.flip
    sums, before, after = latched.struck(operand, weight, corruption.terms, masks)
    unit = how.unit(given)
    change = Change(before * unit, after * unit, how.latch.encode(before * unit))
    return how.with_bias_added(sums, given), change


def _under_inputs(
    trace: Trace, number: int, corruption: Corruption, image: Tensor
) -> tuple[Tensor, Tensor, Change]:
    """Outputs with one wrong input element, and without; and what it was and became."""
    workload, layer = trace.workload, trace.workload.layers[number]
    how = workload.arithmetic[number]
    source = layer.operands[0]
    inputs = how.input.round(trace.golden(source, image))
    place = torch.from_numpy(corruption.element).to(inputs.device)
    change = altered(held_inputs(trace, number, corruption), corruption, how.input)
    inside = torch.nonzero(place >= 0)[:, 0]
    inputs[inside, place[inside]] = change.after[inside]
    others = {step: trace.golden(step, image) for step in _activations(trace, number)}
    others[source] = inputs
    span = Span(layer.step, layer.step + 1, (layer.step,), trace.last_reader)
    found = []
    for start in range(0, len(inputs), trace.rows):
        part = {step: v[start : start + trace.rows] for step, v in others.items()}
        whole = {step: filled(v, trace.rows) for step, v in part.items()}
        values, _ = run_steps(workload, whole, span, None, trace.rows)
        found.append(values[layer.step][: len(part[source])])
    faulty, padding = torch.cat(found), torch.nonzero(place < 0)[:, 0]
    if len(padding):
        run, element, wrong = under_padding(trace, number, corruption[padding.cpu().numpy()])
        faulty[padding[run], element] = wrong
    return faulty, trace.golden(layer.step, image), change


def under_padding(
    trace: Trace, number: int, corruption: Corruption
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs that read wrong zeros of padding: number of the corruption, element, value, (k,).

    Each corruption is taken apart into one for each output channel of its box.
    """
    layer = trace.workload.layers[number]
    first, end = corruption.channels.clip(0, layer.channels).T
    count = (end - first).clip(0)
    run = np.repeat(np.arange(len(count)), count)
    channel = np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count) + first[run]
    each = replace(corruption[run], channels=np.stack([channel, channel + 1], 1))
    device = trace.logits.device
    element, faulty = torch.zeros_like(torch.from_numpy(run)).to(device), trace.logits.new_zeros(0)
    parts = max(1, _GATHERED // layer.fan_in)
    for start in range(0, len(run), parts):
        part = slice(start, start + parts)
        element[part], _, values, _ = struck_values(trace, number, each[part])
        faulty = torch.cat([faulty, values])
    return torch.from_numpy(run).to(device), element, faulty


def _under_weights(
    trace: Trace, number: int, corruption: Corruption, image: Tensor
) -> tuple[Tensor, Tensor, Change]:
    """Outputs with one wrong weight, and without, by the same kernel; and what it was and became.

    Only the struck output channel is computed; elsewhere both hold the golden values.
    """
    layer = trace.workload.layers[number]
    inputs, golden = (trace.golden(step, image) for step in (layer.operands[0], layer.step))
    faulty, fault_free = under_own_weights(trace, number, corruption, inputs, golden)
    return faulty, fault_free, wrong_weights(trace, number, corruption)[2]


def read_again(
    workload: Workload, corruption: Corruption
) -> Iterator[tuple[int, Integers, Integers]]:
    """The layers that read wrong stored weights after the first: number, which faults, elements."""
    stored = corruption.stored & (corruption.operand == "weight")
    for first, later in workload.shared.items() if stored.any() else ():
        chosen = np.flatnonzero(stored & (corruption.layer == first))
        for number, places in later.items():
            element = places.numpy()[corruption.element[chosen]]
            yield number, chosen[element >= 0], element[element >= 0]


def _activations(trace: Trace, number: int) -> list[int]:
    """The steps that a layer reads and that depend on images."""
    program, layer = trace.workload.program, trace.workload.layers[number]
    read = (*layer.operands, layer.mask) if layer.mask is not None else layer.operands
    return [step for step in read if program.rows[step] is not None]


def _boxes(trace: Trace, number: int, corruption: Corruption) -> Tensor:
    """Which output elements lie in each corruption's box of reads, (n, elements) of bool."""
    layer = trace.workload.layers[number]
    values = trace.values[layer.step]
    channels, positions, first = (
        torch.from_numpy(part).to(values.device)
        for part in (corruption.channels, corruption.positions, corruption.first)
    )
    m, p = layer.output_place(torch.arange(values.shape[1], device=values.device))
    late = m * layer.positions + p >= first[:, None]
    return _between(m, channels) & _between(p, positions) & late


def _between(place: Tensor, spans: Tensor) -> Tensor:
    return (place >= spans[:, :1]) & (place < spans[:, 1:])
