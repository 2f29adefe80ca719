"""From a layer as captured to how it computes: formats fitted, weights ready to be multiplied."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Datapath, Parameters
from radhard.network.format import Formats, LayerFormats
from radhard.network.fuse import Extremes
from radhard.network.layer import Layer
from radhard.network.program import Program

_CODES = (FixedFormat, IntegerFormat)


def fitted(
    layer: Layer,
    formats: Formats,
    samples: tuple[Tensor, Tensor, Tensor],
    constant: bool,
    own: Datapath | None = None,
    held: LayerFormats | None = None,
) -> Arithmetic:
    """The arithmetic of a layer, its formats fitted to what flows through it.

    Args:
        layer: the layer.
        formats: as asked.
        samples: of its input, of its second operand (the whole weight where ``constant``), and
            of its output; the extremes suffice.
        constant: whether the second operand is a weight.
        own: what computes it, where that is not exact arithmetic.
        held: its formats, where they are known beforehand.
    """
    x, w, y = samples
    looks_up = layer.kind == "embedding"
    x = w if looks_up else x  # its input are no values
    rows = layer.channels if constant and layer.weight_first else 0
    source: NumberFormat = held.input if held else formats.activation.fit(x)
    output: NumberFormat = held.output if held else formats.activation.fit(y)
    second = formats.weight.fit(w, rows) if constant else formats.activation.fit(w)
    weight: NumberFormat = held.weight if held else second
    sums = formats.accumulator if not looks_up else None
    accumulator = sums.fit(y) if sums is not None else None
    exact = (
        layer.kind not in {"attention", "embedding"}  # whose scores pass through a softmax of reals
        and isinstance(source, _CODES)
        and isinstance(weight, _CODES)
    )
    bound = _bound(layer, source, weight, w if constant else None) if exact else math.inf
    fan_in = layer.bounds["c"] * layer.bounds["r"] * layer.bounds["s"]
    splits = exact and weight.width <= 8 and 2 * largest(source) * 8 * fan_in <= 2**24
    stepwise = exact and formats.rounding == "each-step"
    splits &= own is None
    _check_sums(layer, formats.sum_bits, bound)
    sum_bits = formats.sum_bits if exact else 0
    how = Arithmetic(
        source, weight, output, accumulator, exact, bound, splits, stepwise, own, sum_bits
    )
    return how.with_bound(bound)


def _check_sums(layer: Layer, bits: int, bound: float) -> None:
    """Raise ValueError where an accumulator can't hold a layer's sums."""
    if bits and bound < math.inf and bits < bits_of(bound):
        raise ValueError(
            f"layer {layer.name} has sums up to {bound:,.0f}, which {bits} bits don't hold: use "
            f"{bits_of(bound)} or more (sum_bits), or 0"
        )


def bits_of(bound: float) -> int:
    """The narrowest two's complement in which integers up to a bound, and down to less it, are.

    >>> bits_of(127), bits_of(128)
    (8, 9)
    """
    return int(bound).bit_length() + 1


def _bound(
    layer: Layer, source: NumberFormat, weight: NumberFormat, values: Tensor | None
) -> float:
    """The largest partial sum, with one weight struck by any fault."""
    assert isinstance(source, _CODES)
    assert isinstance(weight, _CODES)
    fan_in = layer.bounds["c"] * layer.bounds["r"] * layer.bounds["s"]
    if values is None:
        return largest(source) * largest(weight) * fan_in
    integers = layer.weight_rows(weight.integers(values))
    return largest(source) * (float(integers.abs().sum(1).max()) + largest(weight))


def largest(fmt: NumberFormat) -> float:
    """The largest operand that a format of integers or fixed point gives."""
    assert isinstance(fmt, _CODES)
    zero = max(map(abs, fmt.zero)) if isinstance(fmt, IntegerFormat) else 0
    return float(max(map(abs, fmt.limits)) + zero)


def parameters_of(layer: Layer, how: Arithmetic, constant: Callable[[int], Any]) -> Parameters:
    """Weight and bias of a layer, ready to run, given the constants of the steps."""
    weight = constant(layer.operands[1])
    bias = constant(layer.bias) if layer.bias is not None else None
    if not how.exact:
        return Parameters(weight, bias, torch.ones((), device=weight.device))
    scale = how.weight.scales(weight).reshape(-1)  # type: ignore[attr-defined]
    after = [1] * (weight.dim() - 2)
    bias = bias.reshape(-1, *after).to(torch.float64) if bias is not None else None
    scale = scale.reshape(-1, *after) if scale.numel() > 1 else scale.reshape(())
    return Parameters(how.integer_weight(weight), bias, scale)


def activations_as_weight(
    how: Arithmetic, layer: Layer, values: Callable[[int], Any]
) -> Parameters:
    """A second operand that is an activation, given the values of earlier steps."""
    others = [values(step) for step in layer.operands[1:]]
    if how.exact:
        scale = how.weight.scales(others[0])  # type: ignore[attr-defined]
        return Parameters(how.integer_weight(others[0]), None, scale)
    held = [how.weight.round(other) for other in others]
    one = torch.ones((), device=others[0].device)
    if layer.kind != "attention":
        return Parameters(held[0], None, one)
    mask = values(layer.mask) if layer.mask is not None else None
    return Parameters((*held, mask), None, one)


def has_weight(program: Program, layer: Layer) -> bool:
    """Whether the second operand of a layer is constant."""
    return layer.one_channel is not None and program.rows[layer.operands[1]] is None


def weights_of(source: Program, layers: tuple[Layer, ...]) -> dict[int, Tensor]:
    """The model's own weights, by number of layer."""
    return {
        number: source.steps[layer.operands[1]].constant
        for number, layer in enumerate(layers)
        if has_weight(source, layer)
    }


def samples_of(source: Program, layer: Layer, seen: Extremes) -> tuple[Tensor, Tensor, Tensor]:
    """The extremes, with the whole weight in the middle where there is one."""
    if not has_weight(source, layer):
        return seen[:3]
    return seen[0], source.steps[layer.operands[1]].constant, seen[2]
