"""Checksums of convolutions and dense layers: detect, locate, correct."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from radhard.accel.chip import Accelerator
from radhard.engine.guard import Sight, rows_of
from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.layer import Layer
from radhard.network.operation import Geometry
from radhard.network.product import convolution
from radhard.network.workload import HOST, Workload
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.tap import observed_there

_DENSE = Geometry((1, 1), (1, 1), (0, 0))
#: Formats in which sums are exact.
Code = FixedFormat | IntegerFormat


class Sums(nn.Module):
    """What sums of a layer's outputs should be, from its inputs and sums of its weights.

    Huang and Abraham, IEEE TC 1984, for products; Hari et al., IEEE TDSC 2022, for convolutions: an
    extra filter that is the sum of all filters gives the sum over channels at each position; the
    sum of all windows of the input gives, with each filter, the sum over positions of each channel.
    Both hold for any stride, padding, dilation and groups.
    """

    kernels: Tensor
    summed: Tensor
    bias: Tensor

    def __init__(self, layer: Layer, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.geometry = layer.geometry or _DENSE
        self.groups, self.dense = layer.bounds["groups"], layer.geometry is None
        rows = layer.weight_rows(weight)
        kernels = rows.view(len(rows), -1, *self.geometry.kernel)
        self.register_buffer("kernels", kernels)
        self.register_buffer("summed", kernels.unflatten(0, (self.groups, -1)).sum(1))
        own = bias.reshape(-1) if bias is not None else rows.new_zeros(len(rows))
        self.register_buffer("bias", own)

    def _maps(self, inputs: Tensor) -> Tensor:
        """Inputs (n, c, h, w); vectors (n, ..., c) become columns of positions."""
        if not self.dense:
            return inputs
        return inputs.flatten(1, -2).transpose(1, 2).unsqueeze(3) if inputs.dim() > 2 else (
            inputs[:, :, None, None]
        )  # fmt: skip

    def at_positions(self, inputs: Tensor) -> Tensor:
        """Sums over channels at each position, (n, positions)."""
        g = self.geometry
        sliding = g.stride, g.padding, g.dilation
        found = convolution(self._maps(inputs), self.summed, None, sliding, self.groups)
        return found.sum(1).flatten(1) + self.bias.sum()

    def of_channels(self, inputs: Tensor) -> Tensor:
        """Sums over positions of each channel, (n, m)."""
        g, maps = self.geometry, self._maps(inputs)
        pads = (g.padding[1], g.padding[1], g.padding[0], g.padding[0])
        padded = F.pad(maps, pads)
        ends = [
            size + 2 * pad - dilation * (kernel - 1)
            for size, pad, dilation, kernel in zip(
                maps.shape[2:], g.padding, g.dilation, g.kernel, strict=True
            )
        ]
        windows = [
            padded[
                :, :,
                r * g.dilation[0] : r * g.dilation[0] + ends[0] : g.stride[0],
                s * g.dilation[1] : s * g.dilation[1] + ends[1] : g.stride[1],
            ]
            for r in range(g.kernel[0])
            for s in range(g.kernel[1])
        ]  # fmt: skip
        positions = windows[0].shape[2] * windows[0].shape[3]
        summed = torch.stack([window.sum((2, 3)) for window in windows], 2)  # (n, c, taps)
        grouped = summed.unflatten(1, (self.groups, -1))
        kernels = self.kernels.flatten(2).unflatten(0, (self.groups, -1))
        found = torch.einsum("ngct,gmct->ngm", grouped, kernels).flatten(1)
        return found + positions * self.bias


@dataclass(frozen=True, slots=True)
class Checksum(Protection):
    """Compares sums of each layer's outputs with what its inputs and weights say they must be.

    In integers and fixed point every change of an output is found exactly. In floats sums differ by
    rounding, so what may differ is learned: per layer, the largest difference of a fault-free run
    in units of the root sum of squares that was added, times ``margin``. Attention and products of
    two activations are not covered, nor are layers whose sums are not linear in their operands.

    Attributes:
        positions: check the sum over channels at each position (the filter checksum).
        channels: check the sum over positions of each channel (the input checksum). With both, one
            wrong output is located.
        correct: restore the output where exactly one position and one channel disagree.
        margin: factor on the learned tolerance, at least 1.
        layers: names of the layers that are checked; of none given, all.
        fitted: tolerances, from `learned`; where empty, `guard` learns from the workload's images.

    Raises:
        ValueError: where neither kind of sum is checked, or one is corrected without both; from
            `guard` and `cost`, for layers that can't be checked.
    """

    positions: bool = True
    channels: bool = False
    correct: bool = False
    margin: float = 8.0
    layers: tuple[str, ...] = ()
    fitted: Fitted = UNFITTED

    def __post_init__(self) -> None:
        if not (self.positions or self.channels) or self.margin < 1:
            raise ValueError(
                "a checksum needs positions, channels or both, and a margin of 1 or more"
            )
        if self.correct and not (self.positions and self.channels):
            raise ValueError("correction needs both: Checksum(channels=True, correct=True)")

    def learned(self, training: Workload) -> Checksum:
        """With tolerances from fault-free runs of ``training``."""
        held = {step: (part,) for step, part in _tolerances(training.on(HOST)).items()}
        return replace(self, fitted=Fitted(held))

    def guard(self, workload: Workload) -> ChecksumGuard:
        """See `Protection`. On a device of its own, whose sums round otherwise, it learns more."""
        fitted = {step: part for step, (part,) in self.fitted.tensors.items()}
        if not fitted or workload.device != HOST:
            own = _tolerances(workload)
            fitted = {
                s: torch.maximum(fitted.get(s, part).to(part), part) for s, part in own.items()
            }
        names, wanted = {x.step: x.name for x in workload.layers}, self._checked(workload)
        checks = {k: one for k, one in checked_layers(workload).items() if names[k] in wanted}
        return ChecksumGuard(self, checks, fitted)

    def _checked(self, workload: Workload) -> Collection[str]:
        """The names of the layers that are checked."""
        can = checkable(workload)
        wrong = set(self.layers) & ({layer.name for layer in workload.layers} - set(can))
        if wrong or not can:
            raise ValueError(
                f"no checksum can be of {', '.join(sorted(wrong)) or workload.name}: it holds for "
                "linear layers and two-dimensional convolutions whose sums are exact products "
                f"added up; that are {', '.join(can) or 'none'}"
            )
        return set(self.layers) & set(can) or can

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """One more filter, or one more position, of each layer; additions of all outputs."""
        macs = operations = memory = 0.0
        for layer in workload.layers:
            if layer.name in self._checked(workload):
                outputs = layer.channels * layer.positions
                sums = self.positions * layer.positions + self.channels * layer.channels
                macs += sums * layer.fan_in
                operations += (self.positions + self.channels) * outputs + sums
                memory += 32 * self.positions * layer.fan_in + 32 * self.channels * layer.fan_in
        share = macs / sum(layer.macs for layer in workload.layers)
        cycles = share * sum(chip.cycles(workload)) if hasattr(chip, "cycles") else 0.0
        return Cost(macs=macs, operations=operations, memory_bits=memory, cycles=cycles)


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Sums that were found less those expected, with the scale of rounding, (n, places)."""

    gap: Tensor
    scale: Tensor

    def largest(self) -> Tensor:
        """The largest relative gap, and a floor for the scale: a tenth of its mean."""
        floor = 0.1 * self.scale.mean()
        return torch.stack([(self.gap.abs() / (self.scale + floor)).max(), floor])

    def beyond(self, tolerance: Tensor, margin: float) -> Tensor:
        """Where the gap is larger than it may be, (n, places); not-a-number is."""
        allowed = margin * tolerance[0] * (self.scale + tolerance[1])
        return ~(self.gap.abs() <= allowed) | ~torch.isfinite(self.scale)


class LayerCheck(nn.Module):
    """The checks of one layer."""

    def __init__(self, sums: Sums, operand: NumberFormat, exact: Code | None) -> None:
        super().__init__()
        self.sums, self.operand, self.exact = sums, operand, exact

    def differences(self, output: Tensor, inputs: Tensor) -> tuple[Difference, Difference]:
        """At positions, and of channels."""
        return self.at_positions(output, inputs), self.of_channels(output, inputs)

    def at_positions(self, output: Tensor, inputs: Tensor) -> Difference:
        """Output (n, m, positions) summed over channels."""
        return _difference(output, self.sums.at_positions(self.operand.round(inputs)), 1)

    def of_channels(self, output: Tensor, inputs: Tensor) -> Difference:
        """Output summed over positions."""
        return _difference(output, self.sums.of_channels(self.operand.round(inputs)), 2)


def _difference(output: Tensor, expected: Tensor, axis: int) -> Difference:
    return Difference(output.sum(axis) - expected, torch.linalg.vector_norm(output, dim=axis))


class ChecksumGuard(nn.Module):
    """Raises an alarm where sums disagree; corrects a single wrong output where it is asked to."""

    def __init__(
        self,
        asked: Checksum,
        checks: dict[int, LayerCheck],
        fitted: Mapping[int, Tensor],
    ) -> None:
        super().__init__()
        self.asked = asked
        self.checks = nn.ModuleDict({str(step): check for step, check in checks.items()})
        for step, tolerance in fitted.items():
            self.register_buffer(f"tolerance_{step}", tolerance)
        self._steps = frozenset(checks)

    @property
    def steps(self) -> Collection[int]:
        """The layers that it checks."""
        return self._steps

    def suspects(self, sight: Sight) -> tuple[Tensor | None, Tensor | None]:
        """Positions (n, positions) and channels (n, m) whose sums disagree; ``None``: unasked."""
        check = self.checks[str(sight.step)]
        assert isinstance(check, LayerCheck)
        if check.exact is not None:
            moved = check.exact.integers(sight.output) - check.exact.integers(sight.clean)
            wide = moved.to(torch.float64)
            found = wide.sum(1) != 0, wide.sum(2) != 0
            return found[0] if self.asked.positions else None, (
                found[1] if self.asked.channels else None
            )
        inputs, tolerance = sight.inputs(), getattr(self, f"tolerance_{sight.step}")
        rows = columns = None
        if self.asked.positions:
            rows = check.at_positions(sight.output, inputs).beyond(tolerance[0], self.asked.margin)
        if self.asked.channels:
            columns = check.of_channels(sight.output, inputs).beyond(
                tolerance[1], self.asked.margin
            )
        return rows, columns

    def fired(self, sight: Sight) -> Tensor:
        """(n,) whether all kinds of sums that are checked disagree somewhere."""
        found = [part.any(1) for part in self.suspects(sight) if part is not None]
        return torch.stack(found).all(0)

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """See `radhard.engine.guard.StepGuard`."""
        rows, columns = self.suspects(sight)
        alarm = torch.stack([part.any(1) for part in (rows, columns) if part is not None]).any(0)
        if not self.asked.correct or rows is None or columns is None:
            return sight.output, alarm
        alone = (rows.sum(1) == 1) & (columns.sum(1) == 1)
        place = alone[:, None, None] & columns[:, :, None] & rows[:, None, :]
        check = self.checks[str(sight.step)]
        assert isinstance(check, LayerCheck)
        if check.exact is not None:
            clean, output = (check.exact.integers(x).double() for x in (sight.clean, sight.output))
            left = clean.sum(1) - torch.where(place, 0.0, output).sum(1)
            restored = (left * check.exact.scales(left)).to(sight.output.dtype)
        else:
            others = torch.where(place, 0.0, sight.output).sum(1)
            restored = check.sums.at_positions(check.operand.round(sight.inputs())) - others
        return torch.where(place, restored[:, None, :], sight.output), alarm


def _tolerances(workload: Workload) -> dict[int, Tensor]:
    """The largest gaps of fault-free runs per layer, (2 kinds of sums, gap and floor)."""
    found: dict[int, list[Tensor]] = {}
    checks = checked_layers(workload)
    wanted = {s for step in checks for s in (step, _source(workload, step))}
    for values, _ in observed_there(workload, wanted):
        for step, check in checks.items():
            inputs = _apart(workload, _source(workload, step), values)
            gaps = check.differences(values[step], inputs)
            found.setdefault(step, []).append(torch.stack([gap.largest() for gap in gaps]))
    return {step: torch.stack(parts).amax(0) for step, parts in found.items()}


def checkable(workload: Workload) -> tuple[str, ...]:
    """The names of the layers whose sums checksums tell."""
    layers = enumerate(workload.layers)
    return tuple(layer.name for number, layer in layers if _is_checked(workload, number))


def _is_checked(workload: Workload, number: int) -> bool:
    return workload.layers[number].has_windows and workload.arithmetic[number].linear


def checked_layers(workload: Workload) -> dict[int, LayerCheck]:
    """The checks of the layers with constant weights, by step."""
    found = {}
    for number, layer in enumerate(workload.layers):
        how = workload.arithmetic[number]
        if not _is_checked(workload, number):
            continue
        bias = workload.program.steps[layer.bias].constant if layer.bias is not None else None
        fmt = how.output if isinstance(how.output, FixedFormat | IntegerFormat) else None
        exact = fmt if how.exact else None
        sums = Sums(layer, workload.weight(number), bias)
        found[layer.step] = LayerCheck(sums, how.input, exact)
    return found


def _source(workload: Workload, step: int) -> int:
    return workload.layers[workload.numbers[step]].operands[0]


def _apart(workload: Workload, step: int, values: dict[int, Tensor]) -> Tensor:
    """Values (n, m, positions) of a step, each in the shape that one image's value has."""
    layout = workload.program.rows[step]
    assert layout is not None
    return layout.apart(rows_of(workload, step, values[step]))
