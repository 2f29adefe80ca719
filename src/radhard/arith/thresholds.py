"""From which sizes on which road to sums of products is the faster one, on this machine.

Where nothing was measured they are those of a server with AVX-512 VBMI and of one without; ``make
bench ARGS="gemm --calibrate"`` measures them and keeps them in the user's cache, a file per kind of
processor. No result depends on them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from radhard.arith.permute import permutes
from radhard.folders import cache_place


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where one road becomes faster than another.

    Attributes:
        small: products per table below which tables are not prepared.
        floats: rows of operands from which matrices in float32 pay.
        permuted: rows from which permuting bytes does.
        expanded: rows from which laying products out does, where all cells are healthy.
        struck: the same where some are not.
        most: rows from which laying out beats permuting bytes.
        narrow: columns below which it never does.
        one_term, two_terms: share of cells that are looked up from which matrices in float32 do
            not pay, for multipliers of one term and of two.

    Raises:
        ValueError: for one below 0.
    """

    small: int = 1 << 16
    floats: int = 4
    permuted: int = 24
    expanded: int = 96
    struck: int = 40
    most: int = 768
    narrow: int = 16
    one_term: float = 0.02
    two_terms: float = 0.005

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (int,) if field.type == "int" else (int, float)
            if type(value) not in kinds or not value >= 0:
                raise ValueError(f"{field.name} can't be {value!r}: use {field.type} of 0 or more")


def usual() -> Thresholds:
    """Those of a machine that nobody measured."""
    return Thresholds(one_term=0.12, two_terms=0.01) if permutes() else Thresholds()


@cache
def thresholds() -> Thresholds:
    """Those of this machine, read once.

    Raises:
        ValueError: where the file of the user's cache holds something else.
    """
    path = kept_at()
    if not path.is_file():
        return usual()
    try:
        return Thresholds(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} holds no thresholds: {error}: delete it, or measure anew by "
            'make bench ARGS="gemm --calibrate"'
        ) from error


def keep(measured: Thresholds) -> Path:
    """Write those of this machine to the user's cache, from where later processes read them."""
    path = kept_at()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")
    return path


def kept_at() -> Path:
    """The file of this kind of processor."""
    return cache_place() / f"gemm-{llvm.get_host_cpu_name()}.json"
