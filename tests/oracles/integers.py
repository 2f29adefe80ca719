"""A chain of layers on integer codes, in plain int64 arithmetic. Independent of radhard's sums.

Codes and scales are given. A sum of products gets a bias, is scaled in float64 by the input's scale
times the weight's over the output's, rounded to nearest even, and saturates. Rectifiers and pooling
of largest values work on codes.
"""

from dataclasses import dataclass

import numpy as np
from torch import nn


@dataclass
class Codes:
    """What one layer has: integers, and what 1 stands for."""

    weight: np.ndarray
    bias: np.ndarray
    scales: tuple[float, np.ndarray, float]
    zeros: tuple[int, int]
    limits: tuple[int, int]


def logits(model: nn.Sequential, layers: list[Codes], image: np.ndarray) -> np.ndarray:
    """The codes of the last layer for the codes of one image, (classes,)."""
    codes, rest, zero = image.astype(np.int64), list(layers), layers[0].zeros[0]
    for part in model:
        if isinstance(part, nn.Conv2d | nn.Linear):
            codes, zero = layer(part, rest.pop(0), codes)
        elif isinstance(part, nn.ReLU):
            codes = np.maximum(codes, zero)
        elif isinstance(part, nn.MaxPool2d):
            c, h, w = codes.shape
            k = part.kernel_size
            codes = codes.reshape(c, h // k, k, w // k, k).max((2, 4))
        elif isinstance(part, nn.Flatten):
            codes = codes.reshape(-1)
        else:
            raise TypeError(f"no codes for {part}")
    return codes


def layer(part: nn.Module, own: Codes, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """The codes that a layer gives, and the one that stands for 0."""
    x = codes - own.zeros[0]
    sums = own.weight @ x if isinstance(part, nn.Linear) else convolved(part, own.weight, x)
    shape = (-1, *[1] * (sums.ndim - 1))
    sums = sums + own.bias.reshape(shape)
    source, weight, output = own.scales
    unit = (weight * source).reshape(shape) if weight.size > 1 else weight * source
    low, high = own.limits
    found = np.rint(sums.astype(np.float64) * unit / output).astype(np.int64) + own.zeros[1]
    return np.clip(found, low, high), own.zeros[1]


def convolved(part: nn.Conv2d, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    (r, s), pad, stride = part.kernel_size, part.padding[0], part.stride[0]
    own = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    e, f = (own.shape[1] - r) // stride + 1, (own.shape[2] - s) // stride + 1
    out = np.zeros((len(weight), e, f), np.int64)
    for y in range(e):
        for z in range(f):
            window = own[:, y * stride : y * stride + r, z * stride : z * stride + s]
            out[:, y, z] = (weight * window).sum((1, 2, 3))
    return out
