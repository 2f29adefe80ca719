"""From which values on quantised numbers saturate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from radhard.formats.integer import IntegerFormat


@runtime_checkable
class Clip(Protocol):
    """Chooses the ends of the range that codes cover."""

    def ends(self, rows: Tensor, fmt: IntegerFormat) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value that is not cut off, (n,) each.

        Args:
            rows: (n, values), float64, with 0 among what is to be covered.
            fmt: the integers, without a scale.
        """
        ...


@dataclass(frozen=True, slots=True)
class MinMax:
    """Nothing seen is cut off.

    >>> import torch, radhard as rh
    >>> MinMax().ends(torch.tensor([[1.0, -2.0, 5.0]]), rh.INT8)
    (tensor([-2.]), tensor([5.]))
    """

    def ends(self, rows: Tensor, fmt: IntegerFormat) -> tuple[Tensor, Tensor]:
        """See `Clip`."""
        return rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)


@dataclass(frozen=True, slots=True)
class Percentile:
    """All but the outermost values are covered.

    Attributes:
        share: of the values that are covered at either end, by rank.

    Raises:
        ValueError: for a share that is not above a half, or above 1.

    >>> import torch, radhard as rh
    >>> Percentile(0.75).ends(torch.tensor([[0.0, 1, 2, 3, 100]]), rh.INT8)
    (tensor([0.]), tensor([3.]))
    """

    share: float = 0.9999

    def __post_init__(self) -> None:
        if not 0.5 < self.share <= 1:
            raise ValueError(
                f"a share of {self.share} can't be covered: use more than 0.5, up to 1, as 0.9999"
            )

    def ends(self, rows: Tensor, fmt: IntegerFormat) -> tuple[Tensor, Tensor]:
        """See `Clip`."""
        ordered, last = rows.sort(1).values, rows.shape[1] - 1
        place = round(self.share * last)
        return ordered[:, last - place].clamp(max=0), ordered[:, place].clamp(min=0)


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """The ends at which codes are least apart from the values, in the mean of squares.

    Attributes:
        candidates: parts of the whole range that are tried, evenly spaced.

    Raises:
        ValueError: for no candidates.

    >>> import torch, radhard as rh
    >>> rows = torch.cat([torch.linspace(0, 1, 9999), torch.tensor([4.0])])[None]
    >>> LeastSquares(4).ends(rows, rh.INT4)
    (tensor([0.]), tensor([1.]))
    """

    candidates: int = 50

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"{self.candidates} candidates can't be tried: use 1 or more")

    def ends(self, rows: Tensor, fmt: IntegerFormat) -> tuple[Tensor, Tensor]:
        """See `Clip`."""
        low, high = MinMax().ends(rows, fmt)
        best, least = (low, high), torch.full_like(low, torch.inf)
        for k in range(self.candidates, 0, -1):
            part = k / self.candidates
            own = low * part, high * part
            held = between(*own, replace(fmt, per_channel=True))
            error = (held.round(rows) - rows).square().mean(1)
            better = error < least
            least = torch.where(better, error, least)
            best = torch.where(better, own[0], best[0]), torch.where(better, own[1], best[1])
        return best


def between(low: Tensor, high: Tensor, fmt: IntegerFormat) -> IntegerFormat:
    """The format whose codes cover low to high, (n,) each, with n scales."""
    rows = torch.stack([low, high], 1)
    return fmt.fit(rows, len(rows))
