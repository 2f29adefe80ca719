"""`radhard quantise`: a network as integer codes, and what that costs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app, plain, refuse, show_notes
from radhard.cli.assess import Grey, Json, Mean, Size, Std, Trust

if TYPE_CHECKING:
    from torch import Tensor

    from radhard.campaign.ask import Ask
    from radhard.network.clip import Clip
    from radhard.network.source import Subject
    from radhard.network.workload import Workload
    from radhard.stats.estimate import Estimate

#: Test images on which it is judged, at most. Training images of a folder that are read, at most.
_JUDGED, _READ = 10_000, 2_000


class Method(StrEnum):
    """Whether weights are trained with their codes."""

    ptq = "ptq"
    qat = "qat"


class ClipName(StrEnum):
    """From which values on codes saturate."""

    minmax = "minmax"
    percentile = "percentile"
    mse = "mse"


@app.command()
def quantise(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="As for assess.")],
    data: Annotated[str | None, typer.Option(help="As for assess; it is judged on these.")] = None,
    learn_from: Annotated[
        str | None,
        typer.Option(
            help="Training images: a folder, an .npz file, or module:function; a named set has "
            "its own."
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for a zoo model.")] = None,
    bits: Annotated[
        str, typer.Option(help="8, w4a8 (weights, activations), LAYER=BITS, comma-separated.")
    ] = "8",
    method: Annotated[
        Method, typer.Option(help="After training (ptq), or trained with its codes (qat).")
    ] = Method.ptq,
    clip: Annotated[
        ClipName | None,
        typer.Option(
            help="Which values saturate: none, the outermost, or what fits best, from which "
            "training starts by default."
        ),
    ] = None,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="A scale for each output channel of weights.")
    ] = False,
    power_of_two: Annotated[
        bool, typer.Option("--power-of-two", help="Scales are powers of two.")
    ] = False,
    headroom: Annotated[
        int, typer.Option(min=0, help="Bits of activations that calibration leaves unused.")
    ] = 0,
    bias_correction: Annotated[
        bool, typer.Option("--bias-correction", help="Biases make up for rounded weights.")
    ] = False,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Activations unsigned, with a zero point.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="qat: passes over the images.")] = 1,
    rate: Annotated[float, typer.Option(help="qat: of the first steps.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="qat: of the order of images.")] = 0,
    out: Annotated[
        Path, typer.Option(help="The quantised network, NAME.pt2, which assess reads.")
    ] = Path("quantised.pt2"),
    size: Size = None,
    grey: Grey = False,
    mean: Mean = None,
    std: Std = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Turn a network into integer codes, and say what accuracy that costs.

    Ranges are seen, and weights trained, on training images; it is judged on test images. The file
    has the codes and the scales: radhard assess takes them as they are.
    """
    from dataclasses import replace

    from radhard.campaign.ask import validated
    from radhard.engine.memory import keep_freed_memory
    from radhard.network.aware import LearnedSteps
    from radhard.network.capture import capture
    from radhard.network.quantisation import Quantisation
    from radhard.network.quantise import quantise as quantised
    from radhard.network.quantised import save
    from radhard.network.source import subject
    from radhard.view.bar import counted

    if out.suffix != ".pt2":
        raise ValueError(f"--out {out} can't be: the network is written as a file named .pt2")
    if method is not Method.qat:
        refuse(context, "epochs rate seed", "without --method qat")
    usual = ClipName.mse if method == Method.qat else ClipName.minmax
    plan = replace(
        Quantisation.parse(bits), clip=_clip(clip or usual), per_channel=per_channel,
        power_of_two=power_of_two, headroom=headroom, bias_correction=bias_correction,
        signed=not unsigned,
    )  # fmt: skip
    training = LearnedSteps(epochs, rate, seed=seed) if method == Method.qat else None
    keep_freed_memory()
    fields = {"model": model, "data": data, "weights": weights, "size": size, "grey": grey,
              "mean": mean, "std": std}  # fmt: skip
    ask = validated(fields, "quantise")
    whole = subject(model, data, weights, how=ask.reading(_JUDGED), trust=trust)
    show_notes(whole.notes)
    given = whole.inputs.given(whole.images[:_JUDGED])
    work = capture(whole.model, given, whole.labels[:_JUDGED], name=whole.name)
    learning = _learning(ask, learn_from, whole, trust)
    with counted("batches") as watch:
        found = quantised(work, plan, *learning, training, watch)
    save(found, out)
    _tell(work, found, out, json)


def _clip(name: ClipName) -> Clip:
    from radhard.network.clip import LeastSquares, MinMax, Percentile

    known: dict[ClipName, Clip] = {
        ClipName.minmax: MinMax(), ClipName.percentile: Percentile(), ClipName.mse: LeastSquares(),
    }  # fmt: skip
    return known[name]


def _learning(
    ask: Ask, learn_from: str | None, whole: Subject, trust: bool
) -> tuple[Tensor, Tensor]:
    """Training images and their labels.

    Raises:
        ValueError: where there are none, or those are meant on which it is judged.
    """
    from radhard.network.data import data_sources
    from radhard.network.source import subject

    named = {source.name for source in data_sources()}
    if learn_from is None and whole.data not in named:
        raise ValueError(
            f"no calibration images: {whole.data} is no data set with training images of its own: "
            "say --learn-from FOLDER, FILE.npz or package.module:function"
        )
    if learn_from == whole.data and learn_from not in named:
        raise ValueError(f"--learn-from {learn_from}: it is judged on these: give other images")
    source = learn_from or whole.data
    if ":" in source:
        more = subject(source)
    else:
        more = subject(ask.model, source, ask.weights, True, ask.reading(_READ), trust)
    return more.images, more.labels


def _accuracy(work: Workload) -> Estimate:
    from radhard.campaign.campaign import rightly_answered
    from radhard.stats.interval import wilson

    right = rightly_answered(work, work.images, work.labels)
    return wilson(sum(right), len(right))


def _tell(before: Workload, after: Workload, out: Path, json: bool) -> None:
    """Accuracy before and after, and what each layer has."""
    import json as writer

    from rich import box
    from rich.table import Table

    from radhard.view.terminal import print_tables

    found = {"before": _accuracy(before), "after": _accuracy(after)}
    layers = [
        {"layer": layer.name, "weight": own.weight.width, "input": own.input.width,
         "output": own.output.width}
        for layer, own in zip(after.layers, after.formats.layers, strict=True)
    ]  # fmt: skip
    if json:
        accuracy = {name: plain(one) for name, one in found.items()}
        shown = {"accuracy": accuracy, "format": after.formats.name, "layers": layers,
                 "network": str(out)}  # fmt: skip
        print(writer.dumps(shown, allow_nan=False))
        return
    table = Table(
        title=f"{after.name} in {after.formats.name}", box=box.SIMPLE, title_justify="left"
    )
    for head in ("", "accuracy", "95 % interval"):
        table.add_column(head)
    for name, one in found.items():
        value, _, interval = str(one).partition(" [")
        table.add_row(name, value, f"[{interval}")
    bits = Table(title="bits", box=box.SIMPLE, title_justify="left")
    for head in ("layer", "weight", "input", "output"):
        bits.add_column(head)
    for row in layers:
        bits.add_row(*map(str, row.values()))
    print_tables(table, bits)
    print(f"network: {out}, with its formats, which radhard assess {out} takes as they are")
    sys.stdout.flush()
