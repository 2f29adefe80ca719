"""The user's cache: downloaded data and trained weights."""

from __future__ import annotations

from pathlib import Path

from radhard.folders import cache_place


def cache_folder() -> Path:
    """`radhard.folders.cache_place`, made where missing."""
    folder = cache_place()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def weights_path(model: str, data: str) -> Path:
    """Where `radhard train` keeps the weights of ``model`` trained on ``data``."""
    return cache_folder() / "weights" / f"{model}-{Path(data).name}.pt"
