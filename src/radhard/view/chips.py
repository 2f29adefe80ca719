"""Chips with permanent faults, as tables and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from rich import box
from rich.table import Table

from radhard.arith.array import Defect
from radhard.campaign.chips import UnderDefects
from radhard.stats.estimate import Estimate
from radhard.view.plot import COLOURS, SHARES, styled
from radhard.view.study import study_table, study_written
from radhard.view.terminal import print_tables
from radhard.view.units import percent

#: Rows of kinds in the terminal, and elements of a map side by side.
_MOST_ROWS, _SIDE = 12, 64


def kinds(found: UnderDefects) -> dict[str, Estimate]:
    """Loss by kind of stuck bit, the worst first; of chips whose faults are all of that kind."""
    losses = found.by(_kind)
    return {str(kind): losses[kind] for kind in sorted(losses, key=lambda k: -losses[k].value)}


def _kind(one: Defect) -> str:
    return f"{one.site} {one.node or one.bit} stuck at {one.value}"


def lines(found: UnderDefects, points: float) -> dict[str, tuple[Estimate, str]]:
    """What is told of them: name, estimate, and what it is."""
    return {
        "accuracy": (found.accuracy, "of such chips"),
        "fault-free": (found.golden_accuracy, "the same array without faults"),
        "exact": (found.exact_accuracy, "exact products, without faults"),
        "loss": (found.loss, "fault-free less such chips, in pairs"),
        "SDC-1": (found.sdc1, "another answer than without faults"),
        "yield": (found.yield_of(points), f"chips that lose at most {percent(points)}"),
    }


def about(found: UnderDefects) -> str:
    """Which chips, in a line."""
    chips, count = found.chips, len(found.arrays)
    faulty, all_of_it = chips.permanent.faulty(chips.array), chips.array.rows * chips.array.cols
    many = f"all {count:,} chips that there are" if found.every else f"{count:,} chips"
    return (
        f"{chips.workload.name} on {chips.fault_free.computing}: {many} with {faulty:,} of "
        f"{all_of_it:,} elements faulty ({chips.permanent.name}), {len(found.golden):,} images"
    )


def show_chips(found: UnderDefects, points: float) -> None:
    """Print what is known of them on standard output."""
    table = Table(title=about(found), box=box.SIMPLE, title_justify="left")
    for head in ("", "value", "95 % interval", "of what"):
        table.add_column(head)
    for name, (one, words) in lines(found, points).items():
        value, _, interval = str(one).partition(" [")
        table.add_row(name, value, f"[{interval}", words)
    tables = [table]
    worst = kinds(found)
    if len(worst) > 1:
        second = Table(title="Loss by what is stuck, the worst first", box=box.SIMPLE)
        for head in ("stuck", "loss", "95 % interval"):
            second.add_column(head)
        for kind in list(worst)[:_MOST_ROWS]:
            value, _, interval = str(worst[kind]).partition(" [")
            second.add_row(kind, value, f"[{interval}")
        tables.append(second)
    print_tables(*tables)


def chips_page(found: UnderDefects, points: float, store: Path) -> Path:
    """Write ``permanent.html`` into a folder; gives its path."""
    worst, known = kinds(found), lines(found, points)
    entries = [
        {
            "title": "What such chips still get right",
            "note": "Intervals are over all images of the task and all chips of this kind, but for "
            "the fault-free ones, which are over images, and the yield, which is over chips, for "
            "these images.",
            **study_table("", known, ["value", "of what"],
                          lambda row, column: known[row][column == "of what"]),
        },
        {
            "title": "Loss from chip to chip",
            "note": "Each dot is a chip; those left of the line are good.",
            "figure": _distribution(found, points),
        },
        {
            "title": "Where a faulty element hurts",
            "note": "Mean loss of the chips in which an element of the array is faulty; blocks of "
            "elements where there are many. Grey: in none of these chips. Chips with several "
            "faults lend their loss to all of them.",
            "figure": _map(found),
        },
    ]  # fmt: skip
    if len(worst) > 1:
        entries.append({
            "title": "Loss by what is stuck",
            "note": "Of chips whose faults are all of one kind, the worst first; each interval for "
            "itself.",
            **study_table("stuck", worst, ["loss"], lambda row, _: worst[row]),
        })  # fmt: skip
    title = "Chips with permanent faults"
    note = "Square brackets hold 95 % intervals."
    return study_written(
        store / "permanent.html", [{"title": found.chips.workload.name, "entries": entries}], title,
        about(found), note,
    )  # fmt: skip


def _distribution(found: UnderDefects, points: float) -> go.Figure:
    figure = go.Figure()
    losses = np.sort(found.losses)
    share = (np.arange(len(losses)) + 1) / len(losses)
    figure.add_scatter(x=losses, y=share, mode="lines+markers", line_shape="hv", name="chips",
                       line_color=COLOURS[1], marker_size=7)  # fmt: skip
    figure.add_vline(x=points, line={"dash": "dash", "color": "#444"},
                     annotation_text=f"good: at most {percent(points)}")  # fmt: skip
    figure.update_xaxes(title="accuracy lost", tickformat=SHARES)
    figure.update_yaxes(title="chips that lose no more", tickformat=SHARES, range=[0, 1.05])
    return styled(figure, height=360)


def _map(found: UnderDefects) -> go.Figure:
    loss = found.map
    rows, cols = (-(-side // _SIDE) for side in loss.shape)
    padded = np.full((-(-loss.shape[0] // rows) * rows, -(-loss.shape[1] // cols) * cols), np.nan)
    padded[: loss.shape[0], : loss.shape[1]] = loss
    blocks = padded.reshape(padded.shape[0] // rows, rows, -1, cols).swapaxes(1, 2)
    flat = blocks.reshape(*blocks.shape[:2], -1)
    known = ~np.isnan(flat)
    mean = np.where(known, flat, 0).sum(2) / np.maximum(known.sum(2), 1)
    mean[~known.any(2)] = np.nan
    most = max(float(np.nanmax(mean, initial=0.0)), 1e-3)
    figure = go.Figure(go.Heatmap(
        z=mean, x=np.arange(mean.shape[1]) * cols, y=np.arange(mean.shape[0]) * rows,
        colorscale="YlOrBr", zmin=0, zmax=most, colorbar={"tickformat": SHARES, "title": "loss"},
        hoverongaps=False,
    ))  # fmt: skip
    figure.update_xaxes(
        title="column of the array", showgrid=False, zeroline=False, constrain="domain"
    )
    figure.update_yaxes(
        title="row", autorange="reversed", scaleanchor="x", showgrid=False, zeroline=False
    )
    return styled(figure, height=460).update_layout(plot_bgcolor="#d4d4d4")
