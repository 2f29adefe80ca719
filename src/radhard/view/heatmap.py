"""The map of an outcome over layers and bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from radhard.campaign.joint import Label
from radhard.campaign.part import Part
from radhard.view.plot import GREY, SHARES, hover, styled
from radhard.view.summary import FEW, enough

#: From light to dark, which grey tones keep; steep where rates are low.
_HEAT = ((0.0, "#fff7cf"), (0.02, "#fee391"), (0.1, "#fec44f"), (0.3, "#f08020"),
         (0.6, "#b93c05"), (1.0, "#4d1503"))  # fmt: skip
#: Layers up to which a cell is high enough for two lines.
_TALL = 12
#: Bits up to which a cell is wide enough for words.
_WIDE = 20

Grid = list[list[Part | None]]


def layer_by_bit(
    parts: Sequence[Part],
    fields: Sequence[tuple[str, int, int]] = (),
    highest: float | None = None,
    metric: str = "sdc1",
    joint: Mapping[Label, Part] | None = None,
) -> go.Figure | None:
    """Map of an outcome over layers and bits; cells of too few faults are grey.

    Args:
        parts: the strata of one component, labelled (component, layer, bit).
        fields: name, lowest and highest bit of the parts of the code.
        highest: where the colours end, so that several maps have one scale; by default the
            highest rate of these parts.
        metric: the outcome.
        joint: the parts of all maps that stand on enough faults, with intervals at once.

    Returns:
        ``None`` where no cell stands on enough faults.
    """
    if not enough(parts):
        return None
    layers = list(dict.fromkeys(str(part.label[1]) for part in parts))
    bits = sorted({int(part.label[2]) for part in parts}, reverse=True)
    found = {(str(p.label[1]), int(p.label[2])): p for p in parts}
    grid = [[found.get((layer, bit)) for bit in bits] for layer in layers]
    highest = highest_rate(parts, metric) if highest is None else highest
    tall = len(layers) <= _TALL
    place = {"x": bits, "y": layers, "xgap": 1, "ygap": 1, "hoverongaps": False}
    figure = go.Figure([_withheld(grid, place), _told(grid, place, metric, highest, joint)])
    figure.update_xaxes(title="bit", dtick=1 if len(bits) <= 32 else 4, showgrid=False)
    figure.update_xaxes(range=[bits[0] + 0.5, bits[-1] - 0.5], zeroline=False)
    figure.update_yaxes(title="layer, in run order", type="category", autorange="reversed")
    styled(figure, height=150 + len(layers) * (42 if tall else 24))
    figure.update_yaxes(showgrid=False, ticklabelstandoff=6).update_layout(margin_t=50)
    return _with_fields(figure, fields)


def highest_rate(parts: Sequence[Part], metric: str = "sdc1") -> float:
    """The highest rate that stands on enough faults; 0 where there is none."""
    return max((part[metric].value for part in enough(parts)), default=0.0)


def _told(
    grid: Grid, place: dict[str, object], metric: str, highest: float,
    joint: Mapping[Label, Part] | None,
) -> go.Heatmap:  # fmt: skip
    """The cells with enough faults."""
    tall = len(grid) <= _TALL
    cells = [[p if p and p.n >= FEW else None for p in row] for row in grid]
    return go.Heatmap(
        **place, z=[[p and p[metric].value for p in row] for row in cells],
        text=[[_words(p, metric, tall) if p else "" for p in row] for row in cells],
        texttemplate="%{text}" if len(grid[0]) <= _WIDE else None, textfont={"size": 11},
        customdata=[[hover(p, metric, joint) if p else "" for p in row] for row in cells],
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=_HEAT, zmin=0, zmax=highest or 1, showscale=bool(highest > 0),
        colorbar={"tickformat": SHARES, "title": metric, "nticks": 6, "outlinewidth": 0,
                  "lenmode": "pixels", "len": min(260, 60 + len(cells) * (42 if tall else 24)),
                  "y": 1, "yanchor": "top"},
    )  # fmt: skip


def _withheld(grid: Grid, place: dict[str, object]) -> go.Heatmap:
    """The cells with too few faults, all grey."""
    cells = [[p if p and p.n < FEW else None for p in row] for row in grid]
    return go.Heatmap(
        **place, z=[[p and 0 for p in row] for row in cells], showscale=False,
        colorscale=[[0, GREY], [1, GREY]], zmin=0, zmax=1,
        customdata=[[_too_few(p) if p else "" for p in row] for row in cells],
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _too_few(part: Part) -> str:
    faults = f"{part.n} fault{'s' * (part.n != 1)}"
    return f"{', '.join(map(str, part.label))}<br>{faults}: too few for a rate"


def _words(part: Part, metric: str, tall: bool) -> str:
    """The rate in percent, and the faults behind it where there is room."""
    share = 100 * part[metric].value
    value = "0" if not share else f"{share:.0f}" if share >= 9.95 else f"{share:.2g}"
    return f"{value} %<br><span style='font-size:9px'>of {part.n:,}</span>" if tall else value


def _with_fields(figure: go.Figure, fields: Sequence[tuple[str, int, int]]) -> go.Figure:
    """A line between the parts of the code, and their names above."""
    for name, low, high in fields:
        figure.add_annotation(
            x=(low + high) / 2, y=1, yref="paper", yanchor="bottom", text=name, showarrow=False,
            font={"size": 12, "color": "#555"},
        )  # fmt: skip
        if low:
            figure.add_vline(x=low - 0.5, line_color="#555", line_width=1.5)
    return figure
