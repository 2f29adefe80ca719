"""Figures of a result, as plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from radhard.campaign.joint import Key, Label, at_once
from radhard.campaign.part import Part
from radhard.campaign.result import Result
from radhard.stats.estimate import Estimate
from radhard.view.summary import Line, enough
from radhard.view.units import percent

#: Told apart by people who see colours otherwise: Okabe and Ito's, then four of Tol's.
COLOURS = ("#d55e00", "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9",
            "#332288", "#999933", "#882255", "#999999")  # fmt: skip
#: Shares on an axis or a colour bar, with as many digits as keep ticks apart.
SHARES = "~%"
#: What is left out, or said in passing.
GREY = "#d4d4d4"
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#222"}
_BANDS = {"sign": "#f3e3d3", "exponent": "#f7f3dd", "integer": "#f7f3dd"}


def by_layer(result: Result, metric: str = "sdc1") -> go.Figure | None:
    """Probability of an outcome per layer and component, with intervals.

    ``None`` where no bar would stand on enough faults.
    """
    layers = list(dict.fromkeys(s.layer for s in result.space.strata))
    bars = _bars(result, lambda s: (s.component, s.layer), metric)
    if not bars:
        return None
    figure = _grouped(bars, metric)
    figure.update_xaxes(title="layer, in run order", type="category", categoryarray=layers)
    return figure.update_xaxes(range=[-0.5, len(layers) - 0.5])


def by_bit(
    result: Result, code: Sequence[tuple[str, int, int]] = (), metric: str = "sdc1"
) -> go.Figure | None:
    """Probability of an outcome per bit and component, with intervals; high bits on the left.

    Behind the bars stand the parts of the code: name, lowest and highest bit of each.

    ``None`` where no bar would stand on enough faults.
    """
    highest = max(s.bit for s in result.space.strata)
    bars = _bars(result, lambda s: (s.component, s.bit), metric)
    if not bars:
        return None
    figure = _grouped(bars[::-1], metric)  # on a reversed axis the bars of a bit are too
    figure.update_layout(legend_traceorder="reversed")
    figure.update_xaxes(title="bit", dtick=1 if highest < 32 else 4, range=[highest + 0.5, -0.5])
    for name, low, high in code:
        if name in _BANDS:
            figure.add_vrect(
                x0=low - 0.5, x1=high + 0.5, fillcolor=_BANDS[name], line_width=0, layer="below",
                annotation={"text": name, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
                annotation_position="top",
            )  # fmt: skip
    return figure


def formulations(rows: Sequence[Line], result: Result) -> go.Figure:
    """RA under several notions of a fault, with intervals and the fault-free accuracy."""
    shown = [row for row in rows if row[0] != "utilisation"][::-1]
    figure = go.Figure(
        go.Scatter(
            x=[found.value for _, found, _ in shown],
            y=[name for name, _, _ in shown],
            error_x=ends([found for _, found, _ in shown]),
            mode="markers",
            marker={"size": 9, "color": COLOURS[1]},
            hovertext=[f"{name}: {found}<br>{meaning}" for name, found, meaning in shown],
            hoverinfo="text",
        )
    )
    figure.add_vline(
        x=result.golden_accuracy, line_dash="dash", line_color=COLOURS[3],
        annotation={"text": "fault-free", "y": 1, "yanchor": "bottom"},
    )  # fmt: skip
    figure.update_xaxes(title="accuracy under a fault", tickformat=SHARES)
    return styled(figure, height=320)


def often_struck(result: Result) -> list[str]:
    """The components that at least 5 % of the faults strike: what figures can say much about."""
    share: dict[str, float] = {}
    for stratum, probability in zip(
        result.space.strata, result.space.probability.tolist(), strict=True
    ):
        share[stratum.component] = share.get(stratum.component, 0.0) + probability
    return [component for component, struck in share.items() if struck >= 0.05]


def _bars(result: Result, key: Key, metric: str) -> list[tuple[go.Bar, dict[str, Any]]]:
    """A bar per part that stands on enough faults, and its error bars for all parts at once.

    A component has one colour in all figures.
    """
    shown = often_struck(result)
    told = [part for part in enough(result.by(key)) if part.label[0] in shown]
    joint, found = at_once(result, told, key), []
    for colour, component in zip(COLOURS * 9, shown, strict=False):
        own = [part for part in told if part.label[0] == component]
        if not own:
            continue
        wide = [joint[part.label] for part in own]
        bar = go.Bar(
            name=component,
            x=[part.label[1] for part in own],
            y=[part[metric].value for part in own],
            error_y=ends([part[metric] for part in own]),
            marker_color=colour,
            hovertext=[hover(part, metric, joint) for part in own],
            hoverinfo="text",
        )
        found.append((bar, ends([part[metric] for part in wide])))
    return found


def _grouped(bars: Sequence[tuple[go.Bar, dict[str, Any]]], metric: str) -> go.Figure:
    """Bars of several components side by side."""
    figure = go.Figure([bar for bar, _ in bars])
    figure.update_yaxes(title=f"{metric} of the faults that strike", tickformat=SHARES)
    figure.update_yaxes(rangemode="tozero")
    styled(figure, height=400)
    legend = {"orientation": "h", "y": 1.1, "yanchor": "bottom", "x": 0}
    figure.update_layout(barmode="group", legend=legend, showlegend=True, margin_t=80)
    return switched(figure, [wide for _, wide in bars], "y")


def hover(part: Part, metric: str, joint: Mapping[Label, Part] | None = None) -> str:
    """What is known of a part, in four lines; in five with the intervals ``joint`` of many."""
    label = ", ".join(map(str, part.label))
    if not part.n:
        return f"{label}<br>no faults drawn"
    found, wide = part[metric], ""
    if joint and len(joint) > 1:
        every = joint[part.label][metric]
        wide = f"all {len(joint)} at once: {percent(every.low)} to {percent(every.high)}<br>"
    return (
        f"{label}<br>{metric} {percent(found.value)} of {part.n:,} faults<br>"
        f"{100 * found.confidence:g} % interval {percent(found.low)} to {percent(found.high)}<br>"
        f"{wide}{percent(part.probability)} of all faults strike here"
    )


def intervals(
    places: Sequence[Any],
    estimates: Sequence[Estimate | None],
    name: str,
    colour: str,
    legend: bool = True,
) -> go.Bar:
    """Bars with intervals; places without an estimate or without faults stay empty."""
    pairs = zip(places, estimates, strict=True)
    known = [(place, found) for place, found in pairs if found is not None and found.n]
    return go.Bar(
        x=[place for place, _ in known],
        y=[found.value for _, found in known],
        error_y=ends([found for _, found in known]),
        name=name, legendgroup=name, showlegend=legend, marker_color=colour,
        hovertext=[f"{name}, {place}<br>{found}<br>{found.n:,} faults" for place, found in known],
        hoverinfo="text",
    )  # fmt: skip


def ends(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Error bars from value to both ends of each interval."""
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 2, "color": "#444",
        "array": [found.high - found.value for found in estimates],
        "arrayminus": [found.value - found.low for found in estimates],
    }  # fmt: skip


def switched(figure: go.Figure, joint: Sequence[Mapping[str, Any]], axis: str) -> go.Figure:
    """With two buttons: error bars each for itself, as they are, or all at once.

    Args:
        figure: one trace of bars for each of ``joint``.
        joint: their error bars at once.
        axis: along which bars have errors, x or y.
    """
    count = sum(len(wide["array"]) for wide in joint)
    if count < 2:
        return figure
    own = [trace[f"error_{axis}"].to_plotly_json() for trace in figure.data]
    choices = {"each for itself": own, f"all {count} at once": joint}
    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons", "direction": "right", "showactive": True, "active": 0,
                "x": 1, "xanchor": "right", "y": 1.1, "yanchor": "bottom",
                "font": {"size": 12}, "pad": {"r": 64},  # beside the tools that plotly shows
                "buttons": [
                    {"label": label, "method": "restyle", "args": [_errors(bars, axis)]}
                    for label, bars in choices.items()
                ],
            }
        ]
    )  # fmt: skip
    return figure


def _errors(bars: Sequence[Mapping[str, Any]], axis: str) -> dict[str, Any]:
    return {
        f"error_{axis}.{side}": [list(bar[side]) for bar in bars]
        for side in ("array", "arrayminus")
    }


def panels(titles: Sequence[str], columns: int = 3) -> go.Figure:
    """An empty figure with a panel for each title, ``columns`` to a row."""
    from plotly.subplots import make_subplots

    rows = -(-len(titles) // columns)
    return make_subplots(rows=rows, cols=columns, subplot_titles=list(titles))


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        height=height, font=_FONT, paper_bgcolor="white", plot_bgcolor="white",
        margin={"l": 70, "r": 20, "t": 40, "b": 60}, hoverlabel={"align": "left"},
    )  # fmt: skip
    figure.update_xaxes(showline=True, linecolor="#999", automargin=True)
    figure.update_yaxes(gridcolor="#e5e5e5", zerolinecolor="#999", automargin=True)
    return figure
