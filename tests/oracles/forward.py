"""A plain forward pass in which one value is overwritten, by hooks on the PyTorch modules.

Independent of capture, of the layouts, and of the batching: one image, every layer in full.
Integer and fixed-point layers are computed by convolving their integers in float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic
from radhard.network.workload import Workload


@dataclass
class Strike:
    """One wrong value, as in `radhard.faults.corruption.Corruption`."""

    layer: int
    operand: str
    element: int
    keep: int
    flip: int
    channels: tuple[int, int]
    positions: tuple[int, int]
    first: int
    terms: tuple[int, int]


def plain_logits(model: nn.Module, work: Workload, image: int, strike: Strike | None) -> Tensor:
    """Logits (1, classes) of one image under one strike; convolutions and linear layers only."""
    modules = dict(model.named_modules())
    handles = []
    dtype = work.formats.carrier
    model = model.to(dtype)
    for number, layer in enumerate(work.layers):
        hook = _hook(work.arithmetic[number], strike if strike and strike.layer == number else None)
        handles.append(modules[layer.name].register_forward_hook(hook))
    try:
        with torch.no_grad():
            return model(work.images[image : image + 1])
    finally:
        for handle in handles:
            handle.remove()
        model.float()


def _hook(how: Arithmetic, strike: Strike | None) -> Callable[..., Tensor]:
    def hook(module: nn.Module, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        x, w = how.input.round(inputs[0]), how.weight.round(module.weight)
        golden = _output(module, how, x, w)
        if strike is None:
            return golden
        if strike.operand == "output":
            return changed(golden, how.output, strike)
        if strike.operand == "psum":
            return _with_wrong_sum(module, how, x, w, golden, strike)
        if strike.operand == "input":
            x = changed(x, how.input, strike)
        else:
            w = changed(w, how.weight, strike)
        faulty = _output(module, how, x, w)
        box = torch.zeros_like(golden, dtype=torch.bool).reshape(golden.shape[1], -1)
        box[slice(*strike.channels), slice(*strike.positions)] = True
        box.view(-1)[: strike.first] = False
        return torch.where(box.reshape(golden.shape), faulty, golden)

    return hook


def changed(values: Tensor, fmt: NumberFormat, strike: Strike) -> Tensor:
    """A copy with the struck element's code changed."""
    flat = values.clone().reshape(-1)
    codes = fmt.encode(values).reshape(-1)
    codes[strike.element] = (codes[strike.element] & strike.keep) ^ strike.flip
    wrong = fmt.decode(codes.reshape(values.shape)).to(values.dtype).reshape(-1)
    flat[strike.element] = wrong[strike.element]
    return flat.reshape(values.shape)


def _output(module: nn.Module, how: Arithmetic, x: Tensor, w: Tensor) -> Tensor:
    return rounded_output(lambda x, w, b: _apply(module, x, w, b), how, x, w, module.bias)


def rounded_output(
    product: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    how: Arithmetic, x: Tensor, w: Tensor, bias: Tensor | None,
) -> Tensor:  # fmt: skip
    """A layer's output; of integers and fixed point from products in float64."""
    whole = (FixedFormat, IntegerFormat)
    if not (isinstance(how.input, whole) and isinstance(how.weight, whole)):
        sums = product(x, w, bias)
    else:
        axes = [1] * (w.dim() - 2)
        unit = how.input.scales(x) * how.weight.scales(w).reshape(-1, *axes)
        sums = product(how.input.integers(x).double(), how.weight.integers(w).double(), None)
        if bias is not None:
            sums = sums + torch.round(bias.double().reshape(-1, *axes) / unit)
        narrow = how.bound <= 2**24  # sums of integers this small are scaled in float32
        sums = sums.float() * unit.float() if narrow else sums * unit
    if how.accumulator is not None:
        sums = how.accumulator.round(sums)
    return how.output.round(sums).to(x.dtype)


def _with_wrong_sum(
    module: nn.Module, how: Arithmetic, x: Tensor, w: Tensor, golden: Tensor, strike: Strike
) -> Tensor:
    """One output made anew, multiply-accumulate by multiply-accumulate, its latch struck once."""
    m, *place = map(int, np.unravel_index(strike.element, golden.shape[1:]))
    values, weights = (how.input.integers(x), how.weight.integers(w)) if how.exact else (x, w)
    rows = weights[m].reshape(weights.shape[1], -1)
    products = [
        float(tap) * float(rows[c, r * s[1] + s[0]])
        for c, r, s, tap in _taps(module, values[0], m, tuple(place))
    ]
    bias = float(module.bias[m]) if module.bias is not None else 0.0
    return with_wrong_sum(products, bias, unit_of(how, x, w, m), how, golden, strike)


def unit_of(how: Arithmetic, x: Tensor, w: Tensor, m: int) -> float:
    """The value of 1 among the sums of integers of an output channel."""
    if not how.exact:
        return 1.0
    units = (how.input.scales(x) * how.weight.scales(w)).reshape(-1)
    return float(units[m if len(units) > 1 else 0])


def with_wrong_sum(
    products: list[float], bias: float, unit: float, how: Arithmetic, golden: Tensor, strike: Strike
) -> Tensor:
    """The outputs, one of which is the sum of these products, its latch struck once."""
    fixed, total, latch = how.exact, 0, 0
    for k, product in enumerate(products):
        total += int(product) if fixed else product
        latch += (int(product) if fixed else product) if k in range(*strike.terms) else 0
    total += round(bias / unit) if fixed else bias
    scale = unit if how.accumulator is not None else 1.0
    held = how.latch.round(torch.tensor([latch * scale], dtype=torch.float64))
    code = (how.latch.encode(held) & strike.keep) ^ strike.flip
    found = how.latch.decode(code).double()
    if float(found) == float(held):
        return golden
    real = (total + (found - held) / scale) * unit
    real = how.accumulator.round(real) if how.accumulator is not None else real
    struck = golden.clone()
    struck.reshape(-1)[strike.element] = how.output.round(real).to(golden.dtype)
    return struck


def _taps(
    module: nn.Module, x: Tensor, m: int, place: tuple[int, ...]
) -> Iterator[tuple[int, int, tuple[int, int], Tensor]]:
    """Input channel, kernel row, (kernel column, columns) and value of each product, in order."""
    if isinstance(module, nn.Linear):
        for c in range(module.in_features):
            yield c, 0, (0, 1), x.reshape(-1)[c]
        return
    (e, f), (stride, pad, (rows, columns)) = place, (
        module.stride, module.padding, module.kernel_size,
    )  # fmt: skip
    per_group = module.in_channels // module.groups
    start = m // (module.out_channels // module.groups) * per_group
    padded = nn.functional.pad(x, (pad[1], pad[1], pad[0], pad[0]))
    for c in range(per_group):
        for r in range(rows):
            for s in range(columns):
                value = padded[start + c, e * stride[0] + r, f * stride[1] + s]
                yield c, r, (s, columns), value


def _apply(module: nn.Module, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    if isinstance(module, nn.Linear):
        return nn.functional.linear(x, w, b)
    return module._conv_forward(x, w, b)
