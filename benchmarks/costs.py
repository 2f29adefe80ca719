"""What arrays cost, by synthesis, place and route: makes the table that the package carries.

Goal: the same tools and seeds give the same figures. Designs that the table has already are kept,
so that a stopped run goes on; --anew measures all. A 4 x 4 array is placed in some 15 CPU seconds
a seed, an 8 x 8 in some 60.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path

from radhard.rtl.design import ArrayDesign, Protect
from radhard.rtl.hardware import MEASURED
from radhard.rtl.synthesis import SEEDS, synthesise

_BITS = (8, 6, 5, 4, 3, 2)
_PROTECT: tuple[Protect, ...] = ("none", "clamp", "zero", "mean", "msb", "psum", "voted")


def designs(arrays: str, bits: str, protect: str, sums: int) -> list[ArrayDesign]:
    """All combinations, small arrays first."""
    sizes = [tuple(int(side) for side in one.split("x")) for one in arrays.split(",")]
    widths = [int(one) for one in bits.split(",")]
    kinds = [kind for kind in _PROTECT if kind in protect.split(",")]
    return [
        ArrayDesign(*size, bits=width, psum_bits=sums, protect=kind)
        for size, width, kind in product(sizes, widths, kinds)
    ]


def main(arguments: list[str]) -> None:
    """Measure, and write after each design."""
    parser = argparse.ArgumentParser(prog="costs", description=__doc__)
    parser.add_argument("--arrays", default="4x4,8x8")
    parser.add_argument("--bits", default=",".join(map(str, _BITS)))
    parser.add_argument("--protect", default=",".join(_PROTECT))
    parser.add_argument("--sums", type=int, default=0, help="bits; 0 for 8 more than a product")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = {} if given.anew else json.loads(MEASURED.read_text(encoding="utf-8"))
    for design in designs(given.arrays, given.bits, given.protect, given.sums):
        if design.name in found:
            continue
        with tempfile.TemporaryDirectory() as folder:
            seeds = tuple(range(1, given.seeds + 1))
            one = synthesise(design, Path(folder), seeds=seeds).as_dict()
        found[design.name] = {
            name: one[name]
            for name in ("luts", "carries", "ffs", "dsps", "path_cells", "fmax_mhz", "seeds",
                         "tools")
        }  # fmt: skip
        _write(found)
        if not given.json:
            print(design.name, {k: v for k, v in one.items() if k in found[design.name]})
    if given.json:
        print(json.dumps(found))


def _write(found: dict[str, object]) -> None:
    """A design a line."""
    lines = [f" {json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(found.items())]
    MEASURED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
