"""`radhard status`: how far campaigns are, from what their folders say."""

from __future__ import annotations

import json as text
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from radhard.cli.app import app, plain
from radhard.cli.assess import Json

#: Seconds from one look to the next, and without any run after which nobody follows.
_EVERY, _PATIENCE = 2.0, 10.0


@app.command()
def status(
    store: Annotated[Path, typer.Argument(help="Folder given to --out, or to collect(store=...).")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until no campaign of the folder runs.")
    ] = False,
    json: Json = False,
) -> None:
    """Say how far the campaigns of a folder are, also while they run; nothing is changed."""
    from radhard.campaign.sealed import StoreError

    last, ran = None, time.monotonic()
    while True:
        paths = sorted(path.parent for path in store.rglob("campaign.toml"))
        if not paths:
            raise StoreError(f"{store} holds no campaign: name the folder given to --out")
        found = [_state(path) for path in paths]
        shown = text.dumps({"campaigns": found}) if json else "\n".join(map(_said, found))
        if shown != last:
            print(shown, flush=True)
        last = shown
        running = any(one["state"] == "running" for one in found)
        ran = time.monotonic() if running else ran
        patience = _PATIENCE if len(found) > 1 else 0.0  # the next one may need time to begin
        if not follow or (not running and time.monotonic() >= ran + patience):
            break
        time.sleep(_EVERY)
    damaged = sum(one["state"] == "damaged" for one in found)
    if damaged:
        raise ValueError(
            f"{damaged} of {len(found)} campaigns can't be read: radhard check {store} looks "
            "through their files"
        )


def _state(path: Path) -> dict[str, Any]:
    """How far one campaign is, as JSON has it."""
    from radhard.campaign.progress import read_told
    from radhard.campaign.sealed import StoreError, read_record

    shown: dict[str, Any] = {"name": path.name, "path": str(path)}
    try:
        record = read_record(path / "campaign.toml")
        if not record.whole:
            raise StoreError(f"{path / 'campaign.toml'} was changed since it was written")
        told = read_told(path, record.identity["id"])
        if told is None:
            return {**shown, **_counted(path)}
    except StoreError as error:
        return {**shown, "state": "damaged", "why": str(error)}
    told = told.now()
    step = told.step
    if told.state == "finished" and (held_by_name := _room(path)) < step.done:
        why = f"{path} has files of {held_by_name:,} faults at most, {step.done:,} were stored"
        return {**shown, "state": "damaged", "why": why}
    return {
        **shown, "state": told.state, "done": step.done, "goal": step.goal, "metric": step.metric,
        "estimate": {**plain(step.estimate), "confidence": step.estimate.confidence},
        "rate": told.rate, "seconds_left": told.seconds_left, "workers": step.workers,
        "process": told.process, "host": told.host, "begun": told.begun, "heard": told.at,
    }  # fmt: skip


def _room(path: Path) -> int:
    """The faults that the files of rows can hold, by their names."""
    from radhard.campaign.shard import span, stored

    return sum(span(number)[1] for number in stored(path))


def _counted(path: Path) -> dict[str, Any]:
    """From the rows of a campaign of which no run has told anything, such as a united one."""
    from radhard.campaign.store import Folder
    from radhard.view.unfinished import goal_of, unfinished

    folder = Folder(path)
    about = folder.about()
    if not folder.shards():
        return {"state": "no faults yet", "done": 0, "goal": goal_of(about)}
    result = folder.result()
    estimate = {**plain(result["sdc1"]), "confidence": result.confidence}
    state = "unfinished" if unfinished(about, result) else "finished"
    return {"state": state, "done": result.n, "goal": goal_of(about), "metric": "sdc1",
            "estimate": estimate}  # fmt: skip


def _said(found: Mapping[str, Any]) -> str:
    from radhard.view.units import duration, percent, speed

    if found["state"] == "damaged":
        return f"{found['name']}: damaged: {found['why']}"
    least = "at least " if found["state"] == "killed" else ""
    goal = f" of {found['goal']:,}" if found["goal"] is not None else ""
    parts = [f"{found['name']}: {found['state']}", f"{least}{found['done']:,}{goal} faults"]
    if "estimate" in found:
        one = {k: float("nan") if v is None else v for k, v in found["estimate"].items()}
        interval = f"{percent(one['low'])} to {percent(one['high'])}"
        known = f"{percent(one['value'])} ({100 * one['confidence']:g} % interval {interval})"
        parts.append(f"{found['metric']} {known}")
    if found.get("rate"):
        crew = f"{found['workers']} worker{'s' * (found['workers'] > 1)}"
        parts.append(f"{speed(found['rate'])} by {crew}")
    if found.get("seconds_left") is not None:
        parts.append(f"{duration(found['seconds_left'])} left")
    if found["state"] == "running":
        ago = duration(max(0.0, time.time() - found["heard"]))
        parts.append(f"process {found['process']} on {found['host']}, heard {ago} ago")
    on = "; the same command goes on"
    rest = "; the same command, without --shards, runs the rest"
    return ", ".join(parts) + {"stopped": on, "killed": on, "unfinished": rest}.get(
        found["state"], ""
    )
