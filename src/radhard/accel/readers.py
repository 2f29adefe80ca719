"""Whether anything reads a struck value before it is gone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.faults.corruption import Corruption
from radhard.faults.model import Integers
from radhard.network.layer import Layer
from radhard.network.program import Span
from radhard.network.workload import Workload

Flags = NDArray[np.bool_]


def activated(workload: Workload, corruption: Corruption) -> Flags:
    """Which of n struck values are read after the strike, (n,): faults are activated by that.

    A weight or input is read where a multiply-accumulate of an output in the box of reads takes it,
    whatever the other factor; one of a table where its row is looked up, or another layer reads the
    table. Products, sums and outputs always are.

    Args:
        workload: the network.
        corruption: n corruptions of its layers.
    """
    found = np.ones(len(corruption), bool)
    for number in np.unique(corruption.layer).tolist():
        layer = workload.layers[number]
        own = corruption.layer == number
        weights = np.flatnonzero(own & (corruption.operand == "weight"))
        read = _weight_is_read(layer, corruption[weights])
        if layer.kind == "embedding" and len(weights):
            read &= _row_is_looked_up(workload, number, corruption[weights])
        found[weights] = read
        inputs = np.flatnonzero(own & (corruption.operand == "input"))
        if layer.has_windows:
            found[inputs] = _input_is_read(layer, corruption[inputs])
    return found


def _weight_is_read(layer: Layer, struck: Corruption) -> Flags:
    channel = layer.weight_place(torch.from_numpy(struck.element))[0].numpy()
    inside = (struck.channels[:, 0] <= channel) & (channel < struck.channels[:, 1])
    late = struck.first - channel * layer.positions
    start = np.maximum(struck.positions[:, 0], late).clip(0)
    found: Flags = inside & (start < struck.positions[:, 1].clip(max=layer.positions))
    return found


def _row_is_looked_up(workload: Workload, number: int, struck: Corruption) -> Flags:
    """Whether images look wrong rows of a table up, or a later layer reads these in memory."""
    layer, program = workload.layers[number], workload.program
    element, source = torch.from_numpy(struck.element), layer.operands[0]
    row = layer.weight_place(element)[1]
    images, own = np.unique(struck.image, return_inverse=True)
    span = Span(1, source + 1, (source,), program.last_readers())
    chosen = workload.images[torch.from_numpy(images).to(workload.images.device)]
    with torch.no_grad():
        value = program.run({0: chosen}, len(chosen), span, workload.evaluate)[source]
    layout = program.rows[source]
    assert layout is not None
    found: Flags = (layout.split(value).cpu()[own] == row[:, None]).any(1).numpy()
    for places in workload.shared.get(number, {}).values():
        found |= struck.stored & (places[element] >= 0).numpy()
    return found


def _input_is_read(layer: Layer, struck: Corruption) -> Flags:
    """Whether the last output of the box that reads an input comes after the strike."""
    own = layer.channels // layer.bounds["groups"]
    padding = struck.element < 0
    group = struck.element // _inputs_of_group(layer) if layer.geometry else 0 * struck.element
    start = np.where(padding, 0, group * own)
    end = np.where(padding, layer.channels, start + own)
    channel = np.minimum(struck.channels[:, 1], end) - 1
    some = channel >= np.maximum(struck.channels[:, 0], start)
    position, reads = _positions(layer, struck.element)
    position[padding], reads[padding] = struck.positions[padding, :1], True
    low, high = (side[:, None] for side in struck.positions.T)
    reads &= (low <= position) & (position < high)
    reads &= channel[:, None] * layer.positions + position >= struck.first[:, None]
    found: Flags = some & reads.any(1)
    return found


def _inputs_of_group(layer: Layer) -> int:
    return layer.bounds["c"] * layer.plane[0] * layer.plane[1]


def _positions(layer: Layer, element: Integers) -> tuple[Integers, Flags]:
    """Positions at which kernel taps meet n inputs, (n, taps), and whether there is such a one."""
    g = layer.geometry
    if g is None:
        return element[:, None] // layer.fan_in, np.ones((len(element), 1), bool)
    row, column = np.divmod(element % (layer.plane[0] * layer.plane[1]), layer.plane[1])
    (e, in_e), (f, in_f) = _outputs(layer, 0, row), _outputs(layer, 1, column)
    position = e[:, :, None] * layer.bounds["f"] + f[:, None, :]
    reads = in_e[:, :, None] & in_f[:, None, :]
    size = len(element), e.shape[1] * f.shape[1]
    return position.reshape(size), reads.reshape(size)


def _outputs(layer: Layer, axis: int, place: Integers) -> tuple[Integers, Flags]:
    """Output rows (or columns) whose kernel taps meet n places, (n, taps), and if they exist."""
    g = layer.geometry
    assert g is not None
    taps = np.arange(g.kernel[axis]) * g.dilation[axis]
    output, between = np.divmod(place[:, None] + g.padding[axis] - taps, g.stride[axis])
    return output, (between == 0) & (output >= 0) & (output < layer.bounds["ef"[axis]])
