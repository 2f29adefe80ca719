"""How the C library's allocator treats freed memory."""

from __future__ import annotations

import ctypes
import sys

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
