"""TOML files that people write."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """What a file says.

    Args:
        path: of the file.
        what: it is, for messages.

    Raises:
        ValueError: when it can't be read; a pipe or a device might never end.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{what} {path} is a folder, a pipe or a device: give a file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # numbers of many digits, too
        raise ValueError(f"{what} {path} can't be read: {error}") from error
