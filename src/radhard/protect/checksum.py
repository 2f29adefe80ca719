"""Checksums of convolutions and dense layers: detect, locate, correct."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

import torch
from torch import Tensor, nn

from radhard.accel.chip import Accelerator
from radhard.engine.guard import Sight, rows_of
from radhard.formats.fixed import FixedFormat
from radhard.formats.integer import IntegerFormat
from radhard.network.arithmetic import Arithmetic, Parameters
from radhard.network.layer import Layer
from radhard.network.workload import HOST, Workload
from radhard.protect.area import cycles_of, share, stream_logic
from radhard.protect.names import check_layers
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.reads import Gap, Parts, gap_of, reading, seen_by_checker
from radhard.protect.rounding import NARROW, seen_as
from radhard.protect.sums import Difference, Sums
from radhard.protect.tap import observed_there

#: Formats in which sums are exact.
Code = FixedFormat | IntegerFormat


class Formed(StrEnum):
    """When sums of a layer's inputs are formed."""

    #: By what reads them for the layer, behind its last channel: wrong in memory, wrong for both.
    READ = "read"
    #: When they are written into the memory from which the layer reads them.
    WRITTEN = "written"


@dataclass(frozen=True, slots=True)
class Checksum(Protection):
    """Compares sums of each layer's outputs with what its inputs and weights say they must be.

    The checker is one more output channel of each group, behind the last one of all:
    it has sums of clean weights, and reads inputs where the layer reads them. An input that is
    wrong in memory is wrong for it too, unless sums of inputs were formed when these were written.
    In integers and fixed point sums are those of the accumulators, and every change is found
    exactly. In floats outputs
    are added up, whose sums differ by rounding, so what may differ is learned: per layer, the
    largest difference of a fault-free run in units of the root sum of squares that was added, times
    ``margin``. Attention and products of two activations are not covered, nor are layers whose sums
    are not linear in their operands.

    Attributes:
        positions: check the sum over channels at each position (the filter checksum).
        channels: check the sum over positions of each channel (the input checksum). With both, one
            wrong output is located.
        correct: restore the output where exactly one position and one channel disagree.
        inputs: when the sums of inputs are formed that ``channels`` compares with.
        margin: factor on the learned tolerance, at least 1.
        layers: names of the layers that are checked; of none given, all.
        fitted: tolerances, from `learned`; where empty, `guard` learns from the workload's images.

    Raises:
        ValueError: where neither kind of sum is checked, one is corrected without both, for a
            margin below 1 or infinite, or another word for ``inputs``; from `guard` and `cost`, for
            layers that can't be checked.
    """

    positions: bool = True
    channels: bool = False
    correct: bool = False
    inputs: Formed = Formed.READ
    margin: float = 8.0
    layers: tuple[str, ...] = ()
    fitted: Fitted = UNFITTED

    def __post_init__(self) -> None:
        if not (self.positions or self.channels) or not 1 <= self.margin < inf:
            raise ValueError(
                "a checksum needs positions, channels or both, and a margin of 1 or more"
            )
        if self.inputs not in tuple(Formed):
            raise ValueError(f"inputs {self.inputs!r} can't be: use {', '.join(Formed)}")
        if self.correct and not (self.positions and self.channels):
            raise ValueError("correction needs both: Checksum(channels=True, correct=True)")
        if self.inputs == Formed.WRITTEN and not self.channels:
            raise ValueError(
                "sums of inputs are what channels are compared with: "
                "Checksum(channels=True, inputs='written')"
            )

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
        check_layers(workload, self.layers, "Checksum")
        can = checkable(workload)
        wrong = set(self.layers) & ({layer.name for layer in workload.layers} - set(can))
        if wrong or not can:
            raise ValueError(
                f"no checksum can be of {', '.join(sorted(wrong)) or workload.name}: it holds for "
                "linear layers and convolutions of one or two dimensions whose sums are products "
                f"added up; that are {', '.join(can) or 'none'}"
            )
        return set(self.layers) & set(can) or can

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """One more filter in each group, or one more position, of each layer; sums of outputs.

        Sums of inputs take an addition for each product of one channel of each group, whenever they
        are formed. In floats each output is also squared and added, and each root multiplied by the
        tolerance. Sums of weights and biases, and tolerances, are kept for all layers, other sums
        for one layer at a time.
        """
        checked = self._checked(workload)
        macs = operations = kept = held = 0.0
        width = max(how.latch.width for how in workload.arithmetic)
        parts = zip(workload.layers, workload.arithmetic, workload.parameters, strict=True)
        for layer, how, given in parts:
            if layer.name not in checked:
                continue
            biased = given is not None and given.bias is not None
            rough = not isinstance(how.output, Code) or not how.exact
            kept += width * rough
            groups, m, p = layer.bounds["groups"], layer.channels, layer.positions
            windows, now = groups * layer.fan_in, 0.0
            if self.positions:
                macs += windows * p
                operations += m * p + p + rough * (2 * m * p + 2 * p)
                kept, now = kept + width * (windows + biased), now + width * p
            if self.channels:
                macs += m * layer.fan_in
                operations += windows * p + m * p + m + biased * m + rough * (2 * m * p + 2 * m)
                now += width * (windows + m)
            held = max(held, now)
        cycles, own = cycles_of(chip, workload), sum(layer.macs for layer in workload.layers)
        logic = stream_logic(operations, width, cycles)
        area = share(kept + held + logic, chip, workload)
        return Cost(macs, operations, kept + held, area, macs / own * cycles, False, 1.0, 1.0)


class LayerCheck(nn.Module):
    """The checks of one layer."""

    rows: Tensor

    def __init__(
        self, layer: Layer, weight: Tensor, bias: Tensor | None, how: Arithmetic, given: Parameters
    ) -> None:
        super().__init__()
        self.layer, self.how, self.given = layer, how, given
        self.sums = Sums(layer, weight, bias)
        fmt = how.output if isinstance(how.output, FixedFormat | IntegerFormat) else None
        self.exact: Code | None = fmt if how.exact else None
        held = given.weight if self.exact is not None else weight
        self.register_buffer("rows", layer.weight_rows(held))

    def differences(self, output: Tensor, inputs: Tensor) -> tuple[Difference, Difference]:
        """At positions, and of channels."""
        return self.at_positions(output, inputs), self.of_channels(output, inputs)

    def at_positions(
        self, output: Tensor, inputs: Tensor, more: Tensor | None = None
    ) -> Difference:
        """Output (n, m, positions) summed over channels; ``more`` is what else the checker has."""
        expected = self.sums.at_positions(self.how.input.round(inputs))
        return Difference.of(output, expected if more is None else expected + more, 1)

    def of_channels(self, output: Tensor, inputs: Tensor, more: Tensor | None = None) -> Difference:
        """Output summed over positions."""
        expected = self.sums.of_channels(self.how.input.round(inputs))
        return Difference.of(output, expected if more is None else expected + more, 2)

    def also_read(self, sight: Sight) -> tuple[Tensor | None, Tensor | None]:
        """What wrong inputs add to the checker's own sums: at positions, and of channels."""
        wrong = sight.wrong
        if wrong is None or wrong.corruption.operand[0] != "input":
            return None, None
        read = reading(self.layer, wrong.corruption, sight.output.device)
        change = (wrong.after - wrong.before).to(sight.output.dtype)
        return seen_by_checker(Parts.of(self.layer, self.rows.to(change)), read, change)

    def gap(self, sight: Sight, written: bool) -> Gap:
        """By how much exact sums disagree."""
        inputs, wrong = self.how.operand(sight.inputs()).flatten(1).long(), sight.wrong
        if sight.weight is not None:
            return self._gap_of_weights(sight, sight.weight)
        if wrong is None or wrong.corruption.operand[0] == "output":
            assert self.exact is not None
            codes = (self.exact.integers(x).double() for x in (sight.output, sight.clean))
            output, clean = codes
            moved = (output - clean).long()
            return Gap(moved, moved.sum(1), moved.sum(2))
        parts = Parts.of(self.layer, self.rows.long())
        return gap_of(parts, self.how, self.given, wrong, inputs, written)

    def _gap_of_weights(self, sight: Sight, weight: Tensor) -> Gap:
        """Of a layer all of whose weights may be wrong."""
        held = self.layer.weight_rows(self.how.integer_weight(weight))
        change = (held.double() - self.rows.double()).to(sight.output.device)
        sums = Sums.of_rows(self.layer, change)
        x = self.how.operand(sight.inputs()).double()
        at_positions, of_channels = sums.at_positions(x), sums.of_channels(x)
        none = torch.zeros(0, device=x.device)
        wrapped = (self.how.wrapped(part.round().long()) for part in (at_positions, of_channels))
        return Gap(none, *wrapped)

    def restored(self, sight: Sight, gap: Gap, place: Tensor) -> Tensor:
        """Outputs (n, m, positions) with sums at the places made what the checker says."""
        found = sight.output.clone()
        run, channel, position = (part for part in torch.nonzero(place).unbind(1))
        if not len(run):
            return found
        off = gap.moved[run, channel, position] - gap.positions[run, position]
        found[run, channel, position] = sight.clean[run, channel, position]
        other = off != 0
        run, channel, position = run[other], channel[other], position[other]
        if sight.wrong is not None and sight.wrong.corruption.operand[0] != "output" and len(run):
            again = self._computed(sight, run, channel, position, off[other])
            found[run, channel, position] = again.to(found.dtype)
        return found

    def _computed(
        self, sight: Sight, run: Tensor, channel: Tensor, position: Tensor, off: Tensor
    ) -> Tensor:
        """Outputs (k,) whose sums are ``off`` by so much from those without a fault."""
        x = self.how.operand(sight.inputs()).flatten(1).long()
        window = self.layer.window(channel, position)
        operand = torch.where(window >= 0, x[run[:, None], window.clamp(min=0)], 0)
        sums = (operand * self.rows[channel].long()).sum(1) + off
        bias, scale = self.how.bias(self.given), self.given.scale.reshape(-1)
        if bias is not None:
            sums = sums + bias.reshape(-1)[channel].long()
        sums = self.how.wrapped(sums)
        own = Parameters(None, None, scale[channel] if len(scale) > 1 else scale)
        wide = self.how.bound >= 2**52
        return self.how.finished(sums if wide else sums.double(), own)


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
        check, asked = self.check(sight.step), self.asked
        if check.exact is not None:
            gap = check.gap(sight, self._written)
            found = gap.positions != 0, gap.channels != 0
            return found[0] if asked.positions else None, found[1] if asked.channels else None
        tolerance = self.tolerance(sight.step)
        sight = seen_as(sight, check.sums.summed.dtype)
        inputs = sight.inputs()
        at_positions, of_channels = check.also_read(sight)
        rows = columns = None
        if asked.positions:
            gaps = check.at_positions(sight.output, inputs, at_positions)
            rows = gaps.beyond(tolerance[0], asked.margin)
        if asked.channels:
            read = None if self._written else of_channels
            gaps = check.of_channels(sight.output, inputs, read)
            columns = gaps.beyond(tolerance[1], asked.margin)
        return rows, columns

    def check(self, step: int) -> LayerCheck:
        """That of a layer, by its step."""
        check = self.checks[str(step)]
        assert isinstance(check, LayerCheck)
        return check

    def tolerance(self, step: int) -> Tensor:
        """(2 kinds of sums, gap and floor) of a layer."""
        held: Tensor = getattr(self, f"tolerance_{step}")
        return held

    def convert(self, dtype: torch.dtype) -> None:
        """See `radhard.protect.rounding.Converting`."""
        for step in self._steps if dtype in NARROW else ():
            self.tolerance(step)[:, 0].clamp_(min=torch.finfo(dtype).eps)

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
        check = self.check(sight.step)
        if check.exact is not None:
            if sight.weight is not None:  # sums are wrong in many places, and none is alone
                return sight.output, alarm
            return check.restored(sight, check.gap(sight, self._written), place), alarm
        wide = seen_as(sight, check.sums.summed.dtype)
        others = torch.where(place, 0.0, wide.output).sum(1)
        more = check.also_read(wide)[0]
        expected = check.sums.at_positions(check.how.input.round(wide.inputs()))
        restored = expected - others if more is None else expected + more - others
        restored = restored.to(sight.output.dtype)
        return torch.where(place, restored[:, None, :], sight.output), alarm

    @property
    def _written(self) -> bool:
        return self.asked.inputs == Formed.WRITTEN


def _tolerances(workload: Workload) -> dict[int, Tensor]:
    """The largest gaps of fault-free runs per layer, (2 kinds of sums, gap and floor)."""
    found: dict[int, list[Tensor]] = {}
    checks = checked_layers(workload)
    wanted = {s for step in checks for s in (step, _source(workload, step))}
    for values, _ in observed_there(workload, wanted):
        for step, check in checks.items():
            inputs = _apart(workload, _source(workload, step), values)
            gaps = check.differences(values[step], inputs)
            found.setdefault(step, []).append(
                torch.stack([gap.largest(check.layer.fan_in) for gap in gaps])
            )
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
        given = workload.parameters[number]
        assert given is not None
        found[layer.step] = LayerCheck(layer, workload.weight(number), bias, how, given)
    return found


def _source(workload: Workload, step: int) -> int:
    return workload.layers[workload.numbers[step]].operands[0]


def _apart(workload: Workload, step: int, values: dict[int, Tensor]) -> Tensor:
    """Values (n, m, positions) of a step, each in the shape that one image's value has."""
    layout = workload.program.rows[step]
    assert layout is not None
    return layout.apart(rows_of(workload, step, values[step]))
