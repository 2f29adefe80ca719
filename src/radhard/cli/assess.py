"""`radhard assess`: how often a fault changes what a network says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import Way, app, resumable, show_notes, show_page
from radhard.cli.permanent import answer_permanent
from radhard.cli.plainly import print_json

if TYPE_CHECKING:
    from radhard.campaign.ask import Ask
    from radhard.campaign.campaign import Campaign
    from radhard.campaign.prepare import Prepared
    from radhard.campaign.result import Result

Out = Annotated[
    Path | None,
    typer.Option(help="Folder for results and page; runs/NAME-ID by default."),
]
Memory = Annotated[
    str | None, typer.Option(help="Most memory for golden values and batches, such as 4GiB.")
]
Output = Annotated[
    str | None, typer.Option(help="Which of several results of the model holds the logits.")
]
Images = Annotated[
    str | None,
    typer.Option(help="Test images struck at a time, about, or all; 64, or all of fewer."),
]
Target = Annotated[
    str,
    typer.Option(help="What the answer is about: task (all test images), or these images only."),
]
Size = Annotated[
    str | None,
    typer.Option(help="Of images in a folder: 224, 192x256, or 224/256: 224 cut out of 256."),
]
Grey = Annotated[bool, typer.Option("--grey", help="One channel, of images in a folder.")]
Mean = Annotated[
    str | None, typer.Option(help="To standardise with, such as 0.485,0.456,0.406 or 0.5.")
]
Std = Annotated[str | None, typer.Option(help="To standardise with, as --mean.")]
Device = Annotated[
    str,
    typer.Option(help="Where faults run: cpu, cuda, cuda:1, or auto: cuda where there is one."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Load a .pt2 file even if that can run code of its maker.")
]
Workers = Annotated[
    str,
    typer.Option(help="Processes that share the work: a number, or auto: one per core."),
]
Shards = Annotated[
    str | None,
    typer.Option(help="A part of the faults, FROM:TO, for many machines; radhard merge unites."),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="Shards as tasks of Ray: ray for this machine, or ray://HOST:PORT."),
]
Log = Annotated[
    Path | None, typer.Option(help="File to which a line a minute is added: how far it is.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


#: What ``--engine rtl`` stands for.
_ON_ARRAY = "radhard.rtl.hybrid:OnArray"


@app.command()
def assess(
    model: Annotated[
        str,
        typer.Argument(
            help="Zoo name, package.module:function, .pt2 file of torch.export, or .onnx file."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set, folder with a folder of images per class, or .npz file of inputs."
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for a zoo model.")] = None,
    output: Output = None,
    images: Images = None,
    target: Target = "task",
    size: Size = None,
    grey: Grey = False,
    mean: Mean = None,
    std: Std = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Number format: radhard list formats; those of a quantised network, else fp32, or "
            "int8 with a multiplier or permanent faults."
        ),
    ] = None,
    chip: Annotated[
        str, typer.Option(help="What is struck: radhard list chips, or a chip.toml.")
    ] = "eyeriss",
    fault_model: Annotated[
        str, typer.Option(help="bit-flip, multi-bit-flip:K, burst:K, stuck-at:V, random-value.")
    ] = "bit-flip",
    faults: Annotated[
        int | None, typer.Option(help="Number of faults (10,000 unless --until is given).")
    ] = None,
    until: Annotated[
        float | None,
        typer.Option(help="Stop when the 95 % interval of METRIC is +- this wide, such as 0.01."),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="What --until is about: an outcome, recall, precision, or ra (also of others)."
        ),
    ] = "sdc1",
    sampler: Annotated[
        str, typer.Option(help="How faults are drawn: radhard list samplers.")
    ] = "gradient-importance",
    protect: Annotated[
        str | None,
        typer.Option(help="Protections, comma-separated: radhard list protections."),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(help="Outcomes of your own, comma-separated: package.module:function."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    nan: Annotated[
        str | None,
        typer.Option(help="Not-a-number in rectifiers: zero (chips) or propagate (software)."),
    ] = None,
    confidence_of: Annotated[
        str, typer.Option(help="What SDC-10 % and 20 % compare: top-class, or top-score.")
    ] = "top-class",
    arithmetic: Annotated[
        str | None,
        typer.Option(help="Arithmetic of your own in place of exact one: package.module:object."),
    ] = None,
    multiplier: Annotated[
        str | None, typer.Option(help="What multiplies in layers: radhard list multipliers.")
    ] = None,
    permanent: Annotated[
        str | None,
        typer.Option(
            help="Chips with stuck bits in place of passing faults: 'product sa1 bit=12 "
            "rate=0.01', or single; --chip is systolic:ROWSxCOLS:FLOW then."
        ),
    ] = None,
    maps: Annotated[
        int | None, typer.Option(help="--permanent: chips, each with faults of its own; 20.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="--permanent: those on the faulty array, comma-separated; all."),
    ] = None,
    lose: Annotated[
        float | None, typer.Option(help="--permanent: accuracy that a good chip may lose; 0.01.")
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="What computes struck layers: the fault model, or rtl: the emitted array of a "
            "chip systolic:ROWSxCOLS:FLOW or clocked:...; or your own."
        ),
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(help="Fixed point: once (after a sum, the default), or each-step, slow."),
    ] = None,
    out: Out = None,
    memory: Memory = None,
    device: Device = "auto",
    trust: Trust = False,
    workers: Workers = "1",
    shards: Shards = None,
    cluster: Cluster = None,
    log: Log = None,
    json: Json = False,
) -> None:
    """Strike a network with faults and tell how often its answer changes.

    Stopped with Ctrl-C, the same command goes on where it was.
    """
    from radhard.campaign.ask import validated

    fields = {
        "model": model,
        "data": data,
        "weights": weights,
        "output": output,
        "images": images,
        "target": target,
        "size": size,
        "grey": grey,
        "mean": mean,
        "std": std,
        "format": format,
        "chip": chip,
        "fault_model": fault_model,
        "faults": faults,
        "until": until,
        "metric": metric,
        "sampler": sampler,
        "protections": _several(protect),
        "criteria": {one.rpartition(":")[2]: one for one in _several(criterion)},
        "seed": seed,
        "nan": nan,
        "confidence_of": confidence_of,
        "arithmetic": arithmetic,
        "multiplier": multiplier,
        "engine": engine,
        "rounding": rounding,
        "permanent": permanent,
        "maps": maps,
        "lose": lose,
        "layers": _several(layers),
    }
    way = Way(out, memory, device, json, trust, workers, shards, log, cluster)
    answer(validated(fields, "assess"), way)


def _several(given: str | None) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(part.strip() for part in (given or "").split(",") if part.strip())


def answer(ask: Ask, way: Way) -> None:
    """Run what is asked, and print tables and the page's path, or a JSON object."""
    from radhard.campaign.collect import collect
    from radhard.campaign.pool import workers_of
    from radhard.campaign.prepare import prepare
    from radhard.campaign.shard import part_of
    from radhard.engine.device import device_named
    from radhard.engine.memory import bytes_of, keep_freed_memory
    from radhard.view.page import report

    workers = workers_of(way.workers)
    part = part_of(way.shards) if way.shards is not None else None
    if ask.permanent is not None:
        if part is not None or way.cluster is not None:
            named = f"--shards {way.shards}" if part is not None else f"--cluster {way.cluster}"
            raise ValueError(f"{named} can't be with --permanent: chips are no shards of faults")
        answer_permanent(ask, ask.permanent, way, workers)
        return
    if ask.engine == "rtl":  # a name of a room that asks are below
        ask = ask.model_copy(update={"engine": _ON_ARRAY})
    out, json = way.out, way.json
    budget = bytes_of(way.memory) if way.memory is not None else None
    device = device_named(way.device)
    keep_freed_memory()
    prepared = prepare(ask, way.trust, device)
    show_notes(prepared.notes)
    campaign = prepared.campaign
    store = out or Path("runs") / f"{campaign.name}-{campaign.id[:8]}"
    uniform = _as_software(ask, prepared)
    _refuse_other_campaigns(store, [campaign, *([uniform[1].campaign] if uniform else [])])
    paged = out is not None or not json
    with resumable(store, way.log, "report.html" if paged else None) as watch:

        def collected(ask: Ask, prepared: Prepared) -> Result:
            about: dict[str, Any] = {**ask.as_toml(), "data": prepared.data}
            campaigns, until = [prepared.campaign], ask.budget()
            how = budget, workers, part, way.cluster
            return next(collect(campaigns, until, store, watch, about, *how))

        result = collected(ask, prepared)
        software = collected(*uniform) if uniform else None
    if json:
        print_json(result, prepared, software)
    else:
        from radhard.view.table import show

        show(result, software)
        for words in result.protections:
            print(f"protected by {words}")
    if paged:
        show_page(report(store), json)
    if not json and result.space.rate_fit is None:
        print(f"no FIT: chip {campaign.chip.name} has no raw rates (rate_fit_per_mbit)")
    elif not json:
        from radhard.view.wording import verdict_words

        print(verdict_words(result.fit("sdc1"), result.fit_verdict()))


def _as_software(ask: Ask, prepared: Prepared) -> tuple[Ask, Prepared] | None:
    """The same question about software's uniform faults, where RA is asked of a chip."""
    from dataclasses import replace

    from radhard.accel.chips import SOFTWARE

    if ask.metric != "ra" or prepared.campaign.chip == SOFTWARE:
        return None
    campaign = replace(prepared.campaign, chip=SOFTWARE, engine=None, name="")
    return ask.model_copy(update={"chip": "software"}), replace(prepared, campaign=campaign)


def _refuse_other_campaigns(store: Path, own: list[Campaign]) -> None:
    from radhard.campaign.store import StoreError, folders

    if store.exists() and not store.is_dir():
        raise StoreError(f"{store} is no folder: name one for the results")
    if not store.exists() or not any(store.iterdir()):
        return
    ids = [campaign.id for campaign in own]
    held = folders(store) if list(store.glob("*/campaign.toml")) else []
    others = [folder for folder in held if folder.about()["identity"]["id"] not in ids]
    if others and len(others) == len(held):
        raise StoreError(
            f"{store} belongs to another question ({others[0].path.name}): name another folder "
            "with --out, or ask the same again"
        )
