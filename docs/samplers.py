"""Draw docs/samplers.svg: `radhard compare-samplers ... --json | python docs/samplers.py`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from radhard.view.plot import COLOURS

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, LEGEND = 780, 380, 90, 46, 14, 180


def place(value: float, ends: tuple[float, float], low: float, high: float) -> float:
    """Where a value lies on a logarithmic axis from ``low`` to ``high``."""
    share = math.log(value / ends[0]) / math.log(ends[1] / ends[0])
    return low + (high - low) * share


def drawn(found: dict[str, Any]) -> str:
    """Half width against faults: mean over seeds as a line, least to most as a band."""
    curves = {name: one["half_widths"] for name, one in found["samplers"].items()}
    faults = [n for curve in curves.values() for n in curve["faults"]]
    widths = [w for curve in curves.values() for w in (*curve["least"], *curve["most"])]
    across = min(faults), max(faults)
    along = 10 ** math.floor(math.log10(min(widths))), 10 ** math.ceil(math.log10(max(widths)))

    def x(n: float) -> float:
        return place(n, across, LEFT, WIDTH - LEGEND)

    def y(width: float) -> float:
        return place(width, along, HEIGHT - BOTTOM, TOP)

    def path(places: list[int], values: list[float]) -> str:
        pairs = zip(places, values, strict=True)
        return " ".join(f"{x(n):.1f},{y(w):.1f}" for n, w in pairs)

    parts = []
    for power in range(math.ceil(math.log10(across[0])), math.floor(math.log10(across[1])) + 1):
        at = x(10**power)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - 28}" class="mid">{10**power:,}</text>')
    for power in range(round(math.log10(along[0])), round(math.log10(along[1])) + 1):
        at = y(10**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - LEGEND}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" class="end">{100 * 10**power:g} %</text>'
        )
    wanted = y(found["half_width"])
    parts.append(
        f'<line x1="{LEFT}" x2="{WIDTH - LEGEND}" y1="{wanted:.1f}" y2="{wanted:.1f}" class="goal"/>'
    )
    for k, (colour, (name, curve)) in enumerate(zip(COLOURS, curves.items(), strict=False)):
        band = path(curve["faults"] + curve["faults"][::-1], curve["most"] + curve["least"][::-1])
        line = path(curve["faults"], curve["mean"])
        parts.append(f'<polygon points="{band}" fill="{colour}" fill-opacity="0.15"/>')
        parts.append(f'<polyline points="{line}" stroke="{colour}" class="mean"/>')
        row = TOP + 14 + 20 * k
        at = WIDTH - LEGEND + 12
        parts.append(
            f'<polyline points="{at},{row} {at + 18},{row}" stroke="{colour}" class="mean"/>'
        )
        parts.append(f'<text x="{at + 26}" y="{row + 4}">{name}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - LEGEND) / 2}" y="{HEIGHT - 8}" class="mid">faults</text>'
    )
    turned = f"translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}" class="mid">half width of the 95 % interval</text>')
    style = (
        "text{font:12px system-ui,sans-serif;fill:#333}.mid{text-anchor:middle}"
        ".end{text-anchor:end}line{stroke:#ddd}.goal{stroke:#666;stroke-dasharray:5 4}"
        ".mean{fill:none;stroke-width:2}"
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    figure = drawn(json.load(sys.stdin))
    (Path(__file__).parent / "samplers.svg").write_text(figure, encoding="utf-8")
