"""Write the pages of docs/ that follow from the code: `python docs/generate.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from radhard.arith.multiplier import Multiplier, full_name
from radhard.arith.multipliers import multipliers
from radhard.cli import app
from radhard.formats.catalogue import aliases, formats
from radhard.formats.number import describe
from radhard.network.zoo import FUNCTIONS, zoo
from radhard.protect.catalogue import PROTECTIONS

DOCS = Path(__file__).parent


def command_line() -> str:
    """The help of every verb."""
    parts = ["# Command line\n", "Made by `docs/generate.py`.\n"]
    for verb in ("", *sorted(get_command(app).commands)):
        arguments = [verb, "--help"] if verb else ["--help"]
        shown = CliRunner().invoke(
            app, arguments, prog_name="radhard", env={"COLUMNS": "90", "TERM": "dumb"}
        )
        title = f"radhard {verb}".strip()
        parts.append(f"## {title}\n\n```\n{shown.output.strip()}\n```\n")
    parts.append(
        "Exit codes: 0 done, 1 failure, 2 wrong use, 130 interrupted. `RADHARD_DATA` names a folder "
        "of data sets,\n`RADHARD_CACHE` the folder for downloads and trained weights; "
        "`RADHARD_DEBUG=1` shows tracebacks,\n`RADHARD_ANSWERS=no` runs what was answered before and "
        "captures what was captured before.\n"
    )
    return "\n".join(parts)


def number_formats() -> str:
    """The table of number formats."""
    rows = [
        f"| `{fmt.name}` | {', '.join(f'`{name}`' for name in aliases(fmt))} | {fmt.width} | "
        f"{describe(fmt)} |"
        for fmt in formats()
    ]
    return "\n".join(
        [
            "# Number formats\n",
            "Made by `docs/generate.py`. Any other is a line of Python:",
            "`radhard.FloatFormat(name, exponent=4, mantissa=5)`,",
            "`radhard.FixedFormat(name, width=12, fraction=8)`, `radhard.IntegerFormat(name, width=6)`.\n",
            "| name | also called | bits | layout, high bits first |",
            "|---|---|---|---|",
            *rows,
            "",
            "Floats round to nearest, ties to even. Fixed point cuts toward zero and saturates. Integers",
            "round to nearest and saturate; their scale, and the radix point of `fixed8` and `fixed16`, are",
            "fitted to the ranges seen on the workload's images. `-channel` formats have one scale per",
            "output channel of weights.",
            "",
            "`int8-onnx` is what runtimes of ONNX models run after static quantisation: weights of 8 bits with",
            "one scale per channel, a 32-bit sum, and activations in `uint8`. Batch normalisation goes into",
            "weights and bias, and a ReLU (or ReLU6, or a clamp from 0) into the code, which begins at 0 and",
            "saturates there. So what is stored, and struck as an activation, is the code behind the rectifier.",
            "What lies between layers otherwise, such as sums of maps, runs in float32, as in every format.",
            "",
        ]
    )


def models() -> str:
    """The table of the model zoo."""
    rows = [
        f"| `{m.name}` | {m.data} | {' x '.join(map(str, m.shape))} | {m.parameters:,} | "
        f"{m.source} |"
        for m in zoo()
    ]
    return "\n".join(
        [
            "# Models\n",
            "Made by `docs/generate.py`. `digits-cnn` is trained; `radhard train` trains the others, but",
            "those for ImageNet need a checkpoint. Behind a name, "
            + ", ".join(f"`-{name}`" for name in FUNCTIONS)
            + " have that function where",
            "the network has rectifiers: `lenet5-tanh`.\n",
            "| name | data | image | parameters | source |",
            "|---|---|---|---|---|",
            *rows,
            _ARCHITECTURES,
            _tried(map(json.loads, (DOCS / "architectures.jsonl").read_text().splitlines())),
            "",
        ]
    )


_ARCHITECTURES = """
## Architectures that were tried

Made by `make bench ARGS="models --json" > docs/architectures.jsonl`: small networks of one style each,
and those of torchvision, timm and transformers, all with random weights, many in reduced settings or on small
images. *Layers* is how many can be struck, *as differences* of how many faults begin in compiled kernels (those
of the others are whole runs), *parameters* and *MACs* the shares that layers have of the network's. Seconds are
those of random bit flips in fp32 on `--chip software`, on one thread of a shared machine, taken from 100 and
scaled to 1,000. *Agree* says how many of 20 flips of higher bits, in weights and outputs, end as in a plain
forward pass of the model's own code in which the same stored value was overwritten, to one part in 10,000 of
the largest logit; of these, so many change the logits at all.
"""


def _tried(rows: Iterator[Mapping[str, Any]]) -> str:
    """The rows as a table of Markdown."""
    lines = [
        "| network | from | layers | as differences | parameters | MACs | s per 1,000 | agree | "
        "of these change logits |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["message"]:
            lines.append(f"| {row['name']} | {row['source']} | {row['message']} | | | | | | |")
            continue
        lines.append(
            f"| {row['name']} | {row['source']} | {row['layers']} | {row['compiled']} | "
            f"{row['parameters']:.1%} | {row['macs']:.1%} | {row['per_1000_s']:.2f} | "
            f"{row['agree']} of {row['compared']} | {row['changed']} |"
        )
    return "\n".join(lines)


def protections() -> str:
    """The table of protections, and what is assumed of them."""
    rows = [
        f"| `{entry.name}` | {entry.changes} | {entry.needs} | {entry.about} |"
        for entry in PROTECTIONS
    ]
    seen = [
        f"| `{entry.name}` | {entry.reads} | {entry.blind} | {entry.takes} |"
        for entry in PROTECTIONS
    ]
    return "\n".join([_PROTECTIONS_HEAD, *rows, _PROTECTIONS_SEEN, *seen, _PROTECTIONS_TAIL])


_PROTECTIONS_HEAD = """# Protections

Made by `docs/generate.py`. A protection changes the population of faults, the network, or the run, and
says what it costs. Any number of them goes into a campaign:

```python
clamp = rh.RangeRestriction().learned(training)
safe = plain.with_(protections=[clamp, rh.Parity(("global-buffer",))])
result = safe.run(until=10_000)
print(result.fit("sdc1"), result.cost)
```

`radhard protect MODEL --target-fit F` searches them; `rh.harden(model, protections)` puts those of the
run into a module that tells of alarms, exports and saves: [protected networks in products](products.md).

| name | changes | needs | what |
|---|---|---|---|"""

_PROTECTIONS_SEEN = """
## What each reads, can't see, and takes

| name | reads | can't see | takes |
|---|---|---|---|"""

_PROTECTIONS_TAIL = """
## What is assumed

- **Guards** see the output of a layer after the strike. One that watches activations sees what stands
  behind the elementwise operations that follow a layer. The last layer's output is not bounded.
- **Repetition.** A detector's alarm, a parity error, or two copies that differ, are taken to be
  repaired by running the inference again, which meets no second fault. `Cost.rerun` says that; `radhard
  protect` counts the inferences that false alarms take as latency.
- **Checksums** are computed by one more output channel of each group, behind the last one. It has sums of
  weights that were formed before deployment, and reads inputs where the layer reads them. So an input that is
  wrong in memory before the layer begins is wrong for both, and not seen; one that is struck while the layer
  runs is seen, as channels before the strike had another value. `Checksum(channels=True, inputs="written")`
  forms sums of inputs when these are written, and sees both. In integers sums are those of accumulators, in
  which no change hides, also one that rounding takes out of the output; in floats outputs are added up, and a
  small fault can hide in rounding. Faults of the checker itself are not struck.
- **Copies** of a computation read the same memories, with latches, registers and partial sums of their
  own: they do nothing against a weight or input that is wrong in memory.
- **Codes and signatures** are checked by what reads: a wrong word that nothing reads raises no alarm.
- **Learning.** Named protections learn on training images (`radhard assess --protect`, campaign files);
  `radhard protect` tells the images of a network without others apart. Results say which share of images
  without a fault raises an alarm, and which guards can raise none in their formats.
- **Work**, of which `--budget-macs` and the points of `radhard protect` tell, is multiply-accumulates and a
  tenth for each other operation, over those of the network; the cheapest design is that of the least work
  and area together.
- **Value thresholds** take deviations below 5 % of the step's root mean square to be that: neurons that
  never moved.
- **Faults of several bits** of a value, or of as many as what was stored decides, are refused where a
  protection can't be judged under them: copies and hardened latches are of single bits, and codes count bits
  that flip.
- **Area** is a share of the chip's storage: bits that are added, and logic by its transistors, of which a
  bit of memory has six (an XOR ten, a full adder 28). A code is formed and checked at each latch and at each
  instance of a memory; comparators and adders keep up with the values of an inference in its cycles. Chips
  without cycles (`nvdla`, `simt`, `software`) have no such comparators in it.
- **Errors at a rate** strike weights in memory, and the bits that a code or a copy adds: `under_errors` has
  one wrong bit of a word corrected by `SECDED`, two loaded again, as an odd number is by `Parity`; `WeightSignature`
  has its groups loaded again, or set to zero, whose signatures have no errors. Other protections of storage are refused there.
- **Codes** belong to words of one value. Two upsets of one word at once do not happen by themselves;
  the fault models `multi-bit-flip` and `burst` make them.
"""


def multiplier_page() -> str:
    """The tables of multipliers, and where they are from."""
    evolved = [one for one in multipliers() if one.release]
    others = [one for one in multipliers() if not one.release]
    names: dict[str, list[Multiplier]] = {}
    for one in evolved:
        names.setdefault(one.digest(), []).append(one)
    rows = [
        f"| {' | '.join(f'`{full_name(one)}`' for one in same)} | {_figures(same[0])} | "
        f"{_known(same[0].power_mw)} | {_known(same[0].area_um2)} | {_known(same[0].delay_ns)} | "
        f"`{digest[:16]}` |"
        for digest, same in names.items()
    ]
    textbook = [f"| `{one.name}` | {_figures(one)} | `{one.digest()[:16]}` |" for one in others]
    head, middle, tail = _MULTIPLIERS.split("TABLE\n")
    return head + "\n".join(rows) + "\n" + middle + "\n".join(textbook) + "\n" + tail


def _figures(one: Multiplier) -> str:
    found = one.errors()
    shown = [f"{found.mae:.7g}", str(found.wce), f"{100 * found.ep:.2f}", f"{100 * found.mre:.4g}"]
    shown += [f"{found.mse:.9g}", f"{found.bias:.7g}", _known(one.terms)]
    return " | ".join(shown)


def _known(figure: float | None) -> str:
    return "" if figure is None else str(figure)


_MULTIPLIERS = """# Multipliers

Made by `docs/generate.py`. A multiplier is a circuit for two integers of up to 16 bits, exact or not:

```python
import radhard as rh

coarse = rh.multiplier_named("mul8s_1L2H@v1")
coarse.product(-3, 5)  # what the circuit makes of it: -16
coarse.table()  # all 65,536 products, [a, b] by the operands' bit patterns
coarse.errors()  # MAE, WCE, EP, MRE, MSE and bias over all pairs
coarse.digest()  # SHA-256 of the table: which circuit it is, whatever its name
```

`a` is on port A, in a network the activation; `b` is the weight, on port B. Many circuits tell them apart.
`radhard list multipliers`, with `--json`, prints the catalogue; `work.with_(multiplier=coarse)` runs a network\non one: see [permanent faults](permanent-faults.md).

## EvoApproxLib

The signed circuits of 8 x 8 bits and the exact unsigned one, by formulas that equal the published ones on
all pairs; no file of the library is needed. **Names were given anew between releases**: 1KV8 is exact in v1 and
approximate in v2022. So release and name stay together. Power (mW), area (square micrometres) and delay (ns)
are the library's, at 45 nm; what it does not say here is left empty. MRE counts the pairs whose exact product is
not 0, as the library does. *Products* says of how many exact products of mapped operands a product is the sum.

| v1 | v2022 | MAE | WCE | EP % | MRE % | MSE | bias | products | mW | area | delay | hash |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
TABLE

With tc(x, c) for x with its c low bits cleared, and D(h, v) for the sum of a_i b_j 2^(i+j) over the cells
with i >= h and i + j < v: tc(a, c) tc(b, c) with c = 1, 2, 3 are 1L2H, 1L2D, 1L1G of v1; tc(a, c) b with c = 1, 3, 6
are 1KR8, 1KTY, 1KR3; a b - D(0, v) with v = 2, 3, 4 are 1KVA, 1KVB, 1KX2; tc(a, h) b - D(h, v) with
(h, v) = (1, 3), (1, 4), (2, 5) are 1KR6, 1KRC, 1KVL. All are `mul8s_array:a=...,b=...,columns=...`.

V. Mrazek, R. Hrbacek, Z. Vasicek, L. Sekanina: EvoApprox8b, DATE 2017; https://github.com/ehw-fit/evoapproxlib.

## Of the literature

Any width up to 16 bits, unsigned or signed: `mul16s_drum:bits=6`, `mul4u_array:columns=3`. Errors, tables and
hashes are there up to 8 bits. What their authors define for unsigned operands becomes signed by multiplying
magnitudes and putting the sign to the product.

| name | MAE | WCE | EP % | MRE % | MSE | bias | products | hash |
|---|---|---|---|---|---|---|---|---|
TABLE

- **array**: only partial products with i >= `a`, j >= `b` and i + j >= `columns` are added. Operand truncation
  with `a` and `b`, truncated arrays with `columns`, broken arrays with both: H. R. Mahdiani, A. Ahmadi,
  S. M. Fakhraie, C. Lucas, IEEE Trans. Circuits and Systems I, 2010.
- **drum**: the leading `bits` of each operand, the last of them set. S. Hashemi, R. I. Bahar, S. Reda, ICCAD 2015.
- **ssm**: the upper or the lower `bits` of each operand. S. Narayanamoorthy, H. A. Moghaddam, Z. Liu, T. Park,
  N. S. Kim, IEEE Trans. VLSI Systems, 2015.
- **roba**: a b - (a - r(a)) (b - r(b)), r rounding to a power of two. R. Zendegani, M. Kamal, M. Bahadori,
  A. Afzali-Kusha, M. Pedram, IEEE Trans. VLSI Systems, 2017.
- **kulkarni**: blocks of 2 x 2 bits with 3 x 3 = 7. P. Kulkarni, P. Gupta, M. Ercegovac, VLSI Design 2011.
- **mitchell**: sums of logarithms with straight lines for fractions, not rounded. J. N. Mitchell, IRE Trans.
  Electronic Computers, 1962.
- **etm**: upper halves multiplied, ones below the highest set bit of the lower ones. K. Y. Kyaw, W. L. Goh,
  K. S. Yeo, EDSSC 2010, as public implementations in SystemVerilog and Chisel read it.

## Files and code of your own

`multiplier_named("mine.npy@signed")` reads a square array of products by bit patterns, `mine.bin@unsigned` 65,536
of them in 16 or 32 bits, little-endian, such as those of tf-approximate. Tables whose first index is the weight,
such as those of the evolved unsigned circuits there, take `,transposed`. `rh.Tabulated(products, name)` is the same
in Python.

`mine.v@signed` reads a netlist of gates in Verilog, such as the files of a checkout of EvoApproxLib without `_pdk45` in
their names, with what their comments say of power, area and delay; no compiler is needed. `rh.read_netlist(path,
signed=True, release="v1")` keeps the release, too. Any of its `nodes` can be stuck:

```python
faulty = rh.read_netlist(path, signed=True).stuck_at("S_2_0", 1)
faulty.errors()  # its table and hash are others as well
```

Files of [ArithsGen](https://github.com/ehw-fit/ariths-gen) are read as well, flat or by parts, and any of their gates
can be stuck (`pip install radhard[multipliers]`, which nothing else here needs):

```python
from ariths_gen.multi_bit_circuits.multipliers import UnsignedDaddaMultiplier
from ariths_gen.wire_components import Bus

with open("dadda.v", "w") as file:
    UnsignedDaddaMultiplier(Bus("a", 8), Bus("b", 8), name="dadda").get_v_code_flat(file)
dadda = rh.multiplier_named("dadda.v@unsigned")
```

Release 1.1.4 writes signed carry-save multipliers by parts with nets that are driven twice; these are refused, and flat
ones are right.

`radhard.arith.compiled.run_c(path, signed=True)` compiles and **runs** a C file of such a checkout where there is a
compiler, and takes its table. Operands go to the parameters of their names (many functions there take B first), and patterns and result are
read as `signed` says, whatever the types. No name of a multiplier leads there.

[Parts of your own](your-own.md#multiplier-of-your-own) says how a formula is a multiplier.
"""

PAGES = {
    "command-line.md": command_line,
    "formats.md": number_formats,
    "models.md": models,
    "multipliers.md": multiplier_page,
    "protections.md": protections,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
