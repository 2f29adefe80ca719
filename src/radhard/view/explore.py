"""The page and the table of explored designs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from rich import box
from rich.table import Table

from radhard.rtl.design import Protect
from radhard.search.plan import Plan
from radhard.search.point import Needs, Point, front
from radhard.stats.estimate import Estimate
from radhard.view.page import LINKS, report
from radhard.view.plot import COLOURS, SHARES, ends, intervals, panels, styled
from radhard.view.study import study_table, study_written
from radhard.view.terminal import print_tables
from radhard.view.units import percent

#: What each protection of an array is, in words.
PROTECTIONS: dict[Protect, str] = {
    "none": "nothing",
    "clamp": "sums beyond the fault-free range set to its nearer end",
    "zero": "sums beyond the fault-free range set to 0",
    "mean": "sums beyond the fault-free range set to the layer's mean",
    "msb": "the top 2 bits of activations three times",
    "psum": "the top quarter of partial sums three times",
    "voted": "every flip-flop three times",
    "tmr": "everything three times",
}
_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "hexagon")
_WHERE = {
    "array": "registers of the array, bit by bit and cycle by cycle",
    "activations": "one bit of the code of one activation, any alike",
}
_COLUMNS = (
    "accuracy",
    "SDC-1",
    "a fault costs",
    "saved by protection",
    "FIT",
    "cells, FF, DSP",
    "Fmax",
    "latency, energy",
    "worst layer",
)
#: Those that a page has room for.
_SHOWN = _COLUMNS[:-1]


def explore_page(points: Sequence[Point], plan: Plan, chosen: Point | None, said: str,
                 store: Path) -> Path:  # fmt: skip
    """Write ``explore.html``, and ``runs/report.html`` that its points lead to; gives its path.

    Args:
        points: the designs.
        plan: the grid.
        chosen: the recommended one, if any.
        said: what was asked for, and what became of it.
        store: the folder.
    """
    report(store / "runs")
    best = front(points, plan.objectives)
    name = points[0].model
    entries: list[dict[str, Any]] = [
        {
            "title": "What can be had for what",
            "note": "Each point is a design; the line joins those that no other beats in these "
            f"two. {said} Point at one for its figures; a click opens its campaign.",
            "figure": _trade(points, chosen),
        },
        *(_side_by_side(points, size) for size in plan.arrays),
        *([_masked(points)] if any(point.stages for point in points) else []),
        {
            "title": "All designs",
            "note": "In square brackets 95 % intervals, each for itself; of clock rates the range "
            "over seeds. Cells are look-up tables of four inputs, and two per carry cell, on an "
            "ECP5 with its multipliers in DSP blocks. What protection saves is of the same faults; "
            "energy is a model, see the documents.",
            **study_table("design", [_starred(p, best, chosen) for p in points], _SHOWN,
                          _cells_of({_starred(p, best, chosen): p for p in points})),
        },
    ]  # fmt: skip
    return study_written(
        store / "explore.html", [{"title": name, "entries": entries}],
        "Quantisation, array and protection",
        f"Accuracy, reliability and hardware of {name} on {plan.dataflow} arrays. Faults strike "
        f"{_WHERE[plan.where]}; {plan.faults:,} for each network and kind of run.",
        f"Marked *: the front in {', '.join(plan.objectives)}, {len(best)} of {len(points)} "
        "designs; >: recommended.",
    )  # fmt: skip


def show_points(points: Sequence[Point], plan: Plan, chosen: Point | None) -> None:
    """Print the designs; a star marks those of the front, an arrow the recommended one."""
    table = Table(box=box.SIMPLE)
    table.add_column("design", no_wrap=True)
    heads = ("accuracy", "SDC-1", "a fault costs", "cells, FF, DSP", "Fmax")
    for head in heads:
        table.add_column(head, justify="right")
    best = front(points, plan.objectives)
    for point in points:
        cells = _cells(point)
        table.add_row(_starred(point, best, chosen), *(str(cells[head]) for head in heads))
    print_tables(table)


def _starred(point: Point, best: Sequence[Point], chosen: Point | None) -> str:
    return point.name + " *" * (point in best) + " >" * (point is chosen)


def _cells_of(points: dict[str, Point]) -> Any:
    return lambda row, column: _cells(points[row])[column]


def _cells(point: Point) -> dict[str, Estimate | str]:
    hardware, rate = point.hardware, point.hardware.fmax_mhz
    layer, worst = point.worst
    latency = "not known" if rate is None else f"{point.running.latency_us(rate.value):,.0f} us"
    energy = f"{point.running.energy_nj:,.0f} nJ" if point.energy_known else "not known"
    counts = ", ".join(map(_count, (hardware.cells, hardware.ffs, hardware.dsps)))
    values: tuple[Estimate | str, ...] = (
        point.accuracy, point.sdc1, point.drop,
        point.improvement or "", point.fit or "", counts, rate or "not known",
        f"{latency}, {energy}", f"{layer}: {percent(worst.value)}" if layer else "none",
    )  # fmt: skip
    return dict(zip(_COLUMNS, values, strict=True))


def _count(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


def _trade(points: Sequence[Point], chosen: Point | None) -> go.Figure:
    """SDC-1 against logic cells; a colour for each width, a symbol for each protection."""
    figure = go.Figure(layout_meta=LINKS)
    known = [point for point in points if point.hardware.cells is not None]
    bits = list(dict.fromkeys(point.bits for point in known))
    kinds = list(dict.fromkeys(point.design.protect for point in known))
    joined = sorted(front(known, ("area", "sdc1")), key=lambda point: point.score("area") or 0)
    figure.add_scatter(
        x=[point.hardware.cells for point in joined], y=[_shown(point) for point in joined],
        mode="lines", name="unbeaten", hoverinfo="skip",
        line={"color": "#999", "dash": "dot", "shape": "hv"},
    )  # fmt: skip
    for width, colour in zip(bits, COLOURS * 9, strict=False):
        own = [point for point in known if point.bits == width]
        figure.add_scatter(
            x=[point.hardware.cells for point in own], y=[_shown(point) for point in own],
            mode="markers", name=f"{width} bits", hoverinfo="text",
            error_y=_whiskers(own),
            marker={"size": 10, "color": colour,
                    "symbol": [_SYMBOLS[kinds.index(p.design.protect)] for p in own]},
            hovertext=[_hover(point) for point in own],
            customdata=[f"runs/report.html#{point.campaign}" for point in own],
        )  # fmt: skip
    for kind in kinds:
        marker = {"symbol": _SYMBOLS[kinds.index(kind)], "color": "#666", "size": 9}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=kind, marker=marker)
    if chosen is not None and chosen.hardware.cells is not None:
        figure.add_scatter(
            x=[chosen.hardware.cells], y=[_shown(chosen)], mode="markers", name="recommended",
            hoverinfo="skip", marker={"size": 20, "symbol": "circle-open", "color": "#000"},
        )  # fmt: skip
    figure.update_xaxes(title="logic cells", rangemode="tozero")
    figure.update_yaxes(title="SDC-1 of a fault", type="log", tickformat=SHARES, dtick="D2")
    return styled(figure, height=520)


#: Where a rate of none stands on an axis that has no zero.
_NONE = 1e-6


def _shown(point: Point) -> float:
    return max(point.sdc1.value, _NONE)


def _whiskers(points: Sequence[Point]) -> dict[str, Any]:
    found = ends([point.sdc1 for point in points])
    up = [max(point.sdc1.high - _shown(point), 0.0) for point in points]
    down = [max(_shown(point) - max(point.sdc1.low, _NONE), 0.0) for point in points]
    return {**found, "array": up, "arrayminus": down}


def _hover(point: Point) -> str:
    cells = _cells(point)
    return f"{point.name}<br>" + "<br>".join(f"{name} {cells[name]}" for name in _COLUMNS)


def _side_by_side(points: Sequence[Point], size: tuple[int, int]) -> dict[str, Any]:
    """Accuracy, reliability and hardware of the designs of one size."""
    rows, cols = size
    own = [p for p in points if (p.design.rows, p.design.cols) == size]
    kinds = list(dict.fromkeys((point.design.protect, point.multiplier) for point in own))
    figure = panels(("accuracy without faults", "SDC-1 of a fault", "logic cells"))
    for (kind, circuit), colour in zip(kinds, COLOURS * 9, strict=False):
        these = [p for p in own if (p.design.protect, p.multiplier) == (kind, circuit)]
        widths = [f"{point.bits} bits" for point in these]
        name = kind if circuit == "exact" else f"{kind}, {circuit}"
        bars = (
            go.Scatter(x=widths, y=[point.accuracy.value for point in these], mode="markers",
                       error_y=ends([point.accuracy for point in these]), name=name,
                       legendgroup=name, marker={"color": colour, "size": 9},
                       hovertext=[_hover(point) for point in these], hoverinfo="text"),
            intervals(widths, [point.sdc1 for point in these], name, colour, legend=False),
            go.Bar(x=widths, y=[point.hardware.cells for point in these], marker_color=colour,
                   name=name, legendgroup=name, showlegend=False),
        )  # fmt: skip
        for column, bar in enumerate(bars, 1):
            figure.add_trace(bar, row=1, col=column)
    low, high = min(p.accuracy.low for p in own), max(p.accuracy.high for p in own)
    room = 0.1 * (high - low) + 0.001
    figure.update_yaxes(tickformat=SHARES, range=[low - room, high + room], row=1, col=1)
    figure.update_yaxes(tickformat=SHARES, row=1, col=2)
    figure.update_layout(barmode="group", scattermode="group")
    words = "; ".join(f"{kind}: {PROTECTIONS[kind]}" for kind in dict.fromkeys(k for k, _ in kinds))
    return {
        "title": f"{rows} x {cols}: accuracy, reliability and hardware",
        "note": f"Protections: {words}.",
        "figure": styled(figure, height=380),
    }


#: What stands for each of `radhard.campaign.masking.STAGES`.
_STAGES = {
    "unread": "not read",
    "vote": "voted",
    "product": "product",
    "scaling": "scaling",
    "rounding": "rounding",
    "clamp": "clamp",
    "later": "later layers",
    "argmax": "argmax",
    "answer": "another answer",
}


def _masked(points: Sequence[Point]) -> dict[str, Any]:
    """Where faults were masked, a bar for each design."""
    figure = go.Figure()
    names = [point.name for point in points]
    for (stage, name), colour in zip(_STAGES.items(), COLOURS * 9, strict=False):
        shares = [point.stages[stage] for point in points]
        figure.add_bar(
            y=names, x=[share.value for share in shares], orientation="h", name=name,
            marker_color="#ddd" if stage == "unread" else colour, hoverinfo="text",
            hovertext=[f"{point.name}: {name} {share}"
                       for point, share in zip(points, shares, strict=True)],
        )  # fmt: skip
    figure.update_layout(barmode="stack")
    figure.update_xaxes(tickformat=SHARES, range=[0, 1])
    figure.update_yaxes(autorange="reversed")
    return {
        "title": "Where faults were masked",
        "note": "The first stage at which all values of the struck layer are what they are without "
        "the fault: sums of products, sums as real numbers, rounded, and held to the ends of the "
        "code or of a protection; then later layers, and the choice of the largest. Of some of the "
        "faults, each drawn as it strikes; point at a bar for its interval.",
        "figure": styled(figure, height=140 + 26 * len(points)),
    }


def needs_words(
    needs: Needs, points: Sequence[Point], chosen: Point | None, objectives: Sequence[str]
) -> str:
    """What was asked for, and which design keeps to it; or what each lacks."""
    asked = [
        f"{needs.luts:,} look-up tables at most" if needs.luts is not None else "",
        f"accuracy of {percent(needs.accuracy)} at least" if needs.accuracy is not None else "",
        f"{needs.fit:g} FIT at most" if needs.fit is not None else "",
    ]
    said = ", ".join(filter(None, asked)) or "nothing in particular"
    if chosen is not None and chosen in front(points, objectives):
        return f"Asked for: {said}. Recommended, as the front's lowest SDC-1: {chosen.name}."
    if chosen is not None:
        lacking = [name for name in objectives if chosen.score(name) is None]
        why = "designs that do not keep to that beat it"
        if lacking:
            named = " and ".join(lacking)
            why = f"{named} of it not known: --seeds 3 synthesises and places"
        return (
            f"Asked for: {said}. Recommended, as the lowest SDC-1 of those that keep to that: "
            f"{chosen.name}; it is not of the front ({why})."
        )
    nearest = min(points, key=needs.distance)
    return (
        f"Asked for: {said}. No design keeps to that; the nearest is {nearest.name} with "
        f"{'; '.join(needs.missed(nearest))}."
    )
