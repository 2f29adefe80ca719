"""What `radhard assess` prints with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radhard.cli.app import plain

if TYPE_CHECKING:
    from radhard.campaign.prepare import Prepared
    from radhard.campaign.result import Result
    from radhard.stats.estimate import Estimate


def print_json(result: Result, prepared: Prepared, software: Result | None) -> None:
    """One object, with every estimate and its interval.

    Args:
        result: the answer.
        prepared: the question.
        software: the answer about software's uniform faults, where RA is asked of a chip.
    """
    import json
    from dataclasses import asdict

    from radhard.engine.memory import peak_bytes
    from radhard.metrics.outcome import OF_ALARMS
    from radhard.view.wording import notes_of

    work, question = prepared.campaign.workload, prepared.campaign.question.keys
    names = {"correct": "ra"}
    metrics = {names.get(name, name): result[name] for name in result.metrics}
    metrics["golden_accuracy"] = result.golden
    if result.protections:
        metrics["false_alarms"] = result.false_alarms
    if result.watched:
        metrics |= {name: result[name] for name in OF_ALARMS}
    if prepared.campaign.chip.name != "software":
        metrics["ra_without_control"] = result.ra_without_control
        metrics["ra_fully_used"] = result.ra_fully_used
        metrics["ra_uniform_sites"] = result.ra_uniform_sites
        metrics["utilisation"] = result.utilisation
    if software is not None:
        metrics["ra_software_uniform"] = software.ra
    metrics["sdc1_activated"] = result.per_activated("sdc1")
    rated = result.space.rate_fit is not None
    if rated:
        metrics["fit_sdc1"] = result.fit("sdc1")
    shown = {
        "id": result.id,
        "model": work.name,
        "format": work.computing,
        "arithmetic": question.get("arithmetic"),
        "covered": asdict(work.covered),
        "chip": prepared.campaign.chip.name,
        "faults": result.n,
        "seconds": round(result.seconds, 3),
        "data": prepared.data,
        "images": len(work.images),
        "images_at_a_time": question["images"],
        "fault_model": prepared.campaign.model.name,
        "seed": prepared.campaign.seed,
        "nan": prepared.campaign.network.nan,
        "confidence_of": prepared.campaign.confidence_of,
        "sampler": question["sampler"],
        "flat_layers": list(result.flat),
        "idle_protections": list(result.idle),
        "notes": notes_of(result),
        "protections": question["protections"],
        "cost": asdict(result.cost),
        "rounding": work.formats.rounding,
        "device": str(work.device),
        "peak_memory_mib": round(peak_bytes() / 2**20),
        "metrics": {name: plain(estimate) for name, estimate in metrics.items()},
        **({"fit_verdict": asdict(result.fit_verdict())} if rated else {}),
        "known": [
            {
                "name": part.name,
                "probability": result.space.known_share(part),
                "accuracy": part.accuracy,
            }
            for part in result.space.known
        ],
        "components": [
            {
                "component": part.label[0],
                "n": part.n,
                "rate_fit": part.rate_fit,
                "sdc1": plain(part["sdc1"]),
                "activated": plain(part["activated"]),
                "sdc1_activated": plain(_per_activated(result, str(part.label[0]))),
                **({"fit_sdc1": plain(part.fit("sdc1"))} if rated else {}),
            }
            for part in result.by(lambda s: (s.component,))
        ],
        "strata": [
            {
                "component": part.label[0],
                "layer": part.label[1],
                "bit": part.label[2],
                "n": part.n,
                "exposure": exposure,
                "sdc1": plain(part["sdc1"]),
            }
            for part, exposure in zip(result.strata, result.space.exposure.tolist(), strict=True)
        ],
    }
    print(json.dumps(shown, allow_nan=False))


def _per_activated(result: Result, component: str) -> Estimate:
    return result.per_activated("sdc1", lambda stratum: stratum.component == component)
