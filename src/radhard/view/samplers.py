"""Samplers side by side: the table, the figure and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from radhard.study.comparison import Comparison
from radhard.view.page import written
from radhard.view.plot import COLOURS, SHARES, styled

#: What the columns of `rows_of` are.
HEADS = ("sampler", "faults", "least", "most", "seconds", "reached", "coverage")
#: What is said of the numbers below the table.
NOTES = (
    "~ where not all seeds reached the half width: extrapolated, as if it fell with the root of "
    "the number of faults",
    "coverage: of the intervals at the faults where each seed stops, those that hold the truth",
)


def rows_of(found: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """One row per sampler, in words."""
    rows: list[tuple[str, ...]] = []
    for one in found:
        held, count = one.covered, len(one.needed)
        extrapolated = "" if one.reached == count else "~"
        rows.append(
            (
                one.sampler.name,
                extrapolated + _number(one.needed.mean(), bool(one.or_fewer.any())),
                _number(one.needed.min(), bool(one.or_fewer.any())),
                _number(one.needed.max(), bool(one.or_fewer.all())),
                f"{one.seconds * one.needed.mean():.2g}",
                f"{one.reached} of {count}",
                f"{held.value:.0%} ({held.low:.0%} to {held.high:.0%})",
            )
        )
    return rows


def _number(faults: float, or_fewer: bool) -> str:
    return f"{faults:,.0f}{' or fewer' if or_fewer else ''}"


def truth_words(found: Sequence[Comparison]) -> str:
    """What coverage is held against."""
    truth = found[0].truth
    return f"truth: {truth}, of {truth.n:,} other faults"


def half_widths(found: Sequence[Comparison], half_width: float) -> go.Figure:
    """Half width against faults, mean and range over the seeds, on logarithmic axes."""
    figure = go.Figure()
    for colour, one in zip(COLOURS, found, strict=False):
        x, low, high = one.sizes, one.half_widths.min(0), one.half_widths.max(0)
        figure.add_scatter(
            x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=colour, opacity=0.15,
            line_width=0, mode="lines", hoverinfo="skip", showlegend=False,
            legendgroup=one.sampler.name,
        )  # fmt: skip
        figure.add_scatter(
            x=x, y=one.half_widths.mean(0), name=one.sampler.name, line_color=colour,
            legendgroup=one.sampler.name,
        )  # fmt: skip
    figure.add_hline(y=half_width, line_dash="dash", line_color="#666")
    figure.update_xaxes(title="faults", type="log", dtick=1)
    figure.update_yaxes(
        title="half width of the 95 % interval", type="log", tickformat=SHARES, dtick="D2"
    )
    return styled(figure, height=460)


def samplers_page(
    found: Sequence[Comparison], name: str, metric: str, half_width: float, folder: Path
) -> Path:
    """Write ``samplers.html`` into a folder; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    return written(
        folder / "samplers.html",
        "samplers.html",
        name=name,
        metric=metric,
        half_width=half_width,
        seeds=len(found[0].needed),
        rows=rows_of(found),
        notes=(*NOTES, truth_words(found)),
        figure=half_widths(found, half_width),
    )
