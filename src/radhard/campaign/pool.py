"""Work by several processes: the same results in the same order, whoever does it."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import signal
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.memory import free_bytes, keep_freed_memory, peak_bytes
from radhard.faults.fault import Faults
from radhard.protect.protection import Flags

#: What a shard gives: its faults, what they did, and how many seconds that took.
Made = tuple[Faults, dict[str, Flags], float]
Out = TypeVar("Out")
#: The arguments of one piece of work, by which it is known.
Task = tuple[Any, ...]
#: Gives what does pieces of work, in the process that calls it.
Maker = Callable[[], Callable[..., Out]]
#: Times that lost processes are replaced, and pieces of work that wait for each.
_TRIES, _AHEAD = 3, 2


class Kept(NamedTuple):
    """An object whose tensors lie in a file, from which processes map them instead of copying."""

    pickled: bytes
    path: Path
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, held: object, path: Path) -> Kept:
        """Write what the tensors of an object hold to a file.

        Raises:
            ValueError: for what can't be taken to another process.
        """
        buffers: list[pickle.PickleBuffer] = []
        written = io.BytesIO()
        try:
            _Apart(written, buffers).dump(held)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"what is asked can't be taken to other processes ({error}): functions and classes "
                "of your own must be importable by name; or use one worker"
            ) from error
        spans = []
        with path.open("wb") as file:
            for buffer in buffers:
                start = file.tell()
                file.write(buffer.raw())
                spans.append((start, file.tell()))
                file.write(b"\0" * (-file.tell() % 64))
            file.write(b"\0")
        return cls(written.getvalue(), path, tuple(spans))

    def load(self) -> Any:
        """The object; what is changed of it is changed for this process alone."""
        with self.path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        return pickle.loads(self.pickled, buffers=[mapped[start:end] for start, end in self.spans])


class _Apart(pickle.Pickler):
    """Keeps the memory of tensors out of the pickle, once where several share it."""

    def __init__(self, into: io.BytesIO, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(into, 5, buffer_callback=buffers.append)
        self._seen: dict[int, NDArray[np.uint8]] = {}

    def reducer_override(self, value: object) -> Any:
        if type(value) is not Tensor or value.device.type != "cpu" or value.requires_grad:
            return NotImplemented
        storage = value.untyped_storage()
        if not storage.nbytes():
            return NotImplemented
        whole = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        held = self._seen.setdefault(storage.data_ptr(), whole)
        place = value.shape, value.stride(), value.storage_offset()
        return _tensor, (held, value.dtype, *map(_plain, place))


def _plain(part: Any) -> Any:
    return part if isinstance(part, int) else tuple(part)


def _tensor(
    held: NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...],
    first: int,
) -> Tensor:  # fmt: skip
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.from_numpy(held[: len(held) // size * size]).view(dtype).as_strided(
        shape, stride, first
    )  # fmt: skip


@dataclass(slots=True)
class Pool(Generic[Out]):
    """Processes that do pieces of work, some of them before they are asked for.

    Attributes:
        maker: what each process calls once; what it gives is called for each piece.
        workers: how many processes, 1 or more.
    """

    maker: Maker[Out]
    workers: int
    _folder: tempfile.TemporaryDirectory[str] | None = field(init=False, default=None)
    _kept: Kept | None = field(init=False, default=None)
    _others: set[Any] = field(init=False, default_factory=set)
    _running: dict[Task, Future[Out]] = field(init=False, default_factory=dict)
    _executor: ProcessPoolExecutor | None = field(init=False, default=None)

    @property
    def ahead(self) -> int:
        """Pieces that are begun before the one that is waited for is there."""
        return _AHEAD * self.workers

    def __enter__(self) -> Pool[Out]:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        if self._folder is not None:
            self._folder.cleanup()

    def made(self, task: Task, later: Iterable[Task]) -> Out:
        """What comes of a piece of work, and a start on those that come later.

        Raises:
            RuntimeError: where processes are lost again and again.
            ValueError: for a maker that can't be taken to other processes.
        """
        wanted = [task, *later]
        for left in range(_TRIES, 0, -1):
            try:
                for one in wanted:
                    if one not in self._running:
                        self._running[one] = self._processes().submit(_do, one)
                return self._running.pop(task).result()
            except BrokenProcessPool as error:
                lost = error
                self._stop()
                whole = [one for one, future in self._running.items() if _is_made(future)]
                self._running = {one: self._running[one] for one in whole}
                if left > 1:
                    warnings.warn("a process was killed: what it was at is run again", stacklevel=2)
        raise RuntimeError(
            f"processes were killed {_TRIES} times: there may be too little memory for "
            f"{self.workers} workers; use fewer, what is done is kept"
        ) from lost

    def _processes(self) -> ProcessPoolExecutor:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="radhard-")
        if self._kept is None:
            self._kept = Kept.of(self.maker, Path(self._folder.name, "tensors"))
        if self._executor is None:
            self._others = set(active_children())
            given = self._kept, max(1, cores() // self.workers)
            self._executor = ProcessPoolExecutor(self.workers, get_context("spawn"), _begin, given)
        return self._executor

    def _stop(self) -> None:
        """End the processes, and what they are at: nobody asks for it any more."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            for process in set(active_children()) - self._others:
                process.terminate()
        self._executor = None


def shared(maker: Maker[Out], tasks: Iterable[Task], workers: int = 1) -> Iterator[Out]:
    """What comes of pieces of work, in their order, whoever does them.

    Args:
        maker: gives what is called for each piece; for several workers it can be pickled.
        tasks: the arguments of each piece, which can be, too.
        workers: processes; with one all is done in this one.

    Raises:
        RuntimeError: where processes are lost again and again.
        ValueError: for fewer than 1 worker, or what can't be taken to other processes.

    >>> list(shared(lambda: pow, [(2, 3), (3, 2)]))
    [8, 9]
    """
    if workers < 1:
        raise ValueError(f"{workers} workers can't be: use 1 or more")
    if workers == 1:
        own = maker()
        return (own(*task) for task in tasks)
    return _by_processes(maker, tasks, workers)


def _by_processes(maker: Maker[Out], tasks: Iterable[Task], workers: int) -> Iterator[Out]:
    with Pool(maker, workers) as pool:
        plan = iter(tasks)
        later = deque(islice(plan, 1 + pool.ahead))
        while later:
            yield pool.made(later.popleft(), later)
            later.extend(islice(plan, 1))


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_of(text: str) -> int:
    """The number of workers that an option names: ``auto`` for a core each, if memory allows.

    Raises:
        ValueError: for anything else than that and whole numbers from 1.

    >>> workers_of("3")
    3
    """
    if text == "auto":
        free, own = free_bytes(), peak_bytes()
        room = cores() if not free or not own else free // own
        return max(1, min(cores(), room))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"workers {text!r} can't be: use auto, or a whole number from 1")
    return int(text)


def _is_made(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


#: What a process does its work with, or why it can't.
_OWN: list[Callable[..., Any] | Exception] = []


def ready(threads: int) -> None:
    """A process of its own: its share of the cores; Ctrl-C, or its parent's end, ends it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:  # which may be killed without a word
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()
    torch.set_num_threads(threads)
    keep_freed_memory()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _begin(kept: Kept, threads: int) -> None:
    ready(threads)
    try:
        _OWN[:] = [kept.load()()]
    except Exception as error:  # told by the first piece: an initializer can't
        _OWN[:] = [error]


def _do(task: Task) -> Any:
    (own,) = _OWN
    if isinstance(own, Exception):
        raise own
    return own(*task)


def timed(
    draw: Callable[[int, int], Faults], strike: Callable[[Faults], dict[str, Flags]]
) -> Callable[[int, int], Made]:
    """Draws the first faults of a shard and strikes."""

    def make(shard: int, count: int) -> Made:
        start = time.perf_counter()
        faults = draw(shard, count)
        return faults, strike(faults), time.perf_counter() - start

    return make
