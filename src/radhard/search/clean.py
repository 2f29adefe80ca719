"""What guarded networks do without a fault, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radhard.campaign.campaign import Campaign
from radhard.campaign.sealed import keep_arrays, reusable_arrays
from radhard.campaign.strike import alarms_at
from radhard.protect.protection import Flags
from radhard.search.part import Option, Watched

#: Names of arrays that no layer has.
_ACCURACY, _CHANGED = " accuracy", " changed"


class Clean(NamedTuple):
    """A guarded network without a fault, over all images of a campaign.

    Attributes:
        accuracy: share of right answers.
        changed: (images,) whether the guard changes something, or raises an alarm.
        alarms: of a check, (images,) by the name of the layer.
    """

    accuracy: float
    changed: Flags
    alarms: Mapping[str, Flags]


@dataclass(frozen=True, eq=False)
class Cleans:
    """The images of a campaign without a fault, under guards that are run once each.

    Attributes:
        campaign: the plain question.
        store: folder in which what was run is kept.
    """

    campaign: Campaign
    store: Path | None = None
    _held: dict[str, Clean] = field(default_factory=dict, repr=False)

    def under(self, guard: Watched) -> Clean:
        """What a guard does to them."""
        if guard.name not in self._held:
            self._held[guard.name] = self._kept(guard)
        return self._held[guard.name]

    def _kept(self, guard: Watched) -> Clean:
        own = self.campaign.with_(protections=guard.protections, name=self.campaign.name)
        path = self.store / f"{own.id[:16]}-clean.npz" if self.store is not None else None
        found = reusable_arrays(path) if path is not None else None
        if found is None:
            found = _run(own)
            if path is not None:
                keep_arrays(path, found)
        accuracy, changed = float(found.pop(_ACCURACY)), found.pop(_CHANGED)
        return Clean(accuracy, changed, found)

    def false_alarms(self, options: Sequence[Option]) -> float:
        """Share of the images for which some option has the inference run again."""
        found = np.zeros(len(self.campaign.workload.images), bool)
        for option in options:
            alarms = self.of_option(option)
            if alarms is not None:
                found |= alarms
        return float(found.mean())

    def of_option(self, option: Option) -> Flags | None:
        """(images,) alarms of an option; ``None`` of one that can raise none without a fault."""
        return self.under(option.by).alarms[layer_of(option)] if option.by is not None else None


def layer_of(option: Option) -> str:
    """The layer that an option checks."""
    (layer,) = option.protection.layers  # type: ignore[attr-defined]
    return str(layer)


def _run(campaign: Campaign) -> dict[str, NDArray[Any]]:
    golden = campaign.golden()
    accuracy, _ = campaign.clean(golden)
    alarms = golden.answers()[1]
    own = alarms_at(campaign.network, golden, alarms)
    return {_ACCURACY: np.array(accuracy), _CHANGED: alarms.any(1).numpy(), **own}
