"""Outputs of a layer under wrong weights: one output channel of each run."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from radhard.engine.change import Change, of_channels, overwritten
from radhard.engine.trace import Trace, filled
from radhard.faults.corruption import Corruption
from radhard.faults.model import Integers
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.stepwise import Latched
from radhard.network.sums import along

#: Operands that are gathered at once, about.
_GATHERED = 1 << 22


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
    each = torch.arange(len(weights), device=output.device)
    positions = torch.arange(layer.positions, device=output.device)
    place = layer.output_element(channel[:, None], positions)
    results = []
    for held in (struck, weights):
        rows = output.clone()
        rows[each[:, None], place] = one_channel(trace, number, inputs, held, channel)
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
    inputs, golden = trace.golden(layer.operands[0], image), trace.values[layer.step]
    held = golden[image[:, None], place]
    faulty = one_channel(trace, number, inputs, struck, channel)
    if how.exact:
        return channel, faulty, change
    free = one_channel(trace, number, inputs, weights, channel)
    return channel, torch.where(faulty == free, held, faulty), change


def tapped(layer: Layer, channel: Tensor, term: Tensor) -> tuple[Integers, Integers, Integers]:
    """Places in a weight's rows as kernels take them: output and input channel, and tap, (n,)."""
    taps = layer.bounds["r"] * layer.bounds["s"]
    group = channel // (layer.channels // layer.bounds["groups"])
    source = group * layer.bounds["c"] + term // taps
    return channel.numpy(), source.numpy(), (term % taps).numpy()


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


def one_channel(trace: Trace, number: int, x: Tensor, weights: Tensor, channel: Tensor) -> Tensor:
    """One output channel of each row under a weight row of its own, (n, positions)."""
    layer, given = trace.workload.layers[number], trace.workload.parameters[number]
    how = trace.workload.arithmetic[number]
    how = replace(how, weight=of_channels(how.weight, channel))
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
        return _by_windows(layer, how, x, own, channel)
    sums_of = Latched.of(layer, how).one_channel if how.each_step else layer.one_channel

    def product(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        parts = zip(*(part.split(trace.rows) for part in (x, w, channel)), strict=True)
        sums = torch.cat(
            [
                sums_of(*(filled(part, trace.rows) for part in each))[: len(each[0])]
                for each in parts
            ]
        )
        return sums if b is None else sums + b

    return how.run(product, x, own)


def _by_windows(
    layer: Layer, how: Arithmetic, x: Tensor, given: Parameters, channel: Tensor
) -> Tensor:
    """The same where arithmetic wants the operands of each output: (n, positions)."""
    found = []
    for runs in torch.arange(len(x), device=x.device).split(
        max(1, _GATHERED // (layer.fan_in * layer.positions))
    ):
        own, parts = channel[runs], (given.bias, given.scale)
        bias, scale = (part[runs] if part is not None and part.dim() else part for part in parts)
        assert scale is not None
        windows = _windows(layer, how.operand(x[runs]), own)
        sums = how.sums(along(layer, own), windows, Parameters(given.weight[runs], bias, scale))
        found.append(how.finished(sums, Parameters(None, bias, scale)))
    return torch.cat(found).to(x.dtype)


def _windows(layer: Layer, x: Tensor, channel: Tensor) -> Tensor:
    """Operands of one output channel of each row, (n, positions, fan-in)."""
    if layer.geometry is None:
        return x.view(len(x), -1, layer.fan_in)
    groups, g = layer.bounds["groups"], layer.geometry
    each, group = torch.arange(len(x), device=x.device), channel // (layer.channels // groups)
    maps = x.view(len(x), groups, -1, *layer.plane)[each, group]
    return F.unfold(maps, g.kernel, g.dilation, g.padding, g.stride).transpose(1, 2)
