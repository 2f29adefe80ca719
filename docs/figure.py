"""Draw docs/boxes.svg from a real run: `python docs/figure.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import radhard as rh
from radhard.engine.patch import Patch, Windows, struck_patch
from radhard.engine.rule import passed
from radhard.engine.strike import struck_values
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption, whole_box
from radhard.network.zoo import zoo_model

SIDE = 150
GAP = 26


def corruption(trace: Trace) -> Corruption:
    """Bit 30 of a positive output of the first convolution in row 9, column 20."""
    one = np.array([1 << 30])
    place = 9 * 32 + 20
    values = trace.values[trace.workload.layers[0].step][0].view(32, -1)[:, place]
    element = np.array([int(values.argmax()) * 32 * 32 + place])
    zero, box = np.array([0]), whole_box(1)
    return Corruption(
        zero, np.array(["output"]), element, zero, np.array([-1]), one, box, box, zero, box
    )


def panels() -> list[tuple[str, Patch]]:
    """The patch after each operation, until whole tensors take over."""
    torch.manual_seed(1)
    entry = zoo_model("convnet")
    images = torch.randn(1, *entry.shape)
    work = rh.capture(entry.build(10), images, torch.tensor([0]))
    trace = rh.record(work)
    windows, image = Windows(trace, trace.copies), torch.tensor([0])
    struck = corruption(trace)
    step = work.layers[0].step
    found = [("conv2d, struck", struck_patch(windows, step, *struck_values(trace, 0, struck)))]
    patches = {step: found[0][1]}
    with torch.no_grad():
        for later in range(step + 1, len(work.program.steps)):
            read = {s: patches[s] for s in work.program.steps[later].inputs if s in patches}
            patch = passed(windows, later, read, image) if read else None
            if read and patch is None:
                break
            if patch is not None:
                patches = {later: patch}
                found.append((work.program.steps[later].name.split("_")[0], patch))
    return found


def drawn(title: str, patch: Patch, x: int) -> str:
    """One map: its cells, those that differ by how many channels do, and the box."""
    channels, rows, columns = patch.plane
    cell = SIDE / rows
    share = patch.change[0].float().mean(0)
    top, left = int(patch.top), int(patch.left)
    parts = [
        f'<text x="{x}" y="16" class="title">{title}</text>',
        f'<text x="{x}" y="32">{channels} x {rows} x {columns}</text>',
        f'<rect x="{x}" y="40" width="{SIDE}" height="{SIDE}" class="map"/>',
    ]
    for r in range(patch.size[0]):
        for c in range(patch.size[1]):
            if float(share[r, c]) > 0:
                parts.append(
                    f'<rect x="{x + (left + c) * cell:.2f}" y="{40 + (top + r) * cell:.2f}" '
                    f'width="{cell:.2f}" height="{cell:.2f}" class="hit" '
                    f'fill-opacity="{0.25 + 0.75 * float(share[r, c]):.2f}"/>'
                )
    size = "1 channel" if patch.channel is not None else f"{channels} channels"
    parts.append(
        f'<rect x="{x + left * cell:.2f}" y="{40 + top * cell:.2f}" '
        f'width="{patch.size[1] * cell:.2f}" height="{patch.size[0] * cell:.2f}" class="box"/>'
    )
    parts.append(
        f'<text x="{x}" y="{SIDE + 58}">box {size}, {patch.size[0]} x {patch.size[1]}</text>'
    )
    return "\n".join(parts)


def main() -> None:
    """Write the figure."""
    shown = panels()
    width = len(shown) * (SIDE + GAP) + GAP
    body = "\n".join(
        drawn(title, patch, GAP + k * (SIDE + GAP)) for k, (title, patch) in enumerate(shown)
    )
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
