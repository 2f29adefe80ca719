"""What is said while kernels are compiled, which takes long on a machine that is new to them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.event import Listener, install_listener

#: Seconds from one line to the next.
_EVERY = 10.0


class Compiling(Listener):
    """Hears of each function that numba compiles; what it finds compiled it does not tell of.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._count, self._next = clock, 0, -1.0

    def on_start(self, event: Any) -> None:
        """One more begins."""
        now, name = self._clock(), event.data["dispatcher"].py_func.__name__.strip("_")
        if not self._count:
            why = "once on this machine for each kind of numbers, a minute or so"
            print(f"compiling kernels, {why}: {name}", file=sys.stderr, flush=True)
        elif now >= self._next:
            print(f"compiled {self._count} kernels, now {name}", file=sys.stderr, flush=True)
        if not self._count or now >= self._next:
            self._next = now + _EVERY
        self._count += 1

    def on_end(self, event: Any) -> None:
        """One is done."""


@contextmanager
def told_of_compiling() -> Iterator[None]:
    """Say on standard error what is compiled meanwhile."""
    with install_listener("numba:compile", Compiling()):
        yield
