"""`radhard compare-samplers`: which way of drawing faults needs the fewest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app, show_notes, workers_on
from radhard.cli.assess import (
    Device,
    Grey,
    Images,
    Json,
    Mean,
    Output,
    Size,
    Std,
    Trust,
    Workers,
)

if TYPE_CHECKING:
    from radhard.study.comparison import Comparison


@app.command("compare-samplers")
def compare_samplers(
    model: Annotated[str, typer.Argument(help="As for assess.")],
    data: Annotated[str | None, typer.Option(help="As for assess.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for a zoo model.")] = None,
    output: Output = None,
    images: Images = None,
    size: Size = None,
    grey: Grey = False,
    mean: Mean = None,
    std: Std = None,
    format: Annotated[
        str | None, typer.Option(help="Number format: radhard list formats; as for assess.")
    ] = None,
    chip: Annotated[str, typer.Option(help="What is struck: radhard list chips.")] = "systolic",
    metric: Annotated[str, typer.Option(help="An outcome, or ra.")] = "ra",
    half_width: Annotated[
        float, typer.Option(help="Wanted, of the 95 % interval.", min=0.0, max=0.5)
    ] = 0.003,
    samplers: Annotated[str, typer.Option(help="Names, comma-separated; all by default.")] = "",
    seeds: Annotated[int, typer.Option(help="Runs of each sampler.")] = 30,
    faults: Annotated[int, typer.Option(help="Faults of each run.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("runs/samplers"),
    device: Device = "auto",
    trust: Trust = False,
    workers: Workers = "1",
    json: Json = False,
) -> None:
    """Ask the same with each sampler and many seeds; faults, seconds and coverage."""
    from radhard.campaign.ask import validated
    from radhard.campaign.prepare import prepare
    from radhard.engine.memory import keep_freed_memory
    from radhard.sampling.catalogue import SAMPLERS, sampler_named
    from radhard.study.comparison import compare
    from radhard.view.bar import counted
    from radhard.view.samplers import samplers_page
    from radhard.view.table import show_samplers

    chosen = [sampler_named(name) for name in samplers.split(",") if name] or SAMPLERS
    fields = {
        "model": model,
        "data": data,
        "weights": weights,
        "output": output,
        "images": images,
        "size": size,
        "grey": grey,
        "mean": mean,
        "std": std,
        "format": format,
        "chip": chip,
        "metric": metric,
    }
    ask = validated(fields, "compare-samplers")
    crew, there = workers_on(device, workers)
    keep_freed_memory()
    prepared = prepare(ask, trust, there)
    show_notes(prepared.notes)
    campaign = prepared.campaign
    with counted(f"samplers on {campaign.name}") as watch:
        found = compare(campaign, metric, half_width, chosen, seeds, faults, watch, None, crew)
    if json:
        _print_json(found, half_width)
    else:
        show_samplers(found, campaign.name, metric, half_width)
        print(f"page: {samplers_page(found, campaign.name, metric, half_width, out)}")


def _print_json(found: list[Comparison], half_width: float) -> None:
    import json

    shown = {
        one.sampler.name: {
            "faults": one.needed.mean(),
            "faults_least": one.needed.min(),
            "faults_most": one.needed.max(),
            "or_fewer": {
                "faults": bool(one.or_fewer.any()),
                "faults_least": bool(one.or_fewer.any()),
                "faults_most": bool(one.or_fewer.all()),
            },
            "seconds": one.seconds * one.needed.mean(),
            "reached": one.reached,
            "seeds": len(one.needed),
            "half_widths": {
                "faults": one.sizes.tolist(),
                "mean": one.half_widths.mean(0).tolist(),
                "least": one.half_widths.min(0).tolist(),
                "most": one.half_widths.max(0).tolist(),
            },
            "coverage": {
                "value": one.covered.value,
                "low": one.covered.low,
                "high": one.covered.high,
            },
        }
        for one in found
    }
    truth = {name: getattr(found[0].truth, name) for name in ("value", "low", "high", "n")}
    about = {"half_width": half_width, "truth": truth, "samplers": shown}
    print(json.dumps(about, allow_nan=False))
