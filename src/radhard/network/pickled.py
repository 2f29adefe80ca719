"""Pickles, read for tensors and arrays alone: nothing else is looked up, so nothing else runs."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

#: What a pickle of arrays needs; text and numbers need nothing.
_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
}
#: Where Python keeps its own names, and where Python 2 did.
_BUILTINS = {"builtins", "__builtin__"}


class ForeignError(Exception):
    """A file that holds more than values; tells what."""


def tensors_in(held: Path | io.BytesIO) -> Any:
    """What torch.save wrote, if it is tensors and plain values.

    Raises:
        ForeignError: naming what else the file asks for.
        ValueError: for a file that torch.save did not write.
    """
    try:
        return torch.load(held, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many classes for files that are none of its own
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        if foreign:
            raise ForeignError(foreign[1]) from None
        told = " ".join(str(error).split())[:100]  # but not torch's advice to drop all caution
        raise ValueError("not tensors" if "weights_only" in str(error) else told) from error


def arrays_in(held: bytes) -> Any:
    """What pickle wrote, if it is NumPy arrays and plain values; text of Python 2 as bytes.

    Raises:
        ForeignError: naming what else the pickle asks for.
        Exception: whatever pickle raises for bytes that are damaged.
    """
    return _Arrays(io.BytesIO(held), encoding="bytes").load()


class _Arrays(pickle._Unpickler):
    """In Python: that in C reserves as much memory as a pickle says that it will need."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) == ("_codecs", "encode"):
            return _latin
        if module in _BUILTINS and name == "bytes":
            return _nothing
        if (module, name) not in _ARRAYS:
            raise ForeignError(f"{module}.{name}")
        return super().find_class(module, name)


def _latin(text: str, _: str) -> bytes:
    """What Python 3 writes for bytes in old pickles."""
    return text.encode("latin-1")


def _nothing() -> bytes:
    """What Python 3 writes for no bytes in old pickles: bytes, called without arguments."""
    return b""
