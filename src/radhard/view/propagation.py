"""The page of the error-propagation study: the tables and figures of Li et al., SC'17, as ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from radhard.stats.estimate import Estimate
from radhard.study.latches import MIXTURES
from radhard.study.propagation import Finding
from radhard.view.plot import COLOURS, SHARES, intervals, panels, styled
from radhard.view.study import study_table, study_written

_DIRECTIONS = ("0 to 1", "1 to 0")
#: Reductions of the datapath's rate for which the area of hardening is shown.
_TARGETS = (2.0, 3.0, 5.0, 6.3, 10.0, 20.0, 37.0, 100.0, 300.0, 1000.0)
#: Latch hardening is shown for the formats of the source.
_HARDENED = ("fp16", "fixed16_10")


def study_page(findings: Sequence[Finding], store: str | Path) -> Path:
    """Write ``study.html`` into the folder of a study; gives its path."""
    models = list(dict.fromkeys(found.model for found in findings))
    parts = [_between_networks(findings)] if len(models) > 1 else []
    parts += [_network(model, [f for f in findings if f.model == model]) for model in models]
    chip = findings[0].guarded.name.split("-")[-2]
    level = 100 * findings[0].datapath.confidence
    return study_written(
        Path(store) / "study.html",
        parts,
        "Error propagation",
        f"What a bit flip in a latch or a buffer of {chip} does to {', '.join(models)}, in six "
        "number formats. The study of Li et al., SC'17.",
        f"Square brackets hold {level:g} % intervals, each for itself. A fault-free run is the "
        "reference, not the label.",
    )


def _between_networks(findings: Sequence[Finding]) -> dict[str, Any]:
    models = dict.fromkeys(found.model for found in findings)
    by = {(found.model, found.format): found for found in findings}
    formats = list(dict.fromkeys(found.format for found in findings))
    rates = {model: [by[model, name].datapath["sdc1"] for name in formats] for model in models}
    return {
        "title": "Networks side by side",
        "entries": [
            {
                "title": "SDC-1 by number format",
                "note": "A strike on a datapath latch changes the top class.",
                "figure": _grouped(formats, rates, "SDC-1 of a strike on a latch"),
            },
            {
                "title": "Rate of the datapath, FIT",
                "note": "All latches of all processing elements.",
                **study_table("format", formats, models, lambda f, m: by[m, f].datapath_fit),
            },
            {
                "title": "Euclidean distance behind the first layer",
                "note": "In fp16. " + _DISTANCE_NOTE,
                "figure": _distances([by[m, "fp16"] for m in models], lambda f: f.model),
            },
        ],
    }


_DISTANCE_NOTE = (
    "Faults in latches of the first layer that lift one of its outputs out of its fault-free "
    "range and are not masked before the second: median distance between faulty and fault-free "
    "values at the output of each layer, and as the next layer reads them. A dotted line stands "
    "where local response normalisation lies in between."
)


def _network(model: str, findings: Sequence[Finding]) -> dict[str, Any]:
    formats = [found.format for found in findings]
    by = {found.format: found for found in findings}
    outcomes = ("sdc1", "sdc5", "sdc10", "sdc20", "masked", "nan")
    memories = list(findings[0].buffers)
    layers = list(findings[0].ranges)

    def remedy(name: str, what: str) -> Estimate:
        guarded = by[name].guarded
        return {
            "recall": guarded.recall,
            "precision of alarms": guarded.precision,
            "precision as published": guarded.precision_of_injected,
            "FIT before": guarded.fit("sdc1"),
            "FIT after": guarded.fit("sdc1_undetected"),
        }[what]

    remedies = ["recall", "precision of alarms", "precision as published",
                "FIT before", "FIT after"]  # fmt: skip
    entries: list[dict[str, Any]] = [
        {
            "title": "A strike on a latch",
            "note": "Share of strikes on datapath latches, each read once.",
            **study_table("format", formats, outcomes, lambda f, o: by[f].datapath[o]),
        },
        {
            "title": "A strike on a buffer",
            "note": "SDC-1 of a strike on each memory; its value is wrong for all later reads.",
            **study_table("format", formats, memories, lambda f, b: by[f].buffers[b]["sdc1"]),
        },
        {
            "title": "FIT of SDC-1",
            "note": "Raw rate times SDC-1. ISO 26262 allows a whole chip 10 FIT.",
            **study_table(
                "format",
                formats,
                [*memories, "all memories", "datapath"],
                lambda f, b: _fit(by[f], b),
            ),
        },
        {
            "title": "By bit and direction of the flip",
            "note": "Latches; most significant bits on the left.",
            "figure": _by_bit(findings),
        },
        {
            "title": "By how far the value moved",
            "note": "Latches; the distance between the struck value before and after, by decade.",
            "figure": _by_deviation(findings),
        },
        {
            "title": "By layer",
            "note": "Latches; SDC-1 of a strike while this layer runs.",
            "figure": _grouped(
                layers,
                {f.format: _rates(f.spread.layer, layers, f) for f in findings},
                "SDC-1 of a strike in this layer",
            ),
        },
        {
            "title": "Euclidean distance behind the first layer",
            "note": _DISTANCE_NOTE,
            "figure": _distances(findings, lambda f: f.format),
        },
        {
            "title": "Still visible at the end",
            "note": "Share of strikes in each layer after which some logit differs in some bit.",
            **study_table(
                "struck layer",
                layers,
                formats,
                lambda layer, f: by[f].spread.visible(layer, by[f].spread.places[-1]),
            ),
        },
        {
            "title": "Fault-free ranges",
            "note": "Lowest and highest output of each layer over the images of the study.",
            "heads": ["layer", *formats],
            "rows": [
                [layer, *("{:.4g} to {:.4g}".format(*by[f].ranges[layer]) for f in formats)]
                for layer in layers
            ],
        },
        {
            "title": "Symptom-based detection",
            "note": "Ranges learned on training images, with a cushion of 10 %; strikes on the "
            "whole chip. After: a detected fault is repaired by running again.",
            **study_table("format", formats, remedies, remedy),
        },
        {
            "title": "How unequal latches are",
            "note": "What is left of the datapath's rate when the worst latches (by kind and bit) "
            "are perfect; dashed, the exponential whose beta is fitted.",
            "figure": _sensitivity([f for f in findings if f.format in _HARDENED]),
        },
        {
            "title": "Area of hardened latches against what they reach",
            "note": "Each type alone, and the best mixture. Rates are those measured; a class "
            "without a failure among its faults counts as safe, so areas lean low.",
            "figure": _areas([f for f in findings if f.format in _HARDENED]),
        },
        {
            "title": "Added latch area for a hundredfold reduction",
            "note": "The interval is that of choices for rates drawn from their posteriors.",
            **study_table("format", formats, ["area"], lambda f, _: by[f].hardening_area(100)),
        },
    ]
    return {"title": model, "entries": entries}


def _fit(found: Finding, part: str) -> Estimate:
    if part == "datapath":
        return found.datapath_fit
    if part == "all memories":
        return found.buffer_fit
    return found.buffers[part].fit("sdc1")


def _rates(
    label: np.ndarray[Any, Any], wanted: Sequence[Any], found: Finding
) -> list[Estimate | None]:
    rates = found.spread.rates(label, "sdc1")
    return [rates.get(str(value)) for value in wanted]


def _grouped(
    places: Sequence[Any], series: Mapping[str, Sequence[Estimate | None]], what: str
) -> go.Figure:
    figure = go.Figure()
    for colour, (name, estimates) in zip(COLOURS, series.items(), strict=False):
        figure.add_trace(intervals(places, estimates, name, colour))
    figure.update_layout(barmode="group", legend={"orientation": "h", "y": 1.12})
    figure.update_xaxes(type="category")
    figure.update_yaxes(title=what, tickformat=SHARES, rangemode="tozero")
    return styled(figure, height=380)


def _by_bit(findings: Sequence[Finding]) -> go.Figure:
    figure = panels([found.format for found in findings])
    for k, found in enumerate(findings):
        width = found.spread.space.strata[0].width
        bits = list(range(width - 1, -1, -1))
        for direction, colour in zip(_DIRECTIONS, COLOURS, strict=False):
            went = found.spread.direction == direction
            label = np.where(went, found.spread.bit, -1)
            rates = _rates(label, bits, found)
            bars = intervals(bits, rates, direction, colour, legend=k == 0)
            figure.add_trace(bars, row=k // 3 + 1, col=k % 3 + 1)
    figure.update_xaxes(autorange="reversed", title="bit")
    figure.update_yaxes(tickformat=SHARES, rangemode="tozero")
    figure.update_layout(barmode="group")
    return styled(figure, height=560)


def _by_deviation(findings: Sequence[Finding]) -> go.Figure:
    figure = panels([found.format for found in findings])
    names = ["<1e-3", "1e-3", "1e-2", "0.1", "1", "10", "100", "1e3", ">1e4"]
    for k, found in enumerate(findings):
        with np.errstate(divide="ignore"):
            decade = np.clip(np.floor(np.log10(found.spread.deviation)), -4, 4)
        for outward, colour in zip((True, False), COLOURS, strict=False):
            label = np.where(found.spread.outward == outward, decade, 99).astype(int)
            rates = _rates(label, range(-4, 5), found)
            name = "away from zero" if outward else "towards zero, or sign only"
            bars = intervals(names, rates, name, colour, legend=k == 0)
            figure.add_trace(bars, row=k // 3 + 1, col=k % 3 + 1)
    figure.update_xaxes(type="category", title="moved by at least")
    figure.update_yaxes(tickformat=SHARES, rangemode="tozero")
    figure.update_layout(barmode="group")
    return styled(figure, height=600)


def _distances(findings: Sequence[Finding], name: Any) -> go.Figure:
    figure = go.Figure()
    for colour, found in zip(COLOURS, findings, strict=False):
        first, rates = found.first, found.distances
        if not rates:
            continue
        places = [_place(k) for k in range(len(first.places))]
        values = list(rates.values())
        words = [f"{place}: {rates[place]} ({rates[place].n} faults)" for place in rates]
        figure.add_trace(
            go.Scatter(
                x=places, y=[_drawable(e.value) for e in values], name=name(found),
                mode="lines+markers", line_color=colour, hovertext=words, hoverinfo="name+text",
                error_y={
                    "type": "data", "symmetric": False, "thickness": 1, "width": 2,
                    "array": [_drawable(e.high) - _drawable(e.value) for e in values],
                    "arrayminus": [_drawable(e.value) - _drawable(e.low) for e in values],
                },
            )
        )  # fmt: skip
        for layer in found.normalised:
            place = f"into {layer}"
            if place in first.places:
                figure.add_vline(x=first.places.index(place) - 0.5, line_dash="dot")
    figure.update_xaxes(type="category", title="layer by layer")
    figure.update_yaxes(type="log", title="distance", exponentformat="power")
    return styled(figure, height=420)


def _place(k: int) -> str:
    return f"out of {k // 2 + 1}" if k % 2 == 0 else f"into {k // 2 + 2}"


def _drawable(value: float) -> float:
    """Within what a logarithmic axis can show."""
    return float(np.clip(value, 1e-30, 1e300))


def _sensitivity(findings: Sequence[Finding]) -> go.Figure:
    figure = go.Figure()
    for colour, found in zip(COLOURS, findings, strict=False):
        if not found.latches.hits.any():
            continue
        of = found.latches.sensitivity
        figure.add_scatter(x=of.share, y=of.left, name=found.format, line_color=colour)
        dashed = {"dash": "dash", "color": colour}
        figure.add_scatter(x=of.share, y=of.fitted, name=f"beta {of.beta:.3g}", line=dashed)
    figure.update_xaxes(title="share of latches protected, worst first", tickformat=SHARES)
    figure.update_yaxes(title="share of the rate that is left", tickformat=SHARES)
    return styled(figure, height=380)


def _areas(findings: Sequence[Finding]) -> go.Figure:
    figure = panels([found.format for found in findings], columns=2)
    for (k, found), (colour, (name, types)) in product(
        enumerate(findings), zip(COLOURS, MIXTURES.items(), strict=False)
    ):
        if not found.latches.hits.any():
            continue
        areas = found.latches.areas(types, _TARGETS)
        line = go.Scatter(
            x=list(areas), y=list(areas.values()), name=name, mode="lines+markers",
            line_color=colour, showlegend=k == 0, line_dash="solid" if name == "mixed" else "dot",
        )  # fmt: skip
        figure.add_trace(line, row=1, col=k + 1)
    figure.update_xaxes(type="log", title="times fewer failures")
    figure.update_yaxes(title="latch area added", tickformat=SHARES, rangemode="tozero")
    return styled(figure, height=400)
