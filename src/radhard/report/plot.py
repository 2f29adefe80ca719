"""Figures of a result, as plotly figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from radhard.campaign.result import Part, Result
from radhard.formats.catalogue import format_named
from radhard.report.summary import Line, enough
from radhard.report.wording import percent
from radhard.stats.estimate import Estimate

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
    figure = _bars(result, result.by(lambda s: (s.component, s.layer)), metric)
    if figure is None:
        return None
    figure.update_xaxes(title="layer, in run order", type="category", categoryarray=layers)
    return figure.update_xaxes(range=[-0.5, len(layers) - 0.5])


def by_bit(result: Result, format_name: str, metric: str = "sdc1") -> go.Figure | None:
    """Probability of an outcome per bit and component, with intervals; high bits on the left.

    ``None`` where no bar would stand on enough faults.
    """
    highest = max(s.bit for s in result.space.strata)
    figure = _bars(result, result.by(lambda s: (s.component, s.bit)), metric)
    if figure is None:
        return None
    figure.data = figure.data[::-1]  # on a reversed axis the bars of a bit are too
    figure.update_layout(legend_traceorder="reversed")
    figure.update_xaxes(title="bit", dtick=1 if highest < 32 else 4, range=[highest + 0.5, -0.5])
    for name, low, high in fields(format_name, result):
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


def _bars(result: Result, parts: Sequence[Part], metric: str) -> go.Figure | None:
    """A bar per part that stands on enough faults; a component has one colour in all figures."""
    figure = go.Figure()
    for colour, component in zip(COLOURS * 9, often_struck(result), strict=False):
        own = [part for part in enough(parts) if part.label[0] == component]
        if not own:
            continue
        estimates = [part[metric] for part in own]
        figure.add_bar(
            name=component,
            x=[part.label[1] for part in own],
            y=[found.value for found in estimates],
            error_y=ends(estimates),
            marker_color=colour,
            hovertext=[hover(part, metric) for part in own],
            hoverinfo="text",
        )
    if not figure.data:
        return None
    figure.update_yaxes(title=f"{metric} of the faults that strike", tickformat=SHARES)
    figure.update_yaxes(rangemode="tozero")
    styled(figure, height=400)
    legend = {"orientation": "h", "y": 1.1, "yanchor": "bottom", "x": 0}
    return figure.update_layout(barmode="group", legend=legend, showlegend=True, margin_t=80)


def hover(part: Part, metric: str) -> str:
    """What is known of a part, in four lines."""
    label = ", ".join(map(str, part.label))
    if not part.n:
        return f"{label}<br>no faults drawn"
    found = part[metric]
    return (
        f"{label}<br>{metric} {percent(found.value)} of {part.n:,} faults<br>"
        f"{100 * found.confidence:g} % interval {percent(found.low)} to {percent(found.high)}<br>"
        f"{percent(part.probability)} of all faults strike here"
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


def fields(format_name: str, result: Result) -> list[tuple[str, int, int]]:
    """Name, lowest and highest bit of the parts of the code, where one format serves all values."""
    if "/" in format_name or len({s.width for s in result.space.strata}) > 1:
        return []
    found: Any = format_named(format_name).fields
    return [(name, span[0], span[-1]) for name, span in found.items() if len(span)]
