"""Which images are struck, and when: a few at a time, in an order that the seed decides."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from radhard.faults.model import Integers

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
    def of(cls, labels: Integers, size: int, seed: int) -> Windows:
        """Windows of about ``size`` images each.

        Args:
            labels: of all images, (b,).
            size: 1 to b.
            seed: of the order.
        """
        count = max(1, round(len(labels) / size))
        if count == 1:
            return cls((np.arange(len(labels)),))
        edges = np.arange(count + 1) * len(labels) // count
        order = spread(labels, seed)
        return cls(tuple(order[a:b] for a, b in itertools.pairwise(edges)))

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
