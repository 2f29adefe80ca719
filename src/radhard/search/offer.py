"""What can be had: guards of the run, codes, copies, hardened latches, checked layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from radhard.campaign.campaign import Campaign
from radhard.faults.fault import Faults
from radhard.faults.space import SiteSpace
from radhard.network.workload import Workload
from radhard.protect.bound import ClippedActivation, RangeRestriction, ValueThreshold
from radhard.protect.checksum import Checksum, checkable
from radhard.protect.column import ColumnClamp
from radhard.protect.gradient import NeuronGradientSuppressor
from radhard.protect.hardening import HardenedLatches
from radhard.protect.idle import idle
from radhard.protect.neuron import BoundedNeuron
from radhard.protect.protection import Flags, Protection
from radhard.protect.ranges import RangeDetector
from radhard.protect.redundancy import Redundancy, channel_of
from radhard.protect.storage import SECDED, BitTriplication, Parity, WeightSignature
from radhard.protect.tap import has_rectifiers
from radhard.search.common import Common, Reals
from radhard.search.measured import measured_guards, measured_options
from radhard.search.part import PLAIN, Option, Watched, check_before

#: Shares of fault-free values that bounds leave outside, besides none.
_OUTSIDE = (1e-5, 1e-4)
#: Images on which thresholds are searched under wrong weights.
_SEARCHED = 64
#: Reductions of the latches' rate that are offered.
_HARDENED = (3.0, 10.0, 30.0, 100.0, 300.0)
#: Shares of a layer's failures whose channels, the most vulnerable first, are repeated.
_CHANNELS = (0.5, 0.9)


def guards(campaign: Campaign, learning: Workload) -> list[Watched]:
    """No guard, and guards of the run with a few parameters each, less those that can do nothing.

    Args:
        campaign: the plain question.
        learning: the network with the images on which they learn.
    """
    found: list[tuple[str, Protection]] = []
    for cushion in (0.0, 0.5):
        clamp = RangeRestriction(cushion).learned(learning)
        found.append((f"clamp, cushion {cushion:g}", clamp))
        found.append((f"clip to zero, cushion {cushion:g}", replace(clamp, zero=True)))
    for outside in _OUTSIDE:
        clamp = RangeRestriction().learned(learning, outside)
        found.append((f"clamp, {outside:g} outside", clamp))
    if has_rectifiers(learning):
        for outside in (0.0, *_OUTSIDE):
            which = f", {outside:g} outside" if outside else ""
            clipped = ClippedActivation().learned(learning, outside)
            found.append((f"clipped activation{which}", clipped))
        few = learning.with_(learning.images[:_SEARCHED], learning.labels[:_SEARCHED])
        searched = ClippedActivation().learned(learning).tuned(few, (1e-4, 1e-3), 1, (2, 3))
        found.append(("clipped activation, thresholds searched", searched))
        found.append(("smooth bounds of neurons, trained", BoundedNeuron().trained(learning)))
    held = {
        s.component for s in campaign.chip.sites(campaign.network).strata if s.storage == "value"
    }
    if "weight" in held:
        found.append(("signatures, flagged groups of weights to zero", WeightSignature(zero=True)))
    found.append(("clamp of all outputs", ColumnClamp().learned(learning)))
    found.append(("value threshold, 8 deviations", ValueThreshold(8.0, 8.0).learned(learning)))
    gradients = NeuronGradientSuppressor(kappa=8.0, kappa_dense=8.0).best(learning)
    found.append(("neuron gradients", gradients))
    usual = [
        Watched(name, (part,), part.cost(campaign.workload, campaign.chip))
        for name, part in found
        if idle([part], campaign.network) != (type(part).__name__,)
    ]
    return [PLAIN, *measured_guards(campaign, learning), *usual]


def checks(
    campaign: Campaign, learning: Workload
) -> list[tuple[str, RangeDetector | Checksum, tuple[str, ...]]]:
    """What only detects: in words, itself, and the names of the layers that it can look at."""
    work = campaign.network
    ranges, names = RangeDetector().learned(learning), tuple(layer.name for layer in work.layers)
    found: list[tuple[str, RangeDetector | Checksum, tuple[str, ...]]] = []
    if idle([ranges], work) != (type(ranges).__name__,):
        found.append(("range check of {}", ranges, names))
    if checkable(work):
        found.append(("checksum of {}", Checksum().learned(learning), checkable(work)))
    return found


class Offer:
    """Options that can be added to guards.

    Args:
        common: the faults that choose.
        learning: the network with the images on which checks learn.
        repeat: whether an inference may be run again.
    """

    def __init__(self, common: Common, learning: Workload, repeat: bool) -> None:
        self.common, self.repeat = common, repeat
        self._checks = checks(common.campaign, learning) if repeat else []
        self._always = [
            *measured_options(common.campaign), *self._of_memories(), *self._of_layers(),
            *self._parity_of_latches(),
        ]  # fmt: skip

    def to(self, guard: Watched) -> list[Option]:
        """Those of a guard; which bits, latches and channels is decided by what fails under it."""
        failing = self.common.failing(guard)
        space, faults = self.common.plain, self.common.faults
        share = _per_stratum(space, faults, self.common.under(guard).columns["sdc1"])
        return [
            *self._always, *self._of_bits(share), *self._of_latches(share),
            *self._of_channels(failing), *self._checked(guard),
        ]  # fmt: skip

    def _option(
        self, slot: str, what: str, of: str, protection: Protection, repeats: bool = False
    ) -> Option:
        cost = protection.cost(self.common.campaign.network, self.common.campaign.chip)
        return Option(slot, what, of, protection, cost, repeats)

    def _memories(self) -> list[str]:
        """Components that are neither latches of the datapath nor control."""
        strata = self.common.plain.strata
        others = {s.component for s in strata if s.storage in {"latch", "control"}}
        return [name for name in dict.fromkeys(s.component for s in strata) if name not in others]

    def _of_memories(self) -> Iterator[Option]:
        """Codes, component by component."""
        for name in self._memories():
            slot = f"component {name}"
            if self.repeat:
                yield self._option(slot, "parity on {}", name, Parity((name,)), True)
            yield self._option(slot, "SECDED on {}", name, SECDED((name,)))
            if self.repeat and name == "weight" and self._stored(name):
                signed = WeightSignature(components=(name,))
                yield self._option(slot, "signatures of {}", name, signed, True)

    def _stored(self, name: str) -> bool:
        """Whether a component is the memory from which values are loaded."""
        return {"value"} == {s.storage for s in self.common.plain.strata if s.component == name}

    def _of_bits(self, failing: Reals) -> Iterator[Option]:
        """Bits that are kept three times, each by itself, where faults in them have failed."""
        strata, memories = self.common.plain.strata, set(self._memories())
        places = {
            (s.component, s.bit)
            for s, share in zip(strata, failing, strict=True)
            if share > 0 and s.component in memories
        }
        for name, bit in sorted(places):
            tripled, slot = BitTriplication((bit,), (name,)), f"bit {bit} of {name}"
            yield self._option(slot, f"bits {{}} of {name} tripled", str(bit), tripled)

    def _of_latches(self, failing: Reals) -> Iterator[Option]:
        space = self.common.plain
        latches = {s.component for s in space.strata if s.storage == "latch"}
        if any(failing[k] > 0 for k, s in enumerate(space.strata) if s.component in latches):
            for target in _HARDENED:
                hard = HardenedLatches(target=target).learned(space, failing, latches)
                yield self._option("latches", "latches hardened for {}x", f"{target:g}", hard)

    def _parity_of_latches(self) -> Iterator[Option]:
        """Of each latch, what makes the inference run again."""
        latches = {s.component: None for s in self.common.plain.strata if s.storage == "latch"}
        for name in latches if self.repeat else ():
            yield self._option(f"component {name}", "parity on {}", name, Parity((name,)), True)

    def _of_layers(self) -> Iterator[Option]:
        """Layers that are computed more than once."""
        copies, words = (2, "{} twice") if self.repeat else (3, "{} three times")
        for layer in self.common.campaign.network.layers:
            again, slot = Redundancy(copies, (layer.name,)), f"layer {layer.name}"
            yield self._option(slot, words, layer.name, again, self.repeat)

    def _of_channels(self, failing: Reals) -> Iterator[Option]:
        """The most vulnerable channels of layers, computed more than once (HarDNN)."""
        copies, words = (2, "twice") if self.repeat else (3, "three times")
        work, struck = self.common.campaign.network, self.common.struck
        for layer in work.layers:
            again = Redundancy(copies, (layer.name,))
            here = again.stops(work, struck).harmless & (failing > 0)
            channel = channel_of(layer, struck)
            here &= channel >= 0
            sums = np.bincount(channel[here], failing[here], minlength=layer.channels)
            order = np.argsort(-sums, kind="stable")
            reached = np.cumsum(sums[order])
            for share in _CHANNELS if len(reached) and reached[-1] > 0 else ():
                count = int(np.searchsorted(reached, share * reached[-1])) + 1
                if count < layer.channels:
                    chosen = tuple(sorted(order[:count].tolist()))
                    some = Redundancy(copies, (layer.name,), (chosen,))
                    of = f"{count} of {layer.channels} channels of {layer.name}"
                    slot = f"layer {layer.name}"
                    yield self._option(slot, f"{{}} {words}", of, some, self.repeat)

    def _checked(self, guard: Watched) -> Iterator[Option]:
        """Layers that are checked: what a check sees is known for each from one run of all."""
        work, chip = self.common.campaign.network, self.common.campaign.chip
        for words, whole, layers in self._checks:
            by = check_before(guard, words, whole, layers)
            for layer in layers:
                own = replace(whole, layers=(layer,))
                slot = words.format(layer)
                yield Option(slot, words, layer, own, own.cost(work, chip), True, by)


def _per_stratum(space: SiteSpace, faults: Faults, hit: Flags) -> Reals:
    """Share of failures per component and bit, at its strata."""
    places = [(s.component, s.bit) for s in space.strata]
    number = {place: k for k, place in enumerate(dict.fromkeys(places))}
    group = np.array([number[place] for place in places])
    own = group[faults.stratum]
    n = np.bincount(own, faults.weight, minlength=len(number))
    hits = np.bincount(own, faults.weight * hit, minlength=len(number))
    share: Reals = (hits / np.maximum(n, 1e-300))[group]
    return share
