"""A design that was explored, and which of several are worth having."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan

from radhard.rtl.design import ArrayDesign
from radhard.rtl.hardware import Hardware
from radhard.rtl.latency import Running
from radhard.stats.estimate import Estimate

#: What can be weighed: names of `Point.score`.
OBJECTIVES = ("accuracy", "sdc1", "ra", "fit", "area", "delay", "energy")
#: The multiplier that arrays have where none is named.
EXACT = "exact"
_MOST = frozenset({"accuracy", "ra"})  # the more the better


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One design: a quantised network on a protected array.

    Attributes:
        model, bits, multiplier: the network.
        design: the array, as `radhard rtl` emits it.
        accuracy: without faults.
        sdc1, ra: given that a fault strikes.
        fit: rate of SDC-1; ``None`` where there are no raw rates.
        drop: accuracy that a fault costs, on average over faults.
        worst: the layer whose faults cost most, and how much; the interval holds although it was
            picked.
        improvement: how much less a fault costs than on the plain array, in accuracy; on the same
            faults.
        improved: the same as a share of what it costs there.
        unread: faults that nothing reads.
        masked: those that do not reach the outputs, unread ones among them.
        hardware: what the array costs.
        running: what an inference takes.
        campaign: name of the one in which it was struck.
        energy_known: whether its multiplier's power is.
        stages: where faults were masked, by the names of `radhard.campaign.masking.STAGES`.
    """

    model: str
    bits: str
    multiplier: str
    design: ArrayDesign
    accuracy: Estimate
    sdc1: Estimate
    ra: Estimate
    fit: Estimate | None
    drop: Estimate
    worst: tuple[str, Estimate]
    improvement: Estimate | None
    improved: Estimate | None
    unread: Estimate
    masked: Estimate
    hardware: Hardware
    running: Running
    campaign: str
    energy_known: bool = True
    stages: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Such as ``8-4x4-clamp``."""
        own = [] if self.multiplier == EXACT else [self.multiplier]
        array = f"{self.design.rows}x{self.design.cols}"
        return "-".join([self.bits, array, self.design.protect, *own])

    def score(self, objective: str) -> float | None:
        """The value of an objective, less is better; ``None`` where it is not known."""
        rate, found = self.hardware.fmax_mhz, None
        match objective:
            case "area":
                return self.hardware.cells
            case "delay":
                return None if rate is None else self.running.latency_us(rate.value)
            case "energy":
                return self.running.energy_nj if self.energy_known else None
            case _:
                found = getattr(self, objective)
        if found is None or isnan(found.value):
            return None
        return float(-found.value if objective in _MOST else found.value)


def front(points: Sequence[Point], objectives: Sequence[str]) -> list[Point]:
    """The designs that no other one beats in an objective without being worse in one.

    One of whose objectives is not known is left out.
    """
    scored = [(point, [point.score(name) for name in objectives]) for point in points]
    known = [(point, score) for point, score in scored if None not in score]
    return [
        point for point, own in known
        if not any(_beats(other, own) for _, other in known)
    ]  # fmt: skip


def _beats(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a design must keep to; whole intervals have to.

    Attributes:
        luts: look-up tables at most.
        accuracy: without faults, at least.
        fit: rate of SDC-1 at most.

    Raises:
        ValueError: for what is no number of 0 or more.
    """

    luts: int | None = None
    accuracy: float | None = None
    fit: float | None = None

    def __post_init__(self) -> None:
        for name in ("luts", "accuracy", "fit"):
            asked = getattr(self, name)
            if asked is not None and not 0 <= asked < inf:
                raise ValueError(f"{name} of {asked} can't be asked for: use a number of 0 or more")

    def distance(self, point: Point) -> tuple[int, float]:
        """How many of these a design does not keep to, and by which shares in all."""
        luts = inf if point.hardware.luts is None else float(point.hardware.luts)
        rate = inf if point.fit is None else point.fit.high
        over = [
            _over(luts, self.luts), _over(rate, self.fit),
            0.0 if self.accuracy is None else max(0.0, self.accuracy - point.accuracy.low),
        ]  # fmt: skip
        return len(self.missed(point)), sum(over)

    def missed(self, point: Point) -> list[str]:
        """What a design does not keep to, in words."""
        found = []
        if self.luts is not None and (
            point.hardware.luts is None or point.hardware.luts > self.luts
        ):
            found.append(f"{point.hardware.luts or 'unknown'} look-up tables of {self.luts}")
        if self.accuracy is not None and point.accuracy.low < self.accuracy:
            found.append(f"accuracy {point.accuracy}, not {100 * self.accuracy:g} % for sure")
        if self.fit is not None and (point.fit is None or point.fit.high > self.fit):
            found.append(f"{point.fit or 'no FIT'}, not {self.fit:g} FIT for sure")
        return found


def _over(value: float, most: float | None) -> float:
    """By which share a value is above what it may be."""
    if most is None or value <= most:
        return 0.0
    return value / most - 1 if most else inf


def recommended(points: Sequence[Point], needs: Needs, objectives: Sequence[str]) -> Point | None:
    """Of the designs that keep to what is needed, one that no other such one beats.

    That is the one with the lowest SDC-1; of several alike the most accurate, then the smallest.
    Where no design has all objectives known there is no front, and any may be the one; ``None``
    where none keeps to what is needed.
    """
    fitting = [point for point in points if not needs.missed(point)]

    def order(point: Point) -> tuple[float, float, float]:
        return point.sdc1.value, -point.accuracy.value, point.score("area") or inf

    return min(front(fitting, objectives) or fitting, key=order, default=None)
