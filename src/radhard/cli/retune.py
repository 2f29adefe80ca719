"""`radhard retune`: a network that suits the faults of its chip."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import app, plain, show_notes, stoppable
from radhard.cli.assess import Grey, Images, Json, Mean, Size, Std, Trust

if TYPE_CHECKING:
    from radhard.campaign.chips import UnderDefects
    from radhard.protect.retune import Retune
    from radhard.stats.estimate import Estimate

#: Training images from which weights are learned, at most.
_LEARNING = 1000


class RuleName(StrEnum):
    """What becomes of weights on faulty elements."""

    hybrid = "hybrid"
    keep = "keep"
    map = "map"
    bypass = "bypass"


class SlopesName(StrEnum):
    """What training takes for slopes of products."""

    straight = "straight"
    tables = "tables"


@app.command()
def retune(
    model: Annotated[str, typer.Argument(help="As for assess.")],
    permanent: Annotated[
        str, typer.Option(help="Stuck bits of each chip: 'product sa1 bit=12 rate=0.01'.")
    ],
    out: Annotated[
        Path, typer.Option(help="The retuned network, NAME.pt2; beside it NAME.json, its places.")
    ] = Path("retuned.pt2"),
    data: Annotated[str | None, typer.Option(help="As for assess.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for a zoo model.")] = None,
    images: Images = None,
    size: Size = None,
    grey: Grey = False,
    mean: Mean = None,
    std: Std = None,
    format: Annotated[str, typer.Option(help="Number format of integers.")] = "int8",
    multiplier: Annotated[
        str | None, typer.Option(help="What multiplies: radhard list multipliers.")
    ] = None,
    chip: Annotated[
        str, typer.Option(help="systolic:ROWSxCOLS:ws, an array that keeps weights.")
    ] = "systolic:128x128:ws",
    rule: Annotated[
        RuleName, typer.Option(help="For weights on faulty elements.")
    ] = RuleName.hybrid,
    remap: Annotated[
        bool, typer.Option(help="Place layers so that what matters least is on faulty elements.")
    ] = True,
    epochs: Annotated[
        int, typer.Option(min=0, help="Of training with the faulty array in the loop.")
    ] = 0,
    slopes: Annotated[
        SlopesName, typer.Option(help="Of products, in training: exact ones', or by their tables.")
    ] = SlopesName.straight,
    maps: Annotated[int, typer.Option(min=1, help="Chips that are tried, each retuned.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the chips; the first one is written.")] = 0,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Retune a network to a chip with permanent faults, and say what that is worth.

    Weights are learned from training images and tried on test images: on chips that are retuned one
    by one, and, for the network that is written, on other chips, whose faults it has not seen.
    Stopped with Ctrl-C, the same command goes on where it was.
    """
    from dataclasses import replace

    from radhard.campaign.ask import validated
    from radhard.campaign.chips import under_defects
    from radhard.campaign.prepare import chips_of, training_of
    from radhard.engine.memory import keep_freed_memory
    from radhard.faults.permanent import Permanent
    from radhard.protect.retune import Retune
    from radhard.protect.rules import Bypass, Hybrid, Keep, WeightMap
    from radhard.protect.slopes import StraightThrough, TableSlopes
    from radhard.view.bar import counted

    if out.suffix != ".pt2":
        raise ValueError(f"--out {out} can't be: the network is written as a file named .pt2")
    fields = {
        "model": model, "data": data, "weights": weights, "images": images, "format": format,
        "size": size, "grey": grey, "mean": mean, "std": std, "multiplier": multiplier,
        "chip": chip, "seed": seed,
    }  # fmt: skip
    keep_freed_memory()
    ask = validated(fields, "retune")
    chips, _, notes = chips_of(ask, Permanent.parsed(permanent), trust)
    show_notes(notes)
    rules = {
        RuleName.hybrid: Hybrid(), RuleName.keep: Keep(), RuleName.map: WeightMap(),
        RuleName.bypass: Bypass(),
    }  # fmt: skip
    taken = StraightThrough() if slopes == SlopesName.straight else TableSlopes()
    plan = Retune(rules[rule], remap, epochs, seed, taken)
    learning, training = chips.workload, training_of(ask, _LEARNING)
    if training is not None:
        pictures, labels = training
        learning = learning.with_(pictures[-_LEARNING:], labels[-_LEARNING:])
    else:
        print("note: it learns from the images that it is tried on", file=sys.stderr)
    store = out.with_suffix("").with_name(f"{out.stem}-chips")
    with stoppable(store), counted("chips") as watch:
        before = under_defects(chips, maps, store, watch)
        each = replace(chips, retune=plan, learning=learning)
        after = under_defects(each, maps, store, watch)
        first = chips.fault_free.with_(array=before.arrays[0], multiplier=chips.multiplier)
        own = plan.fit(first.with_(learning.images, learning.labels))
        unseen = replace(chips, seed=seed + 1)
        others = under_defects(unseen, maps, store, watch)
        tuned = replace(unseen, retune=own, learning=learning)
        there = under_defects(tuned, maps, store, watch)
    _write(own, first, out)
    found = {
        "fault-free": before.golden_accuracy,
        "as it was": before.accuracy,
        "retuned, chip by chip": after.accuracy,
        "gained": after.lead(before),
        "other chips, as it was": others.accuracy,
        "other chips, this network": there.accuracy,
    }
    _tell(found, (before, after), out, json)


def _tell(
    found: dict[str, Estimate], pair: tuple[UnderDefects, UnderDefects], out: Path, json: bool
) -> None:
    import json as writer

    from rich import box
    from rich.table import Table

    from radhard.view.chips import about
    from radhard.view.terminal import print_tables

    good = {f"yield, {name}": one.yield_of(0.01)
            for name, one in zip(("as it was", "retuned"), pair, strict=True)}  # fmt: skip
    if json:
        shown = {
            name.replace(", ", "_").replace(" ", "_").replace("-", "_"): plain(one)
            for name, one in {**found, **good}.items()
        }  # fmt: skip
        print(writer.dumps({"metrics": shown, "network": str(out)}, allow_nan=False))
        return
    table = Table(title=about(pair[0]), box=box.SIMPLE, title_justify="left")
    for head in ("", "accuracy", "95 % interval"):
        table.add_column(head)
    for name, one in {**found, **good}.items():
        value, _, interval = str(one).partition(" [")
        table.add_row(name, value, f"[{interval}")
    print_tables(table)
    print(f"network for the first chip: {out}, places on the array: {out.with_suffix('.json')}")


def _write(own: Retune, chip: Any, out: Path) -> None:
    """The network in floats, and what its weights are on the array."""
    import json as writer

    import torch

    from radhard.protect.module import in_floats

    out.parent.mkdir(parents=True, exist_ok=True)
    text = writer.dumps(own.on_array(chip), indent=1)
    out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    try:
        module = in_floats(own.retune(chip))
    except ValueError as error:
        print(f"note: {out} is not written, its codes are beside it: {error}", file=sys.stderr)
        return
    dynamic = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(module, (chip.images[:2],), dynamic_shapes=dynamic)
    torch.export.save(program, out)
