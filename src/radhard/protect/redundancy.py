"""Computing more than once: duplication with repetition, triplication with a vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radhard.accel.chip import Accelerator
from radhard.accel.readers import activated
from radhard.network.layer import Layer
from radhard.network.workload import Workload
from radhard.protect.area import cycles_of, share, stream_logic
from radhard.protect.names import check_layers, check_once
from radhard.protect.protection import Cost, Protection, Stopped, Struck


@dataclass(frozen=True, slots=True)
class Redundancy(Protection):
    """Layers, or some of their output channels, are computed two or three times.

    Copies are computed one after the other, with the same memories and with latches, registers and
    partial sums of their own. Two copies that differ raise an alarm, and the inference is run
    again; of three the majority is taken. Both make up for a fault in one copy. A weight or input
    that is wrong in memory is read by all copies, and no copy helps against it, even where it is
    read for one output only. Alarms are counted where a copy reads what is wrong. Selection by
    vulnerability is that of HarDNN (Mahmoud et al., 2020).

    Attributes:
        copies: 2 or 3.
        layers: names of the layers that are repeated; of none given, all.
        channels: per layer of ``layers``, which output channels; of none given, all.

    Raises:
        ValueError: for another number of copies, channels without their layers, or what is given
            twice; from `stops` and `cost`, for a layer or a channel that the network has not.

    >>> Redundancy(copies=3).copies
    3
    """

    copies: int = 2
    layers: tuple[str, ...] = ()
    channels: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.copies not in {2, 3}:
            raise ValueError(f"{self.copies} copies can't be: duplicate (2) or triplicate (3)")
        check_once(self.layers, "Redundancy", "layer")
        for chosen in self.channels:
            check_once(chosen, "Redundancy", "channel")
        if self.channels and len(self.channels) != len(self.layers):
            raise ValueError(
                f"channels of {len(self.channels)} layers for {len(self.layers)} layers: give one "
                "tuple of channels per layer"
            )

    @classmethod
    def ranked(
        cls, workload: Workload, vulnerability: Mapping[str, Sequence[float]], macs: float,
        copies: int = 2,
    ) -> Redundancy:  # fmt: skip
        """The most vulnerable channels per multiply-accumulate that a budget allows.

        Args:
            workload: the network.
            vulnerability: per layer, of each of its channels: the probability that a fault lands in
                it and matters.
            macs: multiply-accumulates that may be added, as a share of the network's own.
            copies: 2 or 3.
        """
        layers = {layer.name: layer for layer in workload.layers}
        room = macs * sum(layer.macs for layer in workload.layers)
        offers = [
            (worth / (layers[name].macs / layers[name].channels), name, channel)
            for name, each in vulnerability.items()
            for channel, worth in enumerate(each)
            if worth > 0
        ]
        chosen: dict[str, list[int]] = {}
        for _, name, channel in sorted(offers, reverse=True):
            price = (copies - 1) * layers[name].macs / layers[name].channels
            if price <= room:
                room -= price
                chosen.setdefault(name, []).append(channel)
        if not chosen:
            raise ValueError(f"a budget of {macs:g} of the network's work repeats no channel")
        return cls(copies, tuple(chosen), tuple(tuple(sorted(c)) for c in chosen.values()))

    def stops(self, workload: Workload, faults: Struck) -> Stopped:
        """See `Protection`."""
        struck, covered = faults.corruption, np.zeros(len(faults.corruption), bool)
        names = self._repeated(workload)
        numbers = {layer.name: number for number, layer in enumerate(workload.layers)}
        for place, name in enumerate(names):
            here = struck.layer == numbers[name]
            if self.channels:
                channel = channel_of(workload.layers[numbers[name]], faults)
                here &= np.isin(channel, self.channels[place])
            covered |= here
        covered &= faults.latch | ~np.isin(struck.operand, ("weight", "input"))
        alarmed = covered & activated(workload, struck) & (self.copies == 2)
        return Stopped(covered, alarmed)

    def _repeated(self, workload: Workload) -> tuple[str, ...]:
        """The layers that are repeated, all of which must be there, as must be their channels."""
        check_layers(workload, self.layers, "Redundancy")
        layers = {layer.name: layer for layer in workload.layers}
        for name, chosen in zip(self.layers, self.channels, strict=False):
            wrong = [m for m in chosen if not 0 <= m < layers[name].channels]
            if wrong or not chosen:
                raise ValueError(
                    f"Redundancy: layer {name} has channels 0 to {layers[name].channels - 1}, not "
                    f"{', '.join(map(str, wrong)) or 'none of them'}"
                )
        return self.layers or tuple(layers)

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """One or two more computations of what is repeated, and a comparison of each output.

        What is compared waits in one word of each processing element.
        """
        names = self._repeated(workload)
        layers = {layer.name: layer for layer in workload.layers}
        macs = operations = 0.0
        for place, name in enumerate(names):
            layer = layers[name]
            part = len(self.channels[place]) / layer.channels if self.channels else 1.0
            macs += (self.copies - 1) * part * layer.macs
            operations += (self.copies - 1) * part * layer.channels * layer.positions
        cycles, own = cycles_of(chip, workload), sum(layer.macs for layer in workload.layers)
        width = max(how.latch.width for how in workload.arithmetic)
        bits = float((self.copies - 1) * width * getattr(chip, "pes", 1))
        area = share(bits + stream_logic(operations, width, cycles), chip, workload)
        again = float(self.copies == 2)
        return Cost(macs, operations, bits, area, macs / own * cycles, False, again, again)


def channel_of(layer: Layer, faults: Struck) -> NDArray[np.int64]:
    """The only output channel that a corruption of a layer can change, (n,); -1 for several."""
    struck = faults.corruption
    of_output = np.isin(struck.operand, ("output", "psum", "product"))
    element = np.where(struck.element < 0, 0, struck.element)
    own, _ = layer.output_place(element)
    one = struck.channels[:, 1] - struck.channels[:, 0] == 1
    found: NDArray[np.int64] = np.where(of_output, own, np.where(one, struck.channels[:, 0], -1))
    return found
