"""The page and the tables of chosen protections."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path

import plotly.graph_objects as go

from radhard.search.choose import Choice
from radhard.search.trial import JOINT, Goal, Trial
from radhard.stats.estimate import Estimate
from radhard.view.plot import COLOURS, SHARES, styled
from radhard.view.study import study_table, study_written
from radhard.view.units import percent

#: Members of a design that are worth being told apart.
_SEVERAL = 2
#: What intervals of fresh faults are worth.
TOGETHER = (
    f"All intervals of fresh faults together hold with {100 * JOINT:g} % probability, so that the "
    "chosen one holds although it was picked."
)


def rate_words(trial: Trial) -> str:
    """Whether rates are in FIT."""
    return "FIT of SDC-1" if trial.rate.unit else "SDC-1"


def goal_words(goal: Goal, unit: str) -> str:
    """What was asked for, in words."""
    parts = []
    if goal.rate is not None:
        parts.append(f"{unit} at most {goal.rate:g}")
    if goal.area is not None:
        parts.append(f"storage area + {percent(goal.area)} at most")
    if goal.macs is not None:
        parts.append(f"work + {percent(goal.macs)} at most")
    if goal.latency is not None:
        parts.append(f"latency + {percent(goal.latency)} at most")
    parts.append(f"accuracy without a fault - {100 * goal.accuracy_loss:.3g} points at most")
    parts.append(f"false alarms that run again {percent(goal.false_alarms)} at most")
    return ", ".join(parts)


def _slug(goal: Goal) -> str:
    """A goal in the name of a file.

    >>> _slug(Goal(rate=0.5, area=0.05))
    '-fit-0.5-area-0.05'
    """
    usual = Goal(0.0)
    asked = {
        "fit": goal.rate, "area": goal.area, "macs": goal.macs, "latency": goal.latency,
        "loss": goal.accuracy_loss if goal.accuracy_loss != usual.accuracy_loss else None,
        "alarms": goal.false_alarms if goal.false_alarms != usual.false_alarms else None,
    }  # fmt: skip
    return "".join(f"-{name}-{value:g}" for name, value in asked.items() if value is not None)


def beaten_words(found: Choice) -> str:
    """Of what the designs are the best."""
    tried = (
        " As no other met the goal, the cheapest that leave less of the chip open were tried on "
        "fresh faults too."
    )
    return (
        f"On the {found.common:,} common faults no other set of up to {found.options:,} options, "
        f"with any of {found.guards} guards, leaves so few failures for so little within the "
        f"limits.{tried if found.searched else ''}"
    )


def member_words(found: Choice) -> str:
    """What each part of the chosen design does alone; nothing where it has a single one."""
    if len(found.members) < _SEVERAL:
        return ""
    parts = (f"{part.name} {part.does}, which leaves {part.rate}" for part in found.members)
    return f"Each part of the chosen design alone, on other fresh faults: {'; '.join(parts)}."


def missed_words(found: Choice, goal: Goal, repeat: bool) -> str:
    """That no design meets the goal, and what would help in this very case.

    Args:
        found: without a winner, so that the goal is a rate.
        goal: what was asked for.
        repeat: whether inferences might be run again.
    """
    near = found.nearest(goal)
    said = f"no design meets the goal: the nearest is {near.design.name} ({near.verdict})"
    if goal.rate is not None and found.floor > goal.rate:
        return (
            f"{said}; faults of known effect, as in control, which no design stops, make "
            f"{found.floor:.3g} alone: ask for a higher rate"
        )
    ways = [
        f"ask for a rate of {_up(near.rate.high):.3g}, which this one meets",
        *filter(None, (_more_words(found, goal), _over_words(found, goal))),
    ]
    if not repeat:
        ways.append("allow inferences to be run again (--repeat)")
    if goal.rate:
        ways.append(f"have designs found on more than {found.common:,} faults (--faults)")
    return f"{said}; {', or '.join(ways)}"


def _up(number: float) -> float:
    """Rounded up to two digits.

    >>> _up(18_437.0), f"{_up(0.1301):.3g}", _up(3.0)
    (19000.0, '0.14', 3.0)
    """
    step = 10.0 ** (floor(log10(number)) - 1)
    return ceil(number / step - 1e-9) * step


def _over_words(found: Choice, goal: Goal) -> str:
    """Which overhead would do; where no design is sure to, that there are some over the budgets."""
    closed = found.closed
    if closed is not None and goal.exceeded(closed):
        return (
            f"allow {percent(closed.area)} of area and {percent(closed.work)} of work for "
            f"{closed.name}, which leaves nothing open"
        )
    limited = any(most is not None for most in (goal.area, goal.macs, goal.latency))
    return "allow more overhead" if limited and goal.rate else ""


def _more_words(found: Choice, goal: Goal) -> str:
    """How many more fresh faults may help the design that needs the fewest, if any does."""
    needs = []
    for trial in goal.contested(found.trials):
        rate, asked = trial.rate, goal.rate or 0.0
        if rate.value < asked:
            wide = (rate.high - rate.value) / (asked - rate.value)
            needs.append((trial.faults * (wide**2 if rate.value else wide), trial.design.name))
    if not needs:
        return ""
    most, name = min(needs)
    return f"judge on more fresh faults, about --most {_up(most):.0f}, which may do for {name}"


def choice_page(found: Choice, goal: Goal, name: str, store: Path) -> Path:
    """Write a page into a folder, by the name of its goal; gives its path."""
    unit = rate_words(found.plain)
    asked = f"Asked for: {goal_words(goal, unit)}."
    rows = {trial.design.name: trial for trial in found.trials}
    entries = [
        {
            "title": "What can be had for what",
            "note": "Each point is a set of protections, with its rate on fresh faults; the line "
            "joins those that no cheaper one beats there. Overhead is storage area added plus work "
            f"added. {TOGETHER}",
            "figure": _figure(found, goal),
        },
        {
            "title": "What was chosen, and why nothing cheaper",
            "note": f"{asked} Cheapest first. Designs were found on common faults, which flatters "
            "them, and judged on fresh ones. Area is a share of the chip's storage, work of the "
            "network's multiply-accumulates; a comparison counts a tenth. Latency is what is added "
            "without a fault, false alarms that run an inference again among it. "
            + " ".join(filter(None, (beaten_words(found), member_words(found)))),
            **study_table(
                "protections", list(rows), _columns(unit),
                lambda row, column: _cells(rows[row], unit)[column],
            ),
        },
    ]  # fmt: skip
    title = "Chosen protections"
    lead = f"{name}: failure rate against what protections take."
    note = f"Square brackets hold intervals; of common faults 95 % each, for itself. {TOGETHER}"
    return study_written(
        store / f"protect{_slug(goal)}.html",
        [{"title": name, "entries": entries}],
        title,
        lead,
        note,
    )


def _columns(unit: str) -> list[str]:
    return ["verdict", f"{unit}, fresh faults", f"{unit}, common faults",
            "accuracy under a fault", "accuracy, no fault", "false alarms, no fault", "area",
            "work", "latency", "repeats"]  # fmt: skip


def _cells(trial: Trial, unit: str) -> dict[str, Estimate | str]:
    design = trial.design
    values = (
        trial.verdict, trial.rate, trial.found, trial.accuracy, trial.golden, trial.alarms,
        percent(design.area), percent(design.work), percent(design.latency),
        "yes" if design.repeats else "",
    )  # fmt: skip
    return dict(zip(_columns(unit), values, strict=True))


def _figure(found: Choice, goal: Goal) -> go.Figure:
    figure = go.Figure()
    front = found.front
    figure.add_scatter(
        x=[trial.overhead for trial in front], y=[_shown(trial) for trial in front], mode="lines",
        name="front", line_color=COLOURS[1], line_shape="hv", hoverinfo="skip",
    )  # fmt: skip
    _add_points(figure, found.trials, "judged", {"color": COLOURS[1]})
    if found.winner is not None:
        star = {"size": 14, "symbol": "star", "color": COLOURS[0]}
        _add_points(figure, [found.winner], "chosen", star)
    if goal.rate is not None:
        furthest = max(trial.overhead for trial in found.trials)
        figure.add_scatter(x=[0, furthest], y=[goal.rate] * 2, name="target", mode="lines",
                           line={"dash": "dash", "color": "#444"})  # fmt: skip
    figure.update_xaxes(title="overhead: area and work added", tickformat=SHARES)
    ends = [end for trial in found.trials for end in (trial.rate.value, trial.rate.high) if end > 0]
    figure.update_yaxes(dtick=1, title=rate_words(found.plain), type="log",
                        range=[log10(min(ends)) - 0.7, log10(max(ends)) + 0.4])  # fmt: skip
    return styled(figure, height=460)


def _add_points(
    figure: go.Figure, trials: Sequence[Trial], name: str, marker: dict[str, object]
) -> None:
    """Rates on fresh faults with their intervals."""
    values = [_shown(trial) for trial in trials]
    figure.add_scatter(
        x=[trial.overhead for trial in trials], y=values, mode="markers", name=name, marker=marker,
        hovertext=[f"{t.design.name}<br>{t.rate}<br>{t.verdict}<br>area {percent(t.design.area)}, "
                   f"work {percent(t.design.work)}" for t in trials], hoverinfo="text",
        error_y={
            "type": "data", "symmetric": False, "thickness": 1, "width": 2,
            "array": [t.rate.high - v for t, v in zip(trials, values, strict=True)],
            "arrayminus": [max(v - t.rate.low, 0) for t, v in zip(trials, values, strict=True)],
        },
    )  # fmt: skip


def _shown(trial: Trial) -> float:
    """The rate, on an axis that has no zero."""
    return max(trial.rate.value, 1e-12)
