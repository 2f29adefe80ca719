"""A multiplier in C, as libraries of circuits have them, by running it on all pairs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from radhard.arith.tabulated import Tabulated
from radhard.arith.verilog import COMMENT

#: A function of two integers, whose parameters are named A and B in either order.
_FUNCTION = re.compile(
    r"\bu?int\d+_t\s+(\w+)\s*\(\s*(?:const\s+)?(u?int\d+_t)\s+([AaBb])\s*,"
    r"\s*(?:const\s+)?(u?int\d+_t)\s+([AaBb])\s*\)\s*\{"
)
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120
_MAIN = """
#include <stdint.h>
#include <stdio.h>
int main(void) {{
  for (int a = 0; a < 256; a++)
    for (int b = 0; b < 256; b++) {{
      int32_t product = ({result}) {name}(({first}) {x}, ({second}) {y});
      if (fwrite(&product, sizeof product, 1, stdout) != 1) return 1;
    }}
  return 0;
}}
"""


def run_c(path: Path | str, signed: bool, release: str = "") -> Tabulated:
    """The multiplier of 8 x 8 bits in a C file, which is compiled and run.

    It is the function that no other one of the file calls. Operands are handed to the parameters of
    their names, A and B in either order, as bit patterns in the types that the function asks for;
    the result is read as 16 bits.

    Args:
        path: the file. **Its code runs**: use `read_netlist` for one that you do not trust.
        signed: whether operands and product are in two's complement, whatever the types say.
        release: of the library that it is from.

    Raises:
        FileNotFoundError: where there is no file, or no compiler.
        ValueError: where it has no such function, or can't be compiled and run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give a .c file of a multiplier")
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError(
            f"no C compiler ({', '.join(_COMPILERS)}): install one, or read the Verilog file "
            f"beside {path.name} by read_netlist"
        )
    name, text = _program(path, signed)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "main.c"), Path(folder, "main")
        source.write_text(text, encoding="utf-8")
        beside = f"-I{path.resolve().parent}"
        _run([compiler, "-O1", "-w", beside, "-o", str(program), str(source)], path)
        held = _run([str(program)], path)
    if len(held) != 4 * 65536:
        raise ValueError(f"{path}: {name} printed something of its own: it must only compute")
    return Tabulated(np.frombuffer(held, np.int32).reshape(256, 256), name, signed, release)


def _program(path: Path, signed: bool) -> tuple[str, str]:
    """The function's name, and a program that writes all products."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}") from error
    told = COMMENT.sub(" ", text)
    every = _FUNCTION.findall(told)
    parts = [one for one in every if len(re.findall(rf"\b{one[0]}\s*\(", told)) > 1]
    found = [one for one in every if one not in parts]
    if len(found) != 1 or {found[0][2].lower(), found[0][4].lower()} != {"a", "b"}:
        raise ValueError(
            f"{path} has {len(found)} functions like int16_t NAME(int8_t A, int8_t B) that are "
            "no part of another one: it must have one, of integers of <stdint.h> named A and B"
        )
    ((name, first, x, second, y),) = found
    fill = {"first": first, "x": x.lower(), "second": second, "y": y.lower(), "name": name}
    result = "int16_t" if signed else "uint16_t"
    return name, text + _MAIN.format(result=result, **fill)


def _run(command: list[str], path: Path) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS).stdout
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())[:300]
        raise ValueError(f"{path} can't be compiled and run: {said or error}") from error
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{path}: no end within {_SECONDS} s") from error
