"""How numbers are put into words, the same in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from radhard.campaign.result import Result
from radhard.metrics.fit import Verdict
from radhard.network.coverage import Covered
from radhard.protect.protection import Cost
from radhard.stats.estimate import Estimate
from radhard.view.units import percent

_BAR = 5
#: Layers that a note names, at most.
_NAMED = 6


def verdict_words(rate: Estimate, verdict: Verdict) -> str:
    """What the rate is, what is allowed, and whether it keeps to that.

    >>> from radhard.metrics.fit import fit, judged
    >>> from radhard.stats.ball import proportion
    >>> few = proportion(6, 200)
    >>> print(verdict_words(fit(few, 238.2), judged(few, 238.2)))
    FIT 7.15, 95 % interval 2.18 to 14.9; ISO 26262 allows 10: undecided, 813 more faults decide
    """
    more = verdict.more_faults
    decide = f", {more:,} more faults decide" if more else ""
    value = f"{rate.value:.3g}" if rate.n else "-"
    return (
        f"FIT {value}, {100 * rate.confidence:g} % interval {rate.low:.3g} to {rate.high:.3g}; "
        f"ISO 26262 allows {verdict.budget_fit:g}: {verdict.verdict}{decide}"
    )


def share_bar(value: float, highest: float) -> str:
    """A bar whose length shows ``value`` against ``highest``."""
    if not highest > 0 or math.isnan(value):
        return ""
    return "█" * round(_BAR * value / highest)


def covered_words(covered: Covered) -> str:
    """Which share of a network faults strike, and what is left out.

    >>> covered_words(Covered(0.75, 0.9, ("einsum of head",)))
    '75.00 % of the parameters, 90.00 % of the multiply-accumulates; not einsum of head'
    """
    parameters, macs = percent(covered.parameters), percent(covered.macs)
    missing = f"; not {', '.join(covered.missing)}" if covered.missing else ""
    return f"{parameters} of the parameters, {macs} of the multiply-accumulates{missing}"


def flat_words(flat: Sequence[str]) -> str:
    """What to know where scores say nothing of faults in some layers.

    >>> flat_words(("conv1", "conv2"))[:61]
    'scores say nothing of faults in conv1, conv2, as what follows'
    """
    more = f" and {len(flat) - _NAMED} more" if len(flat) > _NAMED else ""
    return (
        f"scores say nothing of faults in {', '.join(flat[:_NAMED])}{more}, as what follows has no "
        "slope: intervals are wider for that, but hold"
    )


def image_words(struck: int, of: int) -> str:
    """What to know where some images have stood for others.

    >>> image_words(64, 500)[:52]
    '64 of 500 images were struck: intervals take others '
    """
    return (
        f"{struck:,} of {of:,} images were struck: intervals take others to differ by as much as "
        "these, so a few that decide most may be missed; more faults strike more images, --images "
        "all strikes all"
    )


def unproved_words(sampler: str) -> str:
    """What to know where a protection changes what is computed.

    >>> print(unproved_words("gradient-importance")[:60])
    a protection changes what is computed, so that no proof that
    """
    return (
        "a protection changes what is computed, so that no proof that a fault is harmless holds, "
        f"and intervals of {sampler} are wider for that: importance may need fewer faults"
    )


def unsampled_words(share: float) -> str:
    """What to know of a guard's recall where some faults are known rather than tried.

    >>> print(unsampled_words(0.02))
    recall and precision are of the sampled faults; faults in control, 2.00 % of all, are known, \
not sampled, and no alarm is counted for them
    """
    return (
        f"recall and precision are of the sampled faults; faults in control, {percent(share)} of "
        "all, are known, not sampled, and no alarm is counted for them"
    )


def idle_words(names: Sequence[str]) -> str:
    """What to know of guards whose bounds no code can pass.

    >>> idle_words(["RangeDetector"])[:62]
    'RangeDetector can raise no alarm and change nothing in these f'
    """
    return (
        f"{', '.join(names)} can raise no alarm and change nothing in these formats: the largest "
        "and smallest codes lie within bounds"
    )


def notes_of(result: Result) -> list[str]:
    """What to know of an answer."""
    notes = [flat_words(result.flat)] if result.flat else []
    if result.idle:
        notes.append(idle_words(result.idle))
    if result.clean_alarms:
        notes.append(f"false alarms: {result.false_alarms} of images without a fault raise one")
    if result.unproved and result.sampler.scored:
        notes.append(unproved_words(result.sampler.name))
    control = sum(result.space.known_share(part) for part in result.space.known if part.control)
    if control > 0 and result.tally.events["detected"].any():
        notes.append(unsampled_words(control))
    struck, meant = len(result.tally.images.key), result.images
    if meant is not None and struck < meant.of:
        notes.append(image_words(struck, meant.of))
    return notes


def cost_words(cost: Cost) -> str:
    """What protections take, per inference.

    >>> cost_words(Cost(operations=4640, memory_bits=192, area=0.025, rerun=1.0))
    '4,640 operations, 192 bits of memory, 2.50 % of area, another inference for each alarm'
    >>> cost_words(Cost())
    'nothing'
    """
    counted = (
        (cost.macs, "multiply-accumulates"),
        (cost.operations, "operations"),
        (cost.memory_bits, "bits of memory"),
        (cost.cycles, "cycles"),
    )
    parts = [f"{number:,.0f} {what}" for number, what in counted if number]
    parts += [f"{percent(cost.area)} of area"] if cost.area else []
    parts += ["another inference for each alarm"] if cost.rerun else []
    return ", ".join(parts + ["training"] * cost.retraining) or "nothing"


def at_once_words(confidence: float) -> str:
    """What intervals of many parts are, and what those at once are.

    >>> print(at_once_words(0.95)[:54])
    Each interval holds its own rate with 95 % probability
    """
    level, missed = f"{100 * confidence:g} %", 100 * (1 - confidence)
    return (
        f"Each interval holds its own rate with {level} probability: of 100 bars, {missed:.2g} may "
        "well miss theirs. Where you pick the worst, or look for those that differ, read all at "
        f"once: these intervals are wider, and all of a figure hold with {level} probability "
        "(Bonferroni)."
    )
