"""How numbers are put into words, the same in the terminal and on the page."""

from __future__ import annotations

import math

from radhard.protect.protection import Cost

_BAR = 8


def percent(share: float) -> str:
    """A share as a percentage with as many digits as small values need.

    >>> percent(0.0367), percent(0.00012), percent(1.0)
    ('3.67 %', '0.012 %', '100.00 %')
    """
    if math.isnan(share):
        return "-"
    digits = 2 if share == 0 or share >= 0.001 else 3
    return f"{100 * share:.{digits}f} %"


def share_bar(value: float, highest: float) -> str:
    """A bar whose length shows ``value`` against ``highest``."""
    if not highest > 0 or math.isnan(value):
        return ""
    return "█" * round(_BAR * value / highest)


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.42), duration(75), duration(4000)
    ('0.4 s', '1 min 15 s', '1 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {int(seconds) % 60} s"
    return f"{minutes // 60} h {round(seconds / 60) % 60} min"


def cost_words(cost: Cost) -> str:
    """What protections take, per inference.

    >>> cost_words(Cost(operations=4640, memory_bits=192, area=0.025))
    '4,640 operations, 192 bits of memory, 2.50 % more storage on the chip'
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
    parts += [f"{percent(cost.area)} more storage on the chip"] if cost.area else []
    return ", ".join(parts + ["training"] * cost.retraining) or "nothing"
