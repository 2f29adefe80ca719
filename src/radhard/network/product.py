"""Convolutions and attention in which every output is the sum of its own products, on any device.

Libraries of accelerators convolve by transforms (Winograd, Fourier), of which each output is a
combination of values that it never reads: a large wrong value spoils its neighbours, and sums of
integers are no integers. So there convolutions are products of matrices: one column of operands per
output (Chellapilla et al., "High Performance Convolutional Neural Networks for Document
Processing", 2006).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Types of devices whose library adds up an output's own products, one by one.
DIRECT = frozenset({"cpu"})
_CONVOLUTIONS: Mapping[int, Any] = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default

#: Stride, padding and dilation, each with one number per axis.
Sliding = tuple[Sequence[int], Sequence[int], Sequence[int]]


def direct(values: Tensor) -> bool:
    """Whether these are on a device whose library adds up an output's own products, one by one."""
    return values.device.type in DIRECT


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, sliding: Sliding,
                groups: int) -> Tensor:  # fmt: skip
    """As ``torch.conv1d`` to ``conv3d``: (n, c, ...) by (m, c / groups, ...), 1 to 3 axes.

    >>> x, w = torch.rand(2, 4, 5, 5), torch.rand(6, 2, 3, 3)
    >>> convolution(x, w, None, ((1, 1), (1, 1), (1, 1)), 2).shape
    torch.Size([2, 6, 5, 5])
    """
    if direct(x):
        found: Tensor = _CONVOLUTIONS[weight.dim() - 2](x, weight, bias, *sliding, groups)
        return found
    windows = _windows(x, weight.shape[2:], sliding).unflatten(1, (groups, -1))
    axes = weight.dim() - 2
    extent, taps = range(3, 3 + axes), range(3 + axes, 3 + 2 * axes)
    n, size = windows.shape[0], windows.shape[3 : 3 + axes]
    columns = windows.permute(1, 2, *taps, 0, *extent).reshape(groups, weight[0].numel(), -1)
    sums = torch.bmm(weight.reshape(groups, -1, columns.shape[1]), columns)
    sums = sums.view(len(weight), n, *size).transpose(0, 1)
    if bias is not None:
        sums = sums + bias.view(-1, *[1] * axes)
    return sums.contiguous()


def _windows(x: Tensor, kernel: Sequence[int], sliding: Sliding) -> Tensor:
    """A view of (n, c, ...) as (n, c, positions per axis, taps per axis)."""
    stride, padding, dilation = sliding
    margins = list(itertools.chain.from_iterable((pad, pad) for pad in reversed(padding)))
    if any(margins):
        x = F.pad(x, margins)
    for axis, taps in enumerate(kernel):
        span = dilation[axis] * (taps - 1) + 1
        x = x.unfold(2 + axis, span, stride[axis])[..., :: dilation[axis]]
    return x


def attention(q: Tensor, others: Sequence[Tensor | None], rest: Sequence[Any],
              named: dict[str, Any]) -> Tensor:  # fmt: skip
    """Scaled dot products with keys, values and a mask, as two products and a softmax."""
    apart = nullcontext() if direct(q) else sdpa_kernel(SDPBackend.MATH)
    with apart:
        found: Tensor = _ATTENTION(q, *others, *rest, **named)
    return found


def added_up(terms: Tensor) -> Tensor:
    """Sums (n,) of rows (n, k), in an order that does not depend on other rows.

    One after the other, or by halves where a device adds up many at once. A row of one is that
    one, also where it is minus zero.
    """
    if direct(terms) and terms.shape[1] > 1:
        return terms.cumsum(1)[:, -1]
    while terms.shape[1] > 1:
        half = terms.shape[1] // 2
        pairs, rest = terms[:, :half] + terms[:, half : 2 * half], terms[:, 2 * half :]
        terms = torch.cat([pairs, rest], 1) if rest.shape[1] else pairs
    return terms[:, 0]
