"""Following faults: what they did to the struck value, and how far that reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.accel.readers import activated
from radhard.campaign.campaign import Campaign
from radhard.campaign.replay import replayed
from radhard.campaign.shard import shards_of
from radhard.engine.resume import resume
from radhard.engine.segment import Golden
from radhard.engine.trace import Trace, record
from radhard.faults.fault import Faults
from radhard.faults.model import Integers
from radhard.faults.space import SiteSpace
from radhard.metrics.outcome import classify
from radhard.network.workload import Workload
from radhard.protect.protection import joined
from radhard.sampling.proposals import Importance
from radhard.stats.estimate import Estimate
from radhard.stats.interval import quantile, wilson

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Propagation:
    """What n faults did on their way (Li et al., SC'17, sections 5.1.3 to 5.1.4).

    Attributes:
        space: the population that they are from.
        places: where values are compared with the fault-free ones, in run order: the output of each
            layer by its name, and ``into NAME`` for what the next layer reads, with activation
            functions, normalisation and pooling behind it.
        faults: the faults.
        before, after: the struck value, (n,).
        code: the struck value's code before, (n,).
        outcomes: by name, (n,).
        distance: Euclidean, between faulty and fault-free values, (n, places).
        changed: share of values that differ, (n, places).

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
    >>> found = rh.follow(rh.Campaign(work), 100)
    >>> found.places, found.distance.shape, sorted(found.rates(found.direction, "sdc1"))
    (('1',), (100, 1), ['0 to 1', '1 to 0'])
    """

    space: SiteSpace
    places: tuple[str, ...]
    faults: Faults
    before: Reals
    after: Reals
    code: Integers
    outcomes: Mapping[str, Flags]
    distance: Reals
    changed: Reals

    @property
    def layer(self) -> NDArray[np.str_]:
        """The struck layer of each fault, (n,)."""
        return np.array([s.layer for s in self.space.strata])[self.faults.stratum]

    @property
    def bit(self) -> Integers:
        """The struck bit of each fault, (n,)."""
        return np.array([s.bit for s in self.space.strata])[self.faults.stratum]

    @property
    def direction(self) -> NDArray[np.str_]:
        """``0 to 1`` or ``1 to 0``, (n,); ``mixed`` where bits went both ways, ``none`` if none."""
        altered = (self.code & self.faults.keep) ^ self.faults.flip
        own = np.array([(1 << s.width) - 1 for s in self.space.strata], dtype=object)
        mask = np.array([int(m) - (1 << 64) * (int(m) >> 63) for m in own], dtype=np.int64)
        mask = mask[self.faults.stratum]
        up, down = (~self.code & altered & mask) != 0, (self.code & ~altered & mask) != 0
        cases = [up & down, up, down]
        return np.select(cases, ["mixed", "0 to 1", "1 to 0"], "none")

    @property
    def deviation(self) -> Reals:
        """How far the struck value moved, (n,); infinite where it became no number."""
        with np.errstate(invalid="ignore", over="ignore"):
            moved = np.abs(self.after - self.before)
        return np.where(np.isnan(moved), np.inf, moved)

    @property
    def outward(self) -> Flags:
        """Whether the struck value moved away from zero, or became no number, (n,)."""
        return ~(np.abs(self.after) <= np.abs(self.before))

    def rates(self, label: NDArray[np.generic], metric: str) -> dict[str, Estimate]:
        """Probability of an outcome for each value of ``label``, (n,), with its interval."""
        return {
            str(value): self._share(self.outcomes[metric][label == value])
            for value in np.unique(label)
        }

    def vulnerability(self, workload: Workload) -> dict[str, list[float]]:
        """Per layer and output channel: how likely a fault lands in it and changes the answer.

        For faults of outputs of layers, as `radhard.Redundancy.ranked` takes it (HarDNN).
        """
        index = self.faults.index
        own = np.array([s.component for s in self.space.strata])[self.faults.stratum]
        found = {}
        for layer in workload.layers:
            here = (self.layer == layer.name) & (own == "activation") & self.outcomes["sdc1"]
            channel, _ = layer.output_place(torch.from_numpy(index[here]))
            hits = np.bincount(channel.numpy(), minlength=layer.channels)
            found[layer.name] = (hits / len(index)).tolist()
        return found

    def visible(self, layer: str, place: str) -> Estimate:
        """Share of the faults in ``layer`` after which some value at ``place`` differs."""
        return self._share(self.changed[self.layer == layer, self.places.index(place)] > 0)

    def distances(self, chosen: Flags, q: float = 0.5) -> dict[str, Estimate]:
        """A quantile of the distance over the chosen faults, for each place."""
        found = self.distance[chosen]
        return {place: quantile(found[:, k], q) for k, place in enumerate(self.places)}

    @staticmethod
    def _share(hits: Flags) -> Estimate:
        return wilson(int(hits.sum()), len(hits))

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """All columns by name, for a table with a row per fault."""
        spread = {
            f"{what} {place}": values[:, k]
            for what, values in (("distance", self.distance), ("changed", self.changed))
            for k, place in enumerate(self.places)
        }
        own = {"before": self.before, "after": self.after, "code": self.code}
        return {**own, **self.outcomes, **spread}

    @classmethod
    def joined(cls, parts: Sequence[Propagation]) -> Propagation:
        """All faults of parts of one population, in their order."""
        columns = [part.columns() for part in parts]
        together = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
        return cls.of(parts[0].space, Faults.joined([part.faults for part in parts]), together)

    @classmethod
    def of(
        cls, space: SiteSpace, faults: Faults, columns: Mapping[str, NDArray[np.generic]]
    ) -> Propagation:
        """What `columns` gave."""
        held: dict[str, Any] = dict(columns)
        before, after, code = (held.pop(name) for name in ("before", "after", "code"))
        places = tuple(n.removeprefix("distance ") for n in held if n.startswith("distance "))
        distance, changed = (
            np.stack([held.pop(f"{what} {place}") for place in places], 1)
            for what in ("distance", "changed")
        )
        return cls(space, places, faults, before, after, code, held, distance, changed)


def follow(campaign: Campaign, count: int = 4000, layer: str | None = None) -> Propagation:
    """Run faults of a campaign and note, for each, how far it spreads through the network.

    Args:
        campaign: the question; its faults are drawn with their true probabilities.
        count: how many.
        layer: name of the only layer that is struck; any where ``None``.

    Raises:
        ValueError: for fewer than 1 fault, or a layer that is never struck.
    """
    campaign, space = followed_alike(campaign, count, layer)
    trace = trace_of(campaign)
    parts = [follow_shard(campaign, space, trace, *part) for part in shards_of(count)]
    return Propagation.joined(parts)


def trace_of(campaign: Campaign) -> Trace:
    """The golden run of all images under the protections, on the workload's device."""
    network = campaign.network.on(campaign.workload.device)
    return record(network, joined(campaign.protections, network))


def followed_alike(campaign: Campaign, count: int, layer: str | None) -> tuple[Campaign, SiteSpace]:
    """The campaign whose faults `follow` draws, and the population that they are from.

    Raises:
        ValueError: for fewer than 1 fault, a layer that is never struck, or faults of control.
    """
    if count < 1:
        raise ValueError(f"{count} faults can't be followed: ask for at least 1")
    campaign = campaign.with_(sampler=Importance(), name=campaign.name)
    space = campaign.space().of_layer(layer)
    if replayed(campaign.chip, space).any():
        raise ValueError(
            f"faults of {campaign.chip.name} can't be followed, since those of its control strike "
            "no value: use a chip without, such as clocked:8x8:ws"
        )
    return campaign, space


def follow_shard(
    campaign: Campaign, space: SiteSpace, trace: Trace, shard: int, count: int
) -> Propagation:
    """Follow the first ``count`` faults of a shard."""
    work, faults = campaign.network, campaign.draw(space, shard, count)
    places = compared(work)
    distance, changed = np.zeros((2, len(faults), len(places)))

    def see(place: int, fault: Tensor, faulty: Tensor, golden: Tensor) -> None:
        rows = fault.cpu().numpy()
        differ = (faulty != golden).to(torch.float64)
        gap = (faulty.to(torch.float64) - golden.to(torch.float64)).nan_to_num(torch.inf)
        unit = gap.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        scaled = torch.where(gap.isinf(), 1.0, gap / unit)  # squares of what fits may not fit
        distance[rows, place] = (torch.linalg.vector_norm(scaled, dim=1) * unit[:, 0]).cpu().numpy()
        changed[rows, place] = differ.mean(1).cpu().numpy()

    steps = list(places.values())
    watch = {step: partial(see, k) for k, step in enumerate(steps)}
    corruption = campaign.chip.corrupt(work, space, faults)
    run = resume(trace, corruption, watch=watch)
    labels = work.labels[torch.from_numpy(faults.image)]
    given = (run.logits, run.golden, labels, run.detected, campaign.criteria)
    otherwise = Golden(trace.workload, trace.guard).otherwise(corruption, run)
    found = classify(work.task, *given, campaign.confidence_of, otherwise)
    outcomes = {name: column.cpu().numpy() for name, column in found.columns.items()}
    outcomes["activated"] = activated(work, corruption)
    before, after, code = (side.cpu().numpy() for side in run.struck)
    return Propagation(
        space, tuple(places), faults, before, after, code, outcomes, distance, changed
    )


def compared(work: Workload) -> dict[str, int]:
    """The steps at which values are compared, by the names of `Propagation.places`."""
    found: dict[str, int] = {}
    for layer in work.layers:
        source = layer.operands[0]
        if found and source not in found.values() and work.program.rows[source] is not None:
            found[f"into {layer.name}"] = source
        found[layer.name] = layer.step
    return dict(sorted(found.items(), key=lambda place: place[1]))
