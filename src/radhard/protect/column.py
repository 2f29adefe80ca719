"""A clamp where sums leave the columns of an array."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.engine.guard import StepGuard
from radhard.network.workload import Workload
from radhard.protect.area import guarding
from radhard.protect.bound import Bounded, element_cost
from radhard.protect.extremes import extremes
from radhard.protect.instead import Instead, check_instead, ends, means
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.tap import Tap, TapGuard, tapped


@dataclass(frozen=True, slots=True)
class ColumnClamp(Protection):
    """Clamps the finished sums of each layer to their learned range (Taheri et al., ISQED'24).

    As `radhard.rtl.design.ArrayDesign` does with ``clamp`` and ``zero``: bounds for each layer, of
    all that leaves the array, the logits among them. A bound of a sum and that of the code it is
    rounded to are the same check, as rounding keeps order; so where the range fills its code, as
    that of a largest value does, the code saturates there already, and only headroom or the other
    end leaves something to clamp.

    Attributes:
        zero: set what lies outside to 0 instead.
        fitted: the bounds, from `learned`; where empty, `guard` learns from the workload's images.
        instead: ``mean`` sets it to the fault-free mean of the layer's results.

    Raises:
        ValueError: for two replacements.

    >>> ColumnClamp(zero=True)
    ColumnClamp(zero=True, fitted=Fitted(e3b0c44298fc1c14), instead=None)
    """

    zero: bool = False
    fitted: Fitted = UNFITTED
    instead: Instead | None = None

    def __post_init__(self) -> None:
        check_instead(self.zero, self.instead)

    def learned(self, training: Workload) -> ColumnClamp:
        """With the fault-free ranges over ``training``."""
        steps = tapped(training, Tap.OUTPUT)
        found: dict[int, tuple[Tensor, ...]] = dict(extremes(training, steps))
        if self.instead:
            found = {step: (*found[step], mean) for step, mean in means(training, steps).items()}
        return replace(self, fitted=Fitted(found))

    def guard(self, workload: Workload) -> StepGuard:
        """See `Protection`."""
        held = (self.fitted or self.learned(workload).fitted).tensors
        return TapGuard({step: Bounded(*ends(own, self.zero)) for step, own in held.items()})

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Two comparisons per output of a layer; two bounds per layer, and a mean."""
        steps, values = tapped(workload, Tap.OUTPUT), 3 if self.instead else 2
        bits = sum(values * how.latch.width for how in workload.arithmetic)
        return guarding(element_cost(workload, steps, 2), bits, chip, workload)
