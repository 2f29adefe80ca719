"""The question as people write it: the fields of a campaign file and of `radhard assess`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radhard.accel.chips import chip_named
from radhard.campaign.campaign import Campaign, right_answers
from radhard.campaign.rebuild import function_named, rebuilt
from radhard.campaign.store import read_arrays
from radhard.faults.model import fault_model_named
from radhard.formats.catalogue import format_named
from radhard.metrics.outcome import STANDARD
from radhard.network.source import Subject, subject
from radhard.network.workload import Workload, capture
from radhard.protect.catalogue import protection_named
from radhard.sampling.catalogue import sampler_named
from radhard.stats.estimate import Estimate
from radhard.stats.interval import wilson
from radhard.stats.stopping import Precision

#: Test images on which fault-free accuracy is measured, at most.
_ACCURACY_IMAGES = 1000


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
        images: input images, the first of the test set.
        format: number format.
        chip: what is struck: a chip's name, or a ``.toml`` file that describes one.
        fault_model: what happens to the struck value.
        faults: how many; not together with ``until``.
        until: half width of the 95 % interval of ``metric`` at which to stop.
        metric: an outcome, or ``ra``; with that, RA is reported in all its formulations.
        sampler: how faults are drawn.
        seed: of the random draws.
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
    images: Annotated[int, Field(ge=1)] = 64
    format: Part = "fp32"
    chip: Part = "eyeriss"
    fault_model: Part = "bit-flip"
    faults: Annotated[int, Field(ge=1)] | None = None
    until: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    metric: str = "sdc1"
    sampler: Part = "importance"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
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
    """

    campaign: Campaign
    data: str
    golden_accuracy: Estimate
    golden_accuracy_images: Estimate


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
        held["tensors"] = path.parent / held["tensors"]
    return validated(held, f"campaign file {path}")


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


def prepare(ask: Ask) -> Prepared:
    """Load the model and data, capture, and measure the fault-free accuracy.

    Raises:
        ValueError, FileNotFoundError: when something asked for can't be.
    """
    ask.budget()
    arrays = read_arrays(ask.tensors) if ask.tensors is not None else {}

    def part(where: str, given: Part, named: Callable[[str], Any]) -> Any:
        return named(given) if isinstance(given, str) else rebuilt(given, where, arrays)

    fmt, chip = part("format", ask.format, format_named), part("chip", ask.chip, chip_named)
    model = part("fault_model", ask.fault_model, fault_model_named)
    sampler = part("sampler", ask.sampler, sampler_named)
    protections = [part("protections", one, protection_named) for one in ask.protections]
    criteria = {
        name: part(f"criteria.{name}", one, function_named) for name, one in ask.criteria.items()
    }
    whole = subject(ask.model, ask.data, ask.weights)
    if ask.images > len(whole.images):
        raise ValueError(
            f"{ask.images} images asked for, but {whole.data} has {len(whole.images)}: use fewer"
        )
    images, labels = whole.images[: ask.images], whole.labels[: ask.images]
    work = capture(whole.model, images, labels, fmt, whole.name)
    _check(work, ask)
    campaign = Campaign(
        work, chip, sampler, model, criteria, ask.seed, ask.name, tuple(protections)
    )
    return Prepared(campaign, whole.data, *_golden_accuracies(work, whole))


def _check(work: Workload, ask: Ask) -> None:
    if ask.fingerprint not in (None, work.fingerprint()):
        raise ValueError(
            f"{ask.model} with its first {ask.images} images of {ask.data or 'its own'} is not the "
            "network that was asked about: weights, images or operations differ; bring those back, "
            "or take the line `fingerprint` out to ask about the new ones"
        )


def _golden_accuracies(work: Workload, whole: Subject) -> tuple[Estimate, Estimate]:
    count = max(_ACCURACY_IMAGES, len(work.images))
    right = right_answers(work, whole.images[:count], whole.labels[:count])
    own = right[: len(work.images)]
    return wilson(sum(right), len(right)), wilson(sum(own), len(own))
