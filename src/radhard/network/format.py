"""Which number formats a network is in: one for all, by kind of value, or by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat

#: Widest accumulator of integers: that of multipliers of programmable logic.
WIDEST_SUM = 48
#: Where fixed point rounds: the finished sum, or all that a latch holds.
Rounding = Literal["once", "each-step"]


@dataclass(frozen=True, slots=True)
class LayerFormats:
    """The integers of one layer, with their scales.

    Attributes:
        input: of what it reads; of a look-up, as ``weight``.
        weight: of its second operand.
        output: of what it gives.

    Raises:
        ValueError: for a format whose scale is not known.
    """

    input: IntegerFormat
    weight: IntegerFormat
    output: IntegerFormat

    def __post_init__(self) -> None:
        for part in (self.input, self.weight, self.output):
            if not part.scale:
                raise ValueError(
                    f"{part.name} of a layer has no scale: fit it, as radhard.quantise does"
                )


@dataclass(frozen=True, slots=True)
class Formats:
    """The number formats of a network.

    Attributes:
        weight, activation: of the operands and results of layers.
        accumulator: to which a sum is rounded before it becomes an activation; ``None`` for one
            that is wide enough to lose nothing.
        rounding: of fixed point: ``once``, after a sum without loss, or ``each-step``, of every
            product and every sum on the way (`radhard.network.stepwise`).
        fused: whether what a layer gives is coded behind the normalisation and the rectifier that
            follow it, as runtimes of quantised networks do (`radhard.network.fuse`).
        layers: those of each layer in run order, with their scales, where they differ or are known
            beforehand, as of quantised networks; the others then say what was asked for in general.
        sum_bits: of the accumulator of integers; 0 for 32, or 48 where products have more than 16.
            It must hold every sum of the network, with any one operand struck.

    Raises:
        ValueError: for ``fused`` with activations that are no unsigned integers without a scale, or
            ``each-step`` with other formats than fixed point; for ``layers`` beside either, or
            ``sum_bits`` that can't be.

    >>> import radhard as rh
    >>> Formats.of(rh.INT8).accumulator is None
    True
    """

    weight: NumberFormat
    activation: NumberFormat
    accumulator: NumberFormat | None
    fused: bool = False
    rounding: Rounding = "once"
    layers: tuple[LayerFormats, ...] = ()
    sum_bits: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sum_bits <= WIDEST_SUM or (self.sum_bits and self.accumulator):
            raise ValueError(
                f"sums of {self.sum_bits} bits can't be: use 0 to {WIDEST_SUM}, and formats of "
                "integers without an accumulator's own"
            )
        if self.rounding not in get_args(Rounding):
            raise ValueError(
                f"rounding {self.rounding!r} can't be: use {' or '.join(get_args(Rounding))}"
            )
        fixed = all(isinstance(part, FixedFormat) for part in self._parts)
        if self.rounding == "each-step" and not fixed:
            names = "/".join(dict.fromkeys(part.name if part else "full" for part in self._parts))
            raise ValueError(
                f"{names} can't be rounded at each step: use fixed point, such as fixed16_10"
            )
        if self.layers and (self.fused or self.rounding != "once"):
            raise ValueError(
                "layers with formats of their own round once, and nothing is fused into them: "
                "leave fused and rounding out"
            )
        own = self.activation
        if self.fused and not (isinstance(own, IntegerFormat) and own.affine and not own.scale):
            raise ValueError(
                f"activations in {own.name} can't be coded behind a rectifier: use unsigned "
                "integers whose scale is fitted, such as radhard.UINT8"
            )

    @classmethod
    def of(cls, fmt: NumberFormat | Formats) -> Formats:
        """One format for all; integers accumulate in full, and activations have one scale.

        `IntegerFormat.deployed` makes activations unsigned and fuses what follows a layer.
        """
        if isinstance(fmt, Formats):
            return fmt
        if not isinstance(fmt, NumberFormat):
            raise TypeError(
                f"format {fmt!r} is no number format: use one such as radhard.FLOAT16, or "
                "format_named('fp16')"
            )
        if isinstance(fmt, IntegerFormat) and fmt.deployed:
            return cls(fmt, IntegerFormat(f"uint{fmt.width}", fmt.width, True), None, True)
        if isinstance(fmt, IntegerFormat):
            tensor = IntegerFormat(fmt.name, fmt.width, fmt.affine, False, fmt.scale, fmt.zero)
            return cls(fmt, tensor, None)
        return cls(fmt, fmt, fmt)

    @property
    def name(self) -> str:
        """One name where one format serves all, else weight/activation/accumulator.

        Of layers with formats of their own, the widths: ``w4a8``, or ``w2-8a8``.
        """
        if self.layers:
            weights, inputs = ({getattr(own, part).width for own in self.layers}
                               for part in ("weight", "input"))  # fmt: skip
            return "/".join([f"w{_span(weights)}a{_span(inputs)}", *self._more])
        names = [fmt.name if fmt else "full" for fmt in self._parts]
        return "/".join([*(names[:1] if self.alike else names), *self._more])

    @property
    def alike(self) -> bool:
        """Whether one format serves all."""
        return replace(self, rounding="once", sum_bits=0) == Formats.of(self.weight)

    @property
    def _more(self) -> list[str]:
        """What else a name says."""
        step: list[str] = [self.rounding] if self.rounding != "once" else []
        return step + [f"sum{self.sum_bits}"] * (self.sum_bits > 0)

    @property
    def carrier(self) -> torch.dtype:
        """The torch type whose values include those of all formats."""
        wide = any(fmt.significant > 24 for fmt in self._parts if fmt)
        return torch.float64 if wide else torch.float32

    @property
    def _parts(self) -> tuple[NumberFormat, NumberFormat, NumberFormat | None]:
        return self.weight, self.activation, self.accumulator


def _span(widths: set[int]) -> str:
    """One number, or the least and the most."""
    low, high = min(widths), max(widths)
    return str(low) if low == high else f"{low}-{high}"
