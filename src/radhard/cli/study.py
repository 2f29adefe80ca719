"""`radhard study`: a published study as one command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app, resumable, workers_on
from radhard.cli.approximate import approximate, planned_of
from radhard.cli.assess import Device, Log, Workers

if TYPE_CHECKING:
    import torch

    from radhard.campaign.ask import Ask


class Study(StrEnum):
    """What can be studied."""

    error_propagation = "error-propagation"
    neuron_gradients = "neuron-gradients"
    approximate_faults = "approximate-faults"


#: Images of a study, unless stated: single faults need as few as any campaign, rates many.
_IMAGES = {
    Study.error_propagation: None,
    Study.neuron_gradients: 500,
    Study.approximate_faults: 200,
}
#: The chip of a study, and its rates, unless stated.
_CHIPS = {Study.error_propagation: "eyeriss", Study.approximate_faults: "systolic:128x128:ws"}
_RATES = "1e-5,1e-4,1e-3,1e-2"


@app.command()
def study(
    what: Annotated[Study, typer.Argument(help="Which study.")],
    models: Annotated[str, typer.Option(help="Zoo names, comma-separated.")] = "digits-cnn",
    data: Annotated[
        str | None, typer.Option(help="Data set of all models, or of each, comma-separated.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="MODEL=PATH of a checkpoint; may be repeated.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Test images; 64, 500 for error rates, 200 for approximate-faults."),
    ] = None,
    chip: Annotated[
        str | None,
        typer.Option(
            help="error-propagation: a chip with latches and memories, eyeriss if left "
            "out; approximate-faults: an array, systolic:128x128:ws if left out."
        ),
    ] = None,
    until: Annotated[
        float, typer.Option(help="error-propagation: half width of the interval of each SDC-1.")
    ] = 0.02,
    rates: Annotated[
        str | None,
        typer.Option(
            help="neuron-gradients: error rates, comma-separated, 1e-5,1e-4,1e-3,1e-2 if "
            "left out; approximate-faults: faulty elements of all, or one, "
            "one,6e-5,1.2e-4,0.01,0.1,0.3,0.5 if left out."
        ),
    ] = None,
    errors: Annotated[
        str, typer.Option(help="neuron-gradients: neuron, neuron-bit, activation or weight-bit.")
    ] = "neuron",
    repetitions: Annotated[
        int, typer.Option(help="neuron-gradients: inferences per image and rate.")
    ] = 2,
    multipliers: Annotated[
        str | None,
        typer.Option(help="approximate-faults: names, comma-separated, mul8s_exact among them."),
    ] = None,
    bits: Annotated[
        str | None, typer.Option(help="approximate-faults: stuck bits of products; 0 to 15.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="approximate-faults: faulty elements of all where bits and layers are "
            "compared; 0.01."
        ),
    ] = None,
    maps: Annotated[
        int | None, typer.Option(help="approximate-faults: chips of each kind; 20.")
    ] = None,
    learning: Annotated[
        int | None,
        typer.Option(help="approximate-faults: training images to retune with; 500."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="approximate-faults: of training after retuning; 0.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="approximate-faults: four bits, two multipliers, 2 chips and "
            "100 images where nothing else is said.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results and page; runs/STUDY by default.")
    ] = None,
    device: Device = "auto",
    workers: Workers = "1",
    log: Log = None,
) -> None:
    """Repeat a published study: table and page.

    error-propagation strikes latches and buffers in six number formats. neuron-gradients sets
    suppressors of wrong values against each other, error rate by rate. approximate-faults sets
    approximate multipliers against exact ones with the same stuck bits, and ways to live with
    them. Stopped with Ctrl-C, the same command goes on where it was.
    """
    from radhard.engine.memory import keep_freed_memory

    if what == Study.approximate_faults and device not in ("auto", "cpu"):
        raise ValueError(f"--device {device}: approximate-faults runs on cpu")
    there = workers_on(device, workers)
    planned = {"multipliers": multipliers, "bits": bits, "rate": rate, "maps": maps,
               "learning": learning, "epochs": epochs}  # fmt: skip
    given = {name: value for name, value in planned.items() if value is not None}
    keep_freed_memory()
    store = out or Path("runs") / what.value
    count = _IMAGES[what] if images is None else images
    if what == Study.approximate_faults:
        few = 100 if quick and images is None else count
        asks = _asks(models, data, weights or [], few, seed,
                     {"format": "int8", "chip": chip or _CHIPS[what]})  # fmt: skip
        approximate(asks, planned_of({**given, "rates": rates}, quick), (store, log), there[0])
        return
    if given or quick:
        names = ", ".join(f"--{name}" for name in [*given, *["quick"] * quick])
        raise ValueError(f"{names}: of approximate-faults, not of {what.value}")
    asks = _asks(models, data, weights or [], count, seed, {})
    if what == Study.error_propagation:
        _propagation(asks, chip or _CHIPS[what], until, (store, log), there)
    else:
        _suppression(asks, (rates or _RATES, errors), repetitions, (store, log), there)


def _propagation(
    asks: list[Ask],
    chip: str,
    until: float,
    into: tuple[Path, Path | None],
    there: tuple[int, torch.device],
) -> None:
    """Into a store and a log, by workers on a device."""
    from radhard.accel.chip import Chip
    from radhard.accel.chips import chip_named
    from radhard.stats.stopping import Precision
    from radhard.study.propagation import study as run
    from radhard.view.page import report
    from radhard.view.propagation import study_page
    from radhard.view.table import show_study

    struck = chip_named(chip)
    if not isinstance(struck, Chip):
        raise ValueError(f"chip {chip} has neither latches nor memories: use eyeriss or a file")
    (store, log), (workers, device) = into, there
    with resumable(store, log) as bar:
        findings = list(run(struck, asks, Precision(until), store, bar, device, workers))
    show_study(findings)
    print(f"page: {study_page(findings, store)}")
    print(f"campaigns one by one: {report(store)}")


def _suppression(
    asks: list[Ask],
    given: tuple[str, str],
    repetitions: int,
    into: tuple[Path, Path | None],
    there: tuple[int, torch.device],
) -> None:
    """Of rates and a kind of errors, into a store and a log, by workers on a device."""
    from radhard.study.suppression import errors_named, suppression_study
    from radhard.view.suppression import suppression_page
    from radhard.view.table import show_suppression

    rates, kind = given
    errors = [errors_named(kind, _rate(rate)) for rate in rates.split(",") if rate.strip()]
    if not errors:
        raise ValueError(f"rates {rates!r} name none: give error rates such as 1e-4,1e-3")
    least = 2 if kind == "weight-bit" else 1  # wrong weights last for a repetition
    if repetitions < least:
        raise ValueError(f"{repetitions} repetitions of {kind} can't be: use at least {least}")
    (store, log), (workers, device) = into, there
    with resumable(store, log, "study.html") as bar:
        found = list(suppression_study(asks, errors, repetitions, store, bar, device, workers))
    show_suppression(found)
    print(f"page: {suppression_page(found, kind, store)}")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate <= 1:
        raise ValueError(f"error rate {text.strip()!r} can't be: use a number in (0, 1], as 1e-3")
    return rate


def _asks(
    models: str,
    data: str | None,
    weights: list[str],
    images: int | None,
    seed: int,
    more: dict[str, str],
) -> list[Ask]:
    from radhard.campaign.ask import validated

    names = [name for name in models.split(",") if name]
    paths = dict(pair.partition("=")[::2] for pair in weights)
    unknown = set(paths) - set(names)
    if unknown or not all(paths.values()) or not names:
        raise ValueError(
            f"weights {weights} for models {names}: give MODEL=PATH for models of the study"
        )
    sets = data.split(",") if data is not None else [None]
    if len(sets) not in (1, len(names)):
        raise ValueError(
            f"data {data} for models {', '.join(names)}: name one for all, or one for each"
        )
    homes = sets * len(names) if len(sets) == 1 else sets
    return [
        validated(
            {
                "model": name,
                "data": home,
                "weights": paths.get(name),
                "images": images,
                "target": "images",
                "seed": seed,
                **more,
            },
            "study",
        )
        for name, home in zip(names, homes, strict=True)
    ]
