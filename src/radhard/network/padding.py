"""Convolutions whose padding is a word (``same``, ``valid``), written with numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten


def _numbered(op: Any, axes: int) -> Callable[..., Tensor]:
    """A convolution whose padding is a word, as one whose padding is numbers.

    ``same`` pads both sides alike; where the total is odd, one more zero stands at the end of the
    input, of which it is then a part: a memory that holds the input holds it too.
    """

    def convolution(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: str = "valid",
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        steps, apart = ([v] * axes if isinstance(v, int) else v for v in (stride, dilation))
        spans = [d * (k - 1) for d, k in zip(apart, weight.shape[2:], strict=True)]
        total = spans if padding == "same" else [0] * axes
        if any(zeros % 2 for zeros in total):
            x = F.pad(x, [end for zeros in reversed(total) for end in (0, zeros % 2)])
        sums: Tensor = op(x, weight, bias, steps, [zeros // 2 for zeros in total], apart, groups)
        return sums

    return convolution


#: For torch.export: what stands for each convolution whose padding is a word.
NUMBERED: dict[Any, Callable[..., Any]] = {
    packet.padding: _numbered(packet.default, axes)
    for axes, packet in ((1, aten.conv1d), (2, aten.conv2d), (3, aten.conv3d))
}
