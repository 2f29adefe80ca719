"""Striking a network: what drawn faults do, outcome by outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.accel.readers import activated
from radhard.campaign.replay import replaying
from radhard.engine.guard import step_guard, watched_steps
from radhard.engine.noisy import run_noisy
from radhard.engine.resume import Resumed, continued
from radhard.engine.segment import Golden
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.faults.model import FaultModel, Integers
from radhard.faults.rate import NeuronErrors
from radhard.faults.space import SiteSpace
from radhard.metrics.outcome import Criterion, classify
from radhard.network.task import ConfidenceOf
from radhard.network.workload import Workload
from radhard.protect.protection import Flags, Protection, Stopped, Struck, stopped_by
from radhard.sampling.gradient import proof_of


@runtime_checkable
class Engine(Protocol):
    """What computes struck layers in place of the fault model, such as simulated hardware.

    Which faults strike stays the same, and what later layers make of them is computed in software.
    A frozen dataclass of plain fields, so that a campaign can be asked again from its data.
    """

    @property
    def name(self) -> str:
        """In one word, for names of campaigns and folders."""
        ...

    def check(self, network: Workload, chip: Accelerator, model: FaultModel) -> None:
        """Refuse a network, a chip or a fault that it can't run, before anything has run.

        Raises:
            ValueError: saying what it can't run, and what else could.
        """
        ...

    def outputs(
        self, trace: Trace, chip: Accelerator, space: SiteSpace, faults: Faults, number: int
    ) -> Tensor:
        """The outputs of a layer under faults in it, (n, elements).

        Args:
            trace: the golden run.
            chip: that is struck.
            space: its population of faults.
            faults: n, which count images as ``trace`` does.
            number: of the layer.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Strike:
    """A network on a chip under protections, and how its runs are judged.

    Attributes:
        network: with the weights that protections have retuned.
        chip: what software sees of faults.
        protections: what stops some of them.
        criteria: outcomes of the user's own.
        confidence_of: what SDC-10 % and SDC-20 % compare.
        proofs_hold: whether what is proved of the plain network holds.
        engine: what computes struck layers; the fault model where ``None``.
    """

    network: Workload
    chip: Accelerator
    protections: tuple[Protection, ...]
    criteria: Mapping[str, Criterion]
    confidence_of: ConfidenceOf
    proofs_hold: bool
    engine: Engine | None = None

    def outcomes(
        self, space: SiteSpace, golden: Golden, faults: Faults, apart: bool = False
    ) -> dict[str, Flags]:
        """What n faults do: outcome columns by name, (n,) of bool each.

        What is proved of faults is proved of the host's arithmetic, so those few of them that are
        run all the same run there, whatever the device of the others.

        Args:
            space: the population.
            golden: the fault-free run.
            faults: n.
            apart: whether alarms at each layer that is watched have a column, too: `alarm_at`.
        """
        proved = proof_of(faults.cell) > 0
        if golden.host is None or not self.proofs_hold or not proved.any():
            return self._columns(space, golden, faults, apart)
        found: dict[str, Flags] = {}
        for run, chosen in ((golden, ~proved), (golden.host, proved)):
            part = self._columns(space, run, faults[chosen], apart) if chosen.any() else {}
            for name, column in part.items():
                found.setdefault(name, np.zeros(len(faults), bool))[chosen] = column
        return found

    def _columns(
        self, space: SiteSpace, golden: Golden, faults: Faults, apart: bool
    ) -> dict[str, Flags]:
        run, columns = self.runs(space, golden, faults)
        own = alarms_at(self.network, golden, run.alarms) if apart else {}
        return {**columns, **{alarm_at(layer): column for layer, column in own.items()}}

    def runs(
        self, space: SiteSpace, golden: Golden, faults: Faults
    ) -> tuple[Resumed, dict[str, Flags]]:
        """The runs themselves, all where ``golden`` is, and their outcome columns."""
        corruption = self.chip.corrupt(self.network, space, faults)
        struck = Struck.of(space, faults, corruption)
        stopped = stopped_by(self.protections, self.network, struck)
        run, otherwise = self._resumed(space, golden, faults, corruption, stopped)
        for logits, chosen in self._replaced(golden, struck):
            run.logits[chosen], otherwise[chosen] = logits, logits
        labels = self.network.labels[torch.from_numpy(faults.image)]
        given = (run.logits, run.golden, labels, run.detected, self.criteria)
        found = classify(self.network.task, *given, self.confidence_of, otherwise)
        columns = {name: column.cpu().numpy() for name, column in found.columns.items()}
        return run, {**columns, "activated": activated(self.network, corruption)}

    def _resumed(
        self,
        space: SiteSpace,
        golden: Golden,
        faults: Faults,
        corruption: Corruption,
        stopped: Stopped,
    ) -> tuple[Resumed, Tensor]:
        """The runs, and their logits by the other rule for not-a-number.

        Those whose fault was stopped end as if there had been none.
        """
        if not (stopped.harmless | stopped.alarmed).any():
            return self._run(space, golden, faults, corruption)
        through = np.flatnonzero(~stopped.harmless)
        if not len(through):
            through = np.arange(1)  # one run, for the golden logits
        run, other = self._run(space, golden, faults[through], corruption[through])
        clean, alarms = golden.fault_free(corruption)
        went = torch.from_numpy(~stopped.harmless[through])
        place = torch.from_numpy(through)[went]
        logits, otherwise = clean.clone(), clean.clone()
        otherwise[place] = other[went]
        logits[place] = run.logits[went]
        alarms[place] |= run.alarms[went]
        alarms = torch.cat([alarms, torch.from_numpy(stopped.alarmed)[:, None]], 1)
        return replace(run, logits=logits, golden=clean, alarms=alarms), otherwise

    def _replaced(self, golden: Golden, struck: Struck) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits of networks that answer instead of the struck one, and for which faults."""
        for part in self.protections:
            others = [other for other in self.protections if other is not part]
            spared: Flags | None = None
            for network, numbers in part.replaced(self.network, struck):
                if spared is None:
                    spared = stopped_by(others, self.network, struck).harmless
                chosen = numbers[~spared[numbers]]
                if not len(chosen):
                    continue
                guard = step_guard(golden.guard, self.network) if golden.guard is not None else None
                image = torch.from_numpy(struck.corruption.image[chosen])
                pairs = self.network.images[image], self.network.labels[image]
                own, plain = network.with_(*pairs), self.network.with_(*pairs)
                run = run_noisy(own, NeuronErrors(0.0), {}, (0, 0), guard, plain)
                yield run.logits.to(golden.workload.device), torch.from_numpy(chosen)

    def _run(
        self, space: SiteSpace, golden: Golden, faults: Faults, corruption: Corruption
    ) -> tuple[Resumed, Tensor]:
        """The same of faults that nothing stops."""
        engine = self.engine
        if engine is None:
            run = golden.resume(corruption, replaying(self.chip, space, faults))
            return run, golden.otherwise(corruption, run)

        def by_engine(trace: Trace, chosen: Integers, part: Corruption) -> Resumed:
            own = replace(faults[chosen], image=part.image)

            def outputs(number: int, which: Integers) -> Tensor:
                return engine.outputs(trace, self.chip, space, own[which], number)

            return continued(trace, part, outputs)

        run = golden.resume(corruption, by_engine)
        return run, run.logits


def alarms_at(network: Workload, golden: Golden, alarms: Tensor) -> dict[str, Flags]:
    """Alarms (n, watched steps) at the layers whose own outputs are watched, by layer, (n,)."""
    if golden.guard is None:
        return {}
    steps = {layer.step: layer.name for layer in network.layers}
    return {
        steps[step]: alarms[:, column].cpu().numpy()
        for column, step in enumerate(watched_steps(step_guard(golden.guard, network)))
        if step in steps
    }


def alarm_at(layer: str) -> str:
    """The name of the column of alarms at a layer."""
    return f"alarm at {layer}"
