"""How vulnerable neurons are: the least deviation that changes the answer, found by halving."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, nan, sqrt, tanh

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from radhard.engine.resume import resume
from radhard.engine.trace import Trace, record
from radhard.faults.corruption import Corruption
from radhard.faults.model import Integers
from radhard.network.layer import Layer
from radhard.network.workload import Workload
from radhard.stats.bounded import bounded
from radhard.stats.estimate import Estimate
from radhard.stats.interval import z_quantile

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Runs that are resumed together.
_RUNS = 1 << 14


@dataclass(frozen=True, slots=True, eq=False)
class Vulnerability:
    """Neuron vulnerability factors: how likely a flip of any one bit changes the answer.

    Of the code that a layer gives, any bit and any image alike (Ahmadilivany et al., ETS'23,
    "DeepVigor"; here with the flips of the code in place of a distribution of deviations).

    Attributes:
        layers: names, in run order.
        layer, element: of each neuron that was looked at, (n,): number of the layer, and place in
            its output.
        channel: that it belongs to, (n,).
        factor: of each, (n,).
        runs: of the network from a layer on, for one image each.
        flips: what trying each flip would have taken.
        seconds: of this process's time.
    """

    layers: tuple[str, ...]
    layer: Integers
    element: Integers
    channel: Integers
    factor: Reals
    runs: int
    flips: int
    seconds: float

    def by_layer(self) -> dict[str, Estimate]:
        """The mean factor of each layer, over the neurons that were looked at."""
        return {name: bounded(self.factor[self.layer == k]) for k, name in enumerate(self.layers)}

    def by_channel(self) -> dict[tuple[str, int], float]:
        """The mean factor of each channel that was looked at, most vulnerable first."""
        sums: dict[tuple[str, int], list[float]] = {}
        for k, channel, factor in zip(self.layer, self.channel, self.factor, strict=True):
            sums.setdefault((self.layers[k], int(channel)), []).append(float(factor))
        found = {place: sum(parts) / len(parts) for place, parts in sums.items()}
        return dict(sorted(found.items(), key=lambda one: -one[1]))


def vulnerability(
    workload: Workload, channels: float = 0.1, seed: int = 0, every: bool = False
) -> Vulnerability:
    """Rank neurons by the flips of their codes that change the answer, without trying each flip.

    Of a share of the channels of each layer, the logarithm of their neurons is looked at. For each
    image the largest deviation that a flip makes, up and down, is run first: where that changes no
    answer, none does. Else the least that does is found by halving, in about log2(bits) runs. That
    takes answers for monotonous: once changed, they stay so for larger deviations.

    Args:
        workload: the network with the images that it is asked about.
        channels: share of the channels of each layer, at least one.
        seed: of the draws.
        every: try each flip instead, of the same neurons: exact, and slower.

    Raises:
        ValueError: for a share of 0 or less, or above 1.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8)
    >>> list(vulnerability(work, 1.0).by_layer())
    ['1']
    """
    if not 0 < channels <= 1:
        raise ValueError(f"a share of {channels} of the channels can't be: use 0.1, or up to 1")
    began, rng = time.process_time(), np.random.default_rng(seed)
    work = workload if workload.nan else workload.with_(nan="propagate")
    trace = record(work)
    found = [_of_layer(trace, k, channels, rng, every) for k in range(len(work.layers))]
    parts = {
        name: np.concatenate([getattr(part, name) for part in found])
        for name in ("layer", "element", "channel", "factor")
    }
    return Vulnerability(
        tuple(layer.name for layer in work.layers), **parts,
        runs=sum(part.runs for part in found), flips=sum(part.flips for part in found),
        seconds=time.process_time() - began,
    )  # fmt: skip


def _of_layer(
    trace: Trace, number: int, share: float, rng: np.random.Generator, every: bool
) -> Vulnerability:
    work = trace.workload
    layer, how = work.layers[number], work.arithmetic[number]
    element, channel = _sampled(layer, int(trace.values[layer.step].shape[1]), share, rng)
    images, bits = len(work.images), how.output.width
    place, image = np.repeat(element, images), np.tile(np.arange(images), len(element))
    golden = trace.values[layer.step][torch.from_numpy(image), torch.from_numpy(place)]
    code = how.output.encode(golden)
    flipped = [how.output.decode(code ^ (1 << bit)).double() for bit in range(bits)]
    moved = torch.stack(flipped, 1) - how.output.decode(code).double()[:, None]
    tried = _Tried(trace, number, place, image)
    moves = moved.nan_to_num(nan=np.inf, posinf=np.inf, neginf=-np.inf).cpu().numpy()
    factor = tried.each(bits) if every else tried.halved(moves)
    mean = factor.reshape(len(element), images).mean(1)
    ones = np.full(len(element), number)
    given = ones, element, channel, mean, tried.runs, len(place) * bits, 0.0
    return Vulnerability((layer.name,), *given)


def _sampled(
    layer: Layer, elements: int, share: float, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Neurons of a layer, and their channels."""
    of = layer.output_place(torch.arange(elements))[0].numpy()
    count = max(1, round(share * layer.channels))
    found = []
    for channel in rng.choice(layer.channels, count, replace=False):
        (own,) = np.nonzero(of == channel)
        some = min(len(own), max(1, round(np.log2(len(own)))))
        found.append(np.sort(rng.choice(own, some, replace=False)))
    element = np.concatenate(found)
    return element, of[element]


class _Tried:
    """Flips of single outputs of a layer, of n neurons in images.

    Attributes:
        runs: so far.
    """

    def __init__(self, trace: Trace, number: int, place: Integers, image: Integers) -> None:
        self.trace, self.number, self.place, self.image = trace, number, place, image
        self.runs = 0

    def each(self, bits: int) -> Reals:
        """Share of the flips that change the answer, (n,)."""
        rows = np.arange(len(self.place))
        wrong = [self._wrong(rows, np.full(len(rows), bit)) for bit in range(bits)]
        return np.asarray(np.mean(wrong, axis=0), np.float64)

    def halved(self, moved: Reals) -> Reals:
        """The same where the answer is monotonous in the deviation, from few flips.

        Args:
            moved: by how much each flip moves the value, (n, bits).
        """
        counted = np.zeros(len(moved))
        for way in (1.0, -1.0):
            inside = way * moved > 0
            order = np.lexsort((np.abs(moved), ~inside), axis=1)  # least first, others last
            counted += self._beyond(order, inside.sum(1))
        return np.asarray(counted / moved.shape[1], np.float64)

    def _beyond(self, order: Integers, count: Integers) -> Integers:
        """How many of the first ``count`` flips, least first, change the answer, (n,)."""
        low, high = np.zeros_like(count), count.copy()  # the least that does is in [low, high]
        rows = np.flatnonzero(count)
        wrong = self._wrong(rows, order[rows, count[rows] - 1])
        low[rows[~wrong]] = count[rows[~wrong]]
        high[rows[wrong]] = count[rows[wrong]] - 1
        while len(rows := np.flatnonzero(low < high)):
            middle = (low[rows] + high[rows]) // 2
            wrong = self._wrong(rows, order[rows, middle])
            high[rows[wrong]] = middle[wrong]
            low[rows[~wrong]] = middle[~wrong] + 1
        return np.asarray(count - low)

    def _wrong(self, rows: Integers, bit: Integers) -> Flags:
        """Whether flips of these neurons change the answer."""
        self.runs += len(rows)
        task, found = self.trace.workload.task, np.zeros(len(rows), bool)
        for start in range(0, len(rows), _RUNS):
            part = slice(start, start + _RUNS)
            own, n = rows[part], len(rows[part])
            whole = np.tile([0, 2**62], (n, 1))
            corruption = Corruption(
                np.full(n, self.number), np.full(n, "output"), self.place[own], self.image[own],
                np.full(n, -1), np.left_shift(1, bit[part]), whole, whole,
                np.zeros(n, np.int64), whole,
            )  # fmt: skip
            run = resume(self.trace, corruption)
            found[part] = task.differ(run.logits, run.golden).cpu().numpy()
        return found


def rank_correlation(
    one: Sequence[float] | Reals, other: Sequence[float] | Reals, confidence: float = 0.95
) -> Estimate:
    """Spearman's, with the interval of Bonett and Wright (Psychometrika, 2000).

    Raises:
        ValueError: for fewer than 4 pairs.

    >>> print(rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]))
    0.9 rho [-0.4571, 0.9908]
    """
    n = len(one)
    if n < 4 or len(other) != n:
        raise ValueError(f"{n} and {len(other)} values have no rank correlation: use 4 pairs up")
    if min(np.ptp(one), np.ptp(other)) == 0:
        missing = "all values are alike"
        return Estimate(nan, -1.0, 1.0, confidence, n, "Bonett-Wright", "rho", missing)
    found = float(spearmanr(one, other).statistic)
    kept = min(max(found, 1 / n - 1), 1 - 1 / n)  # of few pairs a perfect order proves little
    reach = z_quantile(confidence) * sqrt((1 + kept**2 / 2) / (n - 3))
    low, high = (tanh(atanh(kept) + side * reach) for side in (-1, 1))
    return Estimate(found, min(low, found), max(high, found), confidence, n, "Bonett-Wright", "rho")
