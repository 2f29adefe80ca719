"""Tables of how vulnerable layers and channels are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from radhard.foresight.vigor import Vulnerability, rank_correlation
from radhard.stats.estimate import Estimate
from radhard.view.terminal import print_tables
from radhard.view.units import percent

#: Channels that are shown.
_CHANNELS = 10


@dataclass(frozen=True, slots=True)
class Checked:
    """A ranking against the flips of the same neurons, each of which was tried.

    Attributes:
        same, others: rank correlations of factors, on the same images and on others.
        error: the largest difference of a factor, on the same images.
        runs, seconds: what the flips took, on the same images.
    """

    same: Estimate
    others: Estimate
    error: float
    runs: int
    seconds: float

    @classmethod
    def of(cls, found: Vulnerability, same: Vulnerability, others: Vulnerability) -> Checked:
        """From a ranking, and from the flips of its neurons on these images and on others."""
        ranks = [rank_correlation(found.factor, one.factor) for one in (same, others)]
        error = float(np.abs(found.factor - same.factor).max())
        return cls(ranks[0], ranks[1], error, same.runs, same.seconds)


def show_ranks(found: Vulnerability, name: str, checked: Checked | None = None) -> None:
    """Print layers, the most vulnerable channels, and what a check says."""
    layers = Table("layer", "neurons", "a flip changes the answer", box=box.SIMPLE, title=name,
                   title_justify="left")  # fmt: skip
    for number, (layer, factor) in enumerate(found.by_layer().items()):
        layers.add_row(layer, str(int((found.layer == number).sum())), str(factor))
    channels = Table("most vulnerable of the channels that were looked at", "factor",
                     box=box.SIMPLE)  # fmt: skip
    for (layer, channel), value in list(found.by_channel().items())[:_CHANNELS]:
        channels.add_row(f"{layer}, channel {channel}", percent(value))
    print_tables(layers, channels)
    if checked is not None:
        print(
            f"Each flip tried, of the same neurons: rank correlation {checked.same} on the same "
            f"images, {checked.others} on others; largest error of a factor "
            f"{percent(checked.error)}. {checked.runs:,} runs in {checked.seconds:.1f} s, against "
            f"{found.runs:,} in {found.seconds:.1f} s."
        )
