"""What torch.export is to take apart, so that the weights inside are those of layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from radhard.network.padding import NUMBERED

aten = torch.ops.aten

#: Of which PyTorch itself knows the parts.
_KNOWN = (
    aten.lstm.input,
    aten.gru.input,
    aten.rnn_tanh.input,
    aten.rnn_relu.input,
    aten.lstm_cell.default,
    aten.gru_cell.default,
    aten.rnn_tanh_cell.default,
    aten.rnn_relu_cell.default,
    aten.einsum.default,
)


@functools.cache
def parts() -> dict[Any, Callable[..., Any]]:
    """By operation, the function of simpler ones that stands for it."""
    known = torch.export.default_decompositions()
    return {**NUMBERED, **{op: known[op] for op in _KNOWN}, **_OWN}


def _added(product: Tensor, bias: Tensor, beta: Any, alpha: Any) -> Tensor:
    """A product times a number, and something else times another."""
    scaled = product if alpha == 1 else product * alpha
    return scaled + (bias if beta == 1 else bias * beta)


def _addmm(bias: Tensor, x: Tensor, w: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    if (beta, alpha) == (1, 1):  # which is a layer as it is
        return NotImplemented
    return _added(torch.mm(x, w), bias, beta, alpha)


def _baddbmm(bias: Tensor, x: Tensor, w: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return _added(torch.bmm(x, w), bias, beta, alpha)


def _addmv(bias: Tensor, x: Tensor, v: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    return _added(torch.matmul(x, v), bias, beta, alpha)


def _bilinear(one: Tensor, other: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``one @ weight[m] @ other`` for each output channel: two products, one after the other."""
    m, c, d = weight.shape
    rows = torch.nn.functional.linear(other, weight.reshape(m * c, d)).unflatten(-1, (m, c))
    sums = torch.matmul(rows, one.unsqueeze(-1)).squeeze(-1)
    return sums if bias is None else sums + bias


_OWN: dict[Any, Callable[..., Any]] = {
    aten.addmm.default: _addmm,
    aten.baddbmm.default: _baddbmm,
    aten.addmv.default: _addmv,
    aten.bilinear.default: _bilinear,
}
