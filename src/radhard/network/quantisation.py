"""How a network is to be quantised: widths, scales, and where values saturate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from radhard.formats.integer import IntegerFormat
from radhard.network.clip import Clip, MinMax, between

_WIDTHS = re.compile(r"(\d+)|w(\d+)a(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bits:
    """The widths of a layer.

    Attributes:
        weight: of its weights, 2 to 16.
        activation: of what it reads, likewise.

    Raises:
        ValueError: for widths that can't be.

    >>> Bits.parse("w4a8")
    Bits(weight=4, activation=8)
    """

    weight: int
    activation: int

    def __post_init__(self) -> None:
        for bits in (self.weight, self.activation):
            if not 2 <= bits <= 16:
                raise ValueError(f"{bits} bits can't be: use 2 to 16 for weights and activations")

    @classmethod
    def parse(cls, text: str) -> Bits:
        """From ``8``, for both, or ``w4a8``."""
        found = _WIDTHS.fullmatch(text.strip())
        if not found:
            raise ValueError(
                f"bits {text!r} can't be read: use a number such as 8, or w4a8 for weights and "
                "activations apart"
            )
        alike, weight, activation = found.groups()
        return cls(int(weight or alike), int(activation or alike))

    def __str__(self) -> str:
        return f"w{self.weight}a{self.activation}"


@dataclass(frozen=True, slots=True)
class Quantisation:
    """Integer codes for the weights and activations of a network.

    Weights are symmetric integers, activations too unless ``signed`` is ``False``; batch
    normalisation goes into weights before that, biases are 32-bit integers in the unit of the sums.

    Attributes:
        bits: widths of all layers that have none of their own.
        layers: widths by layer.
        clip: from which values on codes saturate: `MinMax`, `Percentile` or `LeastSquares`.
        per_channel: one scale for each output channel of weights, in place of one for all.
        power_of_two: scales are powers of two, the next larger ones.
        headroom: bits of activations that calibration leaves unused at the top.
        bias_correction: whether biases make up for what rounding of weights shifts means by.
        signed: whether activations are in two's complement; else unsigned, with a zero point.

    Raises:
        ValueError: for a headroom that leaves no two bits, or is negative.

    >>> plan = Quantisation.parse("w4a8,conv1=8")
    >>> plan.of("conv1"), plan.of("fc")
    (Bits(weight=8, activation=8), Bits(weight=4, activation=8))
    """

    bits: Bits = Bits(8, 8)
    layers: Mapping[str, Bits] = field(default_factory=dict)
    clip: Clip = MinMax()  # noqa: RUF009 - the same
    per_channel: bool = False
    power_of_two: bool = False
    headroom: int = 0
    bias_correction: bool = False
    signed: bool = True

    def __post_init__(self) -> None:
        least = min(own.activation for own in (self.bits, *self.layers.values()))
        if type(self.headroom) is not int or not 0 <= self.headroom <= least - 2:
            raise ValueError(
                f"{self.headroom} bits of headroom can't be in activations of {least}: use 0 to "
                f"{least - 2}"
            )

    @classmethod
    def parse(cls, text: str) -> Quantisation:
        """From ``8``, ``w4a8`` or ``w4a8,LAYER=BITS,...``; 8 bits where only layers are named."""
        bits, layers = Bits(8, 8), {}
        for part in text.split(","):
            name, equals, own = part.rpartition("=")
            if equals:
                if name.strip() in layers:
                    raise ValueError(f"layer {name.strip()!r} has bits twice in {text!r}: once")
                layers[name.strip()] = Bits.parse(own)
            else:
                bits = Bits.parse(own)
        return cls(bits, layers)

    def of(self, layer: str) -> Bits:
        """The widths of a layer."""
        return self.layers.get(layer, self.bits)

    def check(self, names: list[str]) -> None:
        """Raise ValueError for widths of a layer that is none of these."""
        unknown = sorted(set(self.layers) - set(names))
        if unknown:
            raise ValueError(f"no layer {unknown[0]!r}: the layers are {', '.join(names)}")

    @property
    def general(self) -> tuple[IntegerFormat, IntegerFormat]:
        """The formats of weights and of activations, without scales."""
        weight, activation = self.bits.weight, self.bits.activation
        return (
            IntegerFormat(f"int{weight}", weight, per_channel=self.per_channel),
            IntegerFormat(
                f"{'int' if self.signed else 'uint'}{activation}", activation, not self.signed
            ),
        )

    def weight_format(self, weight: Tensor, bits: int, channels: int) -> IntegerFormat:
        """The format of a weight; ``channels`` is 0 where its first axis is none of channels."""
        fmt = IntegerFormat(f"int{bits}", bits, per_channel=self.per_channel and channels > 0)
        rows = weight.detach().double().reshape(channels if fmt.per_channel else 1, -1)
        return self._fitted(rows, fmt, 0)

    def activation_format(self, sample: Tensor, bits: int, headroom: int) -> IntegerFormat:
        """The format of an activation of which this was seen."""
        kind = "int" if self.signed else "uint"
        fmt = IntegerFormat(f"{kind}{bits}", bits, affine=not self.signed)
        return self._fitted(sample.detach().double().reshape(1, -1), fmt, headroom)

    def _fitted(self, rows: Tensor, fmt: IntegerFormat, headroom: int) -> IntegerFormat:
        low, high = self.clip.ends(rows, fmt)
        whole = 2.0**headroom
        found = between(whole * low, whole * high, fmt)
        return self._in_powers(found) if self.power_of_two else found

    def _in_powers(self, fmt: IntegerFormat) -> IntegerFormat:
        """With scales that are the next larger powers of two."""
        before = torch.tensor(fmt.scale, dtype=torch.float64)
        scale = torch.exp2(torch.ceil(torch.log2(before)))
        zero = torch.round(torch.tensor(fmt.zero) * before / scale)
        return replace(
            fmt, scale=tuple(scale.tolist()), zero=tuple(int(part) for part in zero.tolist())
        )
