"""A device that is none: its tensors have values, and may meet no tensor of the CPU.

For machines without an accelerator. Values are held by tensors of the CPU and computed there; what
a real device refuses (operands in two places, NumPy, a value read without asking for it) is
refused. Tensors of one value are let through, as devices take them as scalars.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

#: It goes by the name of the one that every build of torch knows, and that has no values.
ELSEWHERE = torch.device("meta")
HERE = torch.device("cpu")
#: What brings values from one device to another.
_CARRIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class Held(Tensor):
    """A tensor elsewhere."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Held":
        where = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, device=ELSEWHERE, **where
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    there = [x for x in tensors if isinstance(x, Held)]
    named = kwargs.get("device")
    if there and func not in _CARRIES:
        strays = [x for x in tensors if not isinstance(x, Held) and x.dim()]
        if strays:
            raise RuntimeError(f"{func}: operands are on two devices ({strays[0].shape} is here)")
        if named is not None and torch.device(named) != ELSEWHERE:
            raise RuntimeError(f"{func}: makes a tensor on {named} of one elsewhere")
    if named is not None:
        kwargs = {**kwargs, "device": HERE}
    inner = tree_map_only(Held, lambda x: x.held, (args, kwargs))
    found = func(*inner[0], **inner[1])
    stays = torch.device(named) == ELSEWHERE if named is not None else bool(there)
    if func is torch.ops.aten.copy_.default:
        return args[0]
    same = {id(x.held): x for x in there}
    wrap = lambda x: same.get(id(x)) if id(x) in same else Held(x)  # noqa: E731
    return tree_map_only(Tensor, wrap, found) if stays else found


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """``torch.tensor(..., device=...)``, which never asks for an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or HERE) == ELSEWHERE:
            return func(*args, **{**kwargs, "device": HERE}).to(ELSEWHERE)
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """The device, while it is there."""
    with _Literals(), _Operations():
        yield ELSEWHERE
