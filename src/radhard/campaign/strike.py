"""Striking a network: what drawn faults do, outcome by outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from radhard.accel.chip import Accelerator
from radhard.accel.readers import activated
from radhard.engine.resume import Resumed
from radhard.engine.segment import Golden
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.metrics.outcome import Criterion, classify
from radhard.network.task import ConfidenceOf
from radhard.network.workload import Workload
from radhard.protect.protection import Flags, Protection, Stopped, Struck, stopped_by
from radhard.sampling.gradient import proof_of


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
    """

    network: Workload
    chip: Accelerator
    protections: tuple[Protection, ...]
    criteria: Mapping[str, Criterion]
    confidence_of: ConfidenceOf
    proofs_hold: bool

    def outcomes(self, space: SiteSpace, golden: Golden, faults: Faults) -> dict[str, Flags]:
        """What n faults do: outcome columns by name, (n,) of bool each.

        What is proved of faults is proved of the host's arithmetic, so those few of them that are
        run all the same run there, whatever the device of the others.
        """
        proved = proof_of(faults.cell) > 0
        if golden.host is None or not self.proofs_hold or not proved.any():
            return self._of(space, golden, faults)
        found: dict[str, Flags] = {}
        for run, chosen in ((golden, ~proved), (golden.host, proved)):
            part = self._of(space, run, faults[chosen]) if chosen.any() else {}
            for name, column in part.items():
                found.setdefault(name, np.zeros(len(faults), bool))[chosen] = column
        return found

    def _of(self, space: SiteSpace, golden: Golden, faults: Faults) -> dict[str, Flags]:
        corruption = self.chip.corrupt(self.network, space, faults)
        struck = Struck.of(space, faults, corruption)
        stopped = stopped_by(self.protections, self.network, struck)
        run, otherwise = _resumed(golden, corruption, stopped)
        labels = self.network.labels[torch.from_numpy(faults.image)]
        given = (run.logits, run.golden, labels, run.detected, self.criteria)
        found = classify(self.network.task, *given, self.confidence_of, otherwise)
        columns = {name: column.cpu().numpy() for name, column in found.columns.items()}
        return {**columns, "activated": activated(self.network, corruption)}


def _resumed(
    golden: Golden, corruption: Corruption, stopped: Stopped
) -> tuple[Resumed, torch.Tensor]:
    """The runs, and their logits by the other rule for not-a-number.

    Those whose fault was stopped end as if there had been none.
    """
    if not (stopped.harmless | stopped.alarmed).any():
        run = golden.resume(corruption)
        return run, golden.otherwise(corruption, run)
    through = np.flatnonzero(~stopped.harmless)
    if not len(through):
        through = np.arange(1)  # one run, for the golden logits
    run = golden.resume(corruption[through])
    clean, detected = golden.fault_free(corruption)
    detected = detected | torch.from_numpy(stopped.alarmed)
    went = torch.from_numpy(~stopped.harmless[through])
    place = torch.from_numpy(through)[went]
    logits, otherwise = clean.clone(), clean.clone()
    otherwise[place] = golden.otherwise(corruption[through], run)[went]
    logits[place] = run.logits[went]
    detected[place] |= run.detected[went]
    return replace(run, logits=logits, golden=clean, detected=detected), otherwise
