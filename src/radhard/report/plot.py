"""Figures of a result, as plotly figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from radhard.campaign.result import Part, Result
from radhard.formats.catalogue import format_named
from radhard.metrics.fit import ISO26262_FIT
from radhard.report.summary import Line
from radhard.report.wording import percent
from radhard.stats.estimate import Estimate

COLOURS = ("#c0392b", "#2471a3", "#b7950b", "#1e8449", "#7d3c98", "#566573",
            "#d35400", "#16a085", "#6e2c00", "#aab7b8")  # fmt: skip
#: Faults that a bar stands for, where others have as many.
FEW = 10
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#222"}
_HEAT = ((0.0, "#fffdf5"), (0.05, "#fde8a8"), (0.3, "#f5a04b"), (0.6, "#d7301f"), (1.0, "#67000d"))
_BANDS = {"sign": "#f6ddcc", "exponent": "#fcf3cf", "integer": "#fcf3cf"}


def by_layer(result: Result, metric: str = "sdc1") -> go.Figure:
    """Probability of an outcome per layer and component, with intervals."""
    parts = _often_struck(result, result.by(lambda s: (s.component, s.layer)))
    figure = _bars(parts, metric, "layer")
    figure.update_xaxes(title="layer, in run order", categoryorder="array")
    return figure


def by_bit(result: Result, format_name: str, metric: str = "sdc1") -> go.Figure:
    """Probability of an outcome per bit and component, with intervals; high bits on the left."""
    parts = _often_struck(result, result.by(lambda s: (s.component, s.bit)))
    figure = _bars(parts, metric, "bit")
    figure.update_xaxes(title="bit", autorange="reversed", dtick=_tick(parts))
    for name, low, high in _fields(format_name, result):
        if name in _BANDS:
            figure.add_vrect(
                x0=low - 0.5, x1=high + 0.5, fillcolor=_BANDS[name], opacity=0.6, line_width=0,
                layer="below", annotation_text=name, annotation_position="top",
            )  # fmt: skip
    return figure


def formulations(rows: Sequence[Line], result: Result) -> go.Figure:
    """RA under several notions of a fault, with intervals and the fault-free accuracy."""
    shown = [row for row in rows if row[0] != "utilisation"][::-1]
    figure = go.Figure(
        go.Scatter(
            x=[found.value for _, found, _ in shown],
            y=[name for name, _, _ in shown],
            error_x=_ends([found for _, found, _ in shown]),
            mode="markers",
            marker={"size": 9, "color": COLOURS[1]},
            hovertext=[f"{name}: {found}<br>{meaning}" for name, found, meaning in shown],
            hoverinfo="text",
        )
    )
    figure.add_vline(
        x=result.golden_accuracy, line_dash="dash", line_color=COLOURS[3],
        annotation_text="fault-free", annotation_position="top",
    )  # fmt: skip
    figure.update_xaxes(title="accuracy", tickformat=".1~%")
    return styled(figure, height=320)


def fit_by_component(result: Result, metric: str = "sdc1") -> go.Figure:
    """Rate of an outcome in FIT per component, with intervals and the budget of ISO 26262."""
    parts = [part for part in result.by(lambda s: (s.component,)) if part.n]
    rates = [part.fit(metric) for part in parts]
    figure = go.Figure(
        go.Bar(
            x=[str(part.label[0]) for part in parts],
            y=[rate.value for rate in rates],
            error_y=_ends(rates),
            marker_color=COLOURS[1],
            hovertext=[f"{p.label[0]}<br>{rate}" for p, rate in zip(parts, rates, strict=True)],
            hoverinfo="text",
        )
    )  # fmt: skip
    figure.add_hline(
        y=ISO26262_FIT, line_dash="dash", line_color=COLOURS[0],
        annotation_text="ISO 26262: 10 FIT for the whole chip",
    )  # fmt: skip
    figure.update_yaxes(title=f"{metric}, FIT", rangemode="tozero")
    return styled(figure, height=380)


def layer_by_bit(result: Result, component: str, metric: str = "sdc1") -> go.Figure:
    """Map of an outcome over layers and bits of one component; cells without faults stay empty."""
    parts = [part for part in result.strata if part.label[0] == component]
    layers = list(dict.fromkeys(str(part.label[1]) for part in parts))
    bits = sorted({int(part.label[2]) for part in parts}, reverse=True)
    found = {(str(p.label[1]), int(p.label[2])): p for p in parts}
    grid = [[found.get((layer, bit)) for bit in bits] for layer in layers]
    values = [[p[metric].value if p and p.n else None for p in row] for row in grid]
    words = [[_hover(p, metric) if p else "" for p in row] for row in grid]
    figure = go.Figure(
        go.Heatmap(
            z=values, x=[str(bit) for bit in bits], y=layers, text=words, hoverinfo="text",
            colorscale=_HEAT, zmin=0, colorbar={"tickformat": ".0%", "title": metric},
            hoverongaps=False,
        )
    )  # fmt: skip
    figure.update_xaxes(title="bit", type="category")
    figure.update_yaxes(autorange="reversed")
    styled(figure, height=140 + 24 * max(len(layers), 6))
    figure.update_layout(plot_bgcolor="#ececec")
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def often_struck(result: Result) -> list[str]:
    """The components that at least 5 % of the faults strike: what figures can say much about."""
    share: dict[str, float] = {}
    for stratum, probability in zip(
        result.space.strata, result.space.probability.tolist(), strict=True
    ):
        share[stratum.component] = share.get(stratum.component, 0.0) + probability
    return [component for component, struck in share.items() if struck >= 0.05]


def _often_struck(result: Result, parts: list[Part]) -> list[Part]:
    shown = often_struck(result)
    return [part for part in parts if part.label[0] in shown]


def _bars(parts: Sequence[Part], metric: str, what: str) -> go.Figure:
    """A bar per part; those of few faults, whose intervals dwarf others, only among their like."""
    figure = go.Figure()
    parts = [part for part in parts if part.n >= FEW] or parts
    components = list(dict.fromkeys(str(part.label[0]) for part in parts))
    for colour, component in zip(COLOURS * 9, components, strict=False):
        own = [part for part in parts if part.label[0] == component and part.n]
        estimates = [part[metric] for part in own]
        figure.add_bar(
            name=component,
            x=[part.label[1] for part in own],
            y=[e.value for e in estimates],
            error_y=_ends(estimates),
            marker_color=colour,
            hovertext=[_hover(part, metric) for part in own],
            hoverinfo="text",
        )
    figure.update_layout(barmode="group", legend={"orientation": "h", "y": 1.12})
    figure.update_yaxes(title=f"{metric}, given a fault in this {what}", tickformat=".1~%")
    figure.update_yaxes(rangemode="tozero")
    return styled(figure, height=380)


def _hover(part: Part, metric: str) -> str:
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
        error_y=_ends([found for _, found in known]),
        name=name, legendgroup=name, showlegend=legend, marker_color=colour,
        hovertext=[f"{name}, {place}<br>{found}<br>{found.n:,} faults" for place, found in known],
        hoverinfo="text",
    )  # fmt: skip


def _ends(estimates: Sequence[Estimate]) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 2,
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


def _tick(parts: Sequence[Part]) -> int:
    return 1 if max(int(part.label[1]) for part in parts) < 32 else 4


def _fields(format_name: str, result: Result) -> list[tuple[str, int, int]]:
    """The named parts of the code, where one format serves all values."""
    if "/" in format_name or len({s.width for s in result.space.strata}) > 1:
        return []
    fields: Any = format_named(format_name).fields
    return [(name, span[0], span[-1]) for name, span in fields.items() if len(span)]
