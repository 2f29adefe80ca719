"""Faults whose tile is run anew, among those that the fault model knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.accel.matrices import Matrices
from radhard.accel.sequencer import Strikes
from radhard.accel.systolic import Systolic
from radhard.accel.tiling import Flags, Place
from radhard.engine.resume import Resumed, continued, resume
from radhard.engine.segment import Run, joined
from radhard.engine.trace import Trace
from radhard.faults.corruption import Corruption
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace

#: Tiles that are run side by side.
_LANES = 256


def replayed(chip: Accelerator, space: SiteSpace) -> Flags:
    """Which strata of a chip are replayed, (strata,)."""
    if isinstance(chip, Systolic):
        return chip.replayed(space)
    return np.zeros(len(space.strata), bool)


def replaying(chip: Accelerator, space: SiteSpace, faults: Faults) -> Run | None:
    """What runs faults of which some are replayed; ``None`` where none is."""
    if not isinstance(chip, Systolic):
        return None
    again = chip.replayed(space)[faults.stratum]
    if not again.any():
        return None

    def run(trace: Trace, chosen: Integers, part: Corruption) -> Resumed:
        own, mine = replace(faults[chosen], image=part.image), again[chosen]
        untold = replace(part[mine], keep=part.keep[mine] * 0 - 1, flip=part.flip[mine] * 0)
        struck = own[np.flatnonzero(mine)]

        def outputs(number: int, which: Integers) -> Tensor:
            return _outputs(trace, chip, space, struck[which], number)

        found = continued(trace, untold, outputs)
        if mine.all():
            return found
        order = np.concatenate([np.flatnonzero(~mine), np.flatnonzero(mine)])
        return joined([resume(trace, part[~mine]), found], torch.from_numpy(order).argsort())

    return run


def _outputs(trace: Trace, chip: Systolic, space: SiteSpace, faults: Faults, number: int) -> Tensor:
    """Outputs of a layer under faults of control in it, (n, elements)."""
    work = trace.workload
    layer, plan = work.layers[number], chip.sequencer(work, number)
    rows = trace.golden(layer.step, torch.from_numpy(faults.image))
    at, strikes = chip.struck(work, space, faults, number)
    for image in np.unique(faults.image).tolist():
        x = trace.golden(layer.operands[0], torch.tensor([image]))
        matrices, own = Matrices.of(work, number, x[0]), np.flatnonzero(faults.image == image)
        for start in range(0, len(own), _LANES):
            which = own[start : start + _LANES]
            here = Place(*(part[which] for part in at))
            when = Strikes(*(one[which] for one in strikes))
            for k, tile, wrong in zip(
                which.tolist(), *chip.replay(plan, matrices, here, when), strict=True
            ):
                matrices.put(rows[k], tile, wrong)
    return rows
