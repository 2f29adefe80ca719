"""Symptom-based detection: a value outside the range that its layer had in training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.engine.guard import Bounds, Guard, OfLayers, StepGuard
from radhard.engine.trace import record
from radhard.network.workload import HOST, Workload
from radhard.protect.area import guarding
from radhard.protect.names import check_layers
from radhard.protect.protection import Cost, Protection

#: Images whose values are held while ranges are learned.
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class RangeDetector(Protection):
    """Raises an alarm when an output of a layer leaves its learned range (Li et al., SC'17, 6.2).

    It only detects: the user may run the inference again. Outputs are those of the layer itself,
    before an activation function; not-a-number and infinities raise an alarm too.

    Attributes:
        cushion: by which share of its magnitude each end of a range is moved outwards, at least 0.
        ranges: lowest and highest output of each layer, from `learned`; where empty, `guard` learns
            them from the workload's own images.
        layers: names of the layers that are watched, such as the last one; of none given, all.

    Raises:
        ValueError: for a negative cushion; from `guard` and `cost`, for a layer that is not there.
    """

    cushion: float = 0.1
    ranges: tuple[tuple[float, float], ...] = ()
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.cushion < inf:
            raise ValueError(f"cushion {self.cushion!r} can't be: use a share of 0 or more")

    def learned(self, training: Workload) -> RangeDetector:
        """The detector with the ranges of a fault-free run of ``training``, on the host."""
        training = training.on(HOST)
        starts = range(0, len(training.images), _AT_ONCE)
        parts = [slice(start, start + _AT_ONCE) for start in starts]
        found = [
            record(training.with_(training.images[p], training.labels[p])).ranges for p in parts
        ]
        ends = (zip(*layer, strict=True) for layer in zip(*found, strict=True))
        return replace(self, ranges=tuple((min(low), max(high)) for low, high in ends))

    def guard(self, workload: Workload) -> Guard | StepGuard:
        """What watches a run of ``workload``.

        Raises:
            ValueError: when the ranges are of a network with another number of layers.
        """
        ranges = self.ranges or self.learned(workload).ranges
        if len(ranges) != len(workload.layers):
            raise ValueError(
                f"ranges of {len(ranges)} layers do not fit {len(workload.layers)} layers: learn "
                "them on the same network"
            )
        check_layers(workload, self.layers, "RangeDetector")
        grown = 1 + self.cushion
        limits = tuple(
            (low * grown if low < 0 else low / grown, high * grown if high > 0 else high / grown)
            for low, high in ranges
        )
        if not self.layers:
            return _Ranges(limits)
        steps = {
            layer.step: number
            for number, layer in enumerate(workload.layers)
            if layer.name in self.layers
        }
        return OfLayers(_Ranges(limits), steps)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two comparisons per output; two bounds per layer."""
        check_layers(workload, self.layers, "RangeDetector")
        own = [x for x in workload.layers if not self.layers or x.name in self.layers]
        outputs = sum(layer.channels * layer.positions for layer in own)
        found = guarding(2 * outputs, 64 * len(own), chip, workload)
        return replace(found, rerun=1.0, detection=1.0)


@dataclass(frozen=True, slots=True)
class _Ranges:
    limits: tuple[tuple[float, float], ...]

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """See `Guard`; the output is left as it is."""
        low, high = self.limits[layer]
        fine = (output >= low) & (output <= high)
        return output, ~fine.flatten(1).all(1)

    def touch(self, layer: int, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """See `radhard.engine.guard.LocalLayerGuard`."""
        low, high = self.limits[layer]
        return values, ~((values >= low) & (values <= high))

    def bounds(self, layer: int) -> Bounds:
        """See `radhard.engine.guard.BoundingGuard`."""
        low, high = (torch.tensor([end]) for end in self.limits[layer])
        return Bounds(low, high, low, high, stays=True)
