"""A layer in fixed point whose every product and sum is rounded where a latch holds it.

The order of Li et al., SC'17: the products of a window, then the windows of all input channels; a
dense layer has windows of one product. Saturation makes it matter, so nothing here is a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.arith.latch import channel_sums, layer_sums, struck_sums
from radhard.formats.fixed import FixedFormat
from radhard.network.arithmetic import Arithmetic
from radhard.network.layer import Layer

#: Bits of both operands together, so that 64 bits hold a product.
_MOST_BITS = 64


@dataclass(frozen=True, slots=True)
class Latched:
    """How the latches of one layer hold products and sums; results are integers in float64.

    Attributes:
        layer: the layer.
        cut: bits dropped from a product, lowest and highest integer of a latch.
        width: bits of a latch.
    """

    layer: Layer
    cut: tuple[int, int, int]
    width: int

    @classmethod
    def of(cls, layer: Layer, how: Arithmetic) -> Latched:
        """Of a layer with fitted formats.

        Raises:
            ValueError: where the layer, or its formats, can't be computed so.
        """
        parts = (how.input, how.weight, how.accumulator)
        fixed = [part for part in parts if isinstance(part, FixedFormat)]
        if len(fixed) < len(parts) or not layer.has_windows:
            raise ValueError(
                f"layer {layer.name} ({layer.kind}) can't be rounded at each step: that is for "
                "linear layers and convolutions of one or two dimensions in fixed point"
            )
        x, w, held = fixed
        if x.width + w.width > _MOST_BITS:
            raise ValueError(
                f"products of {x.width} by {w.width} bits can't be rounded at each step: operands "
                f"may have {_MOST_BITS} bits together"
            )
        points = [part.fraction or 0 for part in fixed]
        return cls(layer, (points[0] + points[1] - points[2], *held.limits), held.width)

    @property
    def window(self) -> int:
        """Products that are added up before their sum goes to that of all windows."""
        return self.layer.bounds["r"] * self.layer.bounds["s"]

    def product(self, x: Tensor, w: Tensor, _: Tensor | None) -> Tensor:
        """All sums of a layer, as its own operation gives them; biases are not in them."""
        weights = _integers(self.layer.weight_rows(w))
        conv = self.layer.geometry is not None
        rows = _integers(x.flatten(1) if conv else x.reshape(-1, x.shape[-1]))
        taps = self._taps(self.layer.positions if conv else 1)
        into = np.empty((len(rows), len(weights), taps.shape[1]), np.int64)
        layer_sums(rows, weights, taps, self.window, self.cut, into)
        sums = torch.from_numpy(into).to(x.device, torch.float64)
        if conv:
            return self.layer.shaped(sums.transpose(1, 2))
        return sums.view(*x.shape[:-1], len(weights))

    def windows(self, x: Tensor, w: Tensor, _: Tensor | None) -> Tensor:
        """Those of all channels, (t, m), of windows (t, groups, fan-in) by weights (m, fan-in)."""
        groups, fan_in = x.shape[1:]
        taps = np.arange(groups * fan_in).reshape(groups, 1, fan_in)
        into = np.empty((len(x), len(w), 1), np.int64)
        layer_sums(_integers(x.flatten(1)), _integers(w), taps, self.window, self.cut, into)
        return torch.from_numpy(into[:, :, 0]).to(x.device, torch.float64)

    def one_channel(self, x: Tensor, weights: Tensor, channels: Tensor) -> Tensor:
        """Those of one output channel per image, with weights (n, fan-in): (n, positions)."""
        group = channels // (self.layer.channels // self.layer.bounds["groups"])
        taps = self._taps(self.layer.positions)
        into = np.empty((len(weights), taps.shape[1]), np.int64)
        rows = _integers(x.reshape(len(weights), -1))
        given = (rows, _integers(weights), group.cpu().numpy(), taps, self.window, self.cut)
        channel_sums(*given, into)
        return torch.from_numpy(into).to(x.device, torch.float64)

    def one_output(self, x: Tensor, w: Tensor, _: Tensor | None) -> Tensor:
        """Those of one output each, (n,), of operands (n, fan-in)."""
        taps = np.arange(x.shape[1])[None, None]
        into, group = np.empty((len(x), 1), np.int64), np.zeros(len(x), np.int64)
        given = (_integers(x), _integers(w), group, taps, self.window, self.cut)
        channel_sums(*given, into)
        return torch.from_numpy(into[:, 0]).to(x.device, torch.float64)

    def struck(
        self, x: Tensor, w: Tensor, terms: NDArray[np.int64],
        masks: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """One output each, (n,), whose latch with the sum of some products is struck.

        Args:
            x, w: operands, (n, fan-in).
            terms: (n, 2) from and to.
            masks: (n,) what is kept of the latch's code, and what is inverted.

        Returns:
            The sum, and what the latch held before and after, (n,) each.
        """
        into = np.empty((len(x), 3), np.int64)
        given = (_integers(x), _integers(w), terms, masks, self.width, self.window, self.cut)
        struck_sums(*given, into)
        found = torch.from_numpy(into).to(x.device, torch.float64)
        return found[:, 0], found[:, 1], found[:, 2]

    def _taps(self, positions: int) -> NDArray[np.int64]:
        """Which input each product reads, (groups, positions, fan-in)."""
        groups = self.layer.bounds["groups"]
        first = torch.arange(groups)[:, None, None] * (self.layer.channels // groups)
        position, term = torch.arange(positions)[:, None], torch.arange(self.layer.fan_in)
        taps: NDArray[np.int64] = self.layer.tap(first, position, term).numpy()
        whole = np.broadcast_to(taps, (groups, positions, self.layer.fan_in))
        return np.ascontiguousarray(whole)


def _integers(values: Tensor) -> NDArray[np.int64]:
    found: NDArray[np.int64] = values.detach().to(torch.int64).cpu().contiguous().numpy()
    return found
