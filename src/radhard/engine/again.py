"""A wrong weight in memory, met again by the layers that read it later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from radhard.engine.strike import under_own_weights
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """What later layers read wrong, fault by fault.

    Attributes:
        trace: the golden run.
        struck: by step of each later layer, its number, and the corruptions as they stand in its
            own weight, one for each fault (those of other weights are left out by ``place``).
        place: by step, for each fault its place among ``struck``; -1 where it reads no wrong one.
        last: (n,) the last step that reads the wrong weight; -1 where no later one does.
    """

    trace: Trace
    struck: dict[int, tuple[int, Corruption]]
    place: dict[int, Tensor]
    last: Tensor

    @classmethod
    def of(cls, trace: Trace, corruption: Corruption) -> Again:
        """For n faults."""
        workload = trace.workload
        struck: dict[int, tuple[int, Corruption]] = {}
        place: dict[int, Tensor] = {}
        last = np.full(len(corruption), -1)
        for first, later in workload.shared.items():
            hit = corruption.stored & (corruption.layer == first)
            hit &= corruption.operand == "weight"
            chosen = np.flatnonzero(hit)
            for number, elements in later.items() if len(chosen) else ():
                step = workload.layers[number].step
                part = corruption[chosen]
                struck[step] = number, replace(part, element=elements.numpy()[part.element])
                order = np.full(len(corruption), -1)
                order[chosen] = np.arange(len(chosen))
                place[step] = torch.from_numpy(order)
                last[chosen] = np.maximum(last[chosen], step)
        return cls(trace, struck, place, torch.from_numpy(last))

    def due(self, fault: Tensor, position: int) -> Tensor:
        """Which of these faults (k,) are read again after a step, (k,) of bool."""
        found: Tensor = self.last[fault.cpu()] > position
        return found.to(fault.device)

    def read(self, step: int, fault: Tensor, output: Tensor, inputs: Tensor) -> Tensor:
        """The outputs of a layer for the runs of these faults, wrong weights in place.

        Args:
            step: of the layer.
            fault: (k,), those of the first k rows; rows behind them fill the batch up.
            output: (rows, elements), with the golden weight.
            inputs: (rows, elements) of the layer.
        """
        number, corruption = self.struck[step]
        place = self.place[step][fault.cpu()]
        hit = torch.nonzero(place >= 0)[:, 0]
        if not len(hit):
            return output
        part = corruption[place[hit].numpy()]
        hit = hit.to(output.device)
        wrong, right = under_own_weights(self.trace, number, part, inputs[hit], output[hit])
        rows = output.clone()
        rows[hit] = torch.where(wrong == right, output[hit], wrong)
        return rows
