"""The golden run in segments of images, where memory can't hold all of it at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from radhard.engine.guard import Guard, StepGuard
from radhard.engine.resume import Resumed, resume
from radhard.engine.strike import Change
from radhard.engine.trace import Trace, images_within, record
from radhard.faults.corruption import Corruption
from radhard.network.workload import Workload


@dataclass(slots=True)
class Golden:
    """The golden run of a workload; recorded when it is first needed.

    Where ``memory`` can't hold the values of all images, those of a segment of them are recorded,
    used for all corruptions of its images, and dropped for the next segment.

    Attributes:
        workload: the network.
        guard: watches golden and faulty runs.
        memory: bytes for golden values and batches together; ``None`` for no limit.

    Raises:
        ValueError: on `resume`, where one image and a batch do not fit ``memory``.
    """

    workload: Workload
    guard: Guard | StepGuard | None = None
    memory: int | None = None
    _held: tuple[int, Trace] | None = field(default=None, init=False)

    def resume(self, corruption: Corruption) -> Resumed:
        """See `radhard.engine.resume.resume`; the result does not depend on the segments."""
        size = images_within(self.workload, self.memory)
        if size >= len(self.workload.images):
            return resume(self._segment(0, size), corruption)
        number = corruption.image // size
        order, parts = [], []
        for segment in np.unique(number):
            chosen = np.flatnonzero(number == segment)
            trace = self._segment(int(segment), size)
            parts.append(resume(trace, corruption[chosen].of_images(segment * size)))
            order.append(chosen)
        return _joined(parts, torch.from_numpy(np.concatenate(order)).argsort())

    def answers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fault-free logits of all images, (b, classes), and the guard's alarms, (b,)."""
        size = images_within(self.workload, self.memory)
        traces = (self._segment(k, size) for k in range(-(-len(self.workload.images) // size)))
        logits, detected = zip(*((t.logits, t.detected) for t in traces), strict=True)
        return torch.cat(logits), torch.cat(detected)

    def _segment(self, number: int, size: int) -> Trace:
        if self._held is None or self._held[0] != number:
            self._held = None  # before the next one is made
            part = slice(number * size, (number + 1) * size)
            work = self.workload.with_(self.workload.images[part], self.workload.labels[part])
            self._held = number, record(work, self.guard, memory=self.memory)
        return self._held[1]


def _joined(parts: list[Resumed], order: torch.Tensor) -> Resumed:
    def together(columns: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(columns)[order.to(columns[0].device)]

    return Resumed(
        together([part.logits for part in parts]),
        together([part.golden for part in parts]),
        together([part.detected for part in parts]),
        Change(*(together(list(side)) for side in zip(*(p.struck for p in parts), strict=True))),
    )
