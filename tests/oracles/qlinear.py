"""A quantised network as ONNX describes it, QLinearConv by QLinearConv, in loops over integers.

Weights are signed with one scale per output channel, activations unsigned with a zero point,
biases and sums 32-bit integers. A sum is multiplied by one float32, rounded to nearest, shifted by
the zero point and saturated; that saturation is the rectifier. Independent of radhard.
"""

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn


@dataclass
class Coded:
    """Codes of a tensor, and what they stand for."""

    codes: np.ndarray
    scale: np.float32
    zero: int

    def real(self) -> np.ndarray:
        return (self.codes.astype(np.int64) - self.zero) * np.float64(self.scale)


def scale_of(low: float, high: float) -> tuple[np.float32, int]:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    return scale, int(np.rint(-low / scale))


@dataclass
class Quantised:
    """A chain of convolutions and dense layers with what may stand between them."""

    model: nn.Sequential
    calibration: Tensor
    strike: tuple[int, int, int] | None = None
    stored: list[np.ndarray] = field(default_factory=list)

    def logits(self, image: Tensor) -> np.ndarray:
        """Of one image; ``strike`` is (layer, element, bit) of a stored code."""
        self.stored = []
        low, high = float(self.calibration.min()), float(self.calibration.max())
        scale, zero = scale_of(low, high)
        codes = np.clip(np.rint(image.numpy() / scale) + zero, 0, 255).astype(np.int64)
        held = Coded(codes, scale, zero)
        real, parts, k = self.calibration, list(self.model), 0
        while k < len(parts):
            part, group = parts[k], [parts[k]]
            if isinstance(part, nn.Conv2d | nn.Linear):
                while k + 1 < len(parts) and isinstance(parts[k + 1], nn.BatchNorm2d | nn.ReLU):
                    k += 1
                    group.append(parts[k])
            with torch.no_grad():
                for one in group:
                    real = one(real)
            held = (
                self._layer(group, held, real)
                if len(group) > 1 or has_weight(part)
                else (self._moved(part, held))
            )
            k += 1
        return held.real()

    def _layer(self, group: list[nn.Module], x: Coded, real: Tensor) -> Coded:
        weight, bias = folded(group)
        y_scale, y_zero = scale_of(float(real.min()), float(real.max()))
        sums, scales = sums_of(group[0], weight, bias, x)
        factor = np.float32(np.float32(x.scale) * scales / y_scale)
        factor = factor.reshape(-1, *[1] * (sums.ndim - 1))
        codes = np.clip(np.rint(sums.astype(np.float32) * factor) + y_zero, 0, 255)
        codes = codes.astype(np.int64)
        if self.strike is not None and self.strike[0] == len(self.stored):
            codes.reshape(-1)[self.strike[1]] ^= 1 << self.strike[2]
        self.stored.append(codes)
        return Coded(codes, y_scale, y_zero)

    def _moved(self, part: nn.Module, x: Coded) -> Coded:
        moved = part(torch.from_numpy(x.codes.astype(np.float32))[None])[0]
        return Coded(moved.numpy().astype(np.int64), x.scale, x.zero)


def has_weight(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d | nn.Linear)


def folded(group: list[nn.Module]) -> tuple[np.ndarray, np.ndarray]:
    weight = group[0].weight.detach().double().numpy()
    bias = group[0].bias
    bias = bias.detach().double().numpy() if bias is not None else np.zeros(len(weight))
    for norm in group[1:]:
        if isinstance(norm, nn.BatchNorm2d):
            slope = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
            slope, mean = slope.numpy(), norm.running_mean.double().numpy()
            weight = weight * slope.reshape(-1, *[1] * (weight.ndim - 1))
            bias = (bias - mean) * slope + norm.bias.detach().double().numpy()
    return weight, bias


def sums_of(part: nn.Module, weight, bias, x: Coded) -> tuple[np.ndarray, np.ndarray]:
    """32-bit sums of one layer, by loops, and the scales of its channels."""
    scales = (np.abs(weight.reshape(len(weight), -1)).max(1) / 127).astype(np.float32)
    column = scales.reshape(-1, *[1] * (weight.ndim - 1))
    codes = np.clip(np.rint(weight / column), -128, 127).astype(np.int64)
    start = np.rint(bias / (np.float64(x.scale) * scales)).astype(np.int64)
    values = x.codes - x.zero
    if isinstance(part, nn.Linear):
        return start + np.array([sum(int(w) * int(v) for w, v in zip(row, values, strict=True))
                                 for row in codes]), scales  # fmt: skip
    pad, stride, (rows, columns) = part.padding[0], part.stride[0], part.kernel_size
    padded = np.pad(values, ((0, 0), (pad, pad), (pad, pad)))
    e, f = ((size - k) // stride + 1
            for size, k in zip(padded.shape[1:], (rows, columns), strict=True))  # fmt: skip
    own, out = len(codes) // part.groups, np.zeros((len(codes), e, f), np.int64)
    for m, y, z in product(range(len(codes)), range(e), range(f)):
        first = m // own * codes.shape[1]
        window = padded[first : first + codes.shape[1], y * stride : y * stride + rows,
                        z * stride : z * stride + columns]  # fmt: skip
        out[m, y, z] = start[m] + int((window * codes[m]).sum())
    return out, scales
