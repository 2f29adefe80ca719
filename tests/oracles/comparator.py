"""Rectifiers and pooling as circuits compute them, in place of PyTorch's: ``a > b ? a : b``."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Comparators(TorchFunctionMode):
    """While it is entered, functions of PyTorch that compare values do it by comparators."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        if function in {torch.relu, nn.functional.relu}:
            return larger(args[0], 0.0)
        if function is nn.functional.relu6:
            return smaller(larger(args[0], 0.0), 6.0)
        if function in {nn.functional.max_pool2d, torch.max_pool2d}:
            return pooled(*args, **kwargs)
        return function(*args, **kwargs)


def larger(x: Tensor, bound: float) -> Tensor:
    held = x.numpy()
    return torch.from_numpy(np.array([v if v > bound else bound for v in held.flat], held.dtype)
                            .reshape(held.shape))  # fmt: skip


def smaller(x: Tensor, bound: float) -> Tensor:
    held = x.numpy()
    return torch.from_numpy(np.array([v if v < bound else bound for v in held.flat], held.dtype)
                            .reshape(held.shape))  # fmt: skip


def pooled(
    x: Tensor, kernel: int, stride: int | None = None, padding: int = 0, *_: Any, **__: Any
) -> Tensor:
    """Each window's largest value, by one comparison after the other from minus infinity."""
    stride = kernel if stride is None else stride
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    held = np.pad(x.numpy(), around, constant_values=-np.inf)
    rows, columns = ((size - kernel) // stride + 1 for size in held.shape[2:])
    best = np.full((*held.shape[:2], rows, columns), -np.inf, held.dtype)
    for r in range(kernel):
        for s in range(kernel):
            v = held[:, :, r : r + stride * rows : stride, s : s + stride * columns : stride]
            v = v[:, :, :rows, :columns]
            with np.errstate(invalid="ignore"):
                best = np.where(v > best, v, best)
    return torch.from_numpy(best)
