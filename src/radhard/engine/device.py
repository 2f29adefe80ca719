"""Devices: which there are, how much of one a run may hold, and how exactly it must compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: Bytes that batches may hold on a device that does not tell what is free.
_UNTOLD_BYTES = 1 << 32


def device_named(name: str) -> torch.device:
    """The device of a name: ``cpu``, ``cuda``, ``cuda:1``, or another that torch knows.

    ``auto`` is the first CUDA device where there is one, and the CPU elsewhere.

    Raises:
        ValueError: for a name that is none, or a device that is not there or can't hold float64,
            in which struck values and exact sums are kept.

    >>> device_named("cpu")
    device(type='cpu')
    """
    there = devices()
    if name == "auto":
        return there[-1] if there[-1].type == "cpu" else there[1]
    try:
        device = torch.empty((), device=torch.device(name)).device
        torch.zeros((), dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].split(". ")[0].removesuffix(".")
        raise ValueError(
            f"device {name!r} can't be: use {' or '.join(['auto', *map(str, there)])} ({reason})"
        ) from error
    return there[0] if device.type == "cpu" else device


def devices() -> list[torch.device]:
    """The CPU and the CUDA devices of this machine."""
    cuda = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return [torch.device("cpu"), *(torch.device("cuda", number) for number in cuda)]


def room_on(device: torch.device) -> int:
    """Bytes that the batches of a run may hold: half of what is free, as far as that is told."""
    if device.type != "cuda":
        return _UNTOLD_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (free + kept) // 2


@contextmanager
def exactly() -> Iterator[None]:
    """Products of float32 with all of its bits, by kernels that give the same each time.

    What users set for speed (TF32, bfloat16 products, the search for the fastest kernel) is put
    back afterwards. It is of the whole process, as PyTorch has it. Also a decorator.
    """
    cudnn = torch.backends.cudnn
    chosen = _overall(), cudnn.deterministic, cudnn.benchmark
    before = [part.fp32_precision for part in _parts()]
    _choose(("highest", True, False), ["ieee"] * len(before))
    try:
        yield
    finally:
        _choose(chosen, before)


def _overall() -> str:
    """The older switch for products of matrices; at its default where only newer ones were used."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer ones say something that it has no word for
        return "highest"


def _parts() -> list[Any]:
    """What has a precision of its own."""
    backends: Any = torch.backends
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    return [
        cudnn.conv, cudnn.rnn, backends.cuda.matmul, mkldnn.matmul, mkldnn.conv, mkldnn.rnn
    ]  # fmt: skip


def _choose(chosen: tuple[str, bool, bool], precisions: list[str]) -> None:
    """Set what `exactly` sets: the older switches first, with which the newer ones must agree."""
    torch.set_float32_matmul_precision(chosen[0])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = chosen[1:]
    torch.backends.cudnn.allow_tf32 = precisions[:2] == ["tf32", "tf32"]
    for part, precision in zip(_parts(), precisions, strict=True):
        part.fp32_precision = precision
