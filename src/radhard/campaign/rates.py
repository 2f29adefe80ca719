"""Accuracy under errors at a rate: many wrong values in each inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.campaign.description import described
from radhard.campaign.question import SEMANTICS, digest
from radhard.campaign.sealed import keep_arrays, reusable_arrays
from radhard.engine.noisy import run_noisy, with_wrong_weights
from radhard.faults.rate import NeuronErrors, WeightErrors
from radhard.metrics.outcome import top_class
from radhard.network.workload import Workload
from radhard.protect.protection import Protection, joined, retuned
from radhard.protect.tap import Tap, tapped
from radhard.stats.estimate import Estimate
from radhard.stats.interval import paired, student, wilson
from radhard.stats.moments import Moments

Flags = NDArray[np.bool_]
Errors = NeuronErrors | WeightErrors


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """What some inferences with errors gave.

    Attributes:
        errors: the errors, and their rate.
        correct: whether the top class was the label, (repetitions, images).
        detected: whether a guard raised an alarm, (repetitions, images).

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(8, 1, 2, 2), torch.arange(8) % 3)
    >>> rh.under_errors(work, rh.NeuronErrors(0.1)).accuracy.n
    16
    """

    errors: Errors
    correct: Flags
    detected: Flags

    @property
    def accuracy(self) -> Estimate:
        """Accuracy over the images under these errors.

        Errors of neurons are drawn for each inference: Wilson's interval, which is too wide rather
        than too narrow where images differ. Errors of weights last for a repetition: Student's,
        over repetitions.
        """
        if isinstance(self.errors, WeightErrors) and self.errors.rate > 0:
            found = student(Moments.of(self.correct.mean(1)))
            return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))
        return wilson(int(self.correct.sum()), self.correct.size)

    @property
    def alarms(self) -> Estimate:
        """Share of inferences with an alarm."""
        return wilson(int(self.detected.sum()), self.detected.size)

    def lead(self, other: Exposure) -> Estimate:
        """Accuracy less that of another protection under the same errors, pair by pair.

        Raises:
            ValueError: for other errors, images or repetitions.
        """
        if self.errors != other.errors or self.correct.shape != other.correct.shape:
            raise ValueError("only protections under the same errors can be compared in pairs")
        if isinstance(self.errors, WeightErrors) and self.errors.rate > 0:
            gaps = self.correct.mean(1) - other.correct.mean(1)
            return student(Moments.of(gaps))
        ahead, behind = self.correct & ~other.correct, other.correct & ~self.correct
        return paired(int(ahead.sum()), int(behind.sum()), self.correct.size)


def under_errors(
    workload: Workload,
    errors: Errors,
    protections: Sequence[Protection] = (),
    repetitions: int = 2,
    seed: int = 0,
    store: Path | None = None,
) -> Exposure:
    """Run all images with errors at a rate.

    Which values are wrong depends on the seed, the repetition and the image alone, so protections
    meet the same errors, as long as the network stays the same.

    Args:
        workload: the network with its images.
        errors: what is wrong, and how often.
        protections: what changes the network or watches the run.
        repetitions: inferences per image, each with errors of its own; at least 1, and with wrong
            weights at least 2.
        seed: of the draws.
        store: folder in which answers are kept; what it holds is not run again.

    Raises:
        ValueError: for too few repetitions.
    """
    least = 2 if isinstance(errors, WeightErrors) and errors.rate > 0 else 1
    if repetitions < least:
        raise ValueError(f"{repetitions} repetitions can't be: use at least {least}")
    network = retuned(protections, workload)
    path = None
    if store is not None:
        asked = (network.formats, errors, tuple(protections), repetitions, seed)
        data = [SEMANTICS, network.fingerprint(), described(asked, "under_errors", {})]
        path = store / f"{digest(data)[:32]}.npz"
        held = reusable_arrays(path)
        if held is not None:
            return Exposure(errors, held["correct"], held["detected"])
    found = _run(network, errors, protections, repetitions, seed)
    if path is not None:
        keep_arrays(path, {"correct": found.correct, "detected": found.detected})
    return found


def _run(
    network: Workload,
    errors: Errors,
    protections: Sequence[Protection],
    repetitions: int,
    seed: int,
) -> Exposure:
    guard = joined(protections, network)
    correct, detected = np.zeros((2, repetitions, len(network.images)), bool)
    for repetition in range(repetitions):
        work, draws, targets = network, NeuronErrors(0.0), dict[int, int]()
        if isinstance(errors, WeightErrors):
            work = with_wrong_weights(network, errors, (seed, repetition))
        else:
            tap = Tap.ACTIVATION if errors.after_activation else Tap.OUTPUT
            draws, targets = errors, tapped(network, tap)
        run = run_noisy(work, draws, targets, (seed, repetition), guard)
        correct[repetition] = (top_class(run.logits) == network.labels).cpu().numpy()
        detected[repetition] = run.detected.cpu().numpy()
    return Exposure(errors, correct, detected)


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
