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
from radhard.protect.gradient import NeuronGradientSuppressor
from radhard.protect.hardening import HardenedLatches
from radhard.protect.idle import idle
from radhard.protect.protection import Cost, Flags, Protection
from radhard.protect.ranges import RangeDetector
from radhard.protect.redundancy import Redundancy
from radhard.protect.storage import SECDED, BitTriplication, Parity
from radhard.protect.tap import has_rectifiers
from radhard.search.common import PLAIN, Common, Option, Reals, Watched
from radhard.search.measured import measured_guards, measured_options

#: Bits of a memory that are kept three times, the most harmful ones.
_TRIPLED = (1, 2, 4)
#: Reductions of the latches' rate that are offered.
_HARDENED = (3.0, 10.0, 100.0)


def guards(campaign: Campaign, learning: Workload, repeat: bool) -> list[Watched]:
    """No guard, and guards of the run with a few parameters each, less those that can do nothing.

    Args:
        campaign: the plain question.
        learning: the network with the images on which they learn.
        repeat: whether an inference may be run again.
    """
    found: list[tuple[str, tuple[Protection, ...]]] = []
    for cushion in (0.0, 0.5):
        clamp = RangeRestriction(cushion).learned(learning)
        found.append((f"clamp, cushion {cushion:g}", (clamp,)))
        zero = replace(clamp, zero=True)
        found.append((f"clip to zero, cushion {cushion:g}", (zero,)))
    if has_rectifiers(learning):
        found.append(("clipped activation", (ClippedActivation().learned(learning),)))
    found.append(("value threshold, 8 deviations", (ValueThreshold(8.0, 8.0).learned(learning),)))
    gradients = NeuronGradientSuppressor(kappa=8.0, kappa_dense=8.0).best(learning)
    found.append(("neuron gradients", (gradients,)))
    if repeat:
        found.append(("range detector, repeat", (RangeDetector().learned(learning),)))
        if checkable(learning):
            found.append(("checksum, repeat", (Checksum().learned(learning),)))

    useless = {name for name, parts in found if idle(parts, campaign.network) == _names(parts)}
    found = [one for one in found if one[0] not in useless]

    def cost(parts: tuple[Protection, ...]) -> Cost:
        return sum((part.cost(campaign.workload, campaign.chip) for part in parts), Cost())

    usual = [Watched(name, parts, cost(parts)) for name, parts in found]
    return [PLAIN, *measured_guards(campaign, learning), *usual]


def _names(parts: tuple[Protection, ...]) -> tuple[str, ...]:
    return tuple(type(part).__name__ for part in parts)


def options(common: Common, offered: list[Watched], repeat: bool) -> list[Option]:
    """What can be added to a guard, chosen by what the faults do without one."""
    failing = _per_stratum(common.plain, common.faults, common.under(PLAIN).columns["sdc1"])
    return [
        *measured_options(common.campaign),
        *_of_memories(common, failing, repeat),
        *_of_latches(common, failing),
        *_of_layers(common, offered, repeat),
    ]


def _option(
    common: Common, slot: str, name: str, protection: Protection, repeats: bool = False
) -> Option:
    cost = protection.cost(common.campaign.network, common.campaign.chip)
    return Option(slot, name, protection, cost, repeats)


def _of_memories(common: Common, failing: Reals, repeat: bool) -> Iterator[Option]:
    """Codes and tripled bits, component by component."""
    space, latches = common.plain, _latches(common)
    control = {s.component for s in space.strata if s.storage == "control"}
    for name in dict.fromkeys(s.component for s in space.strata):
        if name in latches | control:
            continue
        slot = f"component {name}"
        if repeat:
            yield _option(common, slot, f"parity on {name}", Parity((name,)), True)
        yield _option(common, slot, f"SECDED on {name}", SECDED((name,)))
        worst = _worst_bits(space, failing, name)
        for bits in _TRIPLED:
            if len(worst) >= bits:
                tripled = BitTriplication(tuple(sorted(worst[:bits])), (name,))
                yield _option(common, slot, f"{bits} bit(s) of {name} tripled", tripled)


def _of_latches(common: Common, failing: Reals) -> Iterator[Option]:
    space, latches = common.plain, _latches(common)
    if any(failing[k] > 0 for k, s in enumerate(space.strata) if s.component in latches):
        for target in _HARDENED:
            hard = HardenedLatches(target=target).learned(space, failing, latches)
            yield _option(common, "latches", f"latches hardened for {target:g}x", hard)


def _of_layers(common: Common, offered: list[Watched], repeat: bool) -> Iterator[Option]:
    """Layers that are checked, or computed more than once."""
    work, chip = common.campaign.network, common.campaign.chip
    by = next(
        (one for one in offered if any(isinstance(p, Checksum) for p in one.protections)), None
    )
    for layer in work.layers:
        slot = f"layer {layer.name}"
        if by is not None and layer.name in checkable(work):
            whole = next(part for part in by.protections if isinstance(part, Checksum))
            own = replace(whole, layers=(layer.name,))
            yield Option(slot, f"checksum of {layer.name}", own, own.cost(work, chip), True, by)
        if repeat:
            yield _option(common, slot, f"{layer.name} twice", Redundancy(2, (layer.name,)), True)
        else:
            yield _option(common, slot, f"{layer.name} three times", Redundancy(3, (layer.name,)))


def _latches(common: Common) -> set[str]:
    """The components that are latches of the datapath."""
    return {s.component for s in common.plain.strata if s.storage == "latch"}


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


def _worst_bits(space: SiteSpace, failing: Reals, component: str) -> list[int]:
    """Bits of a component by their share of its failures, worst first; harmless ones left out."""
    sums: dict[int, float] = {}
    for stratum, share in zip(space.strata, failing, strict=True):
        if stratum.component == component:
            sums[stratum.bit] = sums.get(stratum.bit, 0.0) + share * stratum.exposure
    return [bit for bit in sorted(sums, key=lambda b: (-sums[b], -b)) if sums[bit] > 0]
