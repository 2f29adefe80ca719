"""Running campaigns until they are answered well enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from radhard.campaign.campaign import Campaign
from radhard.campaign.cluster import Cluster, check_cluster
from radhard.campaign.job import Job, Until, checked
from radhard.campaign.pool import Made, Pool
from radhard.campaign.progress import Watcher
from radhard.campaign.result import Result
from radhard.campaign.sealed import StoreError
from radhard.campaign.shard import check_part
from radhard.campaign.store import Folder
from radhard.formats.number import parts
from radhard.network.workload import HOST


def collect(
    campaigns: Sequence[Campaign],
    until: Until = 10_000,
    store: str | Path | None = None,
    watch: Watcher | None = None,
    about: Mapping[str, Any] | None = None,
    memory: int | None = None,
    workers: int = 1,
    shards: tuple[int, int] | None = None,
    cluster: str | None = None,
) -> Iterator[Result]:
    """Run campaigns one after the other; yields each result as it is reached.

    Faults that ``store`` holds already are not run again, so a stopped run continues where it
    was, and a larger budget adds to a smaller one.

    Args:
        campaigns: their names must differ.
        until: faults per campaign, or a `Precision`.
        store: folder in which each campaign has one of its own; in memory only where ``None``.
        watch: called after each shard.
        about: more for ``campaign.toml``, at its top level.
        memory: bytes for golden values and batches; ``None`` for what suits the network. With
            floating-point formats another batch size can change the last bits of logits.
        workers: processes that share the shards of a campaign; with 1 all is done in this one.
            Faults, outcomes and estimates do not depend on it. A program that asks for more is
            run by each of them, so its own calls stand under ``if __name__ == "__main__":``.
        shards: of these faults, those of shards from the first number on, to before the second, for
            schedulers that run parts of a campaign in many places; `radhard.merge` unites them.
        cluster: ``ray`` or ``ray://HOST:PORT``, for shards as tasks of Ray, as many at a time as
            ``workers`` if these are several, or as there are processors; ``memory`` is for each.

    Raises:
        ValueError: for equal names, shards of none of the faults or with a precision, a budget or
            workers below 1, several workers on a device, or a cluster that can't be; nothing has
            run then. For a campaign that can't be taken to another process.
        RuntimeError: where processes are lost again and again.
        StoreError: when the store can't be read or holds other campaigns of these names.
    """
    names = [campaign.name for campaign in campaigns]
    if len(set(names)) < len(names):
        raise ValueError(f"campaigns {names} share a name: give each its own, Campaign(name=...)")
    for campaign in campaigns:
        checked(until, campaign.metrics, bool(campaign.protections))
    if store is not None and Path(store).exists() and not Path(store).is_dir():
        raise StoreError(f"{store} is no folder: give a folder to keep results in, or a new name")
    if shards is not None:
        if not isinstance(until, int):
            raise ValueError("shards of a precision can't be: ask for a number of faults")
        check_part(shards, until)
    if workers < 1:
        raise ValueError(f"{workers} workers can't be: use 1 or more")
    if cluster is not None:
        check_cluster(cluster)
    for campaign in campaigns if workers > 1 or cluster is not None else ():
        if campaign.workload.device != HOST:
            crew = f"{workers} workers" if cluster is None else f"cluster {cluster}"
            raise ValueError(
                f"{crew} on {campaign.workload.device} can't be: they share processors; "
                "use one process, or --device cpu"
            )
    jobs: list[Job] = []
    more = {**(about or {}), **_goal(until), "budget": _budget(until)}
    for campaign in campaigns:
        folder = Folder(Path(store) / campaign.name, campaign.id) if store is not None else None
        golden = campaign.golden(memory)
        pool = _pool(campaign, memory, workers, cluster)
        job = replace(campaign.job(golden, folder), pool=pool, part=shards)
        if jobs:  # the values of one campaign at a time
            golden.forget()
        if folder is not None:
            begin(folder, campaign, job.nothing, more)
        jobs.append(job)
    return (job.result(until, watch) for job in jobs)


def _pool(
    campaign: Campaign, memory: int | None, workers: int, cluster: str | None
) -> Pool[Made] | Cluster[Made] | None:
    """What makes shards, if not this process."""
    if cluster is not None:
        return Cluster(partial(campaign.maker, memory), cluster, workers)
    share = None if memory is None else memory // workers
    return Pool(partial(campaign.maker, share), workers) if workers > 1 else None


def begin(folder: Folder, campaign: Campaign, nothing: Result, about: Mapping[str, Any]) -> None:
    """Make the folder of a campaign, or check that it is its own.

    Args:
        folder: of the store.
        campaign: the question.
        nothing: its answer before the first fault.
        about: whatever else a reader of ``campaign.toml`` should know.

    Raises:
        StoreError: when the folder holds another campaign.
    """
    work, space = campaign.workload, nothing.space
    identity: dict[str, Any] = {
        "name": campaign.name,
        "model": work.name,
        "format": work.computing,
        "chip": campaign.chip.name,
        "sampler": campaign.sampler.name,
        "fault_model": campaign.model.name,
        "seed": campaign.seed,
        "proofs_hold": campaign.proofs_hold,
        "metrics": list(campaign.metrics),
        "golden_accuracy": nothing.golden_accuracy,
        "cost": asdict(nothing.cost),
        "covered": asdict(work.covered),
    }
    if work.formats.alike and len({s.width for s in space.strata}) == 1:
        identity["code"] = [list(part) for part in parts(work.formats.weight)]
    sample = campaign.windows.sample
    if sample is not None:
        identity["of_images"] = asdict(sample)
    if campaign.sampler.scored:
        identity["flat"] = list(nothing.flat)
    if nothing.protections:
        identity["idle"], identity["clean_alarms"] = list(nothing.idle), nothing.clean_alarms
    folder.begin(campaign.question, space, identity, about)


def _goal(until: Until) -> dict[str, Any]:
    """The same as keys of a campaign file."""
    if isinstance(until, int):
        return {"faults": until}
    return {
        "until": until.half_width,
        "metric": "ra" if until.metric == "correct" else until.metric,
        "confidence": until.confidence,
        "most": until.most,
    }


def _budget(until: Until) -> dict[str, Any]:
    if isinstance(until, int):
        return {"faults": until, "confidence": 0.95}
    return {
        "until": until.half_width,
        "confidence": until.confidence,
        "metric": until.metric,
        "most": until.most,
    }
