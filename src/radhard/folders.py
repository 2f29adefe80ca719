"""Where radhard keeps what it made or fetched for this user."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_place() -> Path:
    """``$RADHARD_CACHE``, else radhard's folder in the platform's cache; it need not be there."""
    stated = os.environ.get("RADHARD_CACHE")
    if stated:
        return Path(stated)
    return Path(platformdirs.user_cache_dir("radhard"))
