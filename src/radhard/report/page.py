"""One self-contained HTML page per store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radhard.campaign.description import in_words
from radhard.campaign.result import Result
from radhard.campaign.store import Folder, folders
from radhard.protect.protection import Cost
from radhard.report.summary import Golden, formulations, lines
from radhard.report.wording import cost_words, duration, percent
from radhard.stats.estimate import Estimate

_FIT_NOTE = (
    "Silent data corruption in 10^9 hours: raw rate times the share that changes the answer."
)

_RA_NOTE = (
    "Accuracy given that a fault strikes: as the chip has it, were control fault-free, were no "
    "flip-flop idle, were all variables struck alike, and as injectors without a chip see it."
)


def report(store: str | Path) -> Path:
    """Write ``report.html`` for all campaigns of a store; gives its path.

    The page needs no network: scripts and data are inside.

    Raises:
        StoreError: when the store holds no campaign, or one that can't be read.
    """
    root = Path(store)
    held = sorted(folders(root), key=lambda f: f.about()["identity"]["chip"] == "software")
    sections = [_section(folder, _software_twin(folder, held)) for folder in held]
    return written(root / "report.html", "page.html", sections=sections)


def written(path: Path, template: str, **values: Any) -> Path:
    """Fill in a template of this room and write it to ``path``; the page needs no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("radhard.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["embedded"] = lambda figure: figure.to_html(
        full_html=False, include_plotlyjs=False
    )
    html = environment.get_template(template).render(plotly=get_plotlyjs(), **values)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(html, encoding="utf-8")
    return partial.replace(path)


def _software_twin(folder: Folder, held: Sequence[Folder]) -> Result | None:
    """The answer to the same question without a chip, where the store holds one."""
    own = folder.about()
    asked = set(own["identity"]["question"]) - {"chip", "sampler"}
    for other in held:
        about = other.about()
        without_chip = about["identity"]["chip"] == "software"
        if without_chip and all(about.get(key) == own[key] for key in asked):
            return other.result()
    return None


def _section(folder: Folder, software: Result | None) -> dict[str, Any]:
    from radhard.report import plot

    result, about = folder.result(), folder.about()
    identity = about["identity"]
    notions = (
        formulations(result, software)
        if identity["chip"] != "software" and (software or result.space.known)
        else []
    )
    rates = (
        [("FIT by component", _FIT_NOTE, plot.fit_by_component(result))]
        if result.space.rate_fit is not None
        else []
    )
    some = len(plot.often_struck(result)) < len({s.component for s in result.space.strata})
    rare = f" Bars of fewer than {plot.FEW} faults are left out where others have more."
    rare += " So are components that under 5 % of the faults strike." if some else ""
    figures = [
        *(
            [("RA under other notions of a fault", _RA_NOTE, plot.formulations(notions, result))]
            if notions
            else []
        ),
        *rates,
        (
            "By layer",
            "Which layers turn a fault into a changed answer." + rare,
            plot.by_layer(result),
        ),
        ("By bit", "Which bits do." + rare, plot.by_bit(result, identity["format"])),
        *(
            (
                f"Layer by bit: {component}",
                "Grey cells were not struck; point at a cell for its interval.",
                plot.layer_by_bit(result, component),
            )
            for component in plot.often_struck(result)
        ),
    ]
    return {
        "name": result.name,
        "result": result,
        "rows": lines(result, _golden(about)),
        "notions": notions,
        "figures": figures,
        "asked": _asked(about),
        "method": _method(result, identity),
    }


def _golden(about: Mapping[str, Any]) -> Golden | None:
    held = about.get("golden")
    return Golden(**{name: Estimate(**held[name]) for name in held}) if held else None


def _asked(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    identity, budget = about["identity"], about.get("budget", {})
    goal = (
        f"half width {percent(budget['until'])} of {budget['metric']}"
        if "until" in budget
        else f"{budget.get('faults', 0):,} faults"
    )
    named = ("model", "format", "chip", "fault_model", "images", "seed")
    rows = [(name.replace("_", " "), str(identity[name])) for name in named]
    rows += [("sampler", _sampler_words(about)), *_protected(about)]
    data = [("data", str(about["data"]))] if "data" in about else []
    return [*rows[:1], *data, *rows[1:], ("asked for", goal), ("campaign", identity["id"])]


def _sampler_words(about: Mapping[str, Any]) -> str:
    """Its name, with the parameters that it was given."""
    _, opening, parameters = in_words(about["sampler"]).partition("(")
    return str(about["identity"]["sampler"]) + opening + parameters


def _protected(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The protections, and what they take."""
    rows = [("protection", in_words(part)) for part in about["protections"]]
    cost = cost_words(Cost(**about["identity"]["cost"]))
    return [*rows, ("protections take", cost)] if rows else []


def _method(result: Result, identity: Mapping[str, Any]) -> list[str]:
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
        "The chip is " + _chip_words(str(identity["chip"]), result),
    ]


def _chip_words(chip: str, result: Result) -> str:
    if chip == "software":
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
