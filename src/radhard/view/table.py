"""Results as tables in the terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from radhard.campaign.joint import Key, at_once
from radhard.campaign.part import Part
from radhard.campaign.result import Result
from radhard.search.choose import Choice
from radhard.search.trial import Goal
from radhard.stats.estimate import Estimate
from radhard.study.comparison import Comparison
from radhard.study.propagation import Finding
from radhard.study.suppression import Curves
from radhard.view.summary import FEW, Line, activated, alarms, enough, formulations, lines
from radhard.view.terminal import print_tables
from radhard.view.units import percent
from radhard.view.wording import covered_words, notes_of, share_bar

#: Layers and bits shown in the terminal; the page shows all.
_MOST_ROWS = 12


def summary(
    result: Result,
    software: Result | None = None,
) -> list[Table]:
    """The metrics of a result, and the layers and bits where faults hurt most."""
    compared = software is not None or result.space.known
    return [
        _metrics(result),
        *([_lines("What alarms are worth", "alarms", alarms(result))] if result.watched else []),
        *([_formulations(result, software)] if compared else []),
        *([_rates(result)] if result.space.rate_fit is not None else []),
        *_activated(result),
        _parts("layer", result, lambda s: (s.layer, s.component)),
        _parts("bit", result, lambda s: (s.bit, s.component)),
    ]


def show(result: Result, software: Result | None = None) -> None:
    """Print `summary` on standard output."""
    print_tables(*summary(result, software))


def _metrics(result: Result) -> Table:
    table = _lines(f"{result.name}: {result.n:,} faults", "outcome", lines(result))
    notes = [f"struck: {covered_words(result.covered)}"] if result.covered is not None else []
    notes += [f"note: {note}" for note in notes_of(result)]
    if notes:
        table.caption, table.caption_justify = "\n".join(notes) + "\n", "left"
    return table


def _formulations(result: Result, software: Result | None) -> Table:
    title = "Resiliency accuracy under other notions of a fault"
    return _lines(title, "RA", formulations(result, software))


def _lines(title: str, what: str, rows: Sequence[Line]) -> Table:
    level = f"{100 * rows[-1][1].confidence:g} % interval"
    table = _table(title, (what,), ("share", level))
    table.add_column("that is", style="dim")
    for name, estimate, meaning in rows:
        interval = f"{percent(estimate.low)} to {percent(estimate.high)}"
        table.add_row(name, percent(estimate.value), interval, meaning)
    return table


def _rates(result: Result) -> Table:
    """What each component contributes to the rate of SDC-1, most first."""
    title = "Rate of SDC-1 by component, in FIT"
    table = _table(title, ("component",), ("faults", "raw", "sdc1", "FIT", "interval"))
    parts = result.by(lambda s: (s.component,))
    rows = [(str(p.label[0]), p.n, p.rate_fit or 0.0, p["sdc1"], p.fit("sdc1")) for p in parts]
    rows.sort(key=lambda row: -row[2])
    total = result.space.rate_fit or 0.0
    rows.append(("all", result.n, total, result["sdc1"], result.fit("sdc1")))
    for name, n, raw, share, rate in rows:
        interval = f"{rate.low:.3g} to {rate.high:.3g}"
        found = f"{rate.value:.3g}" if n else "-"
        table.add_row(name, f"{n:,}", f"{raw:.4g}", percent(share.value), found, interval)
    return table


def _activated(result: Result) -> list[Table]:
    """SDC-1 of those faults that something reads, where some components have others."""
    rows = activated(result)
    title = "SDC-1 of faults that something reads"
    table = _table(title, ("component",), ("read", "interval", "sdc1", "interval"))
    for name, *found in rows:
        cells = ((percent(e.value), f"{100 * e.low:.2f} to {percent(e.high)}") for e in found)
        table.add_row(name, *itertools.chain(*cells))
    return [table] if rows else []


def show_study(findings: Sequence[Finding]) -> None:
    """Print a table per network of the error-propagation study, one row per format."""
    for model in dict.fromkeys(found.model for found in findings):
        heads = ("latch SDC", "latch FIT", "buffer FIT", "SED recall", "100x area")
        table = _table(f"{model}: error propagation", ("format",), heads)
        for found in findings:
            if found.model == model:
                table.add_row(
                    found.format,
                    _share(found.datapath["sdc1"]),
                    _rate(found.datapath_fit),
                    _rate(found.buffer_fit),
                    _share(found.guarded.recall),
                    _share(found.hardening_area(100)),
                )
        print_tables(table)


def show_suppression(found: Sequence[Curves]) -> None:
    """Print a table per network of the neuron-gradient study: accuracy by error rate."""
    from radhard.view.suppression import rate_name, verdict

    for curves in found:
        heads = (*map(rate_name, curves.rates), "extra MACs", "time")
        table = _table(f"{curves.model}: accuracy under errors", ("suppressor",), heads)
        for one in curves.contenders:
            shares = (_share(curves.cells[one.name, rate].accuracy) for rate in curves.rates)
            extra, time = f"{one.cost.macs / curves.macs:.2%}", f"{one.overhead:.2f} x"
            table.add_row(one.name, *shares, extra, time)
        print_tables(table)
        print(verdict(curves))


def show_choice(found: Choice, goal: Goal, name: str) -> None:
    """Print the designs that were judged, why each other one was not chosen, and the winner."""
    from radhard.view.choice import TOGETHER, beaten_words, goal_words, member_words, rate_words

    unit = rate_words(found.plain)
    table = _table(f"{name}: {unit} on fresh faults", ("", "design"), _CHOICE_HEADS)
    table.columns[1].no_wrap = False
    for number, trial in enumerate(found.trials, 1):
        design, rate = trial.design, _rate(trial.rate) if trial.rate.unit else _share(trial.rate)
        without = _share(trial.golden), _share(trial.alarms)
        shares = percent(design.area), percent(design.work), percent(design.latency)
        repeats = "yes" if design.repeats else ""
        table.add_row(
            str(number), design.name, rate, _share(trial.accuracy), *without, *shares, repeats
        )
    print_tables(table)
    print(f"asked for: {goal_words(goal, unit)}")
    for number, trial in enumerate(found.trials, 1):
        print(f"{number:>2}: {trial.verdict}")
    print(" ".join(filter(None, (beaten_words(found), member_words(found), TOGETHER))))
    if found.winner is not None:
        winner = found.winner
        print(f"chosen: {winner.design.name}")
        print(f"on {winner.faults:,} fresh faults: {winner.rate}")


_CHOICE_HEADS = (
    "rate", "accuracy\nunder a fault", "accuracy\nno fault", "false\nalarms", "area", "work",
    "latency", "repeats",
)  # fmt: skip


def show_samplers(found: Sequence[Comparison], name: str, metric: str, half_width: float) -> None:
    """Print what each sampler needs."""
    from radhard.view.samplers import HEADS, NOTES, rows_of, truth_words

    title = f"{name}: {metric} to ± {percent(half_width)} at 95 %"
    table = _table(title, HEADS[:1], HEADS[1:])
    table.caption, table.caption_justify = "\n".join([*NOTES, truth_words(found)]), "left"
    for row in rows_of(found):
        table.add_row(*row)
    print_tables(table)


def _share(found: Estimate) -> str:
    if math.isnan(found.value):
        return str(found)
    return f"{percent(found.value)}\n{_short(100 * found.low)}..{_short(100 * found.high)}"


def _rate(found: Estimate) -> str:
    return f"{found.value:.3g}\n{_short(found.low)}..{_short(found.high)}"


def _short(number: float) -> str:
    return f"{number:.3g}" if number >= 10 else f"{number:.2g}"


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _parts(what: str, result: Result, key: Key) -> Table:
    """The parts that hurt for certain: highest lower ends first, none that stands on few faults."""
    parts = result.by(key)
    told = enough(parts)
    joint = at_once(result, told, key)
    hurt = [part for part in told if part["sdc1"].value > 0]
    shown = sorted(hurt, key=lambda part: -part["sdc1"].low)[:_MOST_ROWS]
    title = f"SDC-1 by {what}, worst lower end first"
    table = _table(title, (what, "value"), ("faults", "sdc1", "interval", "joint"))
    table.add_column("", no_wrap=True)
    table.caption = _left_out(parts, hurt, shown) + _joint_words(result.confidence, len(told))
    table.caption_justify = "left"
    highest = max((part["sdc1"].value for part in shown), default=0.0)
    for part in shown:
        found = part["sdc1"]
        interval = f"{percent(found.low).removesuffix(' %')} to {percent(found.high)}"
        least = percent(joint[part.label]["sdc1"].low)
        bar = Text(share_bar(found.value, highest), style="red")
        row = f"{part.n:,}", percent(found.value), interval, least, bar
        table.add_row(*map(str, part.label), *row)
    return table


def _joint_words(confidence: float, count: int) -> str:
    """What the columns of a table of parts are."""
    if not count:
        return ""
    level = f"{100 * confidence:g} %"
    return f"interval: {level}, each for itself; joint: {level} that all {count} rates are above\n"


def _left_out(parts: list[Part], hurt: list[Part], shown: list[Part]) -> str:
    """What the rows leave out of all parts."""
    few = len(parts) - len(enough(parts))
    counts = {
        f"of fewer than {FEW} faults": few,
        "without SDC-1": len(parts) - few - len(hurt),
        "less hurt": len(hurt) - len(shown),
    }
    said = ", ".join(f"{count:,} {why}" for why, count in counts.items() if count)
    return f"{len(shown)} of {len(parts):,} parts" + (f"; left out: {said}" if said else "") + "\n"
