"""Which images are struck, and when: a few at a time, in an order that the seed decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.faults.model import Integers
from radhard.network.workload import Workload

Reals = NDArray[np.float64]

#: Steps of an octave of margin that count.
_STEPS = 10
#: Images that run at once.
_BATCH = 100
#: Sampled images of a shard, about, where there are as many.
_SAMPLED = 32


@dataclass(frozen=True, slots=True, eq=False)
class ImageSample:
    """Which images a campaign means, where it strikes some of them at a time.

    Attributes:
        of: how many it means.
        always: numbers of those that are struck throughout; the others are sampled.
    """

    of: int
    always: tuple[int, ...]

    def sampled(self, images: Integers) -> NDArray[np.bool_]:
        """Which of some images, (n,), stand for others too."""
        return ~np.isin(images, self.always)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Images that are struck together; each at equal places of a range, as often as it counts.

    Attributes:
        always: those that stand for themselves, (h,).
        rest: those that stand for all others, (r,).
        of: how many images all windows have.
    """

    always: Integers
    rest: Integers
    of: int

    @property
    def places(self) -> int:
        """Of each image of ``always`` as many as the rest are, of each other its share of those."""
        return self.of * len(self.rest) if len(self.always) else len(self.rest)

    def at(self, places: Integers) -> Integers:
        """The images of places, (n,).

        >>> Window(np.array([7]), np.array([4, 5]), 3).at(np.arange(6)).tolist()
        [7, 7, 4, 5, 4, 5]
        """
        number, other = np.divmod(places, len(self.rest))
        found = self.rest[other]
        own = number < len(self.always)
        found[own] = self.always[number[own]]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """All images in windows of alike size, one of which is struck at a time.

    The images whose answers are decided most narrowly are in every window, a half of it: what few
    images decide is then no matter of which are struck (a stratum that is taken whole: Cochran,
    Sampling Techniques, 3rd ed., 5.8). The others come in turns, in windows that begin again when
    all have been visited. In the long run each image is struck as often as any other, so a mean
    over faults is one over all images.

    Attributes:
        always: numbers of the images in every window.
        images: those of the others in each window; every image is in one.
    """

    always: Integers
    images: tuple[Integers, ...]

    @classmethod
    def of(cls, labels: Integers, margin: Reals, size: int, seed: int) -> Windows:
        """Windows of about such a size, each with easy and hard images, and classes, in proportion.

        Of as many images as there are windows, next to each other by margin, each window has one:
        by chance, but where their classes are rarest so far.

        Args:
            labels: of all images, (b,) class numbers; labels of several places are not looked at.
            margin: how far the fault-free network is from another answer, by one or more measures,
                (b,) or (measures, b), 0 or more; an image is as hard as any finds it. Only steps of
                a tenth of an octave count, so that the last bits of a processor don't.
            size: 1 to b.
            seed: of the choice, 0 or more.
        """
        if not several(len(labels), size):
            return cls(np.zeros(0, np.int64), (np.arange(len(labels)),))
        steps = np.rint(_STEPS * np.log2(np.atleast_2d(margin).clip(1e-30)))
        ranks = steps.argsort(1, kind="stable").argsort(1, kind="stable")
        order = np.argsort(ranks.min(0), kind="stable")
        always, order = np.split(order, [size // 2])
        count = max(1, round(len(order) / (size - len(always))))
        labels = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
        rng = np.random.default_rng([seed, len(labels)])
        place, number = np.full(len(labels), -1), np.unique(labels, return_inverse=True)[1]
        held = np.zeros((number.max() + 1, count))
        for start in range(0, len(order), count):
            taken = np.zeros(count)
            for image in rng.permutation(order[start : start + count]):
                chosen = np.argmin(held[number[image]] + taken + rng.random(count))
                place[image], taken[chosen] = chosen, np.inf
                held[number[image], chosen] += 1
        mixed = rng.permutation(count)
        found = (rng.permutation(np.flatnonzero(place == window)) for window in mixed)
        return cls(always, tuple(found))

    @property
    def sample(self) -> ImageSample | None:
        """What those of a window stand for; ``None`` where it holds all of them."""
        if len(self.images) == 1:
            return None
        return ImageSample(self.total, tuple(self.always.tolist()))

    @property
    def total(self) -> int:
        """How many images there are."""
        return len(self.always) + sum(map(len, self.images))

    def of_shard(self, shard: int) -> Window:
        """The images that a shard strikes: those of windows that no other shard had lately.

        One window, or several small ones after another, so that enough images are sampled to tell
        what the others differ by.
        """
        joined = max(1, round(_SAMPLED / max(map(len, self.images))))
        if joined >= len(self.images):
            return Window(self.always, np.concatenate(self.images), self.total)
        visits = range(shard * joined, (shard + 1) * joined)
        rest = np.unique(np.concatenate([self.visited(visit) for visit in visits]))
        return Window(self.always, rest, self.total)

    def visited(self, visit: int) -> Integers:
        """The sampled images of a visit: in as many visits as these are, each has its share.

        >>> windows = Windows(np.array([9]), (np.arange(3), np.arange(3, 5)))
        >>> [len(windows.visited(visit)) for visit in range(5)]
        [3, 2, 3, 2, 3]
        """
        largest = max(map(len, self.images))
        large = [window for window in self.images if len(window) == largest]
        whole, rest = divmod(visit % sum(map(len, self.images)), len(self.images))
        return self.images[rest] if whole < largest - 1 else large[rest]


def several(images: int, size: int) -> bool:
    """Whether so many images are struck in several windows of such a size."""
    return round(images / size) > 1


def spread(labels: Integers, seed: int) -> Integers:
    """An order of images in which any first few hold classes in proportion to their share of all.

    Each class is shuffled and then spread evenly, from a random start on. It depends on the labels
    and the seed alone.

    Args:
        labels: (b,) class numbers; of labels for each of several places none is looked at.
        seed: 0 or more.

    >>> sorted(np.array([0, 0, 0, 7, 7, 7])[spread(np.array([0, 0, 0, 7, 7, 7]), 5)][:2].tolist())
    [0, 7]
    """
    labels = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    rng = np.random.default_rng([seed, len(labels)])
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + rng.random()) / len(own)
    return np.argsort(place, kind="stable")


def margins_of(work: Workload) -> Reals:
    """How far each image's answer is from another one, as it is and by the size of outputs, (2, b).

    Outputs grow with an image's scale, and what faults do to them as well.
    """
    with torch.no_grad():
        logits = torch.cat([work.logits(some) for some in work.images.split(_BATCH)])
    whole = torch.nan_to_num(logits.double(), 0.0, 1e30, -1e30)
    lead, size = work.task.lead(whole), whole.flatten(1).abs().amax(1)
    return torch.stack([lead, lead / size.clamp(min=1e-30)]).numpy()
