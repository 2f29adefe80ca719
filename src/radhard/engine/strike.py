"""From corruptions of one layer to its faulty outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.trace import Span, Trace, filled, run_steps
from radhard.faults.corruption import Corruption
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Parameters


class Change(NamedTuple):
    """What struck values were, and what they became, (n,) each; and the codes that were."""

    before: Tensor
    after: Tensor
    code: Tensor


def struck_outputs(trace: Trace, number: int, corruption: Corruption) -> tuple[Tensor, Change]:
    """The outputs of layer ``number``, (n, elements), under n corruptions of one operand each.

    Guards have not seen them yet. All corruptions must share layer and operand.
    """
    image = torch.from_numpy(corruption.image).to(trace.workload.images.device)
    golden = trace.golden(trace.workload.layers[number].step, image)
    compute = {"weight": _under_weights, "input": _under_inputs}[str(corruption.operand[0])]
    faulty, fault_free, change = compute(trace, number, corruption, image)
    same = (faulty == fault_free) | ~_boxes(trace, number, corruption)
    return torch.where(same, golden, faulty), change


def single(trace: Trace, number: int, corruption: Corruption) -> NDArray[np.bool_]:
    """Which corruptions of layer ``number`` can change one of its outputs only, (n,)."""
    layer = trace.workload.layers[number]
    one: NDArray[np.bool_] = (corruption.operand == "psum") | (corruption.operand == "output")
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
    layer, device = trace.workload.layers[number], trace.workload.images.device
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
    faulty, free, change = _one_output(trace, number, corruption, element)
    same = (faulty == free) | (torch.isnan(faulty) & torch.isnan(free))
    return element, golden, torch.where(same, golden, faulty), change


def _one_output(
    trace: Trace, number: int, corruption: Corruption, element: Tensor
) -> tuple[Tensor, Tensor, Change]:
    """One output (n,) of each corruption, with a wrong operand or partial sum, and without."""
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

    def sums(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        if how.exact:
            w = how.integer_weight(w)
        found = how.sums(_dot, how.operand(x), Parameters(w, bias, scale))
        return found.to(torch.float64) if found.is_floating_point() else found

    own = Parameters(w, bias, scale)
    fault_free = sums(x, w, bias)
    if corruption.operand[0] == "psum":
        first, end = torch.from_numpy(corruption.terms).to(element.device).T
        taps = torch.arange(layer.fan_in, device=element.device)
        within = (taps >= first[:, None]) & (taps < end[:, None])
        part = sums(torch.where(within, x, 0.0), torch.where(within, w, 0.0), None)
        change = altered(how.held(part, own), corruption, how.latch)
        faulty = how.with_altered(fault_free, change.before, change.after, own)
    else:
        wrong = torch.from_numpy(corruption.element).to(element.device)
        if corruption.operand[0] == "weight":
            held, fmt, (own_channel, tap) = w, how.weight, layer.weight_place(wrong)
            hit = torch.arange(layer.fan_in, device=element.device) == tap[:, None]
            hit &= (own_channel == channel)[:, None]
        else:
            held, fmt, hit = x, how.input, window == wrong[:, None]
            tap = torch.from_numpy(corruption.terms[:, :1]).to(element.device)
            padding = torch.arange(layer.fan_in, device=element.device) == tap
            hit = torch.where(wrong[:, None] < 0, padding, hit)
        read = torch.where(hit, held, 0.0).sum(1)
        change = altered(read, corruption, fmt)
        struck = torch.where(hit, change.after[:, None], held)
        faulty = sums(struck, w, bias) if held is x else sums(x, struck, bias)
    carrier = workload.images.dtype
    return how.finished(faulty, own).to(carrier), how.finished(fault_free, own).to(carrier), change


def _dot(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """Sums (n,) of products of rows, one after the other, so that no row depends on others."""
    found = (x * w).cumsum(1)[:, -1]
    return found if bias is None else found + bias


def altered(real: Tensor, corruption: Corruption, fmt: NumberFormat) -> Change:
    """Values (n,) of a format with the masks applied to their codes, in the type of ``real``."""
    keep, flip = (
        torch.from_numpy(masks).to(real.device) for masks in (corruption.keep, corruption.flip)
    )
    code = fmt.encode(real)
    return Change(real, fmt.decode((code & keep) ^ flip).to(real.dtype), code)


def _overwritten(
    rows: Tensor, place: Tensor, corruption: Corruption, fmt: NumberFormat
) -> tuple[Tensor, Change]:
    """A copy of ``rows`` with the struck element of each replaced."""
    rows = rows.clone()
    each = torch.arange(len(rows), device=rows.device)
    change = altered(rows[each, place], corruption, fmt)
    rows[each, place] = change.after
    return rows, change


def _under_inputs(
    trace: Trace, number: int, corruption: Corruption, image: Tensor
) -> tuple[Tensor, Tensor, Change]:
    """Outputs with one wrong input element, and without; and what it was and became."""
    workload, layer = trace.workload, trace.workload.layers[number]
    how = workload.arithmetic[number]
    source = layer.operands[0]
    inputs = how.input.round(trace.golden(source, image))
    place = torch.from_numpy(corruption.element).to(inputs.device)
    inputs, change = _overwritten(inputs, place, corruption, how.input)
    others = {step: trace.golden(step, image) for step in _activations(trace, number)}
    others[source] = inputs
    span = Span(layer.step, layer.step + 1, (layer.step,), trace.last_reader)
    found = []
    for start in range(0, len(inputs), trace.rows):
        part = {step: v[start : start + trace.rows] for step, v in others.items()}
        whole = {step: filled(v, trace.rows) for step, v in part.items()}
        values, _ = run_steps(workload, whole, span, None, trace.rows)
        found.append(values[layer.step][: len(part[source])])
    return torch.cat(found), trace.golden(layer.step, image), change


def _under_weights(
    trace: Trace, number: int, corruption: Corruption, image: Tensor
) -> tuple[Tensor, Tensor, Change]:
    """Outputs with one wrong weight, and without, by the same kernel; and what it was and became.

    Only the struck output channel is computed; elsewhere both hold the golden values.
    """
    workload, layer = trace.workload, trace.workload.layers[number]
    how, given = workload.arithmetic[number], workload.parameters[number]
    assert given is not None
    element = torch.from_numpy(corruption.element).to(image.device)
    channel, place = layer.weight_place(element)
    weights = layer.weight_rows(workload.weight(number))[channel]
    how = replace(how, weight=of_channels(how.weight, channel))
    each = torch.arange(len(weights), device=image.device)
    struck, change = _overwritten(weights, place, corruption, how.weight)
    golden = trace.golden(layer.step, image)
    x = trace.golden(layer.operands[0], image)
    positions = torch.arange(layer.positions, device=image.device)
    place = layer.output_element(channel[:, None], positions)
    results = []
    for held in (struck, weights):
        rows = golden.clone()
        rows[each[:, None], place] = _one_channel(trace, number, how, x, held, channel)
        results.append(rows)
    return results[0], results[1], change


def _one_channel(
    trace: Trace, number: int, how: Arithmetic, x: Tensor, weights: Tensor, channel: Tensor
) -> Tensor:
    """One output channel of each row under a weight row of its own, (n, positions)."""
    layer, given = trace.workload.layers[number], trace.workload.parameters[number]
    assert given is not None
    assert layer.one_channel is not None
    one_channel = layer.one_channel
    bias = given.bias.reshape(-1)[channel, None] if given.bias is not None else None
    scale = given.scale
    if scale.numel() > 1:
        scale = scale.reshape(-1)[channel, None]
    if how.exact:
        weights = how.integer_weight(weights)

    def product(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        parts = zip(*(part.split(trace.rows) for part in (x, w, channel)), strict=True)
        sums = torch.cat(
            [
                one_channel(*(filled(part, trace.rows) for part in each))[: len(each[0])]
                for each in parts
            ]
        )
        return sums if b is None else sums + b

    return how.run(product, x, Parameters(weights, bias, scale))


def of_channels(fmt: NumberFormat, channel: Tensor) -> NumberFormat:
    """The format of weights that belong to these output channels."""
    return fmt.of_channels(channel) if isinstance(fmt, IntegerFormat) else fmt


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
