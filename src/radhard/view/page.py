"""One self-contained HTML page per store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from radhard.campaign.description import in_words
from radhard.campaign.difference import compare
from radhard.campaign.result import Result
from radhard.campaign.sealed import digest, replace_file
from radhard.campaign.store import Folder, folders
from radhard.network.coverage import Covered
from radhard.protect.protection import Cost
from radhard.version import version
from radhard.view.summary import FEW, Line, activated, alarms, enough, formulations, lines
from radhard.view.unfinished import unfinished
from radhard.view.units import duration, percent
from radhard.view.wording import cost_words, covered_words, notes_of, verdict_words

_FIT_NOTE = (
    "Silent data corruption in 10^9 hours: raw rate times the share that changes the answer."
)

_PARTS_NOTE = (
    "What each component contributes, with its interval, by its own faults: the bars need not add "
    "up to the rate of the whole chip, for which all faults count together."
)

_MAP_NOTE = (
    f"SDC-1 in percent; grey: fewer than {FEW} faults, too few for a rate. Point at a cell for its "
    "faults and their interval."
)

_TOO_FEW = f"Not shown: nothing here was struck by {FEW} faults or more. Ask for more faults."

_RA_NOTE = (
    "Accuracy given that a fault strikes: as the chip has it, were control fault-free, were no "
    "flip-flop idle, were all variables struck alike, and as injectors without a chip see it."
)


#: What a page ends with: a hash of all before.
_SEAL = b"\n<!-- radhard.seal "

_CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "resetScale2d"]],
}
#: The ``meta`` of a figure whose points have a place on a page as their ``customdata``.
LINKS = "links"
_FOLLOW = """document.getElementById("{plot_id}").on("plotly_click", function (clicked) {
  var place = clicked.points[0].customdata;
  if (place) { window.location.href = place; }
});"""


def report(store: str | Path) -> Path:
    """Write ``report.html`` for all campaigns of a store; gives its path.

    The page needs no network: scripts and data are inside. A page that was made from what the
    store holds now is left as it is.

    Raises:
        StoreError: when the store holds no campaign, or one that can't be read.
    """
    root = Path(store)
    held = sorted(folders(root), key=lambda folder: folder.of_software)
    held = [folder for folder in held if folder.shards()] or held
    path, made_from = root / "report.html", _made_from(held)
    if _says(path, made_from):
        return path
    software = [folder for folder in held if folder.of_software]
    sections = [_section(folder, _software_twin(folder, software)) for folder in held]
    baseline = _add_differences(sections)
    return written(path, "page.html", sections=sections, baseline=baseline, made_from=made_from)


def _add_differences(sections: Sequence[dict[str, Any]]) -> str:
    """Give each section its difference to one without protections, whose name is returned.

    There is none where campaigns are alone, or their intervals are of different confidence.
    """
    results = [section["result"] for section in sections]
    if len(results) < 2 or len({result.confidence for result in results}) > 1:
        return ""
    plain = [number for number, result in enumerate(results) if not result.protections]
    baseline = plain[0] if plain else 0
    for section, row in zip(sections, compare(results, "sdc1", baseline), strict=True):
        section["difference"] = row if row.difference is not None else None
    return str(results[baseline].name)


def _made_from(held: Sequence[Folder]) -> str:
    """A hash of what a page depends on: the store's files, and the code that makes pages."""
    found = hashlib.sha256(version().encode())
    for part in sorted(Path(__file__).parent.glob("*.*")):
        found.update(part.read_bytes())
    for folder in held:
        found.update(digest(folder.about()).encode())
        for rows in sorted([*folder.path.glob("*.parquet"), *folder.path.glob("*.tar")]):
            about = rows.lstat()
            found.update(f"{rows.name} {about.st_size} {about.st_mtime_ns}".encode())
    return found.hexdigest()


def _says(path: Path, made_from: str) -> bool:
    """Whether there is a whole page that was made from this."""
    return path.is_file() and is_whole(path) and made_from.encode() in path.read_bytes()[:1000]


def is_whole(path: Path) -> bool:
    """Whether a page is what `written` wrote, by the hash at its end."""
    content, _, seal = path.read_bytes().rpartition(_SEAL)
    return seal.partition(b" ")[0] == hashlib.sha256(content).hexdigest().encode()


def written(path: Path, template: str, **values: Any) -> Path:
    """Fill in a template of this room and write it to ``path``; the page needs no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("radhard.view", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    numbers = count(1)
    environment.filters["percent"] = percent
    environment.filters["embedded"] = lambda figure: _as_text(figure).to_html(
        full_html=False, include_plotlyjs=False, div_id=f"figure-{next(numbers)}", config=_CONFIG,
        post_script=_FOLLOW if figure.layout.meta == LINKS else None,
    )  # fmt: skip
    html = environment.get_template(template).render(plotly=get_plotlyjs(), **values)
    content = html.encode()
    seal = _SEAL + hashlib.sha256(content).hexdigest().encode() + b" -->\n"
    replace_file(path, content + seal)
    return path


#: What figures take for markup; all of these are our own but those that only set type.
_MARKUP = re.compile(r"<(?!/?(?:br|b|i|sub|sup|extra)>)")


def _as_text(figure: Any) -> Any:
    """The figure, in which names are no markup: Plotly makes links of them, among other things."""
    from plotly.graph_objects import Figure

    def told(part: Any) -> Any:
        if isinstance(part, str):
            return _MARKUP.sub("&lt;", part)
        if isinstance(part, Mapping):
            return {key: told(value) for key, value in part.items()}
        return [told(one) for one in part] if isinstance(part, list | tuple) else part

    return Figure(told(figure.to_plotly_json()))


def _software_twin(folder: Folder, software: Sequence[Folder]) -> Result | None:
    """The answer to the same question without a chip, where one of these holds it."""
    own = folder.about()
    asked = set(own["identity"]["question"]) - {"chip", "sampler"}
    for other in software:
        about = other.about()
        if all(about.get(key) == own[key] for key in asked):
            return other.result()
    return None


def _section(folder: Folder, software: Result | None) -> dict[str, Any]:
    from radhard.view.wording import at_once_words

    result, about = folder.result(), folder.about()
    identity = about["identity"]
    notions = (
        formulations(result, software)
        if not folder.of_software and (software or result.space.known)
        else []
    )
    rated = result.space.rate_fit is not None
    return {
        "name": result.name,
        "result": result,
        "unfinished": unfinished(about, result),
        "rows": lines(result),
        "alarms": alarms(result),
        "notions": notions,
        "activated": activated(result),
        "notes": notes_of(result),
        "difference": None,
        "verdict": verdict_words(result.fit("sdc1"), result.fit_verdict()) if rated else "",
        "figures": [
            *_of_notions(notions, result),
            *(_of_rates(result) if rated else []),
            *_of_places(result, identity.get("code", [])),
        ],
        "asked": _asked(about),
        "at_once": at_once_words(result.confidence),
        "method": _method(result, _chip_words(folder, identity["chip"], result)),
    }


#: A title, what to know about the figure, and the figure; ``None`` where too little is known.
_Figure = tuple[str, str, Any]


def _of_notions(notions: Sequence[Line], result: Result) -> list[_Figure]:
    from radhard.view import plot

    title = "RA under other notions of a fault"
    return [(title, _RA_NOTE, plot.formulations(notions, result))] if notions else []


def _of_rates(result: Result) -> list[_Figure]:
    from radhard.view import rate

    rates, verdict = result.fit("sdc1"), result.fit_verdict()
    few = any(0 < part.n < FEW for part in result.by(lambda s: (s.component,)))
    pale = f" Grey: fewer than {FEW} faults." if few else ""
    return [
        ("FIT", _FIT_NOTE, rate.fit_total(rates, verdict)),
        ("FIT by component", _PARTS_NOTE + pale, rate.fit_by_component(result)),
    ]


def _of_places(result: Result, code: Sequence[tuple[str, int, int]]) -> list[_Figure]:
    """Where faults hurt: layers, bits, and both; ``code`` are the parts of all values' code."""
    from radhard.campaign.joint import at_once
    from radhard.view import plot
    from radhard.view.heatmap import highest_rate, layer_by_bit

    shown, strata = plot.often_struck(result), result.strata
    rare = len(shown) < len({s.component for s in result.space.strata})
    few = f" Bars of fewer than {FEW} faults are left out."
    few += " So are components that under 5 % of the faults strike." if rare else ""
    found: list[_Figure] = [
        ("By layer", "Which layers turn a fault into a changed answer.", plot.by_layer(result)),
        ("By bit", "Which bits do.", plot.by_bit(result, code)),
    ]
    found = [(title, note + few, figure) for title, note, figure in found]
    maps = {name: [part for part in strata if part.label[0] == name] for name in shown}
    joint = at_once(result, enough(strata), lambda s: (s.component, s.layer, s.bit))
    highest = max(map(highest_rate, maps.values()))
    for name, parts in maps.items():
        none = "" if highest_rate(parts) else " No fault in the other cells changed the answer."
        figure = layer_by_bit(parts, code, highest, joint=joint)
        found.append((f"Layer by bit: {name}", _MAP_NOTE + none, figure))
    return [(title, note if figure else _TOO_FEW, figure) for title, note, figure in found]


def _asked(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    identity, budget = about["identity"], about.get("budget", {})
    goal = (
        f"half width {percent(budget['until'])} of {budget['metric']}"
        if "until" in budget
        else f"{budget.get('faults', 0):,} faults"
    )
    named = ("model", "format", "chip", "fault_model", "images", "seed")
    rows = [(name.replace("_", " "), str(identity[name])) for name in named]
    if about["images"] < identity["images"]:
        rows[4] = ("images", f"{identity['images']:,}, about {about['images']:,} at a time")
    rows += [("sampler", _sampler_words(about)), *_protected(about)]
    data = [("data", str(about["data"]))] if "data" in about else []
    covered = covered_words(Covered(**identity["covered"]))
    rows = [*rows[:1], ("struck", covered), *data, *rows[1:]]
    return [*rows, ("asked for", goal), ("campaign", identity["id"])]


def _sampler_words(about: Mapping[str, Any]) -> str:
    """Its name, with the parameters that it was given."""
    _, opening, parameters = in_words(about["sampler"]).partition("(")
    return str(about["identity"]["sampler"]) + opening + parameters


def _protected(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protections, and what they take."""
    rows = [("protection", in_words(part)) for part in about["protections"]]
    cost = cost_words(Cost(**about["identity"]["cost"]))
    return [*rows, ("protections take", cost)] if rows else []


def _method(result: Result, chip: str) -> list[str]:
    kind = result["sdc1"].method
    how = (
        "The number of faults was decided by looking at the estimate, so intervals are confidence "
        "sequences, which stay valid under that."
        if result.anytime
        else "The number of faults was fixed in advance."
    )
    return [
        f"{result.n:,} faults were drawn by the {result.sampler.name} sampler from "
        f"{len(result.space.strata):,} strata (component, layer, bit) with "
        f"{result.space.population:,} pairs of site and image. Fault i depends only on the "
        "campaign and i: neither batch size nor interruptions change it.",
        "Each fault struck one image of the campaign, chosen at random. The run was resumed from "
        "the struck layer of a stored fault-free run in the same number formats, and its logits "
        "were compared with the fault-free ones of that image.",
        f"Intervals hold the truth with {100 * result.confidence:g} % probability ({kind}). {how}",
        f"The faulty runs took {duration(result.seconds)}.",
        "The chip is " + chip,
    ]


def _chip_words(folder: Folder, chip: str, result: Result) -> str:
    if folder.of_software:
        return (
            "software: every bit of every weight and of every layer output equally likely, "
            "whatever the hardware. No real chip is like that; it is what injectors without a "
            "hardware model assume."
        )
    rate = f" Its raw rate is {result.space.rate_fit:.4g} FIT." if result.space.rate_fit else ""
    known = ", ".join(
        f"{part.name} (share {percent(result.space.known_share(part))}, accuracy left "
        f"{percent(part.accuracy)})"
        for part in result.space.known
    )
    if known:
        return (
            f"{chip}.{rate} A layer takes its cycles. Not tried, since their effect is known or "
            f"assumed: {known}. The other flip-flops hold one value each, and a struck one is "
            "wrong for the uses that follow."
        )
    return (
        f"{chip}.{rate} All its storage is taken to hold live values of the layer that runs, and a "
        "layer to run for its share of the multiply-accumulates. A struck value is wrong for the "
        "uses that follow the strike, by the chip's dataflow."
    )
