"""What to expect of faults, as samplers ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.engine.segment import Golden
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.foresight.margin import Margins
from radhard.foresight.proof import Proofs
from radhard.sampling.sampler import Outlook

#: Chance that is taken of faults of which nothing is told.
_UNTOLD = 0.05


@dataclass(frozen=True, eq=False)
class Foresight:
    """What faults should do to a network that nothing watches; the score of a sampler.

    Images whose fault-free answer is right are one group, and the others another: only the first
    can be lost, only the others gained.

    Attributes:
        golden: the fault-free run.
        corrupt: what faults do to stored values.
        proving: whether faults are proved harmless, where that can be, before they are guessed at.
        told: strata (strata,) of which ``corrupt`` tells the whole; of others nothing is proved,
            and one in twenty faults is expected to change the answer.
    """

    golden: Golden
    corrupt: Callable[[Faults], Corruption]
    proving: bool
    told: NDArray[np.bool_]

    def __call__(self, faults: Faults) -> Outlook:
        """What to expect of n faults."""
        corruption = self.corrupt(faults)
        chance, group = np.zeros(len(faults)), np.zeros(len(faults), np.int64)
        proof = np.zeros(len(faults), np.uint8)
        for trace, chosen, part in self.golden.parts(corruption):
            work = trace.workload
            right = work.task.right(trace.logits, work.labels).cpu().numpy()
            group[chosen] = right[part.image]
            if self.proving:  # an answer that is no number is no number without a change
                number = ~torch.isnan(trace.logits).any(1).cpu().numpy()
                proof[chosen] = self._proofs.level(trace, part) * number[part.image]
            left = np.flatnonzero(proof[chosen] == 0)
            chance[chosen[left]] = self._margins.chance(trace, part[left])
        told = self.told[faults.stratum]
        return Outlook(
            np.where(told, chance, _UNTOLD), group, np.where(told, proof, 0).astype(np.uint8)
        )

    @property
    def flat(self) -> tuple[str, ...]:
        """Layers of whose faults the scores say nothing; see `Margins.flat`."""
        return self._margins.flat

    @cached_property
    def _margins(self) -> Margins:
        return Margins.of(self.golden.workload)

    @cached_property
    def _proofs(self) -> Proofs:
        return Proofs.of(self.golden.workload)
