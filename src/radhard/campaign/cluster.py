"""The same pieces of work as tasks of Ray: on a cluster that exists, or on this machine.

Ray schedules, runs what a lost process or machine was at again, and takes the question to each
machine once, through its object store.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.campaign.pool import Kept, Maker, Out, Task
from radhard.engine.memory import keep_freed_memory

#: How clusters are named: this alone, or with the place of one that runs.
_RAY, _SCHEME = "ray", "ray://"
#: Times that a lost piece of work is run again, and pieces that wait for each processor.
_TRIES, _AHEAD = 3, 2


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes the work: a pickle, and the memory of its tensors, of which Ray holds one copy."""

    key: str
    pickled: bytes
    spans: tuple[tuple[int, int], ...]
    held: NDArray[np.uint8]

    @classmethod
    def of(cls, maker: object) -> _Asked:
        with tempfile.TemporaryDirectory(prefix="radhard-") as folder:
            kept = Kept.of(maker, Path(folder, "tensors"))
            held = np.fromfile(kept.path, np.uint8)
        return cls(uuid.uuid4().hex, kept.pickled, kept.spans, held)

    def load(self) -> Any:
        """The maker; its memory is a copy, as Ray's can't be written to."""
        buffers = [self.held[start:end].copy() for start, end in self.spans]
        return pickle.loads(self.pickled, buffers=buffers)


#: What this process does its work with, by the key of who asked.
_OWN: dict[str, Callable[..., Any]] = {}


def _do(asked: _Asked, task: Task) -> Any:
    """A piece of work, in a process of Ray's."""
    if asked.key not in _OWN:
        torch.set_num_threads(1)
        keep_freed_memory()
        _OWN.clear()
        _OWN[asked.key] = asked.load()()
    return _OWN[asked.key](*task)


def check_cluster(cluster: str) -> None:
    """Raise ValueError for what names no cluster, or where Ray is not installed."""
    if cluster != _RAY and not (
        cluster.startswith(_SCHEME) and cluster.rpartition(":")[2].isdigit()
    ):
        raise ValueError(f"cluster {cluster!r} can't be: use ray, or ray://HOST:PORT")
    try:
        import ray  # noqa: F401
    except ImportError:
        raise ValueError(
            f"cluster {cluster} needs Ray, which is not installed: pip install 'radhard[cluster]'; "
            "--workers shares one machine without"
        ) from None


class Cluster(Generic[Out]):
    """Does pieces of work as `radhard.campaign.pool.Pool` does, by tasks of Ray.

    Ray is started, or the cluster entered, when the first piece is asked for, and left when this
    process ends.

    Args:
        maker: what each process calls once; what it gives is called for each piece.
        address: ``ray`` for the cluster that ``RAY_ADDRESS`` names or that was started here, else
            one of this machine; ``ray://HOST:PORT`` for one that runs elsewhere.
        most: pieces at a time; as many as the cluster has processors where 1.

    Attributes:
        workers: pieces that are done at a time, as far as is known.
    """

    def __init__(self, maker: Maker[Out], address: str, most: int = 1) -> None:
        check_cluster(address)
        self._maker, self._address, self._most = maker, address, most
        self._running: dict[Task, Any] = {}
        self._asked: Any = None
        self._run: Any = None
        self.workers = most

    @property
    def ahead(self) -> int:
        """Pieces that are begun before the one that is waited for is there; enters the cluster."""
        if self._most > 1:
            return self._most - 1
        self.workers = max(1, int(_entered(self._address).get("CPU", 1)))
        return _AHEAD * self.workers

    def __enter__(self) -> Cluster[Out]:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._running:
            return
        import ray

        for running in self._running.values():
            ray.cancel(running, force=True)
        self._running, self._asked = {}, None

    def made(self, task: Task, later: Iterable[Task]) -> Out:
        """What comes of a piece of work, and a start on those that come later.

        Raises:
            RuntimeError: where processes or machines are lost again and again.
            ValueError: for a maker that can't be taken to other processes.
        """
        import ray

        if self._asked is None:
            _entered(self._address)
            self._asked = ray.put(_Asked.of(self._maker))
            self._run = ray.remote(num_cpus=1, max_retries=_TRIES)(_do)  # is sent once
        for one in (task, *later):
            if one not in self._running:
                self._running[one] = self._run.remote(self._asked, one)
        try:
            found: Out = ray.get(self._running.pop(task))
        except ray.exceptions.RayTaskError as error:  # what the work itself raised
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise RuntimeError(
                f"Ray lost a piece of work {_TRIES + 1} times ({type(error).__name__}): there may "
                "be too little memory for its processes; what is done is kept"
            ) from error
        return found


@contextmanager
def _own_signals() -> Iterator[None]:
    """What stops this process stops it as before: Ray has SIGTERM end it with a core dump."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    if current_thread() is main_thread():
        for number, handler in kept.items():
            signal.signal(number, handler)


def _entered(address: str) -> dict[str, float]:
    """What the cluster has, which is entered or started where this process is in none."""
    import ray

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        where = {} if address == _RAY else {"address": address}
        try:
            with _own_signals():
                ray.init(logging_level=logging.ERROR, log_to_driver=False, **where)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            raise RuntimeError(
                f"no cluster at {address}: {error}; start one there with ray start --head, of the "
                "same versions of Python and Ray"
            ) from error
    found: dict[str, float] = ray.cluster_resources()
    return found
