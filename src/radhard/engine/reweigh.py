"""Outputs of a layer under wrong weights: one output channel of each run."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from radhard.engine.change import Change, of_channels, overwritten
from radhard.engine.trace import Trace, filled
from radhard.faults.corruption import Corruption
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.stepwise import Latched
from radhard.network.terms import Each, Place

#: Operands that are gathered at once for outputs that are computed one by one, about.
GATHERED = 1 << 23


def under_own_weights(
    trace: Trace, number: int, corruption: Corruption, inputs: Tensor, output: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs (n, elements) of a layer with one wrong weight each, and without.

    Args:
        trace: the golden run.
        number: of the layer.
        corruption: n wrong weights of it.
        inputs: (n, elements) of the layer.
        output: (n, elements), what it gives without a wrong weight; all channels but the struck
            one are from here.
    """
    layer = trace.workload.layers[number]
    struck, weights, _ = wrong_weights(trace, number, corruption)
    channel = layer.weight_place(torch.from_numpy(corruption.element).to(output.device))[0]
    how = trace.workload.arithmetic[number]
    how = replace(how, weight=of_channels(how.weight, channel))
    each = torch.arange(len(weights), device=output.device)
    positions = torch.arange(layer.positions, device=output.device)
    place = layer.output_element(channel[:, None], positions)
    results = []
    for held in (struck, weights):
        rows = output.clone()
        rows[each[:, None], place] = _one_channel(trace, number, how, inputs, held, channel)
        results.append(rows)
    return results[0], results[1]


def struck_channels(
    trace: Trace, number: int, corruption: Corruption
) -> tuple[Tensor, Tensor, Change]:
    """The output channels of a layer that wrong weights change: which, (n,), (n, positions)."""
    layer, how = trace.workload.layers[number], trace.workload.arithmetic[number]
    device = trace.logits.device
    struck, weights, change = wrong_weights(trace, number, corruption)
    image, element = (
        torch.from_numpy(part).to(device) for part in (corruption.image, corruption.element)
    )
    channel = layer.weight_place(element)[0]
    place = layer.output_element(channel[:, None], torch.arange(layer.positions, device=device))
    how = replace(how, weight=of_channels(how.weight, channel))
    inputs, golden = trace.golden(layer.operands[0], image), trace.values[layer.step]
    held = golden[image[:, None], place]
    faulty = _one_channel(trace, number, how, inputs, struck, channel)
    if how.exact:
        return channel, faulty, change
    free = _one_channel(trace, number, how, inputs, weights, channel)
    return channel, torch.where(faulty == free, held, faulty), change


def wrong_weights(
    trace: Trace, number: int, corruption: Corruption
) -> tuple[Tensor, Tensor, Change]:
    """The weights (n, fan-in) of the struck output channels, wrong and right; and the change."""
    layer, weight = trace.workload.layers[number], trace.workload.weight(number)
    element = torch.from_numpy(corruption.element).to(weight.device)
    channel, place = layer.weight_place(element)
    fmt = of_channels(trace.workload.arithmetic[number].weight, channel)
    weights = layer.weight_rows(weight)[channel]
    struck, change = overwritten(weights, place, corruption, fmt)
    return struck, weights, change


def _one_channel(
    trace: Trace, number: int, how: Arithmetic, x: Tensor, weights: Tensor, channel: Tensor
) -> Tensor:
    """One output channel of each row under a weight row of its own, (n, positions)."""
    layer, given = trace.workload.layers[number], trace.workload.parameters[number]
    assert given is not None
    assert layer.one_channel is not None
    bias = given.bias.reshape(-1)[channel, None] if given.bias is not None else None
    scale = given.scale
    if scale.numel() > 1:
        scale = scale.reshape(-1)[channel, None]
    if how.exact:
        weights = how.integer_weight(weights)
    own = Parameters(weights, bias, scale)
    if how.gathers and not how.each_step and layer.has_windows:
        return _one_by_one(layer, how, x, own, channel)
    one_channel = Latched.of(layer, how).one_channel if how.each_step else layer.one_channel

    def product(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        parts = zip(*(part.split(trace.rows) for part in (x, w, channel)), strict=True)
        sums = torch.cat(
            [
                one_channel(*(filled(part, trace.rows) for part in each))[: len(each[0])]
                for each in parts
            ]
        )
        return sums if b is None else sums + b

    return how.run(product, x, own)


def _one_by_one(
    layer: Layer, how: Arithmetic, x: Tensor, given: Parameters, channel: Tensor
) -> Tensor:
    """The same, output by output, from the operands of each: (n, positions)."""
    count = layer.positions
    position, taps = (torch.arange(size, device=x.device) for size in (count, layer.fan_in))
    found = []
    for runs in torch.arange(len(x), device=x.device).split(_rows_at_once(layer)):
        own, place = channel[runs].repeat_interleave(count), position.repeat(len(runs))
        window = layer.window(own, place)
        run = runs.repeat_interleave(count)
        operands = torch.where(window >= 0, x[run[:, None], window.clamp(min=0)], 0)
        parts = (given.bias, given.scale)
        bias, scale = (part[run, 0] if part is not None and part.dim() else part for part in parts)
        terms = Each(Place(own[:, None], place[:, None], taps), window >= 0)
        assert scale is not None
        found.append(how.run(terms, operands, Parameters(given.weight[run], bias, scale)))
    return torch.cat(found).view(-1, count)


def _rows_at_once(layer: Layer) -> int:
    return max(1, GATHERED // (layer.fan_in * layer.positions))
