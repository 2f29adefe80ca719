"""A plain forward pass in which one value is overwritten, by hooks on the PyTorch modules.

Independent of capture, of the layouts, and of the batching: one image, every layer in full.
Integer and fixed-point layers are computed by convolving their integers in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
            return _changed(golden, how.output, strike)
        if strike.operand == "input":
            x = _changed(x, how.input, strike)
        else:
            w = _changed(w, how.weight, strike)
        faulty = _output(module, how, x, w)
        box = torch.zeros_like(golden, dtype=torch.bool).reshape(golden.shape[1], -1)
        box[slice(*strike.channels), slice(*strike.positions)] = True
        return torch.where(box.reshape(golden.shape), faulty, golden)

    return hook


def _changed(values: Tensor, fmt: NumberFormat, strike: Strike) -> Tensor:
    flat = values.clone().reshape(-1)
    codes = fmt.encode(values).reshape(-1)
    codes[strike.element] = (codes[strike.element] & strike.keep) ^ strike.flip
    changed = fmt.decode(codes.reshape(values.shape)).to(values.dtype).reshape(-1)
    flat[strike.element] = changed[strike.element]
    return flat.reshape(values.shape)


def _output(module: nn.Module, how: Arithmetic, x: Tensor, w: Tensor) -> Tensor:
    whole = (FixedFormat, IntegerFormat)
    if not (isinstance(how.input, whole) and isinstance(how.weight, whole)):
        sums = _apply(module, x, w, module.bias)
    else:
        axes = [1] * (w.dim() - 2)
        unit = how.input.scales(x) * how.weight.scales(w).reshape(-1, *axes)
        sums = _apply(module, how.input.integers(x).double(), how.weight.integers(w).double(), None)
        if module.bias is not None:
            sums = sums + torch.round(module.bias.double().reshape(-1, *axes) / unit)
        narrow = how.bound <= 2**24  # sums of integers this small are scaled in float32
        sums = sums.float() * unit.float() if narrow else sums * unit
    if how.accumulator is not None:
        sums = how.accumulator.round(sums)
    return how.output.round(sums).to(x.dtype)


def _apply(module: nn.Module, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    if isinstance(module, nn.Linear):
        return nn.functional.linear(x, w, b)
    return module._conv_forward(x, w, b)
