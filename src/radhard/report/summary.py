"""The lines that stand first, in the terminal and on the page."""

from __future__ import annotations

from dataclasses import dataclass

from radhard.campaign.result import Result
from radhard.metrics.outcome import STANDARD
from radhard.stats.estimate import Estimate

#: (what, its estimate, what it means)
Line = tuple[str, Estimate, str]


@dataclass(frozen=True, slots=True)
class Golden:
    """Fault-free accuracy, against which RA is read.

    Attributes:
        accuracy: over many test images.
        accuracy_images: over the campaign's own.
    """

    accuracy: Estimate
    accuracy_images: Estimate


#: Outcomes that stand elsewhere, or say nothing where nothing watches the run.
_HIDDEN = {"correct", "detected", "sdc1_undetected"}


def lines(result: Result, golden: Golden | None) -> list[Line]:
    """Accuracy without and with a fault, then every other outcome."""
    found: list[Line] = []
    if golden is not None:
        many, own = golden.accuracy, golden.accuracy_images
        found.append(("golden accuracy", many, f"fault-free, {many.n:,} test images"))
        found.append(("on these images", own, f"fault-free, the {own.n:,} struck ones"))
    found.append(("RA", result.ra, "accuracy on them under a fault"))
    found += [
        (metric, result[metric], STANDARD.get(metric, "a criterion of your own"))
        for metric in result.metrics
        if metric not in _HIDDEN
    ]
    return found
