"""The lines that stand first, in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from radhard.campaign.part import Part
from radhard.campaign.result import Result
from radhard.metrics.outcome import OF_ALARMS, STANDARD
from radhard.stats.estimate import Estimate

#: (what, its estimate, what it means)
Line = tuple[str, Estimate, str]


#: Faults that a part's rate must stand on; with fewer, its interval covers most of what can be.
FEW = 10


def enough(parts: Sequence[Part]) -> list[Part]:
    """The parts that at least `FEW` faults struck."""
    return [part for part in parts if part.n >= FEW]


#: Outcomes that stand elsewhere, or say nothing where nothing watches the run.
_HIDDEN = {"correct", "lost", "gained", "detected", "sdc1_undetected"}


def lines(result: Result) -> list[Line]:
    """Accuracy without and with a fault, then every other outcome."""
    golden = result.golden
    images = "test image" if golden.n == 1 else "test images"
    found: list[Line] = [
        ("golden accuracy", golden, f"fault-free, {golden.n:,} {images}"),
        ("RA", result.ra, "accuracy under a fault"),
    ]
    found += [
        (metric, result[metric], STANDARD.get(metric, "a criterion of your own"))
        for metric in result.metrics
        if metric not in _HIDDEN
    ]
    return found


def alarms(result: Result) -> list[Line]:
    """What the alarms of protections are worth; nothing where there are none."""
    if not result.watched:
        return []
    return [
        ("alarms", result["detected"], STANDARD["detected"]),
        ("undetected SDC-1", result["sdc1_undetected"], STANDARD["sdc1_undetected"]),
        *((name, result[name], meaning) for name, meaning in OF_ALARMS.items()),
    ]


def activated(result: Result) -> list[tuple[str, Estimate, Estimate]]:
    """Components some of whose faults nothing reads: the share that is read, and its SDC-1.

    Those that fewer than `FEW` faults struck are left out.
    """
    found = []
    for part in result.by(lambda s: (s.component,)):
        name, read = str(part.label[0]), part["activated"]
        if part.n >= FEW and read.value < 1 - 1e-9:  # shares are sums of floats
            sdc = result.per_activated("sdc1", lambda s, name=name: s.component == name)  # type: ignore[misc]
            found.append((name, read, sdc))
    return found


def formulations(result: Result, software: Result | None) -> list[Line]:
    """RA as the chip has it, and as other notions of a fault would (Tyagi et al.).

    Args:
        result: on a chip.
        software: of the same network and images, struck without a chip.
    """
    found: list[Line] = [
        ("RA", result.ra, "each site of the chip with its probability"),
        ("without control", result.ra_without_control, "were control fault-free"),
        ("never idle", result.ra_fully_used, "were no flip-flop of the datapath ever idle"),
        ("uniform sites", result.ra_uniform_sites, "each bit of each variable alike"),
    ]
    if software is not None:
        found.append(("software uniform", software.ra, "the same, and wrong for all uses"))
    found.append(("utilisation", result.utilisation, "of the datapath's flip-flops"))
    return found
