"""From corruptions of one layer to its faulty outputs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from radhard.engine.trace import Span, Trace, filled, run_steps
from radhard.faults.corruption import Corruption
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Parameters


def struck_outputs(trace: Trace, number: int, corruption: Corruption) -> Tensor:
    """The outputs of layer ``number``, (n, elements), under n corruptions of one operand each.

    Guards have not seen them yet. All corruptions must share layer and operand.
    """
    device = trace.workload.images.device
    image = torch.from_numpy(corruption.image).to(device)
    golden = trace.golden(trace.workload.layers[number].step, image)
    operand = str(corruption.operand[0])
    if operand == "output":
        _, faulty_values = struck_values(trace, number, corruption)
        each = torch.arange(len(golden), device=device)
        golden[each, torch.from_numpy(corruption.element).to(device)] = faulty_values
        return golden
    compute = {"weight": _under_weights, "input": _under_inputs}[operand]
    faulty, fault_free = compute(trace, number, corruption, image)
    return torch.where((faulty == fault_free) | ~_boxes(trace, number, corruption), golden, faulty)


def struck_values(trace: Trace, number: int, corruption: Corruption) -> tuple[Tensor, Tensor]:
    """Golden and faulty values (n,) of the output elements that corruptions of outputs strike."""
    rows = trace.values[trace.workload.layers[number].step]
    image, element = (
        torch.from_numpy(part).to(rows.device) for part in (corruption.image, corruption.element)
    )
    golden = rows[image, element]
    return golden, altered(golden, corruption, trace.workload.arithmetic[number].output)


def altered(real: Tensor, corruption: Corruption, fmt: NumberFormat) -> Tensor:
    """Values (n,) of a format with the masks applied to their codes, in the type of ``real``."""
    keep, flip = (
        torch.from_numpy(masks).to(real.device) for masks in (corruption.keep, corruption.flip)
    )
    return fmt.decode((fmt.encode(real) & keep) ^ flip).to(real.dtype)


def _overwritten(rows: Tensor, corruption: Corruption, fmt: NumberFormat) -> Tensor:
    """A copy of ``rows`` with the struck element of each replaced."""
    rows = rows.clone()
    place = torch.from_numpy(corruption.element).to(rows.device)
    each = torch.arange(len(rows), device=rows.device)
    rows[each, place] = altered(rows[each, place], corruption, fmt)
    return rows


def _under_inputs(
    trace: Trace, number: int, corruption: Corruption, image: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs with one wrong input element, and without."""
    workload, layer = trace.workload, trace.workload.layers[number]
    how = workload.arithmetic[number]
    source = layer.operands[0]
    inputs = how.input.round(trace.golden(source, image))
    inputs = _overwritten(inputs, corruption, how.input)
    others = {step: trace.golden(step, image) for step in _activations(trace, number)}
    others[source] = inputs
    span = Span(layer.step, layer.step + 1, (layer.step,), trace.last_reader)
    found = []
    for start in range(0, len(inputs), trace.rows):
        part = {step: v[start : start + trace.rows] for step, v in others.items()}
        whole = {step: filled(v, trace.rows) for step, v in part.items()}
        values, _ = run_steps(workload, whole, span, None, trace.rows)
        found.append(values[layer.step][: len(part[source])])
    return torch.cat(found), trace.golden(layer.step, image)


def _under_weights(
    trace: Trace, number: int, corruption: Corruption, image: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs with one wrong weight, and without, by the same kernel.

    Only the struck output channel is computed; elsewhere both hold the golden values.
    """
    workload, layer = trace.workload, trace.workload.layers[number]
    how, given = workload.arithmetic[number], workload.parameters[number]
    assert given is not None
    element = torch.from_numpy(corruption.element).to(image.device)
    channel, place = layer.weight_place(element)
    weights = layer.weight_rows(workload.weight(number))[channel]
    how = replace(how, weight=_of_channels(how.weight, channel))
    struck = weights.clone()
    each = torch.arange(len(weights), device=image.device)
    struck[each, place] = altered(weights[each, place], corruption, how.weight)
    golden = trace.golden(layer.step, image)
    layout = workload.program.rows[layer.operands[0]]
    assert layout is not None
    x = layout.join(trace.golden(layer.operands[0], image))
    results = []
    for held in (struck, weights):
        rows = golden.clone()
        one = _one_channel(trace, number, how, x, held, channel)
        layer.by_channel(rows)[each, channel] = one
        results.append(rows)
    return results[0], results[1]


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
        sums = one_channel(x, w, channel)
        return sums if b is None else sums + b

    return how.run(product, x, Parameters(weights, bias, scale))


def _of_channels(fmt: NumberFormat, channel: Tensor) -> NumberFormat:
    return fmt.of_channels(channel) if isinstance(fmt, IntegerFormat) else fmt


def _activations(trace: Trace, number: int) -> list[int]:
    """The steps of a layer's operands that depend on images."""
    program = trace.workload.program
    operands = trace.workload.layers[number].operands
    return [step for step in operands if program.rows[step] is not None]


def _boxes(trace: Trace, number: int, corruption: Corruption) -> Tensor:
    """Which output elements lie in each corruption's box of reads, (n, elements) of bool."""
    layer = trace.workload.layers[number]
    step = trace.values[layer.step]
    m, device = layer.channels, step.device
    positions = step.shape[1] // m
    across = _between(m, torch.from_numpy(corruption.channels).to(device))
    along = _between(positions, torch.from_numpy(corruption.positions).to(device))
    box = across[:, :, None] & along[:, None, :]
    return (box if layer.channel_first else box.transpose(1, 2)).reshape(len(corruption), -1)


def _between(count: int, spans: Tensor) -> Tensor:
    place = torch.arange(count, device=spans.device)
    return (place >= spans[:, :1]) & (place < spans[:, 1:])
