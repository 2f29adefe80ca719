"""Draw docs/road.svg, the rooms and what each imports, from the code: `python docs/road.py`."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "radhard"
WIDE, HIGH, ACROSS, UP = 112, 34, 30, 40
#: What goes up the road, beside the floor that gives it.
GIVEN = {
    "network": "Workload",
    "faults": "Faults, Corruption",
    "accel": "SiteSpace",
    "campaign": "Campaign, Result",
    "cli": "table, page, JSON",
}


def floors() -> list[list[str]]:
    """The rooms of each floor, the highest first: the contract that import-linter holds."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in settings["tool"]["importlinter"]["contracts"] if "layers" in c)
    return [
        [room.strip().removeprefix("radhard.") for room in layer.split("|")]
        for layer in contract["layers"]
    ]


def files(room: str) -> list[Path]:
    """The files of a room, which may be one."""
    alone = SOURCE / f"{room}.py"
    return [alone] if alone.exists() else sorted((SOURCE / room).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """The rooms that a file names in its imports, wherever they stand."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("radhard."):
            yield str(node.module).split(".")[1]


def imports() -> dict[str, set[str]]:
    """Which rooms each room imports from."""
    rooms = [room for floor in floors() for room in floor]
    return {
        room: {name for file in files(room) for name in imported(file)} & (set(rooms) - {room})
        for room in rooms
    }


def needed(found: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others: of a room through rooms that it imports."""
    below: dict[str, set[str]] = {}
    for room in reversed(found):  # lower floors first
        below[room] = found[room].union(*(below[other] for other in found[room]))
    return [
        (room, other)
        for room, others in found.items()
        for other in sorted(others)
        if not any(other in below[between] for between in others)
    ]


def places() -> dict[str, tuple[float, float]]:
    """Left and upper edge of each room."""
    rows = floors()
    most = max(map(len, rows))
    found = {}
    for number, row in enumerate(rows):
        start = (most - len(row)) * (WIDE + ACROSS) / 2 + ACROSS
        for k, room in enumerate(row):
            found[room] = start + k * (WIDE + ACROSS), 20 + number * (HIGH + UP)
    return found


def drawn() -> str:
    """The figure."""
    place, rows = places(), floors()
    width = max(map(len, rows)) * (WIDE + ACROSS) + ACROSS + 190
    height = len(rows) * (HIGH + UP)
    parts = []
    for room, other in needed(imports()):
        (x, y), (u, v) = place[room], place[other]
        a, b = x + WIDE / 2, u + WIDE / 2
        parts.append(
            f'<path d="M{a:g} {y + HIGH:g}C{a:g} {y + HIGH + UP * 0.7:g} {b:g} {v - UP * 0.7:g} {b:g} {v:g}"/>'
        )
    for room, (x, y) in place.items():
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{WIDE}" height="{HIGH}" rx="4"/>')
        middle = x + WIDE / 2
        parts.append(f'<text x="{middle:g}" y="{y + 21:g}" class="room">{room}</text>')
    for number, row in enumerate(rows):
        said = ", ".join(GIVEN[room] for room in row if room in GIVEN)
        if said:
            parts.append(
                f'<text x="{width - 180}" y="{20 + number * (HIGH + UP) + 25:g}" class="given">{said}</text>'
            )
    style = (
        "text{font:11px system-ui,sans-serif;fill:#555;text-anchor:middle}"
        ".room{font-size:13px;font-weight:600;fill:#222}.given{fill:#2471a3;text-anchor:start;font-style:italic}"
        "rect{fill:#f4f4f4;stroke:#999}path{fill:none;stroke:#bbb;stroke-width:1.5}"
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<style>{style}</style>\n<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    (Path(__file__).parent / "road.svg").write_text(drawn(), encoding="utf-8")
