"""Resiliency accuracy: accuracy given that a fault strikes (Tyagi et al., arXiv 2212.02649)."""

from __future__ import annotations

from dataclasses import replace

from radhard.faults.space import Known
from radhard.stats.estimate import Estimate

#: Outcomes that no fault of a known kind has.
_NEVER = {"nan", "nan_decided", "detected", "gained"}


def resiliency_accuracy(golden: float, drop: Estimate) -> Estimate:
    """Fault-free accuracy less the drop; the drop has the smaller variance, so it is estimated.

    Args:
        golden: fault-free accuracy over the images that are meant.
        drop: probability that a fault makes a right answer wrong, less that of a wrong one right.

    >>> print(resiliency_accuracy(0.9, Estimate(0.03, 0.02, 0.045, 0.95, 1000, "")))
    87.00 % [85.50, 88.00]
    """
    if not drop.n:
        return replace(drop, low=0.0, high=1.0)
    low, high = max(0.0, golden - drop.high), min(1.0, golden - drop.low)
    return replace(drop, value=golden - drop.value, low=low, high=high)


def known_outcome(known: Known, metric: str, golden: float) -> float:
    """Probability of an outcome, given that a fault strikes known sites.

    A wrong answer counts as silent corruption of every kind, and a crash as none. Idle storage is
    never read; control is, where it does anything.

    >>> known_outcome(Known("control", 0.2, 0.25), "correct", 0.8)
    0.2
    >>> known_outcome(Known("control", 0.2, 0.25), "sdc1", 0.8)
    0.75
    >>> known_outcome(Known("control", 0.2, 0.25), "nan_decided", 0.8)
    0.0
    """
    if metric == "correct":
        return golden * known.accuracy
    if metric == "lost":
        return golden * (1 - known.accuracy)
    if metric in {"masked", "activated"}:
        return float((known.accuracy == 1) == (metric == "masked"))
    return 0.0 if metric in _NEVER or known.crash else 1 - known.accuracy
