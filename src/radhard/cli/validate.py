"""`radhard validate`: the fault model against the hardware."""

from __future__ import annotations

import json as text
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import app, plain, refuse, workers_on
from radhard.cli.assess import Images, Json, Workers
from radhard.cli.rtl import (
    Bits,
    Dataflow,
    Flow,
    MultiplierName,
    Protection,
    ProtectName,
    PsumBits,
    Rows,
    WeightBits,
)  # fmt: skip

if TYPE_CHECKING:
    from radhard.rtl.design import ArrayDesign
    from radhard.rtl.schedule import Operands

#: Disagreements that are printed; and faults of a network where no number is given.
_PRINTED, _IN_NETWORKS = 20, 1000

#: Options that say nothing where one is given, or is not (``!``), and why.
_UNUSED = (
    ("model", "weight_bits psum_bits multiplier protect",
     "with --model, which runs on an unprotected array of the network's own widths"),
    ("model", "size tiles out", "with --model, whose layers are what is run"),
    ("!model", "data weights images whole", "without --model"),
    ("!permanent", "maps", "without --permanent"),
    ("design", "rows cols bits weight_bits psum_bits dataflow protect multiplier",
     "with --design, whose file says what the array is"),
    ("permanent", "workers", "with --permanent, which takes one process"),
    ("netlist", "workers", "with --netlist, which takes one process"),
    ("control", "tiles", "with --control, which strikes the second of two"),
)  # fmt: skip


class Against(StrEnum):
    """What the model is compared with."""

    rtl = "rtl"


class EngineName(StrEnum):
    """What runs flips."""

    auto = "auto"
    twin = "twin"
    verilator = "verilator"


@app.command()
def validate(
    context: typer.Context,
    against: Annotated[Against, typer.Argument(help="rtl: arrays as radhard rtl emits them.")],
    rows: Rows = 4,
    cols: Rows = 4,
    bits: Bits = 8,
    weight_bits: WeightBits = 0,
    psum_bits: PsumBits = 0,
    dataflow: Dataflow = Flow.ws,
    protect: Protection = ProtectName.none,
    multiplier: MultiplierName = None,
    size: Annotated[int, typer.Option(min=1, help="Of the axis that is left free.")] = 16,
    tiles: Annotated[int, typer.Option(min=1, help="One after the other.")] = 2,
    faults: Annotated[str, typer.Option(help="all, or how many random ones.")] = "all",
    engine: Annotated[
        EngineName, typer.Option(help="verilator, the numpy twin, or auto: what there is.")
    ] = EngineName.auto,
    seed: Annotated[int, typer.Option(min=0, help="Of operands and flips.")] = 0,
    permanent: Annotated[
        str | None,
        typer.Option(
            help="Stuck bits in place of flips, as radhard assess --permanent has them; single: "
            "each alone."
        ),
    ] = None,
    maps: Annotated[int, typer.Option(min=1, help="--permanent: chips.")] = 100,
    netlist: Annotated[
        bool,
        typer.Option("--netlist", help="Flip-flops of the array after synthesis by Yosys instead."),
    ] = False,
    control: Annotated[
        bool,
        typer.Option("--control", help="The array with its sequencer, whose flips are tried too."),
    ] = False,
    design: Annotated[
        Path | None,
        typer.Option(help="An array that is not radhard's: its mapping file, docs/rtl.md."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A network whose struck tiles run on the array, in place of operands."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="--model: data set.")] = None,
    weights: Annotated[Path | None, typer.Option(help="--model: a checkpoint.")] = None,
    images: Images = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="--model: time an inference whole in RTL, too.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the compiled array; a temporary one if left out."),
    ] = None,
    workers: Workers = "1",
    json: Json = False,
) -> None:
    """Compare what campaigns take a register's flip to do with what the hardware does.

    Flip by flip, all results of all tiles. What differs is printed as lines that radhard.rtl.flip
    reads again, and the exit code is 1 then. With --model, faults of a campaign on that array run
    by the fault model and by hardware, logits are compared, and RA by model, by RTL and by uniform
    faults of software is printed.
    """
    asked = {"model": model, "design": design, "permanent": permanent, "netlist": netlist}
    _one_of(asked if model is not None else asked | {"control": control})
    for on, names, why in _UNUSED:
        if bool(asked.get(on.lstrip("!"), control)) != on.startswith("!"):
            refuse(context, names, why)
    if permanent is not None and faults != "all":
        raise ValueError(f"--faults {faults} can't be with --permanent: use --maps")
    if engine == EngineName.twin and netlist:
        raise ValueError("--engine twin can't be with --netlist: only its gates run it")
    if control and multiplier:
        raise ValueError(
            f"--multiplier {multiplier} can't be with --control, which is tried with exact products"
        )
    crew = workers_on("cpu", workers)[0]
    if model is not None:
        chip = f"{'systolic' if control else 'clocked'}:{rows}x{cols}:{dataflow.value}"
        fields = {
            "model": model, "data": data, "weights": weights, "images": images, "chip": chip,
            "format": f"int{bits}", "seed": seed,
        }  # fmt: skip
        count = _IN_NETWORKS if faults == "all" else _number(faults)
        _show(_of_network(fields, count, engine, (whole, crew)), json)
        return
    from tempfile import TemporaryDirectory

    from radhard.rtl.design import ArrayDesign
    from radhard.rtl.flip import Flips
    from radhard.rtl.schedule import Operands, schedule
    from radhard.rtl.validate import hardware_named
    from radhard.rtl.validate import validate as compared
    from radhard.stats.interval import wilson
    from radhard.view.bar import counted

    if design is not None:
        _show(_of_foreign(design, (tiles, size, seed), faults, engine, (out, crew)), json)
        return
    widths = bits, weight_bits, psum_bits
    array = ArrayDesign(rows, cols, *widths, dataflow.value, protect.value, multiplier or "")
    operands = Operands.drawn(array, tiles, size, seed)
    if permanent is not None:
        _show(_of_chips(array, operands, permanent, (maps, seed), engine, out), json)
        return
    if control:
        some = None if faults == "all" else _number(faults)
        _show(_of_sequenced(array, (size, seed, some), engine, (out, crew)), json)
        return
    if array.checks:
        operands = _bounded(operands)
    if netlist:
        some = None if faults == "all" else _number(faults)
        _show(_of_netlist(array, operands, (some, seed), out), json)
        return
    edges = schedule(array, operands).cycles
    flips = (
        Flips.every(array, edges)
        if faults == "all"
        else Flips.drawn(array, edges, _number(faults), seed)
    )
    with TemporaryDirectory() as made, counted("flips") as watch:
        used, hardware = hardware_named(engine.value, array, out or Path(made))
        found = compared(array, operands, flips, hardware, watch, crew)
    shown = {
        "design": array.name, "engine": used, "tiles": tiles, "edges": edges,
        "faults": found.faults, "registers": dict(found.registers),
        "changing": wilson(found.changing, found.faults),
        "disagreements": len(found.disagreements),
        "lines": list(found.disagreements[:_PRINTED]),
    }  # fmt: skip
    _show(shown, json)


def _one_of(given: Mapping[str, object]) -> None:
    """Refuse questions that exclude each other."""
    asked = [f"--{name}" for name, value in given.items() if value]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} can't be together: ask for one of them")


def _show(shown: dict[str, Any], json: bool) -> None:
    """Print what was found, and end with 1 where something disagrees."""
    from radhard.stats.estimate import Estimate

    if json:
        flat = {k: plain(one) if isinstance(one, Estimate) else one for k, one in shown.items()}
        print(text.dumps(flat, allow_nan=False))
    else:
        for name, value in shown.items():
            print(f"{name}: {value}")
    if shown["disagreements"] or not shown.get("multiplies", True):
        sys.exit(1)


def _of_network(
    fields: dict[str, Any], count: int, engine: EngineName, how: tuple[bool, int]
) -> dict[str, Any]:
    from radhard.campaign.ask import validated
    from radhard.campaign.prepare import prepare
    from radhard.engine.memory import keep_freed_memory
    from radhard.rtl.agreement import network_agreement
    from radhard.rtl.hybrid import OnArray
    from radhard.view.bar import counted

    keep_freed_memory()
    campaign, hardware = prepare(validated(fields, "validate rtl")).campaign, OnArray(engine.value)
    with counted("faults") as watch:
        found = network_agreement(campaign, count, hardware, how[0], watch, how[1])
    answers = {"model": found.model, "rtl": found.rtl, "software": found.software}
    shown: dict[str, Any] = {
        "model": fields["model"], "chip": campaign.chip.name, "engine": hardware.used,
        "faults": count, "disagreements": len(found.disagreements),
        "lines": list(found.disagreements[:_PRINTED]), "golden_accuracy": found.model.golden,
    }  # fmt: skip
    shown |= {f"ra_{name}": result.ra for name, result in answers.items()}
    shown |= {f"sdc1_{name}": result["sdc1"] for name, result in answers.items()}
    shown |= {"seconds_model": found.seconds_model, "seconds_rtl": found.seconds_rtl}
    if found.seconds_whole is not None:
        shown["seconds_whole"] = found.seconds_whole
    return shown


def _of_foreign(
    path: Path,
    drawn: tuple[int, int, int],
    faults: str,
    engine: EngineName,
    how: tuple[Path | None, int],
) -> dict[str, Any]:
    """Flips of an array that is not radhard's by the fault model and by its own text."""
    from tempfile import TemporaryDirectory

    from radhard.accel.matrices import wrapped
    from radhard.rtl.compiled import Compiled
    from radhard.rtl.foreign import read_foreign
    from radhard.rtl.learn import closed, learned
    from radhard.rtl.schedule import Operands, schedule
    from radhard.rtl.validate import ByText
    from radhard.rtl.validate import validate as compared
    from radhard.stats.interval import wilson
    from radhard.view.bar import counted

    if engine == EngineName.twin:
        raise ValueError("--engine twin can't be with --design: only its own text runs that array")
    array, (tiles, size, seed) = read_foreign(path), drawn
    operands = Operands.drawn(array, tiles, size, seed)
    with TemporaryDirectory() as made, counted("flips") as watch:
        try:
            compiled = Compiled(array, how[0] or Path(made))
        except RuntimeError as error:
            raise ValueError(
                f"mapping file {path}: its text does not compile with the names in it: {error}"
            ) from error
        golden = compiled.run(operands)[0]
        plain = operands.a @ operands.w
        flips = closed(array, operands, None if faults == "all" else _number(faults), seed)
        right = bool((golden == wrapped(plain, array.widths["p"])).all())
        found = compared(array, operands, flips, ByText(compiled), watch, how[1])
        table = learned(array, compiled.run, size, seed)
    return {
        "design": array.name, "engine": "verilator", "tiles": tiles,
        "edges": schedule(array, operands).cycles // tiles,
        "multiplies": right, "faults": found.faults, "registers": dict(found.registers),
        "changing": wilson(found.changing, found.faults),
        "disagreements": len(found.disagreements),
        "lines": list(found.disagreements[:_PRINTED]),
        "learned": {name: one._asdict() for name, one in table.items()},
    }  # fmt: skip


def _of_sequenced(
    design: ArrayDesign,
    drawn: tuple[int, int, int | None],
    engine: EngineName,
    how: tuple[Path | None, int],
) -> dict[str, Any]:
    """Flips of an array and its sequencer, in the second of two tiles."""
    from tempfile import TemporaryDirectory

    from radhard.rtl.bench import Bench, Sequenced, sequenced_agreement
    from radhard.rtl.flip import Flips
    from radhard.rtl.schedule import Operands
    from radhard.stats.interval import wilson
    from radhard.view.bar import counted

    if engine == EngineName.twin:
        raise ValueError("--engine twin can't be with --control: only its text runs a sequencer")
    if design.checks:
        raise ValueError(
            f"--protect {design.protect} can't be with --control: results of a tile that ends "
            "early are no sums to check; use none, msb, psum, voted or tmr"
        )
    (size, seed, count), array = drawn, Sequenced.of(design, drawn[0])
    edges, operands = array.sequencer.edges, Operands.drawn(design, 2, size, seed)
    flips = Flips.every(array, edges) if count is None else Flips.drawn(array, edges, count, seed)
    with TemporaryDirectory() as made, counted("flips") as watch:
        bench = Bench(array, how[0] or Path(made))
        found = sequenced_agreement(array, operands, flips, bench.strike, watch, how[1])
    control = array.sequencer.state_bits
    return {
        "design": array.name, "engine": "verilator", "edges": edges, "state_bits": array.state_bits,
        "control_bits": control, "faults": found.faults, "registers": dict(found.registers),
        "changing": wilson(found.changing, found.faults),
        "disagreements": len(found.disagreements), "lines": list(found.disagreements[:_PRINTED]),
    }  # fmt: skip


def _of_netlist(
    design: ArrayDesign, operands: Operands, drawn: tuple[int | None, int], out: Path | None
) -> dict[str, Any]:
    """Flips of real flip-flops by the fault model and by gates."""
    from dataclasses import asdict
    from tempfile import TemporaryDirectory

    from radhard.rtl.gates import gates_of, netlist_agreement

    with TemporaryDirectory() as made:
        gates = gates_of(design, out or Path(made))
        found = netlist_agreement(gates, operands, *drawn)
    shown = {name: getattr(found, name) for name in asdict(found)}
    lines = shown.pop("disagreements")
    return {
        "design": design.name, "tiles": len(operands.a), "gates": len(gates.gates), **shown,
        "rate_over_text": found.rate_over_text, "disagreements": len(lines),
        "lines": list(lines[:_PRINTED]),
    }  # fmt: skip


def _of_chips(
    design: ArrayDesign, operands: Operands, words: str, drawn: tuple[int, int],
    engine: EngineName, out: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Arrays with stuck bits by rules and by hardware."""
    from tempfile import TemporaryDirectory

    from radhard.arith.broken import Exact
    from radhard.faults.permanent import Permanent
    from radhard.rtl.compiled import missing
    from radhard.rtl.stuck import array_of, by_saboteurs, by_stuck_twin, stuck_agreement
    from radhard.stats.interval import wilson

    faults, plain = Permanent.parsed(words), array_of(design, ())
    multiplier = design.circuit or Exact(design.bits, signed=True)
    if "single" in words.split():
        chips = list(faults.every(plain, multiplier))
    else:
        maps, seed = drawn
        chips = [faults.drawn(plain, multiplier, seed, k) for k in range(maps)]
    twin = engine == EngineName.twin or (engine == EngineName.auto and bool(missing()))
    with TemporaryDirectory() as made:
        hardware = by_stuck_twin if twin else by_saboteurs(design, out or Path(made))
        found = stuck_agreement(design, operands, chips, hardware)
    return {
        "design": design.name, "engine": "twin" if twin else "verilator", "permanent": words,
        "tiles": len(operands.a), "chips": found.chips,
        "changing": wilson(found.changing, found.chips),
        "disagreements": len(found.disagreements),
        "lines": list(found.disagreements[:_PRINTED]),
    }  # fmt: skip


def _number(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"faults {given!r} can't be: use all, or a number of 1 or more")
    return int(given)


def _bounded(operands: Operands) -> Operands:
    """With bounds that a quarter of the fault-free results are out of."""
    from dataclasses import replace

    import numpy as np

    low, high = np.quantile(operands.a @ operands.w, (0.125, 0.875)).astype(int).tolist()
    return replace(operands, bounds=(low, high))
