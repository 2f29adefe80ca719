"""Which images are struck, and when: a few at a time, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radhard.faults.model import Integers

Reals = NDArray[np.float64]

#: Steps of an octave of margin that count.
_STEPS = 10
#: Faults per image that a window serves, about. What a fault-free run costs is that of tens of
#: faults, and images differ less than single faults do: fewer faults pay more for images than they
#: gain by them, and many more would ask the same images again.
_FAULTS_PER_IMAGE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """All images in windows of alike size, one of which is struck at a time.

    Windows follow one another through an order spread over classes, and begin again when all have
    been visited. In the long run each image is struck as often as any other, so a mean over faults
    is one over all images.

    Attributes:
        images: the numbers of the images in each window; every image is in one.
    """

    images: tuple[Integers, ...]

    @classmethod
    def of(cls, labels: Integers, margin: Reals, count: int, seed: int) -> Windows:
        """So many windows, each with easy and hard images, and with classes, in proportion.

        Of as many images as there are windows, next to each other by margin, each window has one:
        by chance, but where their classes are rarest so far.

        Args:
            labels: of all images, (b,) class numbers.
            margin: how far the fault-free network is from another answer, (b,), 0 or more; only
                steps of a tenth of an octave count, so that the last bits of a processor don't.
            count: 1 to b.
            seed: of the choice, 0 or more.
        """
        if count == 1:
            return cls((np.arange(len(labels)),))
        rng = np.random.default_rng([seed, len(labels)])
        place, number = np.empty(len(labels), np.int64), np.unique(labels, return_inverse=True)[1]
        held = np.zeros((number.max() + 1, count))
        order = np.argsort(np.rint(_STEPS * np.log2(margin.clip(1e-30))), kind="stable")
        for start in range(0, len(order), count):
            taken = np.zeros(count)
            for image in rng.permutation(order[start : start + count]):
                chosen = np.argmin(held[number[image]] + taken + rng.random(count))
                place[image], taken[chosen] = chosen, np.inf
                held[number[image], chosen] += 1
        place = rng.permutation(count)[place]
        found = (rng.permutation(np.flatnonzero(place == window)) for window in range(count))
        return cls(tuple(found))

    @staticmethod
    def count(images: int, size: int) -> int:
        """How many windows of about such a size so many images are in."""
        return max(1, round(images / size))

    def of_shard(self, sizes: Iterable[int]) -> Integers:
        """The images that the last shard strikes, given the faults of all shards up to it.

        A window serves shards until the next would exceed what it is for.
        """
        most = _FAULTS_PER_IMAGE * sum(map(len, self.images)) / len(self.images)
        visit = served = 0
        for size in sizes:
            if served and served + size > most:
                visit, served = visit + 1, 0
            served += size
        return self.visited(visit)

    def visited(self, visit: int) -> Integers:
        """The images of a visit: in as many visits as there are images, each window has its share.

        >>> windows = Windows((np.arange(3), np.arange(3, 5)))
        >>> [len(windows.visited(visit)) for visit in range(5)]
        [3, 2, 3, 2, 3]
        """
        largest = max(map(len, self.images))
        large = [window for window in self.images if len(window) == largest]
        whole, rest = divmod(visit % sum(map(len, self.images)), len(self.images))
        return self.images[rest] if whole < largest - 1 else large[rest]


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
