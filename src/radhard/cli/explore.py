"""`radhard explore`: quantisation by array by protection, each design measured."""

from __future__ import annotations

import json as text
import sys
from enum import StrEnum
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import app, plain, resumable, show_notes, show_page
from radhard.cli.assess import Images, Json, Log, Output, Trust, Workers
from radhard.cli.rtl import Dataflow, Flow

if TYPE_CHECKING:
    from radhard.search.plan import Plan
    from radhard.search.point import Point


class WhereName(StrEnum):
    """What faults strike."""

    array = "array"
    activations = "activations"


@app.command()
def explore(
    model: Annotated[str, typer.Argument(help="As for assess.")],
    data: Annotated[str | None, typer.Option(help="As for assess.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for a zoo model.")] = None,
    output: Output = None,
    bits: Annotated[
        str,
        typer.Option(
            help="Widths, comma-separated: 8, w4a8, 2..8, 8+1 for a bit of headroom, qat4 for "
            "training with codes in the loop."
        ),
    ] = "8,6,4,3",
    power_of_two: Annotated[
        bool, typer.Option("--power-of-two", help="Scales of codes are powers of two.")
    ] = False,
    arrays: Annotated[str, typer.Option(help="ROWSxCOLS, comma-separated.")] = "4x4,8x8",
    protect: Annotated[
        str, typer.Option(help="none, clamp, zero, mean, msb, psum, voted, tmr, comma-separated.")
    ] = "none,clamp,msb,psum",
    multipliers: Annotated[
        str, typer.Option(help="exact, and others of radhard list multipliers, comma-separated.")
    ] = "exact",
    objectives: Annotated[
        str,
        typer.Option(help="Of the front: accuracy, sdc1, ra, fit, area, delay, energy."),
    ] = "accuracy,sdc1,area,delay",
    dataflow: Dataflow = Flow.ws,
    where: Annotated[
        WhereName, typer.Option(help="What faults strike: registers of the array, or activations.")
    ] = WhereName.array,
    faults: Annotated[int, typer.Option(min=1, help="For each network on an array.")] = 2000,
    images: Images = None,
    seeds: Annotated[
        int,
        typer.Option(min=0, help="Of place and route, for arrays not measured before; 3 to 5."),
    ] = 0,
    max_luts: Annotated[int | None, typer.Option(help="Of the recommended design.")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(help="Without faults, such as 0.98; of the recommended design.")
    ] = None,
    max_fit: Annotated[
        float | None, typer.Option(help="Of SDC-1; of the recommended design.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    workers: Workers = "1",
    out: Annotated[
        Path | None, typer.Option(help="Folder for all results; runs/explore-MODEL by default.")
    ] = None,
    trust: Trust = False,
    log: Log = None,
    json: Json = False,
) -> None:
    """Evaluate a network in several widths on protected systolic arrays, and draw the trade-off.

    Each design has accuracy, reliability, and what its array costs, with intervals; the same faults
    strike all protections. The recommended design is emitted, ready to take along. Stopped with
    Ctrl-C, the same command goes on where it was.
    """
    from radhard.campaign.ask import validated
    from radhard.campaign.pool import workers_of
    from radhard.campaign.widths import Widths
    from radhard.engine.memory import keep_freed_memory
    from radhard.rtl.serial import write_texts
    from radhard.search.explore import explore as run
    from radhard.search.plan import Plan
    from radhard.search.point import Needs, recommended
    from radhard.view.explore import explore_page, needs_words, show_points

    fields = {"model": model, "data": data, "weights": weights, "output": output, "seed": seed,
              "images": images}  # fmt: skip
    ask = validated(fields, "explore")
    plan = Plan(
        bits=_widths(bits), arrays=tuple(map(_size, _listed(arrays))),
        protect=_listed(protect),
        multipliers=_listed(multipliers), objectives=_listed(objectives),
        dataflow=dataflow.value, where=where.value, faults=faults,
        images=None if ask.images == "all" else ask.images or 64, seeds=tuple(range(1, seeds + 1)),
        seed=seed,
    )  # fmt: skip
    needs = Needs(max_luts, min_accuracy, max_fit)
    keep_freed_memory()
    store = out or Path("runs") / f"explore-{Path(model).stem.replace(':', '-')}"
    made = Widths(ask, store / "networks", power_of_two, trust)
    show_notes(made.notes)

    def tell(said: str) -> None:
        print(said, file=sys.stderr)

    with resumable(store, log, "explore.html") as bar:
        points = list(run(plan, made, store, bar, tell, workers_of(workers)))
    chosen = recommended(points, needs, plan.objectives)
    said = needs_words(needs, points, chosen, plan.objectives)
    page = explore_page(points, plan, chosen, said, store)
    if chosen is not None:
        write_texts(chosen.design, store / "recommended")
    else:
        rmtree(store / "recommended", ignore_errors=True)  # of other wishes
    if json:
        print(text.dumps(_shown(points, plan, chosen), allow_nan=False))
    else:
        show_points(points, plan, chosen)
        print(said)
    show_page(page, json)
    if chosen is None:
        raise ValueError(said)


def _listed(given: str) -> tuple[Any, ...]:
    return tuple(part.strip() for part in given.split(",") if part.strip())


def _widths(given: str) -> tuple[str, ...]:
    """Widths in words; ``2..8`` is all of them.

    >>> _widths("w4a8,2..4")
    ('w4a8', '2', '3', '4')
    """
    found: list[str] = []
    for part in _listed(given):
        first, dots, last = part.partition("..")
        if not dots:
            found.append(part)
        elif first.isdecimal() and last.isdecimal() and int(first) <= int(last):
            found += map(str, range(int(first), int(last) + 1))
        else:
            raise ValueError(f"bits {part!r} can't be: use a range such as 2..8")
    return tuple(found)


def _size(given: str) -> tuple[int, int]:
    rows, _, cols = given.partition("x")
    if not (rows.isdecimal() and cols.isdecimal()):
        raise ValueError(f"array {given!r} can't be: use ROWSxCOLS, such as 8x8")
    return int(rows), int(cols)


def _shown(points: list[Point], plan: Plan, chosen: Point | None) -> dict[str, Any]:
    from radhard.search.point import front

    return {
        "points": [_point(point) for point in points],
        "objectives": list(plan.objectives),
        "front": [point.name for point in front(points, plan.objectives)],
        "recommended": None if chosen is None else chosen.name,
        "faults_in": plan.where,
    }


def _point(point: Point) -> dict[str, Any]:
    hardware, rate = point.hardware, point.hardware.fmax_mhz
    some = {"fit": point.fit, "improvement": point.improvement, "improved": point.improved}
    shown = {
        "accuracy": point.accuracy, "sdc1": point.sdc1, "ra": point.ra, "drop": point.drop,
        "unread": point.unread, "masked": point.masked, **some,
    }  # fmt: skip
    return {
        "name": point.name, "bits": point.bits, "protect": point.design.protect,
        "array": f"{point.design.rows}x{point.design.cols}", "dataflow": point.design.dataflow,
        "multiplier": point.multiplier, "sum_bits": point.design.widths["p"],
        **{name: None if found is None else plain(found) for name, found in shown.items()},
        "worst_layer": {"layer": point.worst[0], **plain(point.worst[1])},
        "luts": hardware.luts, "carries": hardware.carries, "ffs": hardware.ffs,
        "dsps": hardware.dsps, "hardware": hardware.made, "tools": dict(hardware.tools),
        "fmax_mhz": None if rate is None else {**plain(rate), "seeds": rate.n},
        "cycles": point.running.cycles,
        "latency_us": point.score("delay"), "energy_nj": point.score("energy"),
        "where_masked": {name: plain(share) for name, share in point.stages.items()},
        "campaign": point.campaign,
    }  # fmt: skip
