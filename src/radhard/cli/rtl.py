"""`radhard rtl`: a systolic array as hardware."""

from __future__ import annotations

import json as text
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import app, refuse
from radhard.cli.assess import Json

if TYPE_CHECKING:
    from rich.table import Table

    from radhard.rtl.design import ArrayDesign


class Step(StrEnum):
    """What is done with an array."""

    emit = "emit"
    simulate = "simulate"
    synth = "synth"


#: Options that say nothing of a step.
_UNUSED = {
    Step.emit: "tiles faults seed family dsp seeds",
    Step.simulate: "out family dsp seeds",
    Step.synth: "size tiles faults seed",
}


class Flow(StrEnum):
    """What stays in the elements."""

    ws = "ws"
    os = "os"
    input = "is"


class ProtectName(StrEnum):
    """What an array does against upsets."""

    none = "none"
    clamp = "clamp"
    zero = "zero"
    mean = "mean"
    msb = "msb"
    psum = "psum"
    voted = "voted"
    tmr = "tmr"


class FamilyName(StrEnum):
    """Devices."""

    ecp5 = "ecp5"
    ice40 = "ice40"
    xc7 = "xc7"


Rows = Annotated[int, typer.Option(help="Of processing elements.")]
Bits = Annotated[int, typer.Option(help="Of activations, and of weights.")]
WeightBits = Annotated[int, typer.Option(help="Of weights; 0: as many.")]
PsumBits = Annotated[int, typer.Option(help="Of sums; 0: 8 more than a product.")]
Dataflow = Annotated[Flow, typer.Option(help="What is stationary.")]
Protection = Annotated[ProtectName, typer.Option(help="Protection.")]
MultiplierName = Annotated[
    str | None, typer.Option(help="Signed, of radhard list multipliers; exact if left out.")
]


@app.command()
def rtl(
    context: typer.Context,
    step: Annotated[
        Step,
        typer.Argument(
            help="emit: SystemVerilog. simulate: random operands and flips, cycle by cycle. synth: "
            "what it costs in a device (pip install 'radhard[hardware]')."
        ),
    ],
    rows: Rows = 8,
    cols: Rows = 8,
    bits: Bits = 8,
    weight_bits: WeightBits = 0,
    psum_bits: PsumBits = 0,
    dataflow: Dataflow = Flow.ws,
    protect: Protection = ProtectName.none,
    multiplier: MultiplierName = None,
    control: Annotated[
        bool, typer.Option("--control", help="emit: with what sequences tiles, in control.sv.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for texts and netlists.")] = Path("rtl"),
    size: Annotated[
        int,
        typer.Option(min=1, help="simulate, emit --control: of the axis that is left free."),
    ] = 64,
    tiles: Annotated[int, typer.Option(min=1, help="simulate: one after the other.")] = 1,
    faults: Annotated[int, typer.Option(help="simulate: flips.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="simulate: of operands and flips.")] = 0,
    family: Annotated[FamilyName, typer.Option(help="synth: device.")] = FamilyName.ecp5,
    dsp: Annotated[bool, typer.Option(help="synth: multipliers in DSP blocks.")] = True,
    seeds: Annotated[
        int | None,
        typer.Option(min=0, help="synth: places and routes; 3 for ECP5, none for others."),
    ] = None,
    json: Json = False,
) -> None:
    """Emit, simulate or synthesise a systolic array, protected or not."""
    from radhard.rtl.design import ArrayDesign

    if control and step is not Step.emit:
        raise ValueError(f"--control can't be with {step.value}: use emit, or radhard validate rtl")
    refuse(context, _UNUSED[step], f"with {step.value}")
    if step is Step.emit and not control:
        refuse(context, "size", "with emit without --control")
    widths = bits, weight_bits, psum_bits
    design = ArrayDesign(
        rows, cols, *widths, dataflow.value, protect.value, multiplier or ""
    )  # fmt: skip
    steps: dict[Step, Callable[[], dict[str, Any]]] = {
        Step.emit: lambda: _emitted(design, out, size if control else None),
        Step.simulate: lambda: _simulated(design, tiles, size, faults, seed),
        Step.synth: lambda: _synthesised(design, out, family, dsp, seeds),
    }
    found = {"design": design.name, **steps[step]()}
    if json:
        print(text.dumps(found, allow_nan=False))
    else:
        _show(found)


def _emitted(design: ArrayDesign, out: Path, free: int | None) -> dict[str, Any]:
    """Texts of an array, and of what sequences it for tiles of so many values that stream."""
    from radhard.rtl.count import count
    from radhard.rtl.sequenced import emit_control, sequencer_of
    from radhard.rtl.serial import write_texts

    by_formula = asdict(count(design)) if not design.multiplier else None
    files = write_texts(design, out)
    found = {"state_bits": design.state_bits, "by_formula": by_formula}
    if free is not None:
        plan = sequencer_of(design, free)
        files.append(out / "control.sv")
        files[-1].write_text(emit_control(design, plan.bits), encoding="utf-8")
        found["control_bits"] = plan.state_bits
    return {**found, "files": [str(path) for path in files]}


def _simulated(
    design: ArrayDesign, tiles: int, size: int, faults: int, seed: int
) -> dict[str, Any]:
    from radhard.rtl.schedule import Operands, tile_cycles
    from radhard.rtl.strike import strike

    operands = Operands.drawn(design, tiles, size, seed)
    rows = [
        {
            "register": one.register,
            "bits": one.bits,
            "flips": one.failing.n,
            "failing": {key: getattr(one.failing, key) for key in ("value", "low", "high")},
            "wrong": one.wrong,
        }
        for one in strike(design, operands, faults, seed)
    ]
    return {"cycles": tiles * tile_cycles(design, size), "registers": rows}


def _synthesised(
    design: ArrayDesign, out: Path, family: FamilyName, dsp: bool, seeds: int | None
) -> dict[str, Any]:
    from radhard.rtl.synthesis import SEEDS, synthesise

    def progress(said: str) -> None:
        print(said, file=sys.stderr)

    usual = len(SEEDS) if family is FamilyName.ecp5 else 0
    numbers = tuple(range(1, (usual if seeds is None else seeds) + 1))
    found = synthesise(design, out, family.value, dsp, numbers, progress).as_dict()
    del found["design"]
    (out / "synthesis.json").write_text(text.dumps(found, indent=1), encoding="utf-8")
    return found


def _show(found: Mapping[str, Any]) -> None:
    """A list of what was found, and a table where there are rows."""
    from radhard.view.terminal import print_tables

    rows = found.get("registers")
    for name, value in found.items():
        if name != "registers":
            print(f"{name}: {_words(value)}")
    if rows:
        print_tables(_table(rows))


def _words(value: object) -> str:
    match value:
        case {"value": float(rate), "low": float(low), "high": float(high)}:
            return f"{rate:.1f} [{low:.1f}, {high:.1f}]"
        case dict():
            return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
        case list() | tuple():
            return ", ".join(map(_words, value)) or "none"
        case None:
            return "not known"
    return str(value)


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("register", title="Flips that change a result")
    for head in ("bits", "flips", "failing", "95 % interval", "results wrong then"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        share, low, high = (row["failing"][key] for key in ("value", "low", "high"))
        interval = f"{low:.2%} to {high:.2%}"
        wrong = f"{row['wrong']:.1f}"
        figures = (f"{row['bits']:,}", f"{row['flips']:,}", f"{share:.2%}", interval, wrong)
        table.add_row(row["register"], *figures)
    return table
