"""What watches a run: detectors and correctors that see the outputs of layers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from radhard.network.workload import Workload


class Guard(Protocol):
    """Inspects the output of each layer as it is computed, in golden and in faulty runs.

    It sees every image by itself: what it says of one row must not depend on the others.
    """

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """What to go on with, and where a fault is suspected.

        Args:
            layer: number of the layer in the workload.
            output: (n, m, positions).

        Returns:
            The output, corrected or as it was, (n, m, positions); and alarms, (n,) of bool.
        """
        ...


def guarded(guard: Guard, workload: Workload, number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Let ``guard`` inspect output rows (n, elements) of layer ``number``."""
    layer = workload.layers[number]
    output, alarm = guard.inspect(number, layer.by_channel(rows))
    if not layer.channel_first:
        output = output.transpose(1, 2)
    return output.reshape(len(rows), -1), alarm
