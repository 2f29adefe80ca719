"""A wrong weight in memory, met again by the layers that read it later."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from radhard.engine.reweigh import under_own_weights
from radhard.engine.strike import read_again
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.faults.model import Integers


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """What later layers read wrong, fault by fault.

    Attributes:
        trace: the golden run.
        corruption: n faults.
        elements: by step of each later layer, which element of its weight is wrong, (n,); -1 where
            none is.
        last: (n,) the last step that reads the wrong weight; -1 where no later one does.
    """

    trace: Trace
    corruption: Corruption
    elements: dict[int, Integers]
    last: Tensor

    @classmethod
    def of(cls, trace: Trace, corruption: Corruption) -> Again:
        """For n faults."""
        elements: dict[int, Integers] = {}
        last = np.full(len(corruption), -1)
        for number, hit, places in read_again(trace.workload, corruption):
            step = trace.workload.layers[number].step
            elements.setdefault(step, np.full(len(corruption), -1))[hit] = places
            last[hit] = np.maximum(last[hit], step)
        return cls(trace, corruption, elements, torch.from_numpy(last))

    def due(self, fault: Tensor, position: int) -> Tensor:
        """Which of these faults (k,) are read again after a step, (k,) of bool."""
        if not self.elements:
            return torch.zeros_like(fault, dtype=torch.bool)
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
        runs = fault.cpu().numpy()
        element = self.elements[step][runs]
        some = np.flatnonzero(element >= 0)
        if not len(some):
            return output
        part = replace(self.corruption[runs[some]], element=element[some])
        number, hit = self.trace.workload.numbers[step], torch.from_numpy(some).to(output.device)
        wrong, right = under_own_weights(self.trace, number, part, inputs[hit], output[hit])
        rows = output.clone()
        rows[hit] = torch.where(wrong == right, output[hit], wrong)
        return rows
