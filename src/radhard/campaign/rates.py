"""Accuracy under errors at a rate: many wrong values in each inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.campaign.description import described
from radhard.campaign.question import semantics_of
from radhard.campaign.sealed import digest, keep_arrays, reusable_arrays
from radhard.engine.noisy import run_noisy, with_wrong_weights
from radhard.faults.rate import NeuronErrors, Read, WeightErrors, Words
from radhard.network.workload import Workload
from radhard.protect.protection import Protection, joined, retuned
from radhard.protect.tap import Tap, tapped
from radhard.stats.bounded import bounded, crossed, within
from radhard.stats.estimate import Estimate
from radhard.stats.interval import paired, wilson

Flags = NDArray[np.bool_]
Errors = NeuronErrors | WeightErrors


@dataclass(frozen=True, slots=True, eq=False)
class UnderErrors:
    """What some inferences with errors gave.

    Intervals are about the task: images are a sample of it, and all inferences of an image share
    how hard it is, so more repetitions of few images say no more about others. Errors of weights
    last for a repetition, which all its images share; repetitions are then a second sample, and as
    rare errors of large effect may have been missed, few of them say little. `over_these_images`
    leaves the first sample out.

    Attributes:
        errors: the errors, and their rate.
        correct: whether the top class was the label, (repetitions, images).
        detected: whether a guard raised an alarm, (repetitions, images).
        reach: how far wrong weights can move the mean over these repetitions from that over all:
            chance that a repetition has any, plus the share of these that had; 1 where unknown.
        these_images: whether intervals are over these images only.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(8, 1, 2, 2), torch.arange(8) % 3)
    >>> rh.under_errors(work, rh.NeuronErrors(0.1)).accuracy.n
    16
    """

    errors: Errors
    correct: Flags
    detected: Flags
    reach: float = 1.0
    these_images: bool = False

    @property
    def accuracy(self) -> Estimate:
        """Accuracy over the task under these errors."""
        return self._mean(self.correct)

    @property
    def alarms(self) -> Estimate:
        """Share of inferences with an alarm."""
        return self._mean(self.detected)

    @property
    def over_these_images(self) -> UnderErrors:
        """The same, with intervals over these images only: what other errors would give."""
        return replace(self, these_images=True)

    def lead(self, other: UnderErrors) -> Estimate:
        """Accuracy less that of another protection under the same errors, pair by pair.

        Raises:
            ValueError: for other errors, images or repetitions, or intervals over other images.
        """
        if self.errors != other.errors or self.correct.shape != other.correct.shape:
            raise ValueError("only protections under the same errors can be compared in pairs")
        if self.these_images != other.these_images:
            raise ValueError("one interval is over these images only: take both so, or neither")
        both = replace(self, reach=max(self.reach, other.reach))
        if self.these_images and not self._lasting:
            ahead, behind = self.correct & ~other.correct, other.correct & ~self.correct
            return paired(int(ahead.sum()), int(behind.sum()), self.correct.size)
        return both._mean(self.correct.astype(float) - other.correct, low=-1.0)

    @property
    def _lasting(self) -> bool:
        """Whether all images of a repetition share its errors."""
        return isinstance(self.errors, WeightErrors) and self.errors.rate > 0

    def _mean(self, found: Flags | NDArray[np.float64], low: float = 0.0) -> Estimate:
        """The mean over inferences of what each gave, between ``low`` and 1."""
        reach = self.reach if self._lasting else 0.0
        if not self.these_images:
            over = crossed(found, reach, low) if reach else bounded(found.mean(0), low)
        elif self._lasting:
            over = within(bounded(found.mean(1), low), reach * (1 - low))
        else:
            over = wilson(int(found.sum()), found.size)
        return replace(over, n=found.size)


def under_errors(
    workload: Workload,
    errors: Errors,
    protections: Sequence[Protection] = (),
    repetitions: int = 2,
    seed: int = 0,
    store: Path | None = None,
) -> UnderErrors:
    """Run all images with errors at a rate.

    Which values are wrong depends on the seed, the repetition and the image alone, so protections
    meet the same errors, as long as the network stays the same.

    Args:
        workload: the network with its images.
        errors: what is wrong, and how often.
        protections: what changes the network or watches the run.
        repetitions: inferences per image, each with errors of its own; at least 1, and with wrong
            weights at least 2. Few repetitions of wrong weights leave wide intervals, unless the
            rate makes wrong weights rare: of 10, an effect that 26 % of all have may be missing.
        seed: of the draws.
        store: folder in which answers are kept; what it holds is not run again.

    Raises:
        ValueError: for too few repetitions, or a protection of storage, or by copies, of what is
            not struck at a rate, or that has no say about it.
    """
    _check(protections, errors)
    least = 2 if isinstance(errors, WeightErrors) and errors.rate > 0 else 1
    if repetitions < least:
        raise ValueError(f"{repetitions} repetitions can't be: use at least {least}")
    network = retuned(protections, workload)
    path = None
    if store is not None:
        asked: tuple[Any, ...] = (network.formats, errors, tuple(protections), repetitions, seed)
        if network.datapaths:
            asked = (*asked, network.datapaths)
        data = [
            semantics_of({"protections": protections}),
            network.fingerprint(),
            described(asked, "under_errors", {}),
        ]
        path = store / f"{digest(data)[:32]}.npz"
        held = reusable_arrays(path)
        if held is not None and "reach" in held:
            return UnderErrors(errors, held["correct"], held["detected"], float(held["reach"]))
    found = _run(network, errors, protections, repetitions, seed)
    if path is not None:
        about = {"reach": np.array(found.reach)}
        keep_arrays(path, {"correct": found.correct, "detected": found.detected, **about})
    return found


def _run(
    network: Workload,
    errors: Errors,
    protections: Sequence[Protection],
    repetitions: int,
    seed: int,
) -> UnderErrors:
    guard = joined(protections, network)
    memory = _Memory(tuple(p for p in protections if type(p).read is not Protection.read))
    correct, detected = np.zeros((2, repetitions, len(network.images)), bool)
    wrong = 0
    for repetition in range(repetitions):
        work, draws, targets = network, NeuronErrors(0.0), dict[int, int]()
        if isinstance(errors, WeightErrors):
            memory.alarm = False
            mend = memory.read if memory.protections else None
            work = with_wrong_weights(network, errors, (seed, repetition), None, mend)
            wrong += _differ(work, network) or memory.alarm
        else:
            tap = Tap.ACTIVATION if errors.after_activation else Tap.OUTPUT
            draws, targets = errors, tapped(network, tap)
        reference = network if work is not network else None
        run = run_noisy(work, draws, targets, (seed, repetition), guard, reference)
        correct[repetition] = network.task.right(run.logits, network.labels).cpu().numpy()
        detected[repetition] = run.detected.cpu().numpy() | memory.alarm
    reach = 0.0
    if isinstance(errors, WeightErrors):
        copies = 3 if memory.protections else 1  # no code or copy adds more bits than two copies
        reach = min(1.0, _chance(network, errors.rate, copies) + wrong / repetitions)
    return UnderErrors(errors, correct, detected, reach)


@dataclass(slots=True)
class _Memory:
    """Protections of stored words, and whether one has found any wrong since it was last cleared.

    Each has the words that the ones before it have read.
    """

    protections: tuple[Protection, ...]
    alarm: bool = False

    def read(self, words: Words) -> Read:
        codes = words.after
        for protection in self.protections:
            found = protection.read(words._replace(after=codes))
            assert found is not None
            codes = found.codes
            self.alarm |= found.alarm
        return Read(codes, self.alarm)


def _check(protections: Sequence[Protection], errors: Errors) -> None:
    """Raise ValueError for protections that would do nothing, or nothing that is known."""
    for part in protections:
        kind = type(part)
        stored = kind.stops is not Protection.stops or kind.harden is not Protection.harden
        says = kind.read is not Protection.read
        if not stored and not says:
            continue
        if isinstance(errors, NeuronErrors):
            raise ValueError(
                f"{kind.__name__} can't be asked about errors of neurons at a rate: an inference "
                "that is run again has them again, and what lies in memory is not struck. Use "
                "WeightErrors, or a campaign"
            )
        components = getattr(part, "components", ())
        if not says or (components and "weight" not in components):
            what = f" of {', '.join(components)}" if says else ""
            raise ValueError(
                f"{kind.__name__}{what} can't be asked about errors of weights at a rate: these "
                "lie in the memory called weight, which it does not protect, as copies of a "
                "computation read the same wrong weights. Use Parity, SECDED, BitTriplication or "
                "WeightSignature of weight, or a campaign"
            )


def _differ(one: Workload, other: Workload) -> bool:
    """Whether any weight of two copies of a network differs."""
    return not all(
        torch.equal(one.weight(number), other.weight(number)) for number in _weighted(other)
    )


def _chance(network: Workload, rate: float, copies: int = 1) -> float:
    """That any bit of any weight is flipped, in any of its copies."""
    bits = copies * sum(
        network.weight(number).numel() * network.arithmetic[number].weight.width
        for number in _weighted(network)
    )
    return -math.expm1(bits * math.log1p(-rate)) if rate < 1 else 1.0


def _weighted(network: Workload) -> list[int]:
    """The layers with stored weights."""
    return [k for k, given in enumerate(network.parameters) if given is not None]


def seconds_per_image(workload: Workload, protections: Sequence[Protection] = ()) -> float:
    """Process time of a fault-free inference on this machine with its guards; the best of three."""
    import time

    network = retuned(protections, workload)
    guard = joined(protections, network)
    images = network.images[:64]
    work = network.with_(images, network.labels[:64])
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):  # the first warms up
            start = time.process_time()
            run_noisy(work, NeuronErrors(0.0), {}, (0, 0), guard)
            best = min(best, time.process_time() - start)
    return best / len(images)
