"""What a strike makes of stored values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from radhard.faults.corruption import Corruption
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat


class Change(NamedTuple):
    """What struck values were, and what they became, (n,) each; and the codes that were."""

    before: Tensor
    after: Tensor
    code: Tensor


def altered(real: Tensor, corruption: Corruption, fmt: NumberFormat) -> Change:
    """Values (n,) of a format with the masks applied to their codes, in the type of ``real``."""
    keep, flip = (
        torch.from_numpy(masks).to(real.device) for masks in (corruption.keep, corruption.flip)
    )
    code = fmt.encode(real)
    return Change(real, fmt.decode((code & keep) ^ flip).to(real.dtype), code)


def overwritten(
    rows: Tensor, place: Tensor, corruption: Corruption, fmt: NumberFormat
) -> tuple[Tensor, Change]:
    """A copy of ``rows`` with the struck element of each replaced."""
    rows = rows.clone()
    each = torch.arange(len(rows), device=rows.device)
    change = altered(rows[each, place], corruption, fmt)
    rows[each, place] = change.after
    return rows, change


def of_channels(fmt: NumberFormat, channel: Tensor) -> NumberFormat:
    """The format of weights that belong to these output channels."""
    return fmt.of_channels(channel) if isinstance(fmt, IntegerFormat) else fmt
