"""Figures of failure rates in FIT: the whole chip against its budget, and its components."""

from __future__ import annotations

import plotly.graph_objects as go

from radhard.campaign.joint import at_once
from radhard.campaign.result import Result
from radhard.faults.space import Stratum
from radhard.metrics.fit import Verdict
from radhard.stats.estimate import Estimate
from radhard.view.plot import COLOURS, GREY, ends, styled, switched
from radhard.view.summary import FEW

_MET, _MISSED, _OPEN = COLOURS[1], COLOURS[0], "#777"


def fit_total(rate: Estimate, verdict: Verdict) -> go.Figure:
    """The rate of the whole chip with its interval, and where its budget ends."""
    colour = {"met": _MET, "missed": _MISSED, "undecided": _OPEN}[verdict.verdict]
    name = f"whole chip:<br><b>{verdict.verdict}</b>"
    budget, furthest = verdict.budget_fit, 1.12 * max(rate.high, verdict.budget_fit)
    figure = go.Figure(
        go.Bar(
            x=[rate.value], y=[name], orientation="h", width=0.5, marker_color=colour,
            error_x={**ends([rate]), "thickness": 2, "width": 8},
            hovertext=f"{rate}<br>{rate.n:,} faults", hoverinfo="text",
        )
    )  # fmt: skip
    left = budget > furthest / 2
    figure.add_vrect(x0=budget, x1=furthest, fillcolor=COLOURS[0], opacity=0.1, line_width=0)
    figure.add_vline(x=budget, line_dash="dash", line_color="#222")
    figure.add_annotation(
        x=budget, y=1, yref="paper", yanchor="bottom", xanchor="right" if left else "left",
        text=f"ISO 26262: {budget:g} FIT for the whole chip", showarrow=False,
    )  # fmt: skip
    figure.update_xaxes(title="silent data corruption (SDC-1), FIT", range=[0, furthest])
    figure.update_yaxes(ticklabelstandoff=8, tickfont={"size": 14})
    return styled(figure, height=190)


def fit_by_component(result: Result, metric: str = "sdc1") -> go.Figure:
    """Rate of an outcome in FIT per component, with intervals; pale where few faults tell it."""
    parts = [part for part in result.by(_component) if part.n][::-1]
    joint = at_once(result, parts, _component)
    rates = [part.fit(metric) for part in parts]
    figure = go.Figure(
        go.Bar(
            x=[rate.value for rate in rates],
            y=[str(part.label[0]) for part in parts],
            orientation="h",
            error_x=ends(rates),
            marker_color=[COLOURS[1] if part.n >= FEW else GREY for part in parts],
            hovertext=[
                f"{part.label[0]}<br>{rate}<br>{part.n:,} faults"
                for part, rate in zip(parts, rates, strict=True)
            ],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(title=f"{metric}, FIT", rangemode="tozero", gridcolor="#e5e5e5")
    figure.update_yaxes(type="category", ticklabelstandoff=6)
    styled(figure, height=140 + 30 * max(len(parts), 2)).update_layout(margin_t=70)
    return switched(figure, [ends([part.fit(metric) for part in joint.values()])], "x")


def _component(stratum: Stratum) -> tuple[str]:
    return (stratum.component,)
