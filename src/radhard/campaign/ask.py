"""The question as people write it: the fields of a campaign file and of `radhard assess`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from radhard.accel.chips import chip_named
from radhard.campaign.campaign import Campaign, right_answers
from radhard.campaign.rebuild import function_named, rebuilt
from radhard.campaign.store import TENSORS, read_arrays
from radhard.faults.model import fault_model_named
from radhard.formats.catalogue import format_named
from radhard.metrics.outcome import STANDARD, ConfidenceOf
from radhard.network.arithmetic import Formats, Rounding
from radhard.network.capture import capture
from radhard.network.comparator import NanRule
from radhard.network.folder import Reading
from radhard.network.source import Subject, subject
from radhard.network.workload import Workload
from radhard.protect.catalogue import protection_named
from radhard.sampling.catalogue import sampler_named
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson
from radhard.stats.stopping import Precision

#: Test images on which fault-free accuracy is measured, at most.
_ACCURACY_IMAGES = 1000
#: Input images where no number is given and there are as many.
_IMAGES = 64


def _as_text(size: Any) -> Any:
    return str(size) if type(size) is int else size


def _numbers(given: Any) -> Any:
    """Numbers, or one, or as the command line has them: ``0.485,0.456,0.406``."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(","))
    return (given,) if isinstance(given, int | float) else given


#: What the store writes from the campaign and its goal.
_OF_CAMPAIGN = {"name", "tensors", "confidence", "most"}
#: A name, or the data of a frozen dataclass or function: see `radhard.campaign.description`.
Part = str | dict[str, Any]


class Ask(BaseModel):
    """A campaign file's top level; the names are those of the command line.

    Attributes:
        model: a zoo name, ``package.module:function`` or a ``.pt2`` file.
        data: a data set's name or an image folder; a zoo model has a home data set.
        weights: a checkpoint for a zoo model.
        images: input images, the first of the test set; where left out 64, or all of fewer.
        size, grey, mean, std: how images are read, as in `radhard.network.folder.Reading`.
        format: number format.
        chip: what is struck: a chip's name, or a ``.toml`` file that describes one.
        fault_model: what happens to the struck value.
        faults: how many; not together with ``until``.
        until: half width of the 95 % interval of ``metric`` at which to stop.
        metric: an outcome, or ``ra``; with that, RA is reported in all its formulations.
        sampler: how faults are drawn.
        seed: of the random draws.
        nan: what rectifiers make of not-a-number; the chip's rule where left out.
        confidence_of: what SDC-10 % and SDC-20 % compare.
        rounding: where fixed point rounds; once, after a sum, where left out.
        protections: what changes the chip, the network or the run.
        criteria: outcomes of your own, by name.
        confidence: of the intervals.
        most: faults after which to stop in any case, with ``until``.
        name: of the campaign and its folder; made from the parts where empty.
        fingerprint: hash of the network with its images that is meant; any where ``None``.
        tensors: file of what protections have learned.

    What is a `Part` is a name, or data as `radhard.campaign.description` describes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str
    data: str | None = None
    weights: Path | None = None
    images: Annotated[int, Field(ge=1)] | None = None
    size: Annotated[str | None, BeforeValidator(_as_text)] = None
    grey: bool = False
    mean: Annotated[tuple[float, ...] | None, BeforeValidator(_numbers)] = None
    std: Annotated[tuple[float, ...] | None, BeforeValidator(_numbers)] = None
    format: Part = "fp32"
    chip: Part = "eyeriss"
    fault_model: Part = "bit-flip"
    faults: Annotated[int, Field(ge=1)] | None = None
    until: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    metric: str = "sdc1"
    sampler: Part = "gradient-importance"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    nan: NanRule | None = None
    confidence_of: ConfidenceOf = "top-class"
    rounding: Rounding | None = None
    protections: tuple[Part, ...] = ()
    criteria: dict[str, Part] = {}
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    most: Annotated[int, Field(ge=1)] = 10_000_000
    name: str = ""
    fingerprint: str | None = None
    tensors: Path | None = None

    def budget(self) -> int | Precision:
        """When to stop: 10,000 faults unless something else is asked.

        Raises:
            ValueError: when both ``faults`` and ``until`` are given, or ``confidence`` without
                ``until``, or for an unknown metric.
        """
        counted = (*STANDARD, *self.criteria)
        names = {"ra": "correct"} | {name: name for name in counted if name != "correct"}
        if self.metric not in names:
            raise ValueError(f"no metric {self.metric!r}: use one of {', '.join(names)}")
        if self.faults is not None and self.until is not None:
            raise ValueError("both faults and until are given: choose one")
        if self.until is None:
            if self.confidence != 0.95:
                raise ValueError("confidence goes with until: intervals of a number are at 95 %")
            return self.faults or 10_000
        return Precision(self.until, self.confidence, names[self.metric], self.most)

    def reading(self, more: int) -> Reading:
        """How the images are read: of a folder, so many more than the input images.

        Raises:
            ValueError: for a size that is none.
        """
        how = Reading.of(self.size, self.grey, self.mean, self.std)
        return replace(how, most=(self.images or _IMAGES) + more)

    def as_toml(self) -> dict[str, Any]:
        """The fields that say something of model and data, for ``campaign.toml``.

        What the campaign itself says stands there as data.
        """
        return self.model_dump(mode="json", exclude_none=True, exclude=_OF_CAMPAIGN)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What an `Ask` stands for: the campaign, and the fault-free accuracy behind it.

    Attributes:
        campaign: ready to be collected.
        data: where its images are from.
        golden_accuracy: of the fault-free network in its formats, over up to 1,000 test images.
        golden_accuracy_images: the same over the campaign's own images.
        notes: what to tell before any result: classes, files that are not the published ones, an
            accuracy that looks like guessing.
    """

    campaign: Campaign
    data: str
    golden_accuracy: Estimate
    golden_accuracy_images: Estimate
    notes: tuple[str, ...] = ()


def asked(path: Path, model: str | None = None) -> Ask:
    """The question in a campaign file; a store's ``campaign.toml`` is one too.

    Args:
        path: of the file.
        model: the network, where the file doesn't name it or another is meant.

    Raises:
        ValueError: when the file can't be read or says something impossible.
    """
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"campaign file {path} can't be read: {error}") from error
    if "trust" in held:
        raise ValueError(
            f"campaign file {path}: trust can't be said by a file: radhard run {path} --trust"
        )
    of_python = held.get("identity", {}).get("model")
    for made_by_radhard in ("identity", "budget", "golden"):
        held.pop(made_by_radhard, None)
    if model is not None:
        held["model"] = model
    if of_python and "model" not in held:
        raise ValueError(
            f"{path} asks about {of_python!r}, which was given as a Python object that no file can "
            "hold: add --model package.module:function, a function that gives it (with its images "
            "and labels, unless --data names them)"
        )
    if "tensors" in held:
        held["tensors"] = path.parent / _beside(held["tensors"], path)
    return validated(held, f"campaign file {path}")


def _beside(name: Any, path: Path) -> str:
    """A name of a file that lies where the campaign file does."""
    if not isinstance(name, str) or name in ("", ".", "..") or name != PurePath(name).name:
        raise ValueError(
            f"campaign file {path}: tensors = {name!r} is no name of a file beside it: copy the "
            f'file to where the campaign file lies, and say tensors = "{TENSORS}"'
        )
    return name


def validated(fields: dict[str, Any], where: str) -> Ask:
    """An `Ask` of these fields.

    Raises:
        ValueError: naming the first field that can't be, and why.
    """
    try:
        return Ask(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "it"
        if first["type"] == "extra_forbidden":
            raise ValueError(
                f"{where}: no key {name!r}: use {', '.join(Ask.model_fields)}"
            ) from None
        raise ValueError(f"{where}: {name}: {first['msg']} (got {first['input']!r})") from None


def prepare(ask: Ask, trust: bool = False) -> Prepared:
    """Load the model and data, capture, and measure the fault-free accuracy.

    Args:
        ask: the question.
        trust: whether a ``.pt2`` file may run code while it is loaded; no file can say so.

    Raises:
        ValueError, FileNotFoundError: when something asked for can't be.
    """
    ask.budget()
    arrays = read_arrays(ask.tensors) if ask.tensors is not None else {}

    def part(where: str, given: Part, named: Callable[[str], Any]) -> Any:
        return named(given) if isinstance(given, str) else rebuilt(given, where, arrays)

    fmt, chip = part("format", ask.format, format_named), part("chip", ask.chip, chip_named)
    if ask.rounding is not None:
        fmt = replace(Formats.of(fmt), rounding=ask.rounding)
    model = part("fault_model", ask.fault_model, fault_model_named)
    sampler = part("sampler", ask.sampler, sampler_named)
    protections = [part("protections", one, protection_named) for one in ask.protections]
    criteria = {
        name: part(f"criteria.{name}", one, function_named) for name, one in ask.criteria.items()
    }
    how = ask.reading(max(0, _ACCURACY_IMAGES - (ask.images or _IMAGES)))
    whole = subject(ask.model, ask.data, ask.weights, how=how, trust=trust)
    count = ask.images or min(_IMAGES, len(whole.images))
    if count > len(whole.images):
        raise ValueError(
            f"{count} images asked for, but {whole.data} has {len(whole.images)}: use fewer"
        )
    images, labels = whole.images[:count], whole.labels[:count]
    work = capture(whole.model, images, labels, fmt, whole.name, ask.nan)
    _check(work, ask)
    given = (sampler, model, criteria, ask.seed, ask.name, tuple(protections), ask.confidence_of)
    campaign = Campaign(work, chip, *given)
    accuracies = _golden_accuracies(work, whole)
    notes = (*whole.notes, *_doubts(work, whole, accuracies[0]))
    return Prepared(campaign, whole.data, *accuracies, notes)


def _doubts(work: Workload, whole: Subject, accuracy: Estimate) -> list[str]:
    """That labels may mean something else, or that the fault-free network may be guessing."""
    classes, doubts = work.logits(work.images[:1]).shape[1], []
    if whole.classes and whole.classes != classes:
        doubts.append(
            f"{whole.data} has {whole.classes} classes, but the network tells {classes} apart: "
            "folder k in the order above must be the network's class k"
        )
    if accuracy.low <= 1 / classes:
        doubts.append(
            f"fault-free accuracy {accuracy} is not better than guessing among {classes} classes "
            f"({100 / classes:.2f} %), as far as can be seen. Usual reasons: images are not "
            "standardised as in training (--mean, --std), classes are numbered in another order, "
            "the weights are not trained or belong to other data"
        )
    return doubts


def _check(work: Workload, ask: Ask) -> None:
    if ask.fingerprint not in (None, work.fingerprint()):
        raise ValueError(
            f"{ask.model} with its first {len(work.images)} images of {ask.data or 'its own'} is "
            "not the network that was asked about: weights, images or operations differ; bring "
            "those back, or take the line `fingerprint` out to ask about the new ones"
        )


def _golden_accuracies(work: Workload, whole: Subject) -> tuple[Estimate, Estimate]:
    count = max(_ACCURACY_IMAGES, len(work.images))
    right = right_answers(work, whole.images[:count], whole.labels[:count])
    own = right[: len(work.images)]
    return wilson(sum(right), len(right)), wilson(sum(own), len(own))
