"""Differences as patches: the part of a feature map that a fault has reached."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from radhard.engine.trace import Trace, filled
from radhard.network.sums import whole

#: Channels, rows and columns of a feature map.
Plane = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The same box of a feature map for n runs, each at a place of its own.

    Positions of a box may lie outside the map; faulty and golden values are equal and finite there.

    Attributes:
        pair: faulty and golden values, (2, n, c, h, w).
        top, left: (n,) row and column of the box's first position.
        channel: (n,) which channel, where boxes have one channel; ``None`` where they have all.
        plane: the map's channels, rows and columns.
    """

    pair: Tensor
    top: Tensor
    left: Tensor
    channel: Tensor | None
    plane: Plane

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        return self.pair.shape[3], self.pair.shape[4]

    @property
    def change(self) -> Tensor:
        """(n, c, h, w) of bool: which values differ; not-a-number differs from everything."""
        return self.pair[0] != self.pair[1]

    def of(self, rows: Tensor) -> Patch:
        """The patches of some of the runs."""
        channel = self.channel[rows] if self.channel is not None else None
        return replace(
            self, pair=self.pair[:, rows], top=self.top[rows], left=self.left[rows], channel=channel
        )

    def written_into(self, rows: Tensor) -> Tensor:
        """Golden rows (n, elements), overwritten where the patch differs; changes ``rows``."""
        _, height, width = self.plane
        run, c, h, w = torch.nonzero(self.change, as_tuple=True)
        channel = c if self.channel is None else self.channel[run]
        place = (channel * height + self.top[run] + h) * width + self.left[run] + w
        rows[run, place] = self.pair[0][run, c, h, w]
        return rows


@dataclass(slots=True)
class Windows:
    """Golden values of boxes at any place, gathered from channels-last copies of the maps.

    Attributes:
        trace: the golden run.
        copies: for each map, (b * rows * columns + 1, channels); the last row is what stands
            outside the map.
    """

    trace: Trace
    copies: dict[tuple[str, int, float], Tensor]

    def plane(self, step: int) -> Plane | None:
        """The feature map of a step; ``None`` where its value is no (images, c, h, w)."""
        rows = self.trace.workload.program.rows[step]
        if rows is None or not rows.first or len(rows.sizes) != 4:
            return None
        _, c, h, w = rows.shape(1)
        return c, h, w

    def values(
        self, step: int, image: Tensor, box: tuple[Tensor, Tensor, tuple[int, int]],
        channel: Tensor | None = None, outside: float = 0.0,
    ) -> Tensor:  # fmt: skip
        """Golden values of a step in boxes (top, left, size): a new (2, n, c, h, w).

        They stand second; the first half is not set, for the caller to put faulty values there.

        Args:
            step: one whose values the trace holds.
            image: (n,) which image.
            box: row (n,), column (n,) and size of the boxes.
            channel: (n,) to get one channel each.
            outside: what stands outside the map.
        """
        return self._gathered(("values", step, outside), self.trace.values[step], step, image, box,
                              channel)  # fmt: skip

    def sums(
        self, number: int, image: Tensor, box: tuple[Tensor, Tensor, tuple[int, int]],
        channel: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Golden sums of a layer in boxes, before rounding; as `values`."""
        layer = self.trace.workload.layers[number]
        if self.trace.workload.arithmetic[number].sums_are_outputs:
            return self.values(layer.step, image, box, channel)
        key = ("sums", layer.step, 0.0)
        source = torch.empty(0) if key in self.copies else self.all_sums(number)
        return self._gathered(key, source, layer.step, image, box, channel)

    def all_sums(self, number: int) -> Tensor:
        """Golden sums of a layer before rounding, (images, elements)."""
        how = self.trace.workload.arithmetic[number]
        if how.sums_are_outputs:
            return self.trace.values[self.trace.workload.layers[number].step]
        workload = self.trace.workload
        layer, how, given = (
            workload.layers[number], workload.arithmetic[number], workload.parameters[number],
        )  # fmt: skip
        assert given is not None
        layout = workload.program.rows[layer.operands[0]]
        assert layout is not None
        golden = self.trace.values[layer.operands[0]]
        parts = [  # batches as in the golden run, for the same last bits
            how.sums(
                whole(layer, how), how.operand(layout.join(filled(part, self.trace.rows))), given
            )
            for part in golden.split(self.trace.rows)
        ]
        return torch.cat(parts).flatten(1)[: len(golden)]

    def _gathered(
        self, key: tuple[str, int, float], source: Tensor, step: int, image: Tensor,
        box: tuple[Tensor, Tensor, tuple[int, int]], channel: Tensor | None,
    ) -> Tensor:  # fmt: skip
        plane = self.plane(step)
        assert plane is not None
        channels, rows, columns = plane
        if key not in self.copies:
            flat = source.view(-1, channels, rows * columns).transpose(1, 2).reshape(-1, channels)
            edge = torch.full_like(flat[:1], key[2])
            self.copies[key] = torch.cat([flat, edge])
        copy, (top, left, (h, w)) = self.copies[key], box
        r = top[:, None] + torch.arange(h, device=top.device)
        c = left[:, None] + torch.arange(w, device=top.device)
        on_map = ((r >= 0) & (r < rows))[:, :, None] & ((c >= 0) & (c < columns))[:, None, :]
        place = (image[:, None] * rows + r)[:, :, None] * columns + c[:, None, :]
        place = torch.where(on_map, place, len(copy) - 1)
        pair = copy.new_empty(2, len(image), channels if channel is None else 1, h, w)
        if channel is not None:
            pair[1, :, 0] = copy.view(-1)[place * channels + channel[:, None, None]]
        else:
            picked = copy.index_select(0, place.view(-1)).view(*place.shape, channels)
            pair[1] = picked.permute(0, 3, 1, 2)
        return pair


def mapped(trace: Trace) -> Collection[int]:
    """The layers, by step, whose outputs are maps, so that runs can begin as patches of them."""
    windows = Windows(trace, trace.copies)
    return {layer.step for layer in trace.workload.layers if windows.plane(layer.step)}


def struck_patch(windows: Windows, step: int, element: Tensor, golden: Tensor,
                 faulty: Tensor) -> Patch:  # fmt: skip
    """The patch of one wrong output each: which, and its values before and after, (n,)."""
    plane = windows.plane(step)
    assert plane is not None
    _, rows, columns = plane
    place = element % (rows * columns)
    pair = torch.stack([faulty, golden]).view(2, -1, 1, 1, 1)
    return Patch(pair, place // columns, place % columns, element // (rows * columns), plane)


def widened(windows: Windows, step: int, patch: Patch, image: Tensor) -> Patch:
    """The same patch with all channels."""
    if patch.channel is None:
        return patch
    pair = windows.values(step, image, (patch.top, patch.left, patch.size))
    pair[0] = pair[1]
    each = torch.arange(len(image), device=image.device)
    now = torch.where(patch.change, patch.pair[0], pair[1][each, patch.channel].unsqueeze(1))
    pair[0][each, patch.channel] = now[:, 0]
    return replace(patch, pair=pair, channel=None)


def grown(windows: Windows, step: int, patch: Patch, image: Tensor,
          box: tuple[Tensor, Tensor, tuple[int, int]], outside: float = 0.0) -> Patch:  # fmt: skip
    """The same differences in a box that need not hold all of the old one."""
    top, left, (h, w) = box
    if patch.size == (h, w) and torch.equal(top, patch.top) and torch.equal(left, patch.left):
        return patch
    pair = windows.values(step, image, box, patch.channel, outside)
    held, moved = moved_into(patch, patch.pair, box)
    torch.where(held & (moved[0] != moved[1]), moved[0], pair[1], out=pair[0])
    return Patch(pair, top, left, patch.channel, patch.plane)


def moved_into(
    patch: Patch, values: Tensor, box: tuple[Tensor, Tensor, tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    """Values (..., n, c, h, w) of a patch's box, as they lie in another box.

    Returns:
        (n, 1, h, w) of bool, where the other box lies in the patch's; and the values in the other
        box, which mean nothing elsewhere.
    """
    top, left, (h, w) = box
    rows, columns = patch.size
    r = (top - patch.top)[:, None] + torch.arange(h, device=top.device)
    c = (left - patch.left)[:, None] + torch.arange(w, device=top.device)
    held = ((r >= 0) & (r < rows))[:, :, None] & ((c >= 0) & (c < columns))[:, None, :]
    place = r.clamp(0, rows - 1)[:, :, None] * columns + c.clamp(0, columns - 1)[:, None, :]
    n, channels = values.shape[-4:-2]
    index = place.view(n, 1, h * w).expand(*values.shape[:-4], n, channels, h * w)
    moved = values.flatten(-2).gather(-1, index).view(*values.shape[:-2], h, w)
    return held.unsqueeze(1), moved


def on_map(top: Tensor, left: Tensor, size: tuple[int, int], plane: Plane) -> Tensor | None:
    """(n, 1, h, w) of bool: which positions of boxes lie on the map; ``None`` where all do."""
    r = top[:, None] + torch.arange(size[0], device=top.device)
    c = left[:, None] + torch.arange(size[1], device=left.device)
    on_rows, on_columns = (r >= 0) & (r < plane[1]), (c >= 0) & (c < plane[2])
    if bool(on_rows.all() & on_columns.all()):
        return None
    return (on_rows[:, :, None] & on_columns[:, None, :]).unsqueeze(1)


def alive(patches: Mapping[int, Patch], n: int, device: torch.device) -> Tensor:
    """(n,) of bool: the runs that some patch still differs in."""
    unseen = torch.arange(n, device=device)
    for patch in patches.values():  # the middle of a box is where a difference stays longest
        h, w = patch.size
        middle = patch.pair[:, unseen, :, h // 2, w // 2]
        unseen = unseen[(middle[0] == middle[1]).all(1)]
    for patch in patches.values():
        if not len(unseen):
            break
        rest = patch.pair[:, unseen].flatten(2)
        unseen = unseen[(rest[0] == rest[1]).all(1)]
    found = torch.ones(n, dtype=torch.bool, device=device)
    found[unseen] = False
    return found
