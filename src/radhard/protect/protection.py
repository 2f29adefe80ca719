"""What a protection is to a campaign: the verbs harden, retune and guard, and a cost."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.engine.guard import (
    Guard,
    LocalGuard,
    Sight,
    StepGuard,
    Window,
    WindowGuard,
    is_local,
    step_guard,
)  # fmt: skip
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.faults.rate import Read, Words
from radhard.faults.space import SiteSpace
from radhard.network.workload import Workload
from radhard.protect.tap import TapGuard

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a protection takes, per inference unless stated; all but what alarms take adds up.

    Attributes:
        macs: multiply-accumulates on top of the network's own.
        operations: comparisons, additions, votes and checks of single values.
        memory_bits: storage on top of the chip's own.
        area: what all of it takes on the chip, as a share of its storage: bits that are added,
            hardened latches, and logic by its transistors, of which a bit of memory has six.
        cycles: latency without an alarm: on top, where the chip says how many it takes.
        retraining: whether weights or bounds have to be trained.
        rerun: latency with an alarm: inferences that are run again then.
        detection: layers at most from the strike to the alarm; 0 where it is raised when the value
            is read.
    """

    macs: float = 0.0
    operations: float = 0.0
    memory_bits: float = 0.0
    area: float = 0.0
    cycles: float = 0.0
    retraining: bool = False
    rerun: float = 0.0
    detection: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.macs + other.macs,
            self.operations + other.operations,
            self.memory_bits + other.memory_bits,
            self.area + other.area,
            self.cycles + other.cycles,
            self.retraining or other.retraining,
            max(self.rerun, other.rerun),
            max(self.detection, other.detection),
        )


@runtime_checkable
class Protection(Protocol):
    """Changes the population of faults, the network, or the run, and nothing else.

    Classes of your own inherit from this one and override what they change. They are frozen
    dataclasses of plain fields: a campaign is identified, and stored, by the data of its parts.

    Attributes:
        by_bit: whether `harden` spares bits one by one, which says nothing of faults that strike
            several at once.
        by_flips: whether `stops` counts wrong bits, which it is told of flips alone.
    """

    by_bit: ClassVar[bool] = False
    by_flips: ClassVar[bool] = False

    def harden(self, space: SiteSpace) -> SiteSpace:
        """The population of faults on the hardened chip."""
        return space

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """Which faults a check finds, or a copy makes up for, before they can spread."""
        return Stopped.none(len(faults.corruption))

    def replaced(
        self, workload: Workload, faults: Struck
    ) -> Iterator[tuple[Workload, NDArray[np.int64]]]:
        """Networks that answer instead of the struck one, each with the numbers of its faults.

        These are among the faults that it `stops`.
        """
        yield from ()

    def read(self, words: Words) -> Read | None:
        """What it reads of stored words with errors at a rate; ``None`` where it has no such say.

        A protection of storage that has none can't be asked about errors at a rate.
        """
        return None

    def retune(self, workload: Workload) -> Workload:
        """The network with other weights."""
        return workload

    def guard(self, workload: Workload) -> Guard | StepGuard | None:
        """What watches a run of ``workload``; ``None`` where nothing does."""
        return None

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """What it takes."""
        return Cost()


@dataclass(frozen=True, slots=True, eq=False)
class Stopped:
    """Faults that reach no computation.

    Attributes:
        harmless: (n,) the value was restored, or the inference is run again.
        alarmed: (n,) the check says so.
    """

    harmless: Flags
    alarmed: Flags

    @classmethod
    def none(cls, n: int) -> Stopped:
        """All n faults go through."""
        return cls(np.zeros(n, bool), np.zeros(n, bool))

    def __or__(self, other: Stopped) -> Stopped:
        return Stopped(self.harmless | other.harmless, self.alarmed | other.alarmed)


@dataclass(frozen=True, slots=True, eq=False)
class Struck:
    """Faults with what software sees of them.

    Attributes:
        component: name of the struck part of the chip, (n,).
        width: bits of the struck value, (n,).
        latch: whether it lies in a latch of the datapath, rather than in a memory, (n,).
        corruption: n corruptions.
    """

    component: NDArray[np.str_]
    width: NDArray[np.int64]
    latch: Flags
    corruption: Corruption

    @classmethod
    def of(cls, space: SiteSpace, faults: Faults, corruption: Corruption) -> Struck:
        """Of drawn faults."""
        names = np.array([stratum.component for stratum in space.strata])[faults.stratum]
        width = np.array([stratum.width for stratum in space.strata])[faults.stratum]
        latch = np.array([stratum.storage == "latch" for stratum in space.strata])[faults.stratum]
        return cls(names, width, latch, corruption)

    def inside(self, components: Collection[str]) -> Flags:
        """(n,) whether a fault struck one of these components; of none given, any."""
        if not components:
            return np.ones(len(self.component), bool)
        return np.isin(self.component, list(components))

    @property
    def bits(self) -> NDArray[np.int64]:
        """How many bits of the value the fault touches, (n,)."""
        own = np.array([(1 << int(width)) - 1 for width in self.width], dtype=np.uint64)
        keep, flip = (part.view(np.uint64) for part in (self.corruption.keep, self.corruption.flip))
        found: NDArray[np.int64] = np.bitwise_count((~keep | flip) & own).astype(np.int64)
        return found


def stopped_by(protections: Sequence[Protection], workload: Workload, faults: Struck) -> Stopped:
    """The faults that any of the protections stops."""
    found = (protection.stops(workload, faults) for protection in protections)
    return reduce(lambda one, other: one | other, found, Stopped.none(len(faults.corruption)))


def hardened(protections: Sequence[Protection], space: SiteSpace) -> SiteSpace:
    """The population under all protections."""
    return reduce(lambda left, protection: protection.harden(left), protections, space)


def retuned(protections: Sequence[Protection], workload: Workload) -> Workload:
    """The network under all protections."""
    return reduce(lambda left, protection: protection.retune(left), protections, workload)


def spared(space: SiteSpace, factor: NDArray[np.float64]) -> SiteSpace:
    """With each stratum's exposure multiplied by ``factor`` in [0, 1]; the rest does nothing.

    The lost exposure stays in the population as faults without effect, so that probabilities and
    rates can be compared with those of the plain chip.
    """
    if not ((factor >= 0) & (factor <= 1)).all():
        raise ValueError("a protection leaves a share between 0 and 1 of each exposure")
    strata = tuple(
        replace(stratum, exposure=stratum.exposure * float(share))
        for stratum, share in zip(space.strata, factor, strict=True)
    )
    return replace(space, strata=strata).against(space)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Tensors that a protection has learned, by step of the program; its ``repr`` is their hash."""

    tensors: Mapping[int, tuple[Tensor, ...]]

    def __repr__(self) -> str:
        digest = hashlib.sha256()
        for step, held in sorted(self.tensors.items()):
            digest.update(str(step).encode())
            for tensor in held:
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"Fitted({digest.hexdigest()[:16]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fitted) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __bool__(self) -> bool:
        return bool(self.tensors)


#: Nothing learned yet.
UNFITTED = Fitted({})


class _Guards(torch.nn.Module):
    """Several guards: each sees what the one before it left.

    Where others stand beside those that correct, alarms are the others': what is corrected needs no
    repetition, so that it does not count as detected.
    """

    def __init__(self, guards: Sequence[StepGuard]) -> None:
        super().__init__()
        self.guards = list(guards)
        correct = {id(guard) for guard in guards if isinstance(guard, TapGuard)}
        self.unheard = correct if len(correct) < len(guards) else set()
        self.parts = torch.nn.ModuleList(g for g in guards if isinstance(g, torch.nn.Module))

    @property
    def steps(self) -> Collection[int]:
        return set().union(*(guard.steps for guard in self.guards))

    def look(self, sight: Sight) -> tuple[Tensor, Tensor]:
        output, alarm = sight.output, torch.zeros_like(sight.shared)
        for guard in self._at(sight.step):
            output, more = guard.look(replace(sight, output=output))
            alarm = alarm if id(guard) in self.unheard else alarm | more
        return output, alarm

    @property
    def local(self) -> bool:
        """Where one looks at windows it must be alone."""
        return all(map(is_local, self.guards)) and all(
            len(self._at(step)) == 1 or self.window(step, torch.float32) is None
            for step in self.steps
        )

    def _at(self, step: int) -> list[StepGuard]:
        return [guard for guard in self.guards if step in guard.steps]

    def window(self, step: int, real: torch.dtype) -> Window | None:
        for guard in self._at(step):
            if isinstance(guard, WindowGuard) and (found := guard.window(step, real)):
                return _silent(found) if id(guard) in self.unheard else found
        return None

    def touch(self, step: int, values: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        alarm = torch.zeros_like(values, dtype=torch.bool)
        for guard in self._at(step):
            if isinstance(guard, LocalGuard):
                values, more = guard.touch(step, values, place)
                alarm = alarm if id(guard) in self.unheard else alarm | more
        return values, alarm


def _silent(window: Window) -> Window:
    """The same without alarms."""

    def judge(values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        found, alarm = window.judge(values, positions)
        return found, torch.zeros_like(alarm)

    return window._replace(judge=judge)


def joined(protections: Sequence[Protection], workload: Workload) -> StepGuard | None:
    """One guard for all protections, in their order; modules are where the workload runs."""
    found = [guard for p in protections if (guard := p.guard(workload)) is not None]
    there = [g.to(workload.device) if isinstance(g, torch.nn.Module) else g for g in found]
    guards = [step_guard(guard, workload) for guard in there]
    return (guards[0] if len(guards) == 1 else _Guards(guards)) if guards else None
