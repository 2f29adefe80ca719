"""Multipliers in C of our own writing, as if from a checkout."""

import shutil
from pathlib import Path

import pytest

import radhard as rh
from oracles.gates import array_multiplier, verilog
from radhard.arith.compiled import run_c

#: The three kinds of prototypes in EvoApproxLib, all of circuits that tell their ports apart.
SIGNED = """
// PDK45_PWR = 0.3 mW
#include <stdint.h>
int16_t mul8s_own(int8_t A, int8_t B) { return (A >> 1) * 2 * B; }
"""
PATTERNS = """
#include <stdint.h>
uint16_t mul8s_patterns(uint8_t A, uint8_t B)
{
  int16_t x = (int8_t) A, y = (int8_t) B;
  return (uint16_t) ((x & ~1) * y);
}
"""
TURNED = """
#include <stdint.h>
static int one(int x) { return x & 1; }
uint64_t mul8u_turned(const uint64_t B,const uint64_t A)
{
   uint64_t O = 0;
   for (int i = 0; i < 8; i++)
     for (int j = 2; j < 8; j++)
       if (i + j >= 4) O += (uint64_t) (one(A >> i) & one(B >> j)) << (i + j);
   return O;
}
"""

#: By a part that looks like a multiplier itself.
PARTS = """
#include <stdint.h>
uint8_t and_gate(uint8_t a, uint8_t b) { return a & b; }
uint64_t mul8u_parts(uint64_t a,uint64_t b){
  uint16_t out = 0;
  for (int i = 0; i < 8; i++)
    for (int j = 2; j < 8; j++)
      if (i + j >= 4) out += and_gate(a >> i & 1, b >> j & 1) << (i + j);
  return out;
}
"""

compiled = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


@compiled
@pytest.mark.parametrize(
    ("code", "signed", "same"),
    [
        (SIGNED, True, "mul8s_1KR8@v1"),
        (PATTERNS, True, "mul8s_1KR8@v1"),
        (TURNED, False, "mul8u_array:b=2,columns=4"),
        (PARTS, False, "mul8u_array:b=2,columns=4"),
        (f"/*{SIGNED.replace('own', 'older')}*/\n{SIGNED}", True, "mul8s_1KR8@v1"),
    ],
)
def test_functions_of_a_checkout(code: str, signed: bool, same: str, tmp_path: Path) -> None:
    path = tmp_path / 'mul "own".c'
    path.write_text(code)
    found = run_c(str(path), signed, "v1")
    assert found.digest() == rh.multiplier_named(same).digest()
    assert found.name in code
    assert (found.signed, found.release) == (signed, "v1")


@compiled
def test_c_and_verilog_give_one_table(tmp_path: Path) -> None:
    gates = array_multiplier(8)[:-3] + [(f"O[{k}]", "^", "A[0]", "B[7]") for k in (13, 14, 15)]
    lines = ["#include <stdint.h>", "uint64_t mine(uint64_t B, uint64_t A) {", "uint64_t O = 0;"]
    for net, symbol, *reads in gates:
        x, y = (f"(({read[0]} >> {read[2:-1]}) & 1)" if read[0] in "AB" else read for read in reads)
        start = f"O |= ({x} {symbol} {y}) << {net[2:-1]};" if net[0] == "O" else ""
        lines.append(start or f"uint64_t {net} = {x} {symbol} {y};")
    path = tmp_path / "mine.c"
    path.write_text("\n".join([*lines, "return O; }"]))
    one, other = run_c(path, False), rh.Netlist(verilog(gates, 8))
    assert one.digest() == other.digest() != rh.multiplier_named("mul8u_exact").digest()


@compiled
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            SIGNED.replace("* B", "* nothing"),
            "can't be compiled and run: .*nothing",
        ),
        (SIGNED.replace("return", "__builtin_trap(); return"), "can't be compiled and run: .*SIG"),
        (SIGNED.replace("int8_t B", "int8_t A2"), "0 functions like"),
        (SIGNED + SIGNED.replace("own", "other"), "2 functions like"),
        (
            SIGNED.replace("return", "putchar(1); return").replace(
                "t.h>", "t.h>\n#include <stdio.h>"
            ),
            "printed something of its own",
        ),
    ],
)
def test_what_can_t_be_run(code: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.c"
    path.write_text(code)
    with pytest.raises(ValueError, match=message):
        run_c(path, True)


def test_without_a_compiler_the_netlist_is_pointed_at(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "mul8s_own.c"
    with pytest.raises(FileNotFoundError, match=r"no file .*mul8s_own\.c"):
        run_c(path, True)
    path.write_text(SIGNED)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"beside mul8s_own\.c by read_netlist"):
        run_c(path, True)
