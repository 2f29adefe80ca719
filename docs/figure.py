"""Draw docs/boxes.svg from a real run: `python docs/figure.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import radhard as rh
from radhard.engine.maps import Maps, Plane, plane_of
from radhard.engine.passage import from_outputs
from radhard.engine.sparse import State
from radhard.engine.stage import planned
from radhard.engine.strike import struck_values
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption, whole_box
from radhard.network.zoo import zoo_model

SIDE = 180
GAP = 26


def corruption(trace: Trace) -> Corruption:
    """Bit 26 of a positive output of the first convolution in row 9, column 20."""
    one = np.array([1 << 26])
    place = 9 * 32 + 20
    values = trace.values[trace.workload.layers[0].step][0].view(32, -1)[:, place]
    element = np.array([int(values.argmax()) * 32 * 32 + place])
    zero, box = np.array([0]), whole_box(1)
    return Corruption(
        zero, np.array(["output"]), element, zero, np.array([-1]), one, box, box, zero, box
    )


def panels() -> list[tuple[str, Plane, State]]:
    """What differs at the end of each stage, up to the logits."""
    torch.manual_seed(1)
    entry = zoo_model("convnet")
    images = torch.randn(1, *entry.shape)
    work = rh.capture(entry.build(10), images, torch.tensor([0]))
    trace = rh.record(work)
    plan, maps, image = planned(trace), Maps(trace), np.array([0])
    step = work.layers[0].step
    wrong = struck_values(trace, 0, corruption(trace))[:3]
    nobody, first = torch.tensor([0]), torch.tensor([0])
    states = from_outputs(trace, 0, nobody, first, wrong).states
    found = [("conv2d, struck", plane_of(trace, step), states[step])]
    entrance = plan.entrances[step]
    ends = [(step, entrance.stage.end, entrance.chain)] if entrance.stage.end > step else []
    ends += [(stage.first, stage.end, stage) for stage in plan.stages if stage.first > step]
    for start, end, stage in ends:
        states[end] = stage.passed(maps, states, image)
        names = [work.program.steps[k].name.split("_")[0] for k in range(start, end + 1)]
        title = ", ".join(names[1:] if start == step else names)
        found.append((title, plane_of(trace, end), states[end]))
    return [one for one in found if one[1][1] > 1]


def drawn(title: str, plane: Plane, state: State, x: int) -> str:
    """One map: its cells, those that differ by how many channels do, and the box."""
    channels, rows, columns = plane
    cell = SIDE / rows
    top, left, height, width = (int(one) for one in state.boxes[0])
    held = np.diff(state.start[state.base[0] : state.base[0] + height * width + 1])
    parts = [
        f'<text x="{x}" y="16" class="title">{title}</text>',
        f'<text x="{x}" y="32">{channels} x {rows} x {columns}</text>',
        f'<rect x="{x}" y="40" width="{SIDE}" height="{SIDE}" class="map"/>',
    ]
    for place in np.flatnonzero(held):
        r, c = divmod(int(place), width)
        parts.append(
            f'<rect x="{x + (left + c) * cell:.2f}" y="{40 + (top + r) * cell:.2f}" '
            f'width="{cell:.2f}" height="{cell:.2f}" class="hit" '
            f'fill-opacity="{0.25 + 0.75 * held[place] / channels:.2f}"/>'
        )
    parts.append(
        f'<rect x="{x + left * cell:.2f}" y="{40 + top * cell:.2f}" '
        f'width="{width * cell:.2f}" height="{height * cell:.2f}" class="box"/>'
    )
    count = f"{int(held.sum()):,} of {channels * rows * columns:,} differ"
    parts.append(f'<text x="{x}" y="{SIDE + 58}">box {height} x {width}, {count}</text>')
    return "\n".join(parts)


def main() -> None:
    """Write the figure."""
    shown = panels()
    width = len(shown) * (SIDE + GAP) + GAP
    body = "\n".join(drawn(*panel, GAP + k * (SIDE + GAP)) for k, panel in enumerate(shown))
    style = (
        "text{font:12px system-ui,sans-serif;fill:#444}.title{font-weight:600;fill:#222}"
        ".map{fill:#f4f4f4;stroke:#bbb}.hit{fill:#c0392b}.box{fill:none;stroke:#2471a3;stroke-width:2}"
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{SIDE + 70}">'
        f"<style>{style}</style>\n{body}\n</svg>\n"
    )
    (Path(__file__).parent / "boxes.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
