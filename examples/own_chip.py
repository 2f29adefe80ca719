"""A chip of your own: a core that keeps each layer's weights and inputs in one scratchpad.

Run it anywhere: python examples/own_chip.py
"""

from dataclasses import dataclass

import numpy as np

import radhard as rh
from radhard.faults.corruption import whole_box
from radhard.faults.space import Stratum
from radhard.network.source import subject
from radhard.testing import check_chip


@dataclass(frozen=True)
class Scratchpad:
    """One memory, written before a layer runs and read until it ends.

    Attributes:
        kib: size; what a layer leaves free is idle.
        rate_fit_per_mbit: raw rate of upsets.
    """

    kib: float = 64.0
    rate_fit_per_mbit: float = 157.0
    name: str = "scratchpad"
    about: str = "a scratchpad that holds the weights and inputs of the layer that runs"

    def sites(self, workload: rh.Workload) -> rh.SiteSpace:
        """A layer's values are exposed while it runs: for its share of the work."""
        macs, strata = sum(layer.macs for layer in workload.layers), []
        for number, layer in enumerate(workload.layers):
            how, time = workload.arithmetic[number], layer.macs / macs
            for held, fmt, size in (
                ("weight", how.weight, layer.channels * layer.fan_in),
                ("input", how.input, layer.variables("input", self.inputs(workload, number))),
            ):
                bit_rate = size * self.rate_fit_per_mbit / 2**20 * time
                strata += [
                    Stratum(held, layer.name, bit, fmt.width, size, bit_rate, size)
                    for bit in range(fmt.width)
                ]
        total = sum(stratum.exposure for stratum in strata)
        return rh.SiteSpace(tuple(strata), len(workload.images), rate_fit=total)

    def corrupt(
        self, workload: rh.Workload, space: rh.SiteSpace, faults: rh.Faults
    ) -> rh.Corruption:
        """A struck value is wrong for all results of its layer."""
        n, strata = len(faults), [space.strata[k] for k in faults.stratum]
        layers = {layer.name: number for number, layer in enumerate(workload.layers)}
        return rh.Corruption(
            layer=np.array([layers[s.layer] for s in strata]),
            operand=np.array([s.component for s in strata]),
            element=faults.index,
            image=faults.image,
            keep=faults.keep,
            flip=faults.flip,
            channels=whole_box(n),
            positions=whole_box(n),
            first=np.zeros(n, np.int64),
            terms=whole_box(n),
        )

    @staticmethod
    def inputs(workload: rh.Workload, number: int) -> int:
        """Input values of a layer, per image."""
        rows = workload.program.rows[workload.layers[number].operands[0]]
        assert rows is not None
        return rows.elements


if __name__ == "__main__":
    check_chip(Scratchpad())
    digits = subject("digits-cnn")
    work = rh.capture(digits.model, digits.images[:64], digits.labels[:64], format=rh.INT8)
    result = rh.Campaign(work, Scratchpad()).run(until=1000)
    print("SDC-1", result["sdc1"], "rate", result.fit("sdc1"))
