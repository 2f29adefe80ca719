"""What training takes for the slopes of an array's products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.arith.cell import Codes
from radhard.arith.slopes import Floats, add_slopes, smoothed_slopes
from radhard.formats.number import NumberFormat
from radhard.network.layer import Layer
from radhard.network.multiplied import Multiplied, Port, port_of
from radhard.network.terms import taps_of
from radhard.network.workload import Workload
from radhard.protect.held import held_by


@dataclass(frozen=True, slots=True)
class StraightThrough:
    """Those of exact products, whatever elements make of them."""


@dataclass(frozen=True, slots=True)
class TableSlopes:
    """Those of what each element makes of nearby operands, its stuck bits included, but of sums'.

    Attributes:
        reach: operands on either side over which products are averaged; few follow every step of a
            coarse circuit, many see its trend.

    Raises:
        ValueError: for a reach below 0.
    """

    reach: int = 16

    def __post_init__(self) -> None:
        if self.reach < 0:
            raise ValueError(f"a reach of {self.reach} operands can't be: use 0 or more")


#: What training takes for slopes.
Slopes = StraightThrough | TableSlopes


class Sloped:
    """The slopes of a layer's sums by its input and its weight.

    Args:
        workload: on an array.
        number: of the layer.
        own: what computes it.
        live: which weights count, of the weight's own shape.
        reach: of `TableSlopes`.

    Raises:
        ValueError: for a layer that has no windows, or where it reaches too far.
    """

    def __init__(
        self, workload: Workload, number: int, own: Multiplied, live: Tensor, reach: int
    ) -> None:
        self._layer, self._how = workload.layers[number], workload.arithmetic[number]
        if not self._layer.has_windows:
            raise ValueError(
                f"layer {self._layer.name} ({self._layer.kind}) has no windows to take slopes in: "
                "train with radhard.StraightThrough()"
            )
        ports = port_of(own.multiplier, self._how.input), port_of(own.multiplier, self._how.weight)
        self._a, self._w = ports
        held = held_by(workload, number, self._how.operand(torch.zeros(1)), own)
        used = self._layer.weight_rows(live).numpy().T > 0
        self._kind = np.where(used, held.kind, -1)
        products = np.stack([held.products(kind) for kind in range(len(held.faulty))])
        turned = products.transpose(0, 2, 1)
        self._of_operand = _slopes(products, self._a, reach)
        self._of_weight = np.ascontiguousarray(_slopes(turned, self._w, reach).transpose(0, 2, 1))

    def sums(self, x: Tensor, weight: Tensor, integers: Tensor) -> Tensor:
        """Zeros in the shape of the layer's output, with the slopes of its sums.

        Args:
            x: the input, in real values.
            weight: in real values.
            integers: of the weight, as the array has them.
        """
        layer, how = self._layer, self._how
        codes = self._w.codes(layer.weight_rows(integers))
        operands = self._a.codes(_windows(layer, how.operand(x.detach())))
        found: Tensor = _Zeros.apply(  # type: ignore[no-untyped-call]
            _windows(layer, x / _steps(how.input, x)),
            layer.weight_rows(weight / _steps(how.weight, weight)),
            (self, operands.numpy(), np.ascontiguousarray(codes.numpy().T)),
        )
        if layer.geometry is None:
            return found.view(*x.shape[:-1], -1)
        return layer.shaped(found.view(len(x), -1, layer.channels))

    def back(self, a: Codes, w: Codes, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes by operands (t, groups, k) and weights (m, k) of slopes by sums (t, m)."""
        by_sum = np.ascontiguousarray(slopes.numpy().T, np.float32)
        by_operand, by_weight = np.zeros(a.shape, np.float32), np.zeros(w.shape, np.float32)
        own = w.shape[1] // a.shape[1]
        for group in range(a.shape[1]):
            part = slice(group * own, (group + 1) * own)
            columns = np.zeros((a.shape[2], len(a)), np.float32)
            add_slopes(
                np.ascontiguousarray(a[:, group].T), w[:, part], self._kind[:, part],
                self._of_operand, self._of_weight, by_sum[part], columns, by_weight[:, part],
            )  # fmt: skip
            by_operand[:, group] = columns.T
        return torch.from_numpy(by_operand), torch.from_numpy(by_weight.T)


class _Zeros(torch.autograd.Function):
    """Zeros (t, m) of windows (t, groups, k) and weights (m, k), with slopes by tables."""

    @staticmethod
    def forward(ctx: Any, windows: Tensor, weight: Tensor, own: Any) -> Tensor:
        """Of windows and weights in integers, and what `Sloped.back` takes."""
        ctx.own = own
        return windows.new_zeros(len(windows), len(weight))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        """Slopes of both."""
        sloped, a, w = ctx.own
        return (*sloped.back(a, w, slopes[0]), None)


def _windows(layer: Layer, x: Tensor) -> Tensor:
    """What each position multiplies, (t, groups, k); 0 in the padding."""
    if layer.geometry is None:
        return x.reshape(-1, 1, x.shape[-1])
    taps = taps_of(layer, x.device)
    return torch.where(taps >= 0, x.flatten(1)[:, taps.clamp(min=0)], 0).flatten(0, 1)


def _steps(fmt: NumberFormat, like: Tensor) -> Tensor:
    """What an integer of 1 stands for."""
    scale: Tensor = fmt.scales(like)  # type: ignore[attr-defined]
    return scale.to(like.dtype)


def _slopes(products: NDArray[np.int32], port: Port, reach: int) -> Floats:
    """Slopes of products by the last operand; 0 for codes that there are not."""
    found = np.zeros(products.shape, np.float32)
    integers = port.integers[: port.mask + 1]
    found[..., : len(integers)] = smoothed_slopes(products[..., : len(integers)], integers, reach)
    return found
