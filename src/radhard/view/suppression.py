"""The page and the table of the neuron-gradient study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from radhard.study.suppression import BEST, REFERENCE, Curves
from radhard.view.plot import COLOURS, SHARES, styled
from radhard.view.study import study_table, study_written

_VERDICTS = {
    "ahead": "ahead of the value threshold",
    "behind": "behind the value threshold",
    "level": "level with the value threshold (the interval holds 0)",
}


def suppression_page(found: Sequence[Curves], kind: str, store: str | Path) -> Path:
    """Write ``study.html`` into the folder of the study; gives its path."""
    models = ", ".join(curves.model for curves in found)
    return study_written(
        Path(store) / "study.html",
        [_network(curves) for curves in found],
        "Suppressing wrong neuron values",
        f"Accuracy of {models} when values are wrong at a rate, with different ways to find and "
        "suppress them. The question of Amarnath et al., IOLTS'22.",
        f"Errors: {_KINDS[kind]}. All contenders meet the same errors. Square brackets hold 95 % "
        "intervals for the task, of which the images are a sample; each holds for itself, not all "
        "at once.",
    )


_KINDS = {
    "neuron": "each output of each layer has one random bit flipped with the stated probability",
    "neuron-bit": "each bit of each output of each layer is flipped with the stated probability",
    "activation": "each value behind an activation has one random bit flipped with the stated "
    "probability",
    "weight-bit": "each bit of each stored weight is flipped with the stated probability, for a "
    "whole trial",
}


def verdict(curves: Curves) -> str:
    """Where gradients win and where they do not, in a sentence or two."""
    leads, said = curves.leads(), []
    for what, words in _VERDICTS.items():
        rates = [rate_name(rate) for rate, lead in leads.items() if lead == what]
        if rates:
            said.append(f"{words} at {', '.join(rates)}")
    return f"{curves.model}: gradients with the best neighbours per layer are {'; '.join(said)}."


def rate_name(rate: float) -> str:
    """An error rate in words."""
    return f"{rate:.0e}" if rate else "no errors"


def _network(curves: Curves) -> dict[str, Any]:
    names = [contender.name for contender in curves.contenders]
    by = {contender.name: contender for contender in curves.contenders}
    rates = {rate_name(rate): rate for rate in curves.rates}

    def cost(name: str, what: str) -> str:
        own = by[name].cost
        return {
            "extra MACs": f"{own.macs / curves.macs:.2%}",
            "operations per MAC": f"{own.operations / curves.macs:.3f}",
            "memory, KiB": f"{own.memory_bits / 8192:,.1f}",
            "training": "yes" if own.retraining else "",
            "time of the software guard": f"{by[name].overhead:.2f} x",
        }[what]

    costs = ["extra MACs", "operations per MAC", "memory, KiB", "training",
             "time of the software guard"]  # fmt: skip
    entries = [
        {
            "title": "Accuracy against error rate",
            "note": verdict(curves) + " Bands are the intervals of the table below.",
            "figure": _figure(curves),
        },
        {
            "title": "The same in numbers",
            "note": "The first column is the fault-free network with the protection on.",
            **study_table(
                "suppressor", names, list(rates), lambda n, r: curves.cells[n, rates[r]].accuracy
            ),
        },
        {
            "title": "Lead over the value threshold",
            "note": "Accuracy less that of the value threshold, image by image under the same "
            "errors; where the interval does not hold 0, one is better.",
            **study_table(
                "suppressor",
                [name for name in names if name != REFERENCE],
                list(rates),
                lambda n, r: curves.cells[n, rates[r]].lead(curves.cells[REFERENCE, rates[r]]),
            ),
        },
        {
            "title": "Alarms",
            "note": "Share of inferences in which the suppressor changed a value, or its detector "
            "fired.",
            **study_table(
                "suppressor", [n for n in names if n != "none"], list(rates),
                lambda n, r: curves.cells[n, rates[r]].alarms,
            ),
        },
        {
            "title": "What it takes",
            "note": "Per inference. Time is process time of the software guard on this machine, "
            "over that of the bare network.",
            **study_table("suppressor", names, costs, cost),
        },
        {
            "title": "Neighbours",
            "note": "Per layer, those of the choices whose differences deviate least, over the "
            "deviation of the values themselves. Below 1 thresholds on differences are tighter.",
            "heads": ["layer", "deviation of differences / of values", "axis", "ordering"],
            "rows": [
                [layer, f"{ratio:.2f}", near.axis.value, near.ordering.value]
                for layer, (ratio, near) in curves.ratios.items()
            ],
        },
    ]  # fmt: skip
    return {"title": curves.model, "entries": entries}


def _figure(curves: Curves) -> go.Figure:
    figure = go.Figure()
    rates = [rate for rate in curves.rates if rate]
    for colour, contender in zip(COLOURS * 2, curves.contenders, strict=False):
        found = [curves.cells[contender.name, rate].accuracy for rate in rates]
        dash = "solid" if contender.name in {BEST, REFERENCE, "none"} else "dot"
        figure.add_scatter(
            x=[*rates, *reversed(rates)],
            y=[*(e.high for e in found), *(e.low for e in reversed(found))],
            fill="toself", fillcolor=colour, opacity=0.12, line_width=0, hoverinfo="skip",
            showlegend=False, legendgroup=contender.name,
        )  # fmt: skip
        figure.add_scatter(
            x=rates, y=[e.value for e in found], name=contender.name, line_color=colour,
            line_dash=dash, mode="lines+markers", legendgroup=contender.name,
            hovertext=[f"{contender.name}, {rate:g}<br>{e}" for rate, e in
                       zip(rates, found, strict=True)], hoverinfo="text",
        )  # fmt: skip
    figure.update_xaxes(type="log", title="error rate", exponentformat="power", dtick=1)
    figure.update_yaxes(title="accuracy", tickformat=SHARES)
    return styled(figure, height=480)
