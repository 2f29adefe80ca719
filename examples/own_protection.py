"""A protection of your own: what a layer gives is limited to a number.

Run it anywhere: python examples/own_protection.py
"""

from dataclasses import dataclass

import torch
from torch import Tensor

import radhard as rh
from radhard.network.source import subject
from radhard.testing import check_protection


class Limiter:
    """Clamps what layers give, and raises an alarm where it had to."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def inspect(self, layer: int, output: Tensor) -> tuple[Tensor, Tensor]:
        """The output (n, channels, positions), limited, and the alarms (n,)."""
        kept = torch.nan_to_num(output, nan=0.0).clamp(-self.limit, self.limit)
        return kept, (kept != output).flatten(1).any(1)


@dataclass(frozen=True)
class Limited(rh.Protection):
    """Limits all layers alike.

    Attributes:
        limit: largest value that is let through.
    """

    limit: float = 50.0

    def guard(self, workload: rh.Workload) -> Limiter:
        """What watches the runs."""
        return Limiter(self.limit)

    def cost(self, workload: rh.Workload, chip: object) -> rh.Cost:
        """Two comparisons per output."""
        outputs = sum(layer.channels * layer.positions for layer in workload.layers)
        return rh.Cost(operations=2 * outputs)


if __name__ == "__main__":
    check_protection(Limited())
    digits = subject("digits-cnn")
    work = rh.capture(digits.model, digits.images[:64], digits.labels[:64], format=rh.FLOAT16)
    plain = rh.Campaign(work, name="plain")
    safe = plain.with_(protections=[Limited()], name="limited")
    for row in rh.compare(list(rh.collect([plain, safe], until=1000))):
        print(f"{row.name:8} SDC-1 {row.estimate}, difference {row.difference}")
