"""What an array costs: as measured here before, by the tools, or by formula."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from radhard.campaign.sealed import StoreError, digest, replace_file, set_aside
from radhard.rtl.count import count
from radhard.rtl.design import ArrayDesign
from radhard.rtl.synthesis import synthesise
from radhard.stats.estimate import Estimate

#: Arrays that were synthesised and placed: `python -m benchmarks costs` writes it.
MEASURED = Path(__file__).with_name("costs.json")
#: What a design's figures are kept in, in its folder.
_KEPT = "synthesis.json"


@dataclass(frozen=True, slots=True)
class Hardware:
    """An array on an ECP5, multipliers in its DSP blocks, shift registers around it included.

    Attributes:
        luts, carries, ffs, dsps: how many of each; ``None`` where only logic optimisation knows.
        fmax_mhz: highest clock rate, the median over seeds of place and route and their range;
            ``None`` where nothing was placed.
        made: ``measured`` here before, by ``synthesis``, by ``formula``, or ``unknown``.
        tools: versions.
    """

    luts: int | None
    carries: int | None
    ffs: int | None
    dsps: int | None
    fmax_mhz: Estimate | None
    made: str
    tools: Mapping[str, str]

    @property
    def cells(self) -> int | None:
        """Logic cells of four inputs: look-up tables, and two in each cell of a carry chain."""
        if self.luts is None or self.carries is None:
            return None
        return self.luts + 2 * self.carries


def hardware_of(
    design: ArrayDesign,
    folder: Path | None = None,
    seeds: tuple[int, ...] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> Hardware:
    """What a design costs.

    What was measured before is taken as it is: that of the package, and that in ``folder``. Others
    are synthesised there where Yosys is at hand (``pip install 'radhard[hardware]'``), and placed
    once per seed; where it is not, or there is no folder, flip-flops, carry cells and DSP blocks
    follow from formulas that agree with it, for exact multipliers, and the clock rate is not known.

    Args:
        design: the array.
        folder: for texts, netlists and figures of designs, each in one of its own.
        seeds: of place and route; none for no clock rates.
        progress: told what is being done.

    Raises:
        RuntimeError: where a tool fails.

    >>> hardware_of(ArrayDesign(3, 5)).ffs
    685
    """
    found = measured(design)
    if found is not None and (found.fmax_mhz is not None or not seeds):
        return found
    if folder is not None:
        own = folder / design.name
        if (own / _KEPT).exists():
            try:
                kept = json.loads((own / _KEPT).read_text(encoding="utf-8"))
                if kept.pop("seal") != digest(kept):
                    raise ValueError("its figures are not those that were written")
                if kept["seeds"] == list(seeds):
                    return _read(kept, "synthesis")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                broken = StoreError(f"{own / _KEPT} is damaged ({error})")
                set_aside(own / _KEPT, broken, "the design is synthesised again")
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix="making-") as making:
            try:  # in a folder of its own: another process may be at the same design
                made = synthesise(design, Path(making), seeds=seeds, progress=progress).as_dict()
            except FileNotFoundError:
                return _counted(design)
            own.mkdir(exist_ok=True)
            for path in Path(making).iterdir():
                copyfile(path, own / path.name)
            text = json.dumps({**made, "seal": digest(made)}, indent=1)
            replace_file(own / _KEPT, text.encode())
        return _read(made, "synthesis")
    return _counted(design)


def measured(design: ArrayDesign) -> Hardware | None:
    """What a design cost when it was synthesised for the package; ``None`` where it was not."""
    kept = _measured().get(design.name)
    return None if kept is None else _read(kept, "measured")


def _counted(design: ArrayDesign) -> Hardware:
    if design.multiplier:
        return Hardware(None, None, None, None, None, "unknown", {})
    found = count(design)
    return Hardware(found.luts, found.carries, found.ffs, found.dsps, None, "formula", {})


def _read(kept: Mapping[str, Any], made: str) -> Hardware:
    rate = kept["fmax_mhz"]
    fmax = None
    if rate is not None:
        ends = rate["value"], rate["low"], rate["high"]
        fmax = Estimate(*ends, rate["confidence"], len(kept["seeds"]), "range of seeds", "MHz")
    luts, carries, ffs, dsps = (kept[name] for name in ("luts", "carries", "ffs", "dsps"))
    return Hardware(luts, carries, ffs, dsps, fmax, made, kept["tools"])


@cache
def _measured() -> dict[str, dict[str, Any]]:
    """Figures by name of design."""
    found: dict[str, dict[str, Any]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return found
