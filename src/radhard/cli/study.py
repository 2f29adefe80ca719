"""`radhard study`: a published study as one command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radhard.cli.app import app
from radhard.cli.assess import Device

if TYPE_CHECKING:
    import torch

    from radhard.campaign.ask import Ask
    from radhard.view.bar import ProgressBar


class Study(StrEnum):
    """What can be studied."""

    error_propagation = "error-propagation"
    neuron_gradients = "neuron-gradients"


#: Images of a study, unless stated: single faults need as few as any campaign, rates many.
_IMAGES = {Study.error_propagation: None, Study.neuron_gradients: 500}


@app.command()
def study(
    what: Annotated[Study, typer.Argument(help="Which study.")],
    models: Annotated[str, typer.Option(help="Zoo names, comma-separated.")] = "digits-cnn",
    data: Annotated[str | None, typer.Option(help="Data set of all models.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="MODEL=PATH of a checkpoint; may be repeated.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Test images of the study; 64, or 500 for error rates."),
    ] = None,
    chip: Annotated[
        str, typer.Option(help="error-propagation: a chip with latches and memories.")
    ] = "eyeriss",
    until: Annotated[
        float, typer.Option(help="error-propagation: half width of the interval of each SDC-1.")
    ] = 0.02,
    rates: Annotated[
        str, typer.Option(help="neuron-gradients: error rates, comma-separated.")
    ] = "1e-5,1e-4,1e-3,1e-2",
    errors: Annotated[
        str, typer.Option(help="neuron-gradients: neuron, neuron-bit, activation or weight-bit.")
    ] = "neuron",
    repetitions: Annotated[
        int, typer.Option(help="neuron-gradients: inferences per image and rate.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results and page; runs/STUDY by default.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Repeat a published study: table and page.

    error-propagation strikes latches and buffers in six number formats. neuron-gradients sets
    suppressors of wrong values against each other, error rate by rate. Stopped with Ctrl-C, the
    same command goes on where it was.
    """
    from radhard.engine.device import device_named
    from radhard.engine.memory import keep_freed_memory

    there = device_named(device)
    asks = _asks(models, data, weights or [], _IMAGES[what] if images is None else images, seed)
    keep_freed_memory()
    store = out or Path("runs") / what.value
    if what == Study.error_propagation:
        _propagation(asks, chip, until, store, there)
    else:
        _suppression(asks, (rates, errors), repetitions, store, there)


@contextmanager
def _resumable(store: Path) -> Iterator[ProgressBar]:
    """A progress bar; Ctrl-C ends with a word on how to go on."""
    from radhard.view.bar import ProgressBar

    try:
        with ProgressBar() as bar:
            yield bar
    except KeyboardInterrupt:
        print(f"stopped; what is done is in {store}, the same command goes on", file=sys.stderr)
        sys.exit(130)


def _propagation(
    asks: list[Ask], chip: str, until: float, store: Path, device: torch.device
) -> None:
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
    with _resumable(store) as bar:
        findings = list(run(struck, asks, Precision(until), store, bar, device))
    show_study(findings)
    print(f"page: {study_page(findings, store)}")
    print(f"campaigns one by one: {report(store)}")


def _suppression(
    asks: list[Ask], given: tuple[str, str], repetitions: int, store: Path, device: torch.device
) -> None:
    """Of rates and a kind of errors."""
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
    with _resumable(store) as bar:
        found = list(suppression_study(asks, errors, repetitions, store, bar, device))
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
    models: str, data: str | None, weights: list[str], images: int | None, seed: int
) -> list[Ask]:
    from radhard.campaign.ask import validated

    names = [name for name in models.split(",") if name]
    paths = dict(pair.partition("=")[::2] for pair in weights)
    unknown = set(paths) - set(names)
    if unknown or not all(paths.values()) or not names:
        raise ValueError(
            f"weights {weights} for models {names}: give MODEL=PATH for models of the study"
        )
    return [
        validated(
            {
                "model": name,
                "data": data,
                "weights": paths.get(name),
                "images": images,
                "target": "images",
                "seed": seed,
            },
            "study",
        )
        for name in names
    ]
