"""Shares and times in words, for what must answer before torch is imported."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """A share as a percentage with as many digits as small values need.

    >>> percent(0.0367), percent(0.00012), percent(0.0000012), percent(1.0)
    ('3.67 %', '0.012 %', '0.00012 %', '100.00 %')
    """
    if math.isnan(share):
        return "-"
    if 0 < abs(share) < 1e-8:
        return f"{100 * share:.1e} %"
    size = math.floor(math.log10(abs(100 * share))) if share else 0
    return f"{100 * share:.{max(2, 1 - size)}f} %"


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


def speed(rate: float) -> str:
    """So many a second.

    >>> speed(16158.2), speed(0.0123)
    ('16,158/s', '0.0123/s')
    """
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.3g}/s"
