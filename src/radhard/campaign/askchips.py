"""The question about chips with permanent faults, as people write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from radhard.accel.chip import Accelerator
from radhard.accel.chips import chip_named
from radhard.accel.systolic import Systolic
from radhard.arith.array import Array
from radhard.campaign.ask import AT_HAND, Ask, captured, doubts_of, multipliers_of, struck_of
from radhard.campaign.chips import Chips
from radhard.campaign.rebuild import part_named
from radhard.campaign.windows import spread
from radhard.faults.permanent import Permanent
from radhard.formats.catalogue import format_named
from radhard.formats.number import NumberFormat
from radhard.network.source import subject

#: What passing faults have and permanent ones do not, with what stands for nothing.
_PASSING: Mapping[str, Any] = {
    "faults": None, "until": None, "metric": "sdc1", "fault_model": "bit-flip", "arithmetic": None,
    "sampler": "gradient-importance", "protections": (), "criteria": {}, "nan": None,
    "rounding": None,
}  # fmt: skip


def chips_of(
    ask: Ask, permanent: Permanent, trust: bool = False
) -> tuple[Chips, str, tuple[str, ...]]:
    """Chips with permanent faults: the question, where its images are from, and notes.

    Args:
        ask: what is asked.
        permanent: what is wrong with the chips.
        trust: whether a ``.pt2`` file may run code while it is loaded.

    Of the test images at hand 1,000 are run, or as many as are asked for.

    Raises:
        ValueError, FileNotFoundError: as `prepare`; for a chip that is no systolic array,
            or what only passing faults have.
    """
    passing = [name for name, nothing in _PASSING.items() if getattr(ask, name) != nothing]
    if passing:
        raise ValueError(
            f"{', '.join(passing)}: of passing faults; permanent ones have maps, lose and layers"
        )
    chip = part_named(ask.chip, Accelerator, chip_named) if isinstance(ask.chip, str) else None
    if not isinstance(chip, Systolic):
        raise ValueError(
            f"permanent faults are those of a systolic array, not of {ask.chip}: use --chip "
            "systolic:128x128:ws (rows x columns, and what stays: ws, os or is)"
        )
    fmt = part_named(ask.format, NumberFormat, format_named)  # type: ignore[arg-type]
    whole = subject(ask.model, ask.data, ask.weights, how=ask.reading(), trust=trust)
    work = captured(whole, ask, fmt)
    count = (
        min(AT_HAND, len(work.images))
        if ask.images is None
        else struck_of(ask, len(work.images), whole.data)
    )
    drawn = np.sort(spread(work.labels.cpu().numpy(), ask.seed)[:count])
    own = work.with_(work.images[drawn], work.labels[drawn])
    array = Array(chip.rows, chip.cols, chip.dataflow)
    chips = Chips(own, array, permanent, multipliers_of(ask), ask.layers, ask.seed)
    return chips, whole.data, (*whole.notes, *doubts_of(work, whole))
