"""Where radhard keeps what it made or fetched for this user."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

import platformdirs

#: Set to ``no``, nothing that was worked out is kept for later commands, nor anything kept used.
SWITCH = "RADHARD_ANSWERS"
#: Modules that are no code of a user's own wherever they lie.
_STARTS = ("sitecustomize", "usercustomize")


def keeps() -> bool:
    """Whether what is worked out may be kept in the cache, and what is kept used."""
    return os.environ.get(SWITCH) != "no"


def installed(file: str) -> bool:
    """Whether a module is of Python, of an installed package, or of radhard."""
    own = os.path.dirname(os.path.abspath(__file__))
    places = (own, sys.prefix, sys.base_prefix, site.getusersitepackages())
    return os.path.abspath(file).startswith(tuple(os.path.join(place, "") for place in places))


def own_code() -> bool:
    """Whether code of the user's own is loaded, of which nobody sees what it reads."""
    files = (
        (name, file)
        for name, module in list(sys.modules.items())
        if isinstance(file := getattr(module, "__file__", None), str) and os.path.isabs(file)
    )
    script = getattr(sys.modules.get("__main__"), "__file__", None) or ""  # none at a prompt
    return not installed(script) or any(
        name not in _STARTS and not installed(file) for name, file in files
    )


def keep_newest(path: Path, content: bytes, most: int) -> None:
    """Write a file of the cache, whole or not at all; of its folder's, so many newest ones stay.

    Raises:
        OSError: where there is no room, or no place to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
    for old in sorted(path.parent.iterdir(), key=os.path.getmtime)[:-most]:
        old.unlink(missing_ok=True)


def cache_place() -> Path:
    """``$RADHARD_CACHE``, else radhard's folder in the platform's cache; it need not be there."""
    stated = os.environ.get("RADHARD_CACHE")
    if stated:
        return Path(stated)
    return Path(platformdirs.user_cache_dir("radhard"))
