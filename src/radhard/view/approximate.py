"""The page and the table of the study of permanent faults in approximate arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from rich import box
from rich.table import Table

from radhard.stats.estimate import Estimate
from radhard.study.approximate import EXACT, NONE, Case, Findings
from radhard.view.plot import COLOURS, SHARES, ends, panels, styled
from radhard.view.study import study_table, study_written
from radhard.view.terminal import print_tables
from radhard.view.units import percent

#: Loss of the approximate and of the exact network, as abstracts have them.
_HEADLINES = {
    "arXiv:2301.07484, worst single fault": ("56 %", "4 %"),
    "arXiv:2101.02860, worst faulty bit": ("66 %", "9 %"),
}
_FALRETUNE = "up to 98 % accuracy at fault rates up to 50 %"
_WHY = (
    "Their networks, arrays, bits and multipliers are not published, so only the order of "
    "magnitude can be compared. Theirs is a single fault; ours is in so many elements. "
)


def approximate_page(found: Sequence[Findings], store: Path) -> Path:
    """Write ``approximate-faults.html`` into the folder of the study; gives its path."""
    names = ", ".join(f"{one.model} ({one.data})" for one in found)
    plan = found[0].plan
    return study_written(
        store / "approximate-faults.html",
        [
            *([{"title": "All networks", "entries": _across(found)}] if len(found) > 1 else []),
            *({"title": f"{one.model}, {one.data}", "entries": _entries(one)} for one in found),
        ],
        "Permanent faults in approximate arrays",
        f"What {names} lose when a bit of products is stuck in some elements of an array of "
        "approximate or exact multipliers, and what retuning wins back. The question of Siddique "
        "and Hoque.",
        f"Each kind of chips is {plan.maps} chips with faulty elements of their own, the same ones "
        "for all multipliers and mitigations. Losses are against the same arithmetic without "
        "faults. Square brackets hold 95 % intervals for all such chips and the task, each for "
        "itself: few chips leave them wide, even where all of them agree.",
    )


def show_approximate(found: Sequence[Findings]) -> None:
    """Print, for each network, the loss by bit, and where approximate arithmetic costs most."""
    for one in found:
        names = list(one.plan.circuits)
        table = Table(
            title=f"{one.model}: accuracy lost to a stuck bit in {_elements(one, _count(one))}",
            box=box.SIMPLE, title_justify="left",
        )  # fmt: skip
        for head in ("bit", *names):
            table.add_column(head)
        for value, bit in product((0, 1), one.plan.bits):
            cells = (str(_loss(one, Case(name, value, bit, _count(one)))) for name in names)
            table.add_row(_stuck(value, bit), *cells)
        print_tables(table)
        print(worst_words(one))
        print(leads_words(one))


def worst_words(found: Findings) -> str:
    """Where the approximate array loses most more than the exact one."""
    if len(found.plan.circuits) < 2:
        return "Only exact multipliers were tried."
    case, gap = found.worst
    own, exact = (_loss(found, one) for one in (case, case._replace(multiplier=EXACT)))
    where = f" in layer {case.layer} alone" if case.layer else ""
    return (
        f"{found.model}: the worst pair is {_stuck(case.value, case.bit)} in "
        f"{_elements(found, case.faulty)}{where}: {case.multiplier} loses {own}, {EXACT} {exact}; "
        f"{gap} more, an interval that holds although the worst of many was picked."
    )


def leads_words(found: Findings) -> str:
    """In how many cases each mitigation is ahead of doing nothing, or behind, by its interval."""
    said = []
    for way in list(found.plan.mitigations)[1:]:
        own = [case for case in found.part["curves"] if case.mitigation == way]
        leads = [found.lead(case, NONE) for case in own]
        ahead, behind = (sum(map(test, leads)) for test in (_ahead, _behind))
        mean = sum(lead.value for lead in leads) / len(leads)
        said.append(f"{way} ahead in {ahead} and behind in {behind}, {percent(mean)} on average")
    return f"{found.model}: of {len(own)} cases each, against doing nothing: {'; '.join(said)}."


def _ahead(lead: Estimate) -> bool:
    return lead.low > 0


def _behind(lead: Estimate) -> bool:
    return lead.high < 0


def _across(found: Sequence[Findings]) -> list[dict[str, Any]]:
    """Networks side by side, such as one with several activation functions."""
    held = {f"{one.model}, {one.data}": one for one in found}
    names = list(found[0].plan.circuits)
    return [
        {
            "title": "Accuracy lost to a stuck bit",
            "note": "The mean over all bits of products that were tried, stuck at 0 and at 1, in "
            f"{_elements(found[0], _count(found[0]))}; without faults: accuracy.",
            "figure": _by_network(held),
        },
        {
            "title": "The same in numbers",
            "note": "",
            **study_table("network", held, names,
                          lambda network, name: held[network].resilience(name)),
        },
        {
            "title": "Accuracy without faults",
            "note": "",
            **study_table("network", held, names, lambda network, name: held[network].free(name)),
        },
        {"title": "Worst pairs", "note": " ".join(map(worst_words, found))},
        {"title": "What can be done", "note": " ".join(map(leads_words, found))},
    ]  # fmt: skip


def _entries(found: Findings) -> list[dict[str, Any]]:
    names, at = list(found.plan.circuits), _count(found)
    bits = {_stuck(*one): one for one in product((0, 1), found.plan.bits)}
    layered = {
        f"{layer}, {_stuck(value, bit)}": Case("", value, bit, at, layer)
        for layer in found.layers for bit in found.plan.few for value in (0, 1)
    }  # fmt: skip
    entries: list[dict[str, Any]] = [
        {
            "title": "Published, and ours",
            "note": _WHY + worst_words(found),
            **_headlines(found),
        },
        {
            "title": "Loss by bit",
            "note": f"All layers on the array, {_elements(found, at)} faulty.",
            "figure": _by_bit(found),
        },
        {
            "title": "The same in numbers",
            "note": "Bit 0 is the lowest of a product.",
            **study_table("stuck", bits, names,
                          lambda row, name: _loss(found, Case(name, *bits[row], at))),
        },
        {
            "title": "Loss by layer",
            "note": "One layer on the faulty array, the others on one without faults; "
            f"{_elements(found, at)} faulty.",
            **study_table("layer, stuck", layered, names,
                          lambda row, name: _loss(found, layered[row]._replace(multiplier=name))),
        },
        {
            "title": "Resilience against energy",
            "note": "Energy is that of the multiplications alone: multiply-accumulates times the "
            "multiplier's published power, over that of exact ones; adders and memories are left "
            "out. Loss is that of one bit of the products, any of those tried, stuck at 0 or 1. "
            "Left and low is best.",
            "figure": _energy(found),
        },
    ]  # fmt: skip
    for name in names:
        entries += _curves(found, name)
    return entries


def _headlines(found: Findings) -> dict[str, Any]:
    """Published losses beside ours."""
    rows: list[list[Any]] = [[name, *pair] for name, pair in _HEADLINES.items()]
    if len(found.plan.circuits) > 1:
        case, _ = found.worst
        pair = (case, case._replace(multiplier=EXACT))
        struck = f"{_stuck(case.value, case.bit)}, {_elements(found, case.faulty)}{_at(case)}"
        losses = (_cell(_loss(found, one), "") for one in pair)
        rows.append([f"ours, {case.multiplier}, {struck}", *losses])
    rows.append(["arXiv:2301.07484, retuned", _FALRETUNE, "-"])
    most = max(case.faulty for case in found.part["curves"])
    for value, bit in product((0, 1), found.plan.few):
        best = _best(found, value, bit, most)
        cells = (_cell(found.cells[c].accuracy, f", {c.mitigation}") if c else "-" for c in best)
        name = f"ours, best way, {_stuck(value, bit)}, {_elements(found, most)}: accuracy"
        rows.append([name, *cells])
    return {"heads": ["what", "approximate", "exact"], "rows": rows}


def _cell(one: Estimate, more: str) -> tuple[str, str]:
    """Value, and on a line of its own the interval and what else there is."""
    value, _, interval = str(one).partition(" [")
    return value, f"[{interval}{more}"


def _best(found: Findings, value: int, bit: int, count: int) -> list[Case | None]:
    """The most accurate approximate and exact chips so struck, after mitigation."""
    own = [case for case in found.part["curves"] if case[1:4] == (value, bit, count)]
    sides = ([c for c in own if (c.multiplier == EXACT) == exact] for exact in (False, True))
    return [
        max(side, key=lambda case: found.cells[case].accuracy.value, default=None) for side in sides
    ]


def _curves(found: Findings, name: str) -> list[dict[str, Any]]:
    """Accuracy against rate by mitigation, and leads, of one multiplier."""
    own = [case for case in found.part["curves"] if case.multiplier == name]
    counts = {_elements(found, n): n for n in sorted({case.faulty for case in own})}
    ways = list(found.plan.mitigations)
    rows = {
        f"{_stuck(value, bit)}, {way}": Case(name, value, bit, 0, "", way)
        for bit in found.plan.few for value in (0, 1) for way in ways
    }  # fmt: skip
    return [
        {
            "title": f"What can be done: {name}",
            "note": "Accuracy against faulty elements, by what is stuck. Map: each weight becomes "
            "the one whose products are nearest on its element. Bypass: faulty elements count for "
            "nothing (FAP). Hybrid: the better of both by element, with biases that take the mean "
            "error off. Placed: weights that matter least lie on faulty elements. Dashed: without "
            "faults.",
            "figure": _curve_figure(found, own),
        },
        {
            "title": f"The same in numbers: {name}",
            "note": "Accuracy.",
            **study_table("stuck, mitigation", rows, list(counts),
                          lambda row, count: found.cells[rows[row]._replace(faulty=counts[count])]
                          .accuracy),
        },
        {
            "title": f"Lead of the hybrid rule: {name}",
            "note": "Accuracy less that of another on the same chips and images; where the "
            "interval does not hold 0, one is better.",
            **study_table(
                "stuck, over", [row for row in rows if rows[row].mitigation != "hybrid"],
                list(counts), lambda row, count: found.lead(
                    rows[row]._replace(faulty=counts[count], mitigation="hybrid"),
                    rows[row].mitigation)),
        },
    ]  # fmt: skip


def _by_bit(found: Findings) -> go.Figure:
    figure = panels(["stuck at 0", "stuck at 1"], 2)
    for colour, name in zip(COLOURS * 2, found.plan.circuits, strict=False):
        for value in (0, 1):
            bits = sorted(found.plan.bits)
            losses = [_loss(found, Case(name, value, bit, _count(found))) for bit in bits]
            figure.add_scatter(
                x=bits, y=[one.value for one in losses], error_y=ends(losses), name=name,
                line_color=colour, mode="lines+markers", legendgroup=name, showlegend=not value,
                row=1, col=value + 1, hovertext=[f"{name}, bit {bit}<br>{one}" for bit, one in
                                                 zip(bits, losses, strict=True)], hoverinfo="text",
            )  # fmt: skip
    figure.update_xaxes(title="bit of the product")
    figure.update_yaxes(title="accuracy lost", tickformat=SHARES, range=[-0.1, 1])
    return styled(figure, height=420)


def _by_network(held: Mapping[str, Findings]) -> go.Figure:
    figure = go.Figure()
    for colour, name in zip(COLOURS * 2, next(iter(held.values())).plan.circuits, strict=False):
        lost = [one.resilience(name) for one in held.values()]
        figure.add_bar(
            x=list(held), y=[one.value for one in lost], error_y=ends(lost), name=name,
            marker_color=colour, hoverinfo="text",
            hovertext=[f"{network}, {name}<br>{one}"
                       for network, one in zip(held, lost, strict=True)],
        )  # fmt: skip
    figure.update_yaxes(title="accuracy lost", tickformat=SHARES, rangemode="tozero")
    return styled(figure, height=400)


def _energy(found: Findings) -> go.Figure:
    figure = go.Figure()
    for colour, (name, energy) in zip(COLOURS * 2, found.energy.items(), strict=False):
        if energy is not None:
            lost = found.resilience(name)
            figure.add_scatter(
                x=[energy], y=[lost.value], error_y=ends([lost]), mode="markers", name=name,
                marker={"color": colour, "size": 11}, hovertext=f"{name}, energy {energy:.3f}"
                f"<br>{lost}", hoverinfo="text",
            )  # fmt: skip
    figure.update_xaxes(title="energy of multiplications, over exact", range=[0, 1.1])
    figure.update_yaxes(title="accuracy lost to a stuck bit", tickformat=SHARES, rangemode="tozero")
    return styled(figure, height=400)


def _curve_figure(found: Findings, own: Sequence[Case]) -> go.Figure:
    stuck = list(dict.fromkeys((case.value, case.bit) for case in own))
    figure = panels([_stuck(*one) for one in stuck], 2)
    free = found.cells[own[0]].golden_accuracy.value
    for place, one in enumerate(stuck):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        figure.add_hline(y=free, line={"dash": "dash", "color": "#444", "width": 1}, **where)
        for colour, way in zip(COLOURS, found.plan.mitigations, strict=False):
            line = [case for case in own if (case[1:3], case.mitigation) == (one, way)]
            known = [found.cells[case].accuracy for case in line]
            figure.add_scatter(
                x=[case.faulty / found.elements for case in line], y=[one.value for one in known],
                error_y=ends(known), name=way, legendgroup=way, showlegend=not place,
                line_color=colour, mode="lines+markers", hoverinfo="text",
                hovertext=[f"{way}, {case.faulty:,} elements<br>{acc}" for case, acc in
                           zip(line, known, strict=True)], **where,
            )  # fmt: skip
    figure.update_xaxes(type="log", dtick=1, title="faulty elements of all", tickformat=SHARES)
    figure.update_yaxes(title="accuracy", tickformat=SHARES, range=[0, 1.05])
    return styled(figure, height=60 + 300 * -(-len(stuck) // 2))


def _loss(found: Findings, case: Case) -> Estimate:
    return found.cells[case].loss


def _count(found: Findings) -> int:
    """Faulty elements where bits and layers are compared."""
    return found.part["bits"][0].faulty


def _elements(found: Findings, count: int) -> str:
    """So many elements, as a share where it is one."""
    return "1 element" if count == 1 else f"{percent(count / found.elements)} of the elements"


def _stuck(value: int, bit: int) -> str:
    return f"bit {bit} stuck at {value}"


def _at(case: Case) -> str:
    return f", layer {case.layer} alone" if case.layer else ""
