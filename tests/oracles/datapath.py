"""A forward pass whose products come from a function, in plain loops over outputs.

Every output has its own list of operands, zeros of padding among them; every product, and every sum
on the way that a latch holds, is there to be struck.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from oracles.forward import Strike, changed, unit_of
from radhard.network.arithmetic import Arithmetic
from radhard.network.workload import Workload

#: ``(operands, weights, output channel, position)`` of one output, (k,) each, to products (k,).
Products = Callable[[Tensor, Tensor, int, int], Tensor]


def logits(
    model: nn.Module, work: Workload, products: Products, image: int, strike: Strike | None
) -> Tensor:
    """Logits (classes,) of one image; of convolutions and linear layers, each run once."""
    modules, handles = dict(model.named_modules()), []
    for number, layer in enumerate(work.layers):
        own = strike if strike and strike.layer == number else None

        def hook(part: nn.Module, inputs: tuple[Tensor], _: Tensor, n=number, own=own) -> Tensor:
            return _outputs(part, work.arithmetic[n], products, inputs[0], own)

        handles.append(modules[layer.name].register_forward_hook(hook))
    try:
        with torch.no_grad():
            return model(work.images[image : image + 1])[0]
    finally:
        for handle in handles:
            handle.remove()


def _outputs(
    part: nn.Module, how: Arithmetic, products: Products, x: Tensor, strike: Strike | None
) -> Tensor:
    """A layer's outputs under one strike, or none."""
    x, w = how.input.round(x), how.weight.round(part.weight.detach())
    golden = _all(part, how, products, x, w)
    if strike is None:
        return golden
    if strike.operand == "output":
        return changed(golden, how.output, strike)
    if strike.operand in {"psum", "product"}:
        return _with_struck_latch(part, how, products, x, w, golden, strike)
    if strike.operand == "input":
        x = changed(x, how.input, strike)
    else:
        w = changed(w, how.weight, strike)
    faulty = _all(part, how, products, x, w)
    box = torch.zeros_like(golden, dtype=torch.bool).reshape(golden.shape[1], -1)
    box[slice(*strike.channels), slice(*strike.positions)] = True
    box.view(-1)[: strike.first] = False
    return torch.where(box.reshape(golden.shape), faulty, golden)


def _all(part: nn.Module, how: Arithmetic, products: Products, x: Tensor, w: Tensor) -> Tensor:
    sums, units = [], []
    for m, p, own_x, own_w in _windows(part, *_operands(how, x, w)):
        unit = unit_of(how, x, w, m)
        sums.append(_added(products(own_x, own_w, m, p), how) + _bias(part, how, m, unit))
        units.append(unit)
    shape = (1, len(w), *_size(part, x)) if isinstance(part, nn.Conv2d) else (1, len(w))
    return _finished(how, torch.tensor(sums, dtype=torch.float64), torch.tensor(units), x).view(
        shape
    )


def _with_struck_latch(
    part: nn.Module, how: Arithmetic, products: Products, x: Tensor, w: Tensor, golden: Tensor,
    strike: Strike,
) -> Tensor:  # fmt: skip
    """The change of what a latch holds, of one product or of the sum of a span, joins the sum."""
    outputs = list(_windows(part, *_operands(how, x, w)))
    m, p, own_x, own_w = outputs[strike.element]
    found, unit = products(own_x, own_w, m, p), unit_of(how, x, w, m)
    start, end = strike.terms
    end = start + 1 if strike.operand == "product" else end
    scale = unit if how.accumulator is not None else 1.0
    held = torch.tensor([_added(found[start:end], how) * scale], dtype=torch.float64)
    held = how.latch.round(held)
    after = how.latch.decode((how.latch.encode(held) & strike.keep) ^ strike.flip).double()
    if float(after) == float(held):
        return golden
    total = _added(found, how) + _bias(part, how, m, unit) + float((after - held) / scale)
    if how.exact and how.accumulator is None:  # adders wrap round
        half = 2 ** (how.latch.width - 1)
        total = (total + half) % (2 * half) - half
    struck, unit = golden.clone(), torch.tensor([unit])
    value = _finished(how, torch.tensor([total], dtype=torch.float64), unit, x)
    struck.reshape(-1)[strike.element] = value
    return struck


def _operands(how: Arithmetic, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """As they are multiplied."""
    return (how.input.integers(x), how.weight.integers(w)) if how.exact else (x, w)


def _added(found: Tensor, how: Arithmetic) -> float:
    """One after the other: integers in Python's own, floats in their type."""
    if how.exact:
        return float(sum(int(one) for one in found.tolist()))
    total = np.zeros((), found.numpy().dtype)
    with np.errstate(all="ignore"):  # infinities, and numbers that are none, go on
        for one in found.numpy():
            total = total + one
    return float(total)


def _bias(part: nn.Module, how: Arithmetic, m: int, unit: float) -> float:
    bias = float(part.bias[m]) if part.bias is not None else 0.0
    return round(bias / unit) if how.exact else bias


def _finished(how: Arithmetic, sums: Tensor, unit: Tensor, like: Tensor) -> Tensor:
    real = sums * unit if how.exact else sums.to(like.dtype)
    real = how.accumulator.round(real) if how.accumulator is not None else real
    return how.output.round(real).to(like.dtype)


def _windows(part: nn.Module, x: Tensor, w: Tensor) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Output channel, position, operands and weights of each output, in order."""
    if isinstance(part, nn.Linear):
        for m in range(len(w)):
            yield m, 0, x[0], w[m]
        return
    (down, right), (above, before), apart = part.stride, part.padding, part.dilation
    padded = nn.functional.pad(x[0], (before, before, above, above)).numpy()
    own, inputs, (rows, columns) = len(w) // part.groups, w.shape[1], w.shape[2:]
    e_count, f_count = _size(part, x)
    for m in range(len(w)):
        first = m // own * inputs
        for e in range(e_count):
            for f in range(f_count):
                taps = [
                    padded[first + c, e * down + r * apart[0], f * right + s * apart[1]]
                    for c in range(inputs)
                    for r in range(rows)
                    for s in range(columns)
                ]
                yield m, e * f_count + f, torch.from_numpy(np.array(taps)), w[m].reshape(-1)


def _size(part: nn.Conv2d, x: Tensor) -> tuple[int, ...]:
    return tuple(
        (x.shape[2 + k] + 2 * part.padding[k] - part.dilation[k] * (part.kernel_size[k] - 1) - 1)
        // part.stride[k]
        + 1
        for k in range(2)
    )
