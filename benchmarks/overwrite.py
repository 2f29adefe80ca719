"""A plain forward pass of any PyTorch model in which one stored value is overwritten.

It knows nothing of capture, of layouts or of batches: one image runs at a time, by the model's own
code. A weight is overwritten in the memory of the model's parameter, what a module gives by a hook.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

#: How a model's output becomes the tensor of its logits, and how it is run on image ``k``.
Forward = Callable[[int], Tensor]


@contextmanager
def weight_overwritten(weight: Tensor, element: int, keep: int, flip: int) -> Iterator[None]:
    """While it lasts, an element of a tensor has other bits, in whatever memory it lies."""
    place, rest = weight.storage_offset(), element
    for size, stride in reversed(list(zip(weight.shape, weight.stride(), strict=True))):
        place, rest = place + rest % size * stride, rest // size
    memory = torch.empty(0, dtype=weight.dtype).set_(weight.untyped_storage())
    bits = memory[place : place + 1].view(torch.int32)
    before = bits.clone()
    bits.copy_(_struck(bits, keep, flip))
    try:
        yield
    finally:
        bits.copy_(before)


@contextmanager
def output_overwritten(
    module: nn.Module, call: int, element: int, keep: int, flip: int
) -> Iterator[None]:
    """While it lasts, an element of what a module gives in its n-th call has other bits."""
    seen = Counter[str]()

    def hook(_: nn.Module, inputs: object, output: Tensor) -> Tensor:
        seen["calls"] += 1
        if seen["calls"] != call:
            return output
        wrong = output.clone(memory_format=torch.contiguous_format)
        bits = wrong.view(-1)[element : element + 1].view(torch.int32)
        bits.copy_(_struck(bits, keep, flip))
        return wrong

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def calls_of(model: nn.Module, forward: Forward) -> Mapping[str, int]:
    """How often each module runs in a forward pass, by name."""
    seen = Counter[str]()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            handle = module.register_forward_hook(lambda *_, name=name: seen.update([name]))
            stack.callback(handle.remove)
        forward(0)
    return seen


def shared_storages(model: nn.Module) -> set[int]:
    """The memory of a model's parameters and buffers, by address."""
    values = (*model.parameters(), *model.buffers())
    return {value.untyped_storage().data_ptr() for value in values}


def _struck(bits: Tensor, keep: int, flip: int) -> Tensor:
    code = (int(bits) & 0xFFFFFFFF & keep) ^ flip
    return torch.tensor([code - (1 << 32) if code >= 1 << 31 else code], dtype=torch.int32)
