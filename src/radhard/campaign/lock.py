"""One writer at a time: a folder that is held, until its holder lets go or ends in any way."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radhard.campaign.sealed import StoreError

try:
    import fcntl
except ImportError:  # a system without
    fcntl = None  # type: ignore[assignment]

#: The file that is held, and says who holds it.
LOCK = ".lock"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing.

    The system lets go when the process ends, however that comes about. Where a file system has no
    locks, a warning says so.

    Raises:
        StoreError: while another process holds it, which the message names.
        OSError: with the name of the file, where it can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, plainly = folder / LOCK, getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise StoreError(f"{path} is no file of its own, as a lock is: delete it")
    file = os.open(path, os.O_RDWR | os.O_CREAT | plainly, 0o666)
    try:
        _hold(file, folder)
        yield
    finally:
        os.close(file)


def _hold(file: int, folder: Path) -> None:
    try:
        if fcntl is None:
            raise OSError("this system has no such locks")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 200, 0).decode(errors="replace").strip()
        raise StoreError(
            f"{folder} is being written by {holder or 'another process'}: wait until that ends, or "
            "name another folder (parts of one campaign, too, which radhard merge unites)"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{folder} can't be locked ({error}): see that no other process writes there",
            stacklevel=4,
        )
        return
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
