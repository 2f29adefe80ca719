"""A plain forward pass in which one value is overwritten, whatever the modules look like.

The functions that multiply and accumulate are replaced while the model runs, so that each call of
them is a layer: modules that run twice, attention, products of activations, any layout. One image
runs at a time, so that a value's elements are those of the image.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oracles.forward import Strike, changed, rounded_output, unit_of, with_wrong_sum
from radhard.network.workload import Workload

#: Where each function lives: the number of its operands is 2, or 3 for attention.
FUNCTIONS = {
    (F, "linear"): 2,
    (F, "conv1d"): 2,
    (F, "conv2d"): 2,
    (torch, "matmul"): 2,
    (torch, "bmm"): 2,
    (F, "scaled_dot_product_attention"): 3,
}


def called_logits(model: nn.Module, work: Workload, image: int, strike: Strike | None) -> Tensor:
    """Logits (classes,) of one image under one strike; wrong sums in linear layers only."""
    dtype, numbers = work.formats.carrier, itertools.count()
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque function
    try:
        with contextlib.ExitStack() as stack, torch.no_grad():
            for (room, name), count in FUNCTIONS.items():
                whole = _layer(getattr(room, name), count, work, numbers, strike)
                stack.enter_context(patch.object(room, name, whole))
            found: Tensor = model.to(dtype)(work.images[image : image + 1])[0]
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
        model.float()
    assert next(numbers) == len(work.layers), "the model runs other layers than were captured"
    return found


def _layer(
    original: Callable[..., Tensor], count: int, work: Workload, numbers: Iterator[int],
    strike: Strike | None,
) -> Callable[..., Tensor]:  # fmt: skip
    name = original.__name__
    biased = name in {"linear", "conv1d", "conv2d"}

    def run(*given: Any, **named: Any) -> Tensor:
        number = next(numbers)
        how, (x, *others), rest = work.arithmetic[number], given[:count], given[count:]
        bias = None
        if biased:
            bias, rest = rest[0] if rest else named.pop("bias", None), rest[1:]
        others = [how.weight.round(other) for other in others]

        def product(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return original(x, w, *((b,) if biased else ()), *rest, **named)

        def output(x: Tensor, *others: Tensor) -> Tensor:
            if count == 2:
                return rounded_output(product, how, x, others[0], bias)
            sums = original(x, *others, *rest, **named)
            return how.output.round(how.accumulator.round(sums) if how.accumulator else sums)

        own = strike if strike and strike.layer == number else None
        x = how.input.round(x)
        golden = output(x, *others)
        if own is None:
            return golden
        if own.operand == "output":
            return changed(golden, how.output, own)
        if own.operand in {"psum", "product"}:
            assert name == "linear", "sums are told apart in linear layers alone"
            position, m = divmod(own.element, golden.shape[-1])
            values, weights = x, others[0]
            if how.exact:
                values, weights = how.input.integers(x), how.weight.integers(weights)
            row = values.reshape(-1, values.shape[-1])[position]
            products = (row.double() * weights[m].double()).tolist()
            own_bias = float(bias[m]) if bias is not None else 0.0
            unit = unit_of(how, x, others[0], m)
            return with_wrong_sum(products, own_bias, unit, how, golden, own)
        if own.operand == "input":
            faulty = output(changed(x, how.input, own), *others)
        else:
            faulty = output(x, changed(others[0], how.weight, own), *others[1:])
        return torch.where(_read(golden, own, name.startswith("conv")), faulty, golden)

    return run


def _read(golden: Tensor, strike: Strike, convolves: bool) -> Tensor:
    """Which outputs read the wrong value: channels are the second axis, or else the last."""
    box = torch.zeros_like(golden, dtype=torch.bool)
    turned = box.movedim(1 if convolves else -1, 0)
    places = torch.zeros(turned.shape, dtype=torch.bool).reshape(len(turned), -1)
    places[slice(*strike.channels), slice(*strike.positions)] = True
    places.view(-1)[: strike.first] = False
    turned.copy_(places.reshape(turned.shape))
    return box
