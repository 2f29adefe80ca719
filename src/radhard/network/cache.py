"""The user's cache: downloaded data and trained weights."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$RADHARD_CACHE``, else radhard's folder in the platform's cache; made where missing."""
    stated = os.environ.get("RADHARD_CACHE")
    if stated:
        folder = Path(stated)
    else:
        import pooch

        folder = Path(pooch.os_cache("radhard"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def weights_path(model: str, data: str) -> Path:
    """Where `radhard train` keeps the weights of ``model`` trained on ``data``."""
    return cache_folder() / "weights" / f"{model}-{Path(data).name}.pt"
