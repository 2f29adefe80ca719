"""`radhard protect`: the cheapest protections that meet a goal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radhard.cli.app import app, plain, show_notes, show_page, stoppable, workers_on
from radhard.cli.assess import (
    Device,
    Grey,
    Images,
    Json,
    Mean,
    Out,
    Output,
    Size,
    Std,
    Trust,
    Workers,
)

if TYPE_CHECKING:
    from radhard.campaign.ask import Ask
    from radhard.campaign.campaign import Campaign
    from radhard.network.workload import Workload
    from radhard.search.choose import Choice
    from radhard.search.trial import Trial
    from radhard.stats.estimate import Estimate


@app.command()
def protect(
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
    chip: Annotated[
        str, typer.Option(help="What is struck: radhard list chips, or a chip.toml.")
    ] = "eyeriss",
    target_fit: Annotated[
        float | None,
        typer.Option(help="SDC-1 rate at most, in FIT (a probability with --chip software)."),
    ] = None,
    budget_area: Annotated[
        float | None, typer.Option(help="Storage area that may be added, such as 0.05 for 5 %.")
    ] = None,
    budget_macs: Annotated[
        float | None, typer.Option(help="Work that may be added, as a share of the network's.")
    ] = None,
    budget_latency: Annotated[
        float | None,
        typer.Option(help="Time without a fault that may be added, as a share of an inference's."),
    ] = None,
    max_accuracy_loss: Annotated[
        float,
        typer.Option(help="Accuracy without a fault that may be lost; 0.005 is half a point."),
    ] = 0.005,
    max_false_alarms: Annotated[
        float,
        typer.Option(help="Share of images without a fault that may be run again for an alarm."),
    ] = 0.01,
    repeat: Annotated[
        bool, typer.Option(help="Whether an inference may run again after an alarm.")
    ] = True,
    faults: Annotated[
        int,
        typer.Option(
            help="On which designs are found; fresh ones judge them, at first as many.", min=1
        ),
    ] = 4000,
    most: Annotated[
        int | None,
        typer.Option(
            help="Fresh faults at most, for close decisions; 8 times --faults by default.", min=1
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="How faults are drawn: radhard list samplers.")
    ] = "gradient-importance",
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    out: Out = None,
    device: Device = "auto",
    trust: Trust = False,
    workers: Workers = "1",
    json: Json = False,
) -> None:
    """Search protections, part by part of the chip and layer by layer, on the same faults.

    The designs of which none is beaten are judged on fresh faults, more of them where it is close.
    The cheapest whose fresh interval meets the goal is chosen, and of each other one it is said why
    it was not. The same command again reuses what was run.
    """
    from radhard.campaign.ask import validated
    from radhard.campaign.prepare import prepare
    from radhard.engine.memory import keep_freed_memory
    from radhard.search.choose import choose
    from radhard.search.trial import Goal
    from radhard.view.choice import choice_page, missed_words
    from radhard.view.table import show_choice

    goal = Goal(
        target_fit, budget_area, budget_macs, max_accuracy_loss, max_false_alarms, budget_latency
    )
    fields = {
        "model": model, "data": data, "weights": weights, "output": output,
        "images": images, "format": format,
        "size": size, "grey": grey, "mean": mean, "std": std, "chip": chip, "sampler": sampler,
        "seed": seed,
    }  # fmt: skip
    ask = validated(fields, "protect")
    crew, there = workers_on(device, workers)
    keep_freed_memory()
    prepared = prepare(ask, trust, there)
    show_notes(prepared.notes)
    campaign = prepared.campaign
    campaign, learn, told = _apart(ask, campaign)
    show_notes(told)
    store = out or Path("runs") / f"protect-{campaign.name}-{campaign.id[:8]}"

    def tell(name: str, done: int, total: int) -> None:
        print(f"{done + 1} of {total}: {name}", file=sys.stderr)

    with stoppable(store):
        about = {**ask.as_toml(), "data": prepared.data}
        limit = most if most is not None else 8 * faults
        found = choose(campaign, learn, goal, faults, limit, repeat, store, tell, about, crew)
    page = choice_page(found, goal, campaign.name, store)
    if json:
        _print_json(found)
    else:
        show_choice(found, goal, campaign.name)
    show_page(page, json)
    if found.winner is None:
        raise ValueError(missed_words(found, goal, repeat))


#: Training images on which guards learn, at most.
_LEARNING_IMAGES = 1000


def _apart(ask: Ask, campaign: Campaign) -> tuple[Campaign, Workload, tuple[str, ...]]:
    """The campaign, the network with images on which guards learn, and a note.

    Those of a network of the user's own, which has no others, are told apart.
    """
    from radhard.campaign.prepare import training_of
    from radhard.protect.learn import halves

    found, work = training_of(ask, _LEARNING_IMAGES), campaign.workload
    if found is not None:
        images, labels = (part[-_LEARNING_IMAGES:] for part in found)
        return campaign, work.with_(images, labels), ()
    judged, learn = halves(work)
    struck = campaign.images and min(campaign.images, len(judged.images))
    own = campaign.with_(workload=judged, name=campaign.name, images=struck)
    said = f"guards learn on {len(learn.images)} of the images, {len(judged.images)} are judged on"
    return own, learn, (said,)


def _print_json(found: Choice) -> None:
    import json

    from radhard.search.trial import JOINT

    shown = {
        "plain": _shown(found.plain),
        "points": [_shown(trial) for trial in found.trials],
        "front": [trial.design.name for trial in found.front],
        "chosen": _shown(found.winner) if found.winner else None,
        "members_of_chosen": [
            {"name": member.name, "does": member.does, "fit": _plain(member.rate)}
            for member in found.members
        ],
        "why_not": [f"{trial.design.name}: {trial.verdict}" for trial in found.cheaper],
        "guards": found.guards,
        "options": found.options,
        "common_faults": found.common,
        "more_were_tried": found.searched,
        "joint_confidence": JOINT,
    }
    print(json.dumps(shown, allow_nan=False))


def _shown(trial: Trial) -> dict[str, Any]:
    """A design: measured on faults and images that did not choose it, and what it takes."""
    design = trial.design
    return {
        "name": design.name,
        "verdict": trial.verdict,
        "fit": _plain(trial.rate),
        "fit_on_common_faults": _plain(trial.found),
        "fresh_faults": trial.faults,
        "accuracy": _plain(trial.golden),
        "accuracy_loss": design.loss,
        "accuracy_under_fault": _plain(trial.accuracy),
        "false_alarms": _plain(trial.alarms),
        "reruns": design.reruns,
        "macs": design.work,
        "area": design.area,
        "latency": design.latency,
        "repeats": design.repeats,
    }


def _plain(found: Estimate) -> dict[str, float | int | str | None]:
    return {**plain(found), "confidence": found.confidence, "unit": found.unit}
