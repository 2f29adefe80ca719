"""A sampler of your own: layers that run early are drawn more often.

Run it anywhere: python examples/own_sampler.py
"""

from dataclasses import dataclass

import numpy as np

import radhard as rh
from radhard.network.source import subject
from radhard.testing import check_sampler


@dataclass(frozen=True)
class EarlyFirst(rh.Tilted):
    """Each layer a half as likely as the one before it; weights make up for that.

    Attributes:
        defence: share of the draws that follow the true probabilities, so that no weight exceeds
            its inverse.
    """

    defence: float = 0.3
    name: str = "early-first"

    def proposal(self, space: rh.SiteSpace) -> np.ndarray:
        """With which probability each stratum is drawn."""
        layers = list(dict.fromkeys(stratum.layer for stratum in space.strata))
        early = np.array([0.5 ** layers.index(stratum.layer) for stratum in space.strata])
        tilted = space.probability * early
        return self.defence * space.probability + (1 - self.defence) * tilted / tilted.sum()


if __name__ == "__main__":
    check_sampler(EarlyFirst())
    digits = subject("digits-cnn")
    work = rh.capture(digits.model, digits.images[:64], digits.labels[:64])
    for sampler in (EarlyFirst(), rh.Importance()):
        result = rh.Campaign(work, sampler=sampler).run(until=1000)
        print(f"{sampler.name:12} SDC-1 {result['sdc1']}")
