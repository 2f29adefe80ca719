"""The page and the tables of chosen protections."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from radhard.report.plot import COLOURS, SHARES, styled
from radhard.report.study import study_table, study_written
from radhard.report.wording import percent
from radhard.search.choose import Choice, Design, Goal


def rate_words(design: Design) -> str:
    """Whether rates are in FIT."""
    return "FIT of SDC-1" if design.rate.unit else "SDC-1"


def goal_words(goal: Goal, unit: str) -> str:
    """What was asked for, in words."""
    parts = []
    if goal.rate is not None:
        parts.append(f"{unit} at most {goal.rate:g}")
    if goal.area is not None:
        parts.append(f"storage area + {percent(goal.area)} at most")
    if goal.macs is not None:
        parts.append(f"work + {percent(goal.macs)} at most")
    return ", ".join(parts)


def choice_page(found: Choice, goal: Goal, name: str, store: Path) -> Path:
    """Write ``protect.html`` into a folder; gives its path."""
    unit = rate_words(found.plain)
    entries = [
        {
            "title": "What can be had for what",
            "note": "Each point is a set of protections that no other beats in both directions; "
            "bars are 95 % intervals. Overhead is storage area added plus work added.",
            "figure": _figure(found, goal),
        },
        {
            "title": "The front",
            "note": "Cheapest first. Area is a share of the chip's storage, work of the network's "
            "multiply-accumulates; a comparison counts a tenth. All met the same faults.",
            **study_table(
                "protections", [design.name for design in found.front], _columns(unit),
                lambda row, column: _cell(found, row, column),
            ),
        },
    ]  # fmt: skip
    if found.winner is not None and found.fresh_rate is not None:
        fresh = found.fresh_rate
        entries.append(
            {
                "title": "The winner on fresh faults",
                "note": f"Asked for: {goal_words(goal, unit)}. The choice was made on the common "
                "faults, which flatters it; this is its rate on others.",
                **study_table(
                    "design", [found.winner.name], ["on the common faults", "on fresh faults"],
                    lambda _, column: found.winner.rate if "common" in column else fresh,  # type: ignore[union-attr]
                ),
            }
        )  # fmt: skip
    title = "Chosen protections"
    lead = f"{name}: failure rate against what protections take."
    note = "Square brackets hold 95 % intervals, each for itself, not all at once."
    return study_written(
        store / "protect.html", [{"title": name, "entries": entries}], title, lead, note
    )


def _columns(unit: str) -> list[str]:
    return [unit, "accuracy under a fault", "area", "work", "repeats"]


def _cell(found: Choice, row: str, column: str) -> object:
    design = next(design for design in found.front if design.name == row)
    return {
        rate_words(design): design.rate,
        "accuracy under a fault": design.accuracy,
        "area": percent(design.area),
        "work": percent(design.work),
        "repeats": "yes" if design.repeats else "",
    }[column]


def _figure(found: Choice, goal: Goal) -> go.Figure:
    figure = go.Figure()
    shown = [design for design in found.front if design.rate.high > 0]
    values = [max(design.rate.value, 1e-12) for design in shown]
    figure.add_scatter(
        x=[design.overhead for design in shown], y=values, mode="lines+markers", name="front",
        line_color=COLOURS[1], line_shape="hv",
        hovertext=[f"{d.name}<br>{d.rate}<br>area {percent(d.area)}, work {percent(d.work)}"
                   for d in shown], hoverinfo="text",
        error_y={
            "type": "data", "symmetric": False, "thickness": 1, "width": 2,
            "array": [d.rate.high - v for d, v in zip(shown, values, strict=True)],
            "arrayminus": [max(v - d.rate.low, 0) for d, v in zip(shown, values, strict=True)],
        },
    )  # fmt: skip
    if found.winner is not None:
        figure.add_scatter(
            x=[found.winner.overhead], y=[max(found.winner.rate.value, 1e-12)], mode="markers",
            name="winner", marker={"size": 14, "symbol": "star", "color": COLOURS[0]},
            hovertext=found.winner.name, hoverinfo="text",
        )  # fmt: skip
    if goal.rate is not None:
        furthest = max(design.overhead for design in found.front)
        figure.add_scatter(x=[0, furthest], y=[goal.rate] * 2, name="target", mode="lines",
                           line={"dash": "dash", "color": "#444"})  # fmt: skip
    figure.update_xaxes(title="overhead: area and work added", tickformat=SHARES)
    figure.update_yaxes(dtick=1)
    lowest = min((value for value in values if value > 1e-12), default=1e-3)
    figure.update_yaxes(title=rate_words(found.plain), type="log",
                        range=[_log(lowest) - 0.7, _log(max(values)) + 0.4])  # fmt: skip
    return styled(figure, height=460)


def _log(value: float) -> float:
    from math import log10

    return log10(value)
