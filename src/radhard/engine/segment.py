"""The golden run in segments of images, where memory can't hold all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from radhard.engine.change import Change
from radhard.engine.guard import Guard, StepGuard
from radhard.engine.needs import images_within
from radhard.engine.resume import Resumed, resume
from radhard.engine.trace import Trace, answered, record
from radhard.faults.corruption import Corruption
from radhard.faults.model import Integers
from radhard.formats.floating import FloatFormat
from radhard.network.workload import HOST, Workload

#: A segment's golden run, numbers of corruptions, and these as it counts images, to their runs.
Run = Callable[[Trace, Integers, Corruption], Resumed]
#: Instead of the number of its segment, for an image that is in all of them.
_ANYWHERE = -1


@dataclass(slots=True)
class Golden:
    """The golden run of a workload; recorded when it is first needed.

    The values of one segment of the images are held at a time: a window, or a part of one where
    ``memory`` can't hold all of it. They are used for all corruptions of these images, and dropped
    for the next segment.

    Attributes:
        workload: the network.
        guard: watches golden and faulty runs.
        memory: bytes for golden values and batches together; ``None`` for no limit, but that of
            the device.
        windows: numbers of the images that are needed together; each image is in one window. All
            are in one where empty.
        always: numbers of more images, which are needed with each window.
        host: the same on the host, where this one is on another device; see `on_host`.

    Raises:
        ValueError: on `resume`, where one image and a batch do not fit ``memory``.
    """

    workload: Workload
    guard: Guard | StepGuard | None = None
    memory: int | None = None
    windows: tuple[Integers, ...] = ()
    always: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    host: Golden | None = None
    _segments: list[Integers] = field(init=False)
    _repeated: int = field(init=False)
    _places: Integers = field(init=False)
    _held: tuple[int, Trace] | None = field(default=None, init=False)
    _other: Golden | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        count, always = len(self.workload.images), self.always
        windows = self.windows or (np.arange(count),)
        size = images_within(self.workload, self.memory, len(always) + max(map(len, windows)))
        if size <= len(always):  # no room for others: they are a window like these
            windows, always = (*windows, always), always[:0]
        self._repeated, room = len(always), size - len(always)
        self._segments = [
            np.concatenate([always, window[k : k + room]])
            for window in windows for k in range(0, len(window), room)
        ]  # fmt: skip
        self._places = np.zeros((2, count), np.int64)
        for number, segment in enumerate(self._segments):
            self._places[:, segment] = np.full(len(segment), number), np.arange(len(segment))
        self._places[0, always] = _ANYWHERE

    @property
    def on_host(self) -> Golden:
        """That of the host: what decides which faults are drawn does not depend on a device."""
        return self.host or self

    def resume(self, corruption: Corruption, run: Run | None = None) -> Resumed:
        """See `radhard.engine.resume.resume`; the result does not depend on the segments.

        Args:
            corruption: n corruptions.
            run: what runs those of a segment instead.
        """
        order, runs = [], []
        for trace, chosen, part in self.parts(corruption):
            runs.append(run(trace, chosen, part) if run is not None else resume(trace, part))
            order.append(chosen)
        if len(runs) == 1:
            return runs[0]
        return joined(runs, torch.from_numpy(np.concatenate(order)).argsort())

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
            self._other = Golden(other, self.guard, self.memory, self.windows, self.always)
        logits = run.logits.clone()
        logits[doubtful] = self._other.resume(corruption[chosen]).logits
        return logits

    def parts(self, corruption: Corruption) -> Iterator[tuple[Trace, Integers, Corruption]]:
        """Each segment's golden run, the numbers of its corruptions, and these as it counts images.

        Without any corruption, the first segment with none.
        """
        number, place = self._places[:, corruption.image]
        anywhere = number == _ANYWHERE
        if anywhere.any():
            others = number[~anywhere]
            held = self._held[0] if self._held else 0
            number = np.where(anywhere, others.min() if len(others) else held, number)
        needed = np.unique(number) if len(number) else (0,)
        if len(needed) == 1:
            found = self._segment(int(needed[0]))
            yield found, np.arange(len(number)), replace(corruption, image=place)
            return
        for segment in needed:
            chosen = np.flatnonzero(number == segment)
            part = replace(corruption[chosen], image=place[chosen])
            yield self._segment(int(segment)), chosen, part

    def fault_free(self, corruption: Corruption) -> tuple[torch.Tensor, torch.Tensor]:
        """Fault-free logits (n, classes) and alarms (n, watched steps) of n corruptions' images.

        On the host, like all that comes out of here.
        """
        order, found = [], []
        for trace, chosen, part in self.parts(corruption):
            image = torch.from_numpy(part.image)
            found.append((trace.logits.to(HOST)[image], trace.alarms.to(HOST)[image]))
            order.append(chosen)
        back = torch.from_numpy(np.concatenate(order)).argsort()
        logits, alarms = (torch.cat(column) for column in zip(*found, strict=True))
        return logits[back], alarms[back]

    def answers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fault-free logits of all images, (b, classes), and alarms, (b, watched steps).

        Of several segments no golden values are kept.
        """
        segments = [s[self._repeated if k else 0 :] for k, s in enumerate(self._segments)]
        if len(segments) == 1:
            trace = self._segment(0)
            found = [(trace.logits, trace.alarms)]
        else:
            found = [answered(self._part(s), self.guard, self.memory) for s in segments]
        logits, alarms = (torch.cat(column).to(HOST) for column in zip(*found, strict=True))
        back = torch.from_numpy(np.concatenate(segments)).argsort()
        return logits[back], alarms[back]

    def forget(self) -> None:
        """Drop the golden values; they are recorded again when they are next needed."""
        self._held = self._other = None
        if self.host is not None:
            self.host.forget()

    def _segment(self, number: int) -> Trace:
        if self._held is None or self._held[0] != number:
            self._held = None  # before the next one is made
            part = self._part(self._segments[number])
            self._held = number, record(part, self.guard, memory=self.memory)
        return self._held[1]

    def _part(self, images: Integers) -> Workload:
        """The workload with some of its images."""
        chosen = torch.from_numpy(images)
        return self.workload.with_(self.workload.images[chosen], self.workload.labels[chosen])


def _largest(workload: Workload) -> float:
    """The largest number that all formats between layers hold, infinite ones and codes left out."""
    formats = workload.formats
    floats = [
        float(fmt.decode(torch.tensor(fmt.largest)))
        for fmt in (formats.weight, formats.activation, formats.accumulator)
        if isinstance(fmt, FloatFormat)
    ]
    return min([*floats, torch.finfo(formats.carrier).max])


def joined(parts: list[Resumed], order: torch.Tensor) -> Resumed:
    """Runs together, in the order of these places."""

    def together(columns: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(columns)[order]

    return Resumed(
        together([part.logits for part in parts]),
        together([part.golden for part in parts]),
        together([part.alarms for part in parts]),
        Change(*(together(list(side)) for side in zip(*(p.struck for p in parts), strict=True))),
    )
