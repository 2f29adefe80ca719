"""The question: what is asked of a network on a chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from radhard.accel.chip import Accelerator, Software
from radhard.accel.chips import SOFTWARE
from radhard.campaign.checks import check_array, check_bits, check_images, check_kinds, check_name
from radhard.campaign.description import in_words
from radhard.campaign.job import Job, Until, checked
from radhard.campaign.pool import Made, timed
from radhard.campaign.question import Question
from radhard.campaign.replay import replayed
from radhard.campaign.result import Result
from radhard.campaign.shard import span
from radhard.campaign.store import Folder
from radhard.campaign.strike import Engine, Strike
from radhard.campaign.windows import Window, Windows, margins_of, several
from radhard.engine.guard import StepGuard
from radhard.engine.segment import Golden
from radhard.faults.corruption import Corruption, check_corruption
from radhard.faults.fault import Faults
from radhard.faults.model import BitFlip, FaultModel
from radhard.faults.space import SiteSpace
from radhard.foresight.foresight import Foresight
from radhard.metrics.outcome import (
    STANDARD,
    Criterion,
)
from radhard.network.silence import check_says
from radhard.network.task import ConfidenceOf, known_confidence
from radhard.network.workload import HOST, Workload
from radhard.protect.checksum import Checksum
from radhard.protect.idle import idle
from radhard.protect.protection import Cost, Flags, Protection, hardened, joined, retuned
from radhard.protect.ranges import RangeDetector
from radhard.sampling.gradient import GradientImportance
from radhard.sampling.sampler import Sampler, Score
from radhard.sampling.tally import Tally

#: Images whose fault-free answers are computed at once.
_BATCH = 100


@dataclass(frozen=True, slots=True, eq=False)
class Campaign:
    """A network, a chip, what strikes, and how faults are chosen: all that decides the answer.

    Fault i depends only on the question and i, so budget, batches and interruptions change nothing;
    nor does what watches the run: with other protections, the same faults strike.

    Attributes:
        workload: from `radhard.capture`. What is asked is asked of all its images. Faulty runs are
            on its device (`Workload.on`); what decides the faults is not, nor does the `id` say.
        chip: from `radhard.chips`.
        sampler: how faults are drawn.
        model: what a fault does to a stored value.
        criteria: outcomes of your own, by name: (logits, golden logits, labels) to (n,) of bool.
        seed: of the random draws.
        protections: what changes the chip, the network or the run, such as `RangeDetector`.
        name: for tables, pages and the store's folder; made from the parts where empty.
        confidence_of: what SDC-10 % and SDC-20 % compare; see `radhard.metrics.outcome.classify`.
        images: how many are struck at a time, about: a window of so many, spread over classes, then
            the next one. ``None`` strikes all from the beginning, and holds golden values of all.
        engine: what computes struck layers, such as `radhard.rtl.hybrid.OnArray`; the fault model
            where ``None``.
        network: the workload with the weights that protections have retuned, and with the chip's
            rule for not-a-number where `Workload.nan` is ``None``: zero, but propagate in software.
            It is on the host.
        question: all that decides the answer, as data.
        id: hash of that, 32 hexadecimal digits.

    Raises:
        ValueError: for a part that can't be, or that is no data: parts of your own are frozen
            dataclasses of plain fields, and criteria are functions.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), name="tiny")
    >>> rh.Campaign(work, rh.chips.SOFTWARE).run(until=100)["sdc1"].n
    100
    """

    workload: Workload
    chip: Accelerator = SOFTWARE
    sampler: Sampler = GradientImportance()  # noqa: RUF009 - frozen, so it can be shared
    model: FaultModel = BitFlip()  # noqa: RUF009 - the same
    criteria: Mapping[str, Criterion] = field(default_factory=dict)
    seed: int = 0
    name: str = ""
    protections: tuple[Protection, ...] = ()
    confidence_of: ConfidenceOf = "top-class"
    images: int | None = None
    engine: Engine | None = None
    network: Workload = field(init=False)
    question: Question = field(init=False, repr=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        taken = self.criteria.keys() & STANDARD.keys()
        if taken:
            raise ValueError(f"criteria can't be called {sorted(taken)}: radhard has those itself")
        known_confidence(self.confidence_of)
        check_kinds(self.chip, self.sampler, self.model)
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed!r} can't be: use an integer of 0 or more")
        if not self.name:
            parts = [self.workload.name, self.workload.computing, self.chip.name]
            parts += [self.engine.name] if self.engine is not None else []
            object.__setattr__(self, "name", "-".join(parts).replace("/", "_"))
        check_name(self.name)
        check_images(self.workload, self.images)
        check_array(self.workload, self.chip)
        check_bits(self.protections, self.model)
        network = _on_chip(self.workload.on(HOST), self.chip)
        object.__setattr__(self, "network", retuned(self.protections, network))
        if self.engine is not None:
            self.engine.check(self.network, self.chip, self.model)
        object.__setattr__(self, "question", Question.of(self.workload, self._asked))
        object.__setattr__(self, "id", self.question.id)

    @property
    def _asked(self) -> dict[str, Any]:
        """What decides the answer beside the workload, under the keys of a campaign file."""
        other = {} if self.engine is None else {"engine": self.engine}
        return {
            **other,
            "chip": self.chip,
            "sampler": self.sampler,
            "fault_model": self.model,
            "criteria": self.criteria,
            "seed": self.seed,
            "protections": self.protections,
            "confidence_of": self.confidence_of,
            "images": self.images or len(self.workload.images),
        }

    @property
    def windows(self) -> Windows:
        """All images, in windows of about as many as are struck at a time.

        Where there are several, each holds images that are easy and hard to the fault-free network
        in proportion, as far as its answers on the host tell.
        """
        work = self.workload.on(HOST)
        labels = work.labels.numpy()
        size = self.images or len(labels)
        margins = np.zeros(len(labels))
        if several(len(labels), size):
            images = self.question.keys["fingerprint"]
            margins = work.once(("margins", images), lambda: margins_of(work))
        key = "windows", self.question.keys["fingerprint"], size, self.seed
        return work.once(key, lambda: Windows.of(labels, margins, size, self.seed))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all outcomes that are counted."""
        return (*STANDARD, *self.criteria)

    def space(self) -> SiteSpace:
        """The population of faults, as protections leave it."""
        return hardened(self.protections, self.chip.sites(self.network).with_model(self.model))

    def guard(self) -> StepGuard | None:
        """What watches the runs of the host."""
        return joined(self.protections, self.network)

    def golden(self, memory: int | None = None) -> Golden:
        """The fault-free run on the workload's device, by windows, under what watches the runs.

        Args:
            memory: bytes for golden values and batches; ``None`` for no limit.
        """
        if memory is not None and self.protections and self.sampler.scored:
            memory //= 2  # the other half is for the plain network's, which `score` looks at

        windows = self.windows

        def run(network: Workload, host: Golden | None = None) -> Golden:
            guard = joined(self.protections, network)
            return Golden(network, guard, memory, windows.images, windows.always, host)

        there = self.workload.device
        return (
            run(self.network.on(there), run(self.network)) if there != HOST else run(self.network)
        )

    @property
    def proofs_hold(self) -> bool:
        """Whether what is proved of faults in the plain network holds under the protections.

        It does where none of them changes what is computed without an alarm.
        """
        if not getattr(self.sampler, "proofs", False):
            return False
        kept = all(part.retune(self.workload) is self.workload for part in self.protections)
        return kept and all(
            isinstance(part, RangeDetector | Checksum) or part.guard(self.network) is None
            for part in self.protections
        )

    @property
    def cost(self) -> Cost:
        """What the protections take, together."""
        parts = (protection.cost(self.workload, self.chip) for protection in self.protections)
        return sum(parts, Cost())

    def score(self, space: SiteSpace, golden: Golden) -> Foresight | None:
        """What `draw` needs with a sampler that asks what to expect of each fault.

        It expects it of the network without protections, and on the host, so that neither these nor
        a device decide which faults strike.

        Args:
            space: the population.
            golden: the fault-free run of the campaign's network.
        """
        if not self.sampler.scored:
            return None
        golden = golden.on_host
        if self.protections:
            plain = _on_chip(self.workload.on(HOST), self.chip)
            golden = Golden(plain, None, golden.memory, golden.windows, golden.always)
        work = golden.workload
        proving = getattr(self.sampler, "proofs", False)
        told = ~replayed(self.chip, space)

        def corrupt(faults: Faults) -> Corruption:
            return self.chip.corrupt(work, space, faults)

        return Foresight(golden, corrupt, proving, told)

    def draw(
        self, space: SiteSpace, shard: int, count: int | None = None, score: Score | None = None
    ) -> Faults:
        """The first ``count`` faults of a shard, or all: numbers as `span` says.

        They strike the images of one window. Their masks are those that the chip applies, which may
        have rules of its own. Without a score, a sampler that needs one has it made from a
        fault-free run of its own.
        """
        if score is None:
            score = self.score(space, self.golden())
        first, size = span(shard)
        count = size if count is None else count
        key = np.array(divmod(int(self.question.draws, 16), 2**64), np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, shard]))
        # candidates for faults that are not wanted yet would cost more than the faults
        whole = count if self.sampler.scored else size
        window = self.windows.of_shard(shard)
        seen = _of_window(score, window) if score is not None else None
        drawn = self.sampler.draw(replace(space, images=window.places), whole, rng, seen, first)
        image = window.at(drawn.image)
        drawn = replace(drawn, id=np.arange(len(drawn)) + first, image=image)[:count]
        if not (np.isfinite(drawn.weight).all() and (drawn.weight >= 0).all()):
            raise ValueError(f"{type(self.sampler).__name__} gives weights that are no numbers")
        struck = self.chip.corrupt(self.network, space, drawn)
        check_corruption(type(self.chip).__name__, struck, len(drawn), len(self.network.layers))
        return replace(drawn, keep=struck.keep, flip=struck.flip)

    def golden_accuracy(self, golden: Golden | None = None) -> float:
        """Share of all the images that the protected network gets right without a fault.

        Args:
            golden: its fault-free run, where there is one.

        Raises:
            ValueError: where it says nothing for any image.
        """
        return self.clean(golden)[0]

    def clean(self, golden: Golden | None = None) -> tuple[float, float]:
        """`golden_accuracy`, and the share of all the images that raise a (false) alarm."""
        logits, alarms = (golden or self.golden()).answers()
        check_says(self.network, logits)
        right = self.network.task.right(logits, self.network.labels)
        return float(right.double().mean()), float(alarms.any(1).double().mean())

    def with_(
        self,
        *,
        workload: Workload | None = None,
        chip: Accelerator | None = None,
        sampler: Sampler | None = None,
        model: FaultModel | None = None,
        seed: int | None = None,
        name: str | None = None,
        protections: Sequence[Protection] | None = None,
        confidence_of: ConfidenceOf | None = None,
        images: int | None = None,
        engine: Engine | None = None,
    ) -> Campaign:
        """A copy with some parts replaced; the name is made anew unless stated."""
        return Campaign(
            workload or self.workload,
            chip or self.chip,
            sampler or self.sampler,
            model or self.model,
            self.criteria,
            self.seed if seed is None else seed,
            name or "",
            self.protections if protections is None else tuple(protections),
            confidence_of or self.confidence_of,
            self.images if images is None else images,
            engine or self.engine,
        )

    def outcomes(self, space: SiteSpace, golden: Golden, faults: Faults) -> dict[str, Flags]:
        """What n faults of ``space`` do: outcome columns by name, (n,) of bool each."""
        return self.strike.outcomes(space, golden, faults)

    @property
    def strike(self) -> Strike:
        """What runs faults and judges the runs."""
        parts = (self.network, self.chip, self.protections, self.criteria, self.confidence_of)
        return Strike(*parts, self.proofs_hold, self.engine)

    def job(self, golden: Golden, folder: Folder | None = None) -> Job:
        """All that is needed to run it; what ``folder`` holds already is not found out again."""
        space = self.space()
        score = self.score(space, golden)
        clean = folder.clean(self.id) if folder is not None else None
        accuracy, alarms = clean or self.clean(golden)
        useless = folder.told(self.id, "idle") if folder is not None else None
        flat = folder.told(self.id, "flat") if folder is not None else None
        if flat is None:
            flat = score.flat if score is not None else ()
        nothing = Result(
            id=self.id,
            name=self.name,
            space=space,
            sampler=self.sampler,
            tally=Tally.nothing(self.metrics, len(space.strata)),
            golden_accuracy=accuracy,
            clean_alarms=alarms,
            confidence=0.95,
            anytime=False,
            seconds=0.0,
            cost=self.cost,
            protections=tuple(map(in_words, self.question.keys["protections"])),
            covered=self.workload.covered,
            images=self.windows.sample,
            flat=flat,
            unproved=getattr(self.sampler, "proofs", False) and not self.proofs_hold,
            idle=idle(self.protections, self.network) if useless is None else useless,
        )

        def draw(shard: int, count: int) -> Faults:
            return self.draw(space, shard, count, score)

        strike = partial(self.outcomes, space, golden)
        return Job(nothing, draw, strike, self.proofs_hold, folder)

    def maker(self, memory: int | None = None) -> Callable[[int, int], Made]:
        """Draws and strikes shards with a fault-free run of its own: what processes do.

        Args:
            memory: as for `golden`.
        """
        golden, space = self.golden(memory), self.space()
        score = self.score(space, golden)
        return timed(
            lambda shard, count: self.draw(space, shard, count, score),
            lambda faults: self.outcomes(space, golden, faults),
        )

    def run(self, until: Until = 10_000) -> Result:
        """Collect this campaign alone, in memory; see `radhard.collect`."""
        checked(until, self.metrics, bool(self.protections))
        return self.job(self.golden()).result(until)


def _of_window(score: Score, window: Window) -> Score:
    """A score of faults that number images by the places of a window."""
    return lambda faults: score(replace(faults, image=window.at(faults.image)))


def rightly_answered(work: Workload, images: Tensor, labels: Tensor) -> list[bool]:
    """Which of the images the fault-free network gets right."""
    return [
        bool(hit)
        for some, label in zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
        for hit in work.task.right(work.logits(some.to(work.images)), label)
    ]


def _on_chip(workload: Workload, chip: Accelerator) -> Workload:
    """The workload, with the chip's rule for not-a-number where it has none of its own."""
    if workload.nan is not None:
        return workload
    return workload.with_(nan="propagate" if isinstance(chip, Software) else "zero")
