"""Made-up results: what figures and tables show is known without running a network."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from torch import Tensor, nn

import radhard as rh
from radhard.campaign.result import Result
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace, Stratum
from radhard.sampling.tally import Tally

#: Faults, and those of them that change the answer, by component, layer and bit.
Counts = Mapping[tuple[str, str, int], tuple[int, int]]


@pytest.fixture(scope="session")
def made() -> Callable[..., Result]:
    """A result in which each stratum has so many faults, with so many changed answers."""

    def result(counts: Counts, rate_fit: float | None = 200.0, width: int = 16) -> Result:
        strata = tuple(Stratum(*place, width, 100, 1.0, 100) for place in counts)
        n, hits = np.array(list(counts.values())).T
        stratum = np.repeat(np.arange(len(n)), n)
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        hit = within < hits[stratum]
        none = np.zeros_like(hit)
        columns = dict.fromkeys(("gained", "masked", "nan"), none)
        columns = {**columns, "sdc1": hit, "lost": hit, "correct": ~hit, "activated": ~none}
        zero = np.zeros(len(hit), np.int64)
        faults = Faults(zero, stratum, zero, zero, zero, zero, np.ones(len(hit)))
        return Result(
            id="0123456789abcdef" * 2,
            name="made-up",
            space=SiteSpace(strata, 8, rate_fit=rate_fit),
            sampler=rh.Importance(),
            tally=Tally.of(faults, columns, len(strata)),
            golden_accuracy=1.0,
            confidence=0.95,
            anytime=False,
            seconds=1.0,
        )

    return result


@pytest.fixture(scope="session")
def campaign(residual: nn.Module, images: Tensor, labels: Tensor) -> rh.Campaign:
    """A small network on a chip without raw rates."""
    work = rh.capture(residual, images, labels, format=rh.FLOAT16, name="tiny")
    return rh.Campaign(work, name="(tiny) & co")
