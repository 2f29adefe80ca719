"""Memory: a budget for runs, the peak of the process, and the allocator's habits."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for the next tensor instead of giving it back.

    By default glibc maps every large tensor anew and faults in each page, which can take half of
    the time of a small network. Gives whether the allocator took the setting (glibc only).
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    settings = (_MMAP_THRESHOLD, _TRIM_THRESHOLD)
    return all(library.mallopt(setting, _BYTES) == 1 for setting in settings)


def peak_bytes() -> int:
    """The most memory that this process has held so far; 0 where the system doesn't tell."""
    try:
        import resource
    except ImportError:  # no POSIX
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes() -> int | None:
    """Memory that new processes may take, of what the system tells; ``None`` where it does not."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:  # no Linux
        return None
    found = re.search(r"MemAvailable:\s*(\d+) kB", text)
    return 1024 * int(found[1]) if found else None


def bytes_of(text: str) -> int:
    """The number of bytes that a size such as ``4GiB`` or ``500 MB`` stands for.

    Raises:
        ValueError: for anything else.

    >>> bytes_of("1.5 GiB")
    1610612736
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", text, re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"memory {text!r} can't be: use a size such as 4GiB or 500MB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)
