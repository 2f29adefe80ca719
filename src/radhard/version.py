"""Which radhard this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """As installed, or ``source`` where it runs from its files without having been installed."""
    try:
        return installed("radhard")
    except PackageNotFoundError:
        return "source"
