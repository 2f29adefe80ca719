"""A page that shows a campaign on its way, and asks for itself again until the campaign ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path

from radhard.campaign.progress import Course, Progress, Told
from radhard.campaign.sealed import replace_file
from radhard.view.units import duration, percent, speed

#: Seconds from one page to the next; a run that is over sooner has none.
EVERY = 5.0
#: Size of the drawing, and room beside it for numbers.
_WIDE, _HIGH, _LEFT, _BELOW = 760, 240, 70, 36


class LivePage:
    """Hears how far campaigns are, and writes a page every few seconds.

    Args:
        path: of the page; the command writes what was found in its place at the end.
        clock: in seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock, self._next = path, clock, clock() + EVERY
        self._courses, self._told = dict[str, Course](), dict[str, Told]()

    def __call__(self, step: Progress) -> None:
        """Hear how far a campaign is."""
        course = self._courses.setdefault(step.name, Course(self._clock))
        self._told[step.name] = course.told(step)
        if step.fresh and self._clock() >= self._next:
            self._write(over=False)
            self._next = self._clock() + EVERY

    def stopped(self) -> None:
        """Say on the page that there is no more to come."""
        if any(told.step.fresh for told in self._told.values()):
            self._write(over=True)

    def _write(self, over: bool) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("radhard.view", "."), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True,
        )  # fmt: skip
        environment.filters |= {"percent": percent, "duration": duration, "speed": speed}
        shown = [(told, drawn(told.history)) for told in reversed(self._told.values())]
        template = environment.get_template("live.html")
        page = template.render(shown=shown, over=over, every=round(EVERY), at=time.time(),
                               time=time.strftime("%Y-%m-%d %H:%M:%S"), plotly="")  # fmt: skip
        replace_file(self._path, page.encode())


def drawn(history: Sequence[tuple[float, int, float, float, float]]) -> str:
    """Estimate and interval against time, as SVG; empty for fewer than two points.

    Args:
        history: seconds, faults, and the estimate's value, low and high end.
    """
    points = [one for one in history if all(map(isfinite, one))]
    if len(points) < 2:
        return ""
    first, last = points[0][0], points[-1][0]
    # what the first few faults leave open would flatten all that follows
    later = points[len(points) // 10 :]
    top = max(high for *_, high in later) * 1.05 or 1.0
    bottom = min(min(low for *_, low, _ in later) * 0.95, top)
    bottom = 0.0 if bottom < 0.5 * top else bottom

    def place(seconds: float, share: float) -> str:
        x = _LEFT + (seconds - first) / max(last - first, 1e-9) * (_WIDE - _LEFT)
        y = (1 - min(1.0, max(0.0, (share - bottom) / (top - bottom)))) * (_HIGH - _BELOW)
        return f"{x:.1f},{y:.1f}"

    band = [place(t, high) for t, _, _, _, high in points]
    band += [place(t, low) for t, _, _, low, _ in reversed(points)]
    line = " ".join(place(t, value) for t, _, value, _, _ in points)
    base = _HIGH - _BELOW
    marks = "".join(
        f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{percent(share)}</text>'
        for y, share in ((12, top), (base // 2 + 4, (top + bottom) / 2), (base, bottom))
    )
    times = "".join(
        f'<text x="{x}" y="{base + 18}" text-anchor="{anchor}">{words}</text>'
        for x, anchor, words in (
            (_LEFT, "start", f"{points[0][1]:,} faults"),
            (_WIDE, "end", f"{points[-1][1]:,} faults, {duration(last)}"),
        )
    )
    return (
        f'<svg viewBox="0 0 {_WIDE} {_HIGH}" width="{_WIDE}" role="img">'
        f'<polygon points="{" ".join(band)}" fill="#cfe0f3"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>'
        f'<path d="M{_LEFT} 0V{base}H{_WIDE}" fill="none" stroke="#888"/>'
        f'<g font-size="12" fill="#444">{marks}{times}</g></svg>'
    )
