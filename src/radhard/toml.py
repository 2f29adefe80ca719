"""TOML files that people write."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

#: Parts of a key, at most: time grows with their square.
_PARTS = 100


def parsed(text: str) -> dict[str, Any]:
    """What a text in TOML says.

    Raises:
        ValueError: where it is none, or nested too deeply.

    >>> parsed("a.b = 3")
    {'a': {'b': 3}}
    """
    for line in text.splitlines():
        if line.partition("=")[0].count(".") > _PARTS:
            raise ValueError(f"a key has more than {_PARTS} parts: {line[:40]}...")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


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
        return parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # numbers of many digits, too
        raise ValueError(f"{what} {path} can't be read: {error}") from error
