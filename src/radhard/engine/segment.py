"""The golden run in segments of images, where memory can't hold all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from radhard.engine.guard import Guard, StepGuard
from radhard.engine.margin import Margins
from radhard.engine.resume import Resumed, resume
from radhard.engine.strike import Change
from radhard.engine.trace import Trace, images_within, record
from radhard.faults.corruption import Corruption
from radhard.faults.model import Integers
from radhard.formats.floating import FloatFormat
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
    _other: Golden | None = field(default=None, init=False)
    _margins: Margins | None = field(default=None, init=False)

    def resume(self, corruption: Corruption) -> Resumed:
        """See `radhard.engine.resume.resume`; the result does not depend on the segments."""
        order, runs = [], []
        for trace, chosen, part in self.parts(corruption):
            runs.append(resume(trace, part))
            order.append(chosen)
        if len(runs) == 1:
            return runs[0]
        return _joined(runs, torch.from_numpy(np.concatenate(order)).argsort())

    def otherwise(self, corruption: Corruption, run: Resumed) -> torch.Tensor:
        """Logits of runs had the workload the other rule for not-a-number, (n, classes).

        Runs are repeated where a not-a-number may have arisen: under ``propagate`` where some logit
        is one, under ``zero`` where the struck value became one, infinite, or greater than the
        fourth root of what the formats hold. What later layers overflow from less is not looked at.

        Args:
            corruption: n corruptions.
            run: what `resume` made of them.
        """
        work = self.workload
        zero = work.nan == "zero"
        reach = run.struck.after.abs() <= _largest(work) ** 0.25
        doubtful = ~reach if zero else torch.isnan(run.logits).any(1)
        chosen = np.flatnonzero(doubtful.cpu().numpy())
        if not len(chosen):
            return run.logits
        if self._other is None:
            other = work.with_(nan="propagate" if zero else "zero")
            self._other = Golden(other, self.guard, self.memory)
        logits = run.logits.clone()
        logits[doubtful] = self._other.resume(corruption[chosen]).logits
        return logits

    def parts(self, corruption: Corruption) -> Iterator[tuple[Trace, Integers, Corruption]]:
        """Each segment's golden run, the numbers of its corruptions, and these as it counts images.

        Without any corruption, the first segment with none.
        """
        size = images_within(self.workload, self.memory)
        if size >= len(self.workload.images):
            yield self._segment(0, size), np.arange(len(corruption)), corruption
            return
        number = corruption.image // size
        for segment in np.unique(number) if len(number) else (0,):
            chosen = np.flatnonzero(number == segment)
            part = corruption[chosen].of_images(segment * size)
            yield self._segment(int(segment), size), chosen, part

    def answers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fault-free logits of all images, (b, classes), and the guard's alarms, (b,)."""
        size = images_within(self.workload, self.memory)
        traces = (self._segment(k, size) for k in range(-(-len(self.workload.images) // size)))
        logits, detected = zip(*((t.logits, t.detected) for t in traces), strict=True)
        return torch.cat(logits), torch.cat(detected)

    def margins(self) -> Margins:
        """What changes do to the decision margin; found when it is first needed, and kept."""
        if self._margins is None:
            self._margins = Margins.of(self.workload)
        return self._margins

    def forget(self) -> None:
        """Drop the golden values; they are recorded again when they are next needed."""
        self._held = self._other = None

    def _segment(self, number: int, size: int) -> Trace:
        if self._held is None or self._held[0] != number:
            self._held = None  # before the next one is made
            part = slice(number * size, (number + 1) * size)
            work = self.workload.with_(self.workload.images[part], self.workload.labels[part])
            self._held = number, record(work, self.guard, memory=self.memory)
        return self._held[1]


def _largest(workload: Workload) -> float:
    """The largest number that all formats between layers hold, infinite ones and codes left out."""
    formats = workload.formats
    floats = [
        float(fmt.decode(torch.tensor(fmt.largest)))
        for fmt in (formats.weight, formats.activation, formats.accumulator)
        if isinstance(fmt, FloatFormat)
    ]
    return min([*floats, torch.finfo(formats.carrier).max])


def _joined(parts: list[Resumed], order: torch.Tensor) -> Resumed:
    def together(columns: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(columns)[order.to(columns[0].device)]

    return Resumed(
        together([part.logits for part in parts]),
        together([part.golden for part in parts]),
        together([part.detected for part in parts]),
        Change(*(together(list(side)) for side in zip(*(p.struck for p in parts), strict=True))),
    )
