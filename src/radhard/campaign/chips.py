"""Chips with permanent faults as a population: what they still get right, and how many are good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from radhard.arith.array import Array, Defect
from radhard.arith.multiplier import Multiplier
from radhard.campaign.description import described
from radhard.campaign.pool import shared
from radhard.campaign.question import SEMANTICS
from radhard.campaign.sealed import StoreError, digest, keep_arrays, reusable_arrays, set_aside
from radhard.faults.permanent import Permanent
from radhard.network.multiplied import Multiplied, Multipliers
from radhard.network.workload import Workload
from radhard.protect.retune import Exact, Retune
from radhard.stats.bounded import bounded, crossed
from radhard.stats.estimate import Estimate
from radhard.stats.interval import clopper_pearson, paired, wilson

Flags = NDArray[np.bool_]
#: ``(chips that are done, chips)``.
Watcher = Callable[[int, int], None]
#: Images that are run at once.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Chips:
    """The question: a network on chips with permanent faults, each with faults of its own.

    Attributes:
        workload: the network with its images, in integers.
        array: of each chip, without defects.
        permanent: what is wrong with it.
        multiplier: of its elements; where ``None`` those that the workload has, or exact ones.
        layers: those that run on the faulty array; all where empty. Others run on a fault-free one.
        seed: of the chips.
        retune: how the network is retuned to each chip, if it is.
        learning: the same network with the images that it is retuned with.

    Raises:
        ValueError: for layers that are not there, defects of the array itself, or one of ``retune``
            and ``learning`` without the other.
    """

    workload: Workload
    array: Array
    permanent: Permanent
    multiplier: Multipliers | None = None
    layers: tuple[str, ...] = ()
    seed: int = 0
    retune: Retune | None = None
    learning: Workload | None = None

    def __post_init__(self) -> None:
        if self.array.defects:
            raise ValueError("the array of all chips has defects of its own: leave them out")
        known = [layer.name for layer in self.workload.layers]
        for name in self.layers:
            if name not in known:
                raise ValueError(f"no layer {name!r}: there are {', '.join(known)}")
        if (self.retune is None) != (self.learning is None):
            raise ValueError("retuning learns from images: give both retune and learning, or none")

    @property
    def fault_free(self) -> Workload:
        """The network in the same arithmetic, without faults."""
        return self.workload.with_(multiplier=self.multiplier, array=self.array)

    def arrays(self, most: int) -> tuple[tuple[Array, ...], bool]:
        """So many chips, and whether these are all that there are: single faults may be few."""
        first = self._first
        kinds = self.permanent.kinds(self.array, first)
        single = self.permanent.faulty(self.array) == 1
        if single and kinds * self.array.rows * self.array.cols <= most:
            return tuple(self.permanent.every(self.array, first)), True
        given = self.array, first, self.seed
        return tuple(self.permanent.drawn(*given, number) for number in range(most)), False

    def on(self, array: Array, exact: Exact | None = None) -> Workload:
        """The network on one chip, and retuned to it where that is asked.

        Args:
            array: the chip.
            exact: what `learned_once` gives, where many chips share it.
        """
        held: Mapping[str, Array] | Array = array
        if self.layers:
            held = {layer.name: array if layer.name in self.layers else self.array
                    for layer in self.workload.layers}  # fmt: skip
        chip = self.workload.with_(multiplier=self.multiplier, array=held)
        if self.retune is None or self.learning is None:
            return chip
        learning = chip.with_(self.learning.images, self.learning.labels)
        return self.retune.fit(learning, exact).retune(chip)

    def learned_once(self) -> Exact | None:
        """What retuning learns from exact arithmetic, the same for all chips."""
        if self.retune is None or self.learning is None:
            return None
        return self.retune.of_exact_run(self.learning.with_(arithmetic={}))

    @property
    def id(self) -> str:
        """A hash of what decides the answers."""
        own: list[object] = [self.permanent, self.layers, self.seed]
        if self.retune is not None and self.learning is not None:
            own += [self.retune, self.learning.fingerprint()]
        return self._digest(*own)

    @property
    def fault_free_id(self) -> str:
        """A hash of what decides the answers without faults."""
        return self._digest()

    def _digest(self, *more: object) -> str:
        work, own = self.workload, self.multiplier
        named = dict(own) if isinstance(own, Mapping) else {"": own} if own is not None else {}
        held = dict(work.datapaths)
        asked = described((work.formats, self.array, *more, named, held), "chips", {})
        return digest([SEMANTICS, work.fingerprint(), asked])[:32]

    @property
    def _first(self) -> Multiplier | None:
        """Any of its multipliers, whose widths and gates are those of all."""
        owns = (how.own for how in self.fault_free.arithmetic)
        return next((own.multiplier for own in owns if isinstance(own, Multiplied)), None)


@dataclass(frozen=True, eq=False)
class UnderDefects:
    """What chips with permanent faults gave.

    Intervals of accuracies and SDC are over the task and over all such chips: images are a sample,
    and so are chips. Few chips leave them wide: of 20, what 14 % of all have may be missing.

    Attributes:
        chips: the question.
        arrays: of each chip.
        correct: whether each chip's answer was the label, (chips, images).
        changed: whether it was another than that of the fault-free array, (chips, images): SDC-1.
        golden: whether the fault-free array is right, (images,).
        exact: the same of exact arithmetic in the same formats.
        every: whether these are all chips that there are; then they are no sample.
    """

    chips: Chips
    arrays: tuple[Array, ...]
    correct: Flags
    changed: Flags
    golden: Flags
    exact: Flags
    every: bool = False

    @property
    def accuracy(self) -> Estimate:
        """Accuracy of such chips on the task."""
        return self._mean(self.correct)

    @property
    def sdc1(self) -> Estimate:
        """Share of inferences whose answer is another than that of the fault-free array."""
        return self._mean(self.changed)

    @property
    def golden_accuracy(self) -> Estimate:
        """Accuracy of the fault-free array, in the same arithmetic."""
        return wilson(int(self.golden.sum()), self.golden.size)

    @property
    def exact_accuracy(self) -> Estimate:
        """Accuracy in exact arithmetic, in the same formats."""
        return wilson(int(self.exact.sum()), self.exact.size)

    @property
    def loss(self) -> Estimate:
        """Accuracy that faults take: of the fault-free array less that of such chips, in pairs."""
        return self._lost(slice(None))

    @property
    def approximation_loss(self) -> Estimate:
        """Accuracy that the arithmetic takes without any fault: of exact less this, in pairs."""
        lost, gained = self.exact & ~self.golden, self.golden & ~self.exact
        return paired(int(lost.sum()), int(gained.sum()), self.exact.size)

    @property
    def losses(self) -> NDArray[np.float64]:
        """Accuracy that each chip loses on these images, (chips,)."""
        found: NDArray[np.float64] = self.golden.mean() - self.correct.mean(1)
        return found

    def yield_of(self, points: float = 0.01) -> Estimate:
        """Share of such chips that lose at most so much accuracy on these images.

        Raises:
            ValueError: for a loss outside 0 to 1.
        """
        if not 0 <= points <= 1:
            raise ValueError(f"a loss of {points:g} can't be: use a share of all images, 0 to 1")
        good, n = int((self.losses <= points + 1e-12).sum()), len(self.losses)
        if self.every:
            return Estimate(good / n, good / n, good / n, 0.95, n, "enumerated")
        return clopper_pearson(good, n)

    def lead(self, other: UnderDefects) -> Estimate:
        """Accuracy less that of the same chips otherwise run, chip by chip and image by image.

        Raises:
            ValueError: for other chips or images.
        """
        if self.arrays != other.arrays or self.correct.shape != other.correct.shape:
            raise ValueError("only answers of the same chips to the same images can be compared")
        return self._mean(self.correct.astype(float) - other.correct, -1.0)

    def by(self, kind: Callable[[Defect], object]) -> dict[object, Estimate]:
        """Mean loss of chips whose faults are all of one kind, by kind, such as bit or site.

        Args:
            kind: of a defect; chips with several kinds are left out.
        """
        groups: dict[object, list[int]] = {}
        for number, array in enumerate(self.arrays):
            kinds = {kind(one) for one in array.defects}
            if len(kinds) == 1:
                groups.setdefault(kinds.pop(), []).append(number)
        return {name: self._lost(rows) for name, rows in groups.items()}

    def _lost(self, rows: slice | list[int]) -> Estimate:
        """Loss of some chips: none can lose more than the fault-free one has."""
        free = float(self.golden.mean())
        lost = self.golden.astype(float) - self.correct[rows]
        return self._mean(lost, -1.0, (free - 1, free))

    def _mean(
        self,
        found: Flags | NDArray[np.float64],
        low: float = 0.0,
        ends: tuple[float, float] | None = None,
    ) -> Estimate:
        """Over chips and images."""
        over = bounded(found.mean(0), low) if self.every else crossed(found, 1.0, low, ends=ends)
        return replace(over, n=found.size)

    @cached_property
    def map(self) -> NDArray[np.float64]:
        """Mean loss of the chips in which an element is faulty, (rows, cols); nan: in none."""
        array = self.chips.array
        total, count = np.zeros((2, array.rows, array.cols))
        for chip, lost in zip(self.arrays, self.losses.tolist(), strict=True):
            for row, col in {(one.row, one.col) for one in chip.defects}:
                total[row, col] += lost
                count[row, col] += 1
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def under_defects(
    chips: Chips,
    maps: int = 20,
    store: Path | None = None,
    watch: Watcher | None = None,
    workers: int = 1,
) -> UnderDefects:
    """Run all images on a number of chips.

    Chip i is the same however many are run. Where there are no more single faults than that, each
    is tried once.

    Args:
        chips: the question.
        maps: how many chips.
        store: folder in which answers are kept; what it holds is neither retuned nor run again.
        watch: called before each chip.
        workers: processes that share the chips; with 1 all is done in this one. A program that asks
            for more is run by each of them, so its own calls stand under
            ``if __name__ == "__main__":``.

    Raises:
        ValueError: for fewer than 1 chip or worker.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(8, 1, 2, 2), torch.arange(8) % 3, rh.INT8)
    >>> chips = rh.Chips(work, rh.Array(4, 4), rh.Permanent("product", 1, 3, count=2))
    >>> rh.under_defects(chips, maps=5).accuracy.n
    40
    """
    if type(maps) is not int or maps < 1:
        raise ValueError(f"{maps} chips can't be: use a whole number from 1 on")
    arrays, every = chips.arrays(maps)
    work, folder = chips.workload, None if store is None else store / chips.id
    healthy = None if store is None else store / f"fault-free-{chips.fault_free_id}"
    exact = _answers(lambda: work.with_(arithmetic={}), healthy, "exact")
    golden = _answers(lambda: chips.fault_free, healthy, "golden")
    names = [f"{'single' if every else 'chip'}-{number}" for number in range(len(arrays))]
    held = [_held(folder, name) for name in names]
    lacking = [number for number, answers in enumerate(held) if answers is None]
    crew = min(workers, max(1, len(lacking)))
    fresh = shared(partial(_runner, chips, arrays), ((number,) for number in lacking), crew)
    found = []
    for number, (name, answers) in enumerate(zip(names, held, strict=True)):
        if watch:
            watch(number, len(arrays))
        found.append(next(fresh) if answers is None else answers)
        if answers is None:
            _keep(folder, name, found[-1])
    if watch:
        watch(len(arrays), len(arrays))
    answers, labels = np.stack(found), work.labels.numpy()
    right = (_alike(part, labels) for part in (answers, golden, exact))
    correct, own, free = right
    return UnderDefects(chips, arrays, correct, ~_alike(answers, golden), own, free, every)


def _runner(chips: Chips, arrays: tuple[Array, ...]) -> Callable[[int], NDArray[np.int64]]:
    """Gives what the network answers on a chip."""
    learned = cache(chips.learned_once)  # where any chip is to be retuned
    return lambda number: _answered(chips.on(arrays[number], learned()))


def _answered(work: Workload) -> NDArray[np.int64]:
    """What a network answers to all images, (images, *places)."""
    parts = [work.task.answer(work.logits(part)) for part in work.images.split(_BATCH)]
    found: NDArray[np.int64] = torch.cat(parts).cpu().numpy()
    return found


def _answers(make: Callable[[], Workload], folder: Path | None, name: str) -> NDArray[np.int64]:
    """What a network answers that is made where no answer is kept."""
    found = _held(folder, name)
    if found is None:
        found = _answered(make())
        _keep(folder, name, found)
    return found


def _held(folder: Path | None, name: str) -> NDArray[np.int64] | None:
    """The answers that a folder has; others of that name are set aside."""
    path = folder / f"{name}.npz" if folder is not None else None
    held = reusable_arrays(path) if path is not None else None
    if path is None or held is None:
        return None
    if str(held.get("of")) == f"{path.parent.name}/{name}":
        return held["answers"]
    set_aside(path, StoreError(f"{path} holds other answers"), "its chip is run again")
    return None


def _keep(folder: Path | None, name: str, answers: NDArray[np.int64]) -> None:
    if folder is not None:
        of = np.array(f"{folder.name}/{name}")
        keep_arrays(folder / f"{name}.npz", {"answers": answers, "of": of})


def _alike(answers: NDArray[np.int64], others: NDArray[np.int64]) -> Flags:
    """Whether answers are the same at all places, (..., images)."""
    same: Flags = answers == others
    while same.ndim > answers.ndim - others.ndim + 1:
        same = np.all(same, -1)
    return same
