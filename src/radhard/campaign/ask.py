"""The question as people write it: the fields of a campaign file and of `radhard assess`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from radhard.accel.chip import Accelerator
from radhard.accel.chips import chip_named
from radhard.accel.systolic import Systolic
from radhard.arith.array import Array
from radhard.arith.multipliers import multiplier_named
from radhard.campaign.campaign import Campaign, rightly_answered
from radhard.campaign.chips import Chips
from radhard.campaign.rebuild import function_named, part_named, rebuilt
from radhard.campaign.store import TENSORS, read_arrays
from radhard.campaign.windows import spread
from radhard.faults.model import FaultModel, fault_model_named
from radhard.faults.permanent import Permanent
from radhard.formats.catalogue import format_named
from radhard.formats.number import NumberFormat
from radhard.metrics.outcome import STANDARD, counted_as
from radhard.network.arithmetic import Datapath, Formats, Rounding
from radhard.network.capture import capture
from radhard.network.comparator import NanRule
from radhard.network.datapath import Datapaths
from radhard.network.folder import Reading
from radhard.network.multiplied import Multipliers, psum_bits_of
from radhard.network.source import Subject, subject
from radhard.network.task import ConfidenceOf
from radhard.network.workload import HOST, Workload, check_pairs
from radhard.protect.catalogue import protection_named
from radhard.protect.protection import Protection
from radhard.sampling.catalogue import sampler_named
from radhard.sampling.sampler import Sampler
from radhard.stats.interval import wilson
from radhard.stats.stopping import Precision

#: Test images at hand: at most; where that is no more work than so many multiply-accumulates; and
#: whatever the work, which is also how many are read from a folder. A function's own are all taken.
_MOST_AT_HAND, _WORK, _AT_HAND = 10_000, 2e11, 1000
#: Images that are struck at a time where no number is given and there are as many.
_IMAGES = 64
#: Images that formats are fitted to, and those that show whether the network is guessing.
_FITTED, _DOUBTED = 64, 256


def _as_text(size: Any) -> Any:
    return str(size) if type(size) is int else size


def _numbers(given: Any) -> Any:
    """Numbers, or one, or as the command line has them: ``0.485,0.456,0.406``."""
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split(","))
    return (given,) if isinstance(given, int | float) else given


def _count(given: Any) -> Any:
    """A number of images, or ``all``."""
    if given is None or given == "all":
        return given
    if not str(given).strip().isdecimal() or int(given) < 1:
        raise ValueError("use a number of 1 or more, or all")
    return int(given)


#: What the store writes from the campaign and its goal; arithmetic has the multiplier in it.
_OF_CAMPAIGN = {"name", "tensors", "confidence", "most", "multiplier"}
#: A name, or the data of a frozen dataclass or function: see `radhard.campaign.description`.
Part = str | dict[str, Any]


class Ask(BaseModel):
    """A campaign file's top level; the names are those of the command line.

    Attributes:
        model: a zoo name, ``package.module:function`` or a ``.pt2`` file.
        data: a data set's name, an image folder, or an ``.npz`` file of inputs by name; a zoo model
            has a home data set.
        weights: a checkpoint for a zoo model.
        output: which of several results of the model holds the logits, by name or number.
        images: test images that are struck at a time, about, or ``all``; where left out 64, or all
            of fewer.
        target: what the answer is about: the ``task``, which is all test images at hand, or these
            ``images`` only, drawn by the seed and spread over classes.
        size, grey, mean, std: how images are read, as in `radhard.network.folder.Reading`.
        format: number format; fp32 where left out, or int8 with a multiplier.
        chip: what is struck: a chip's name, or a ``.toml`` file that describes one.
        fault_model: what happens to the struck value.
        faults: how many; not together with ``until``.
        until: half width of the 95 % interval of ``metric`` at which to stop.
        metric: an outcome, or ``ra``; with that, RA is reported in all its formulations.
        sampler: how faults are drawn.
        seed: of the random draws.
        nan: what rectifiers make of not-a-number; the chip's rule where left out.
        confidence_of: what SDC-10 % and SDC-20 % compare.
        arithmetic: what multiplies and adds in layers, where that is not exact: for all that
            multiply, or a table by their names.
        multiplier: whose products those of layers are, of all or, in a table, of some.
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
    output: Annotated[str | None, BeforeValidator(_as_text)] = None
    images: Annotated[int | Literal["all"] | None, BeforeValidator(_count)] = None
    target: Literal["task", "images"] = "task"
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
    arithmetic: Part | None = None
    multiplier: str | dict[str, str] | None = None
    rounding: Rounding | None = None
    protections: tuple[Part, ...] = ()
    criteria: dict[str, Part] = {}
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    most: Annotated[int, Field(ge=1)] = 10_000_000
    name: str = ""
    fingerprint: str | None = None
    tensors: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _usual_format(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if fields.get("format") is not None:
            return fields
        return {**fields, "format": "fp32" if fields.get("multiplier") is None else "int8"}

    def budget(self) -> int | Precision:
        """When to stop: 10,000 faults unless something else is asked.

        Raises:
            ValueError: when both ``faults`` and ``until`` are given, or ``confidence`` without
                ``until``, or for an unknown metric.
        """
        counted = (*STANDARD, *self.criteria)
        names = ["ra", *(name for name in counted if name != "correct")]
        if self.metric not in names:
            raise ValueError(f"no metric {self.metric!r}: use one of {', '.join(names)}")
        if self.faults is not None and self.until is not None:
            raise ValueError("both faults and until are given: choose one")
        if self.until is None:
            if self.confidence != 0.95:
                raise ValueError("confidence goes with until: intervals of a number are at 95 %")
            return self.faults or 10_000
        return Precision(self.until, self.confidence, counted_as(self.metric), self.most)

    def reading(self, more: int = 0) -> Reading:
        """How the images are read: of a folder, so many more than the test images at hand.

        Raises:
            ValueError: for a size that is none.
        """
        how = Reading.of(self.size, self.grey, self.mean, self.std)
        return replace(how, most=self.at_least + more)

    @property
    def at_least(self) -> int:
        """Test images that are at hand whatever the work, where there are as many."""
        return max(_AT_HAND, self.images if isinstance(self.images, int) else 0)

    def as_toml(self) -> dict[str, Any]:
        """The fields that say something of model and data, for ``campaign.toml``.

        What the campaign itself says stands there as data.
        """
        return self.model_dump(mode="json", exclude_none=True, exclude=_OF_CAMPAIGN)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What an `Ask` stands for.

    Attributes:
        campaign: ready to be collected.
        data: where its images are from.
        notes: what to tell before any result: classes, files that are not the published ones, an
            accuracy that looks like guessing.
    """

    campaign: Campaign
    data: str
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
    for made_by_radhard in ("identity", "budget"):
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
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {name}: {said} (got {first['input']!r})") from None


def prepare(ask: Ask, trust: bool = False, device: torch.device = HOST) -> Prepared:
    """Load the model and data, and capture.

    Args:
        ask: the question.
        trust: whether a ``.pt2`` file may run code while it is loaded; no file can say so.
        device: where faults are to run; no part of the question.

    Raises:
        ValueError, FileNotFoundError: when something asked for can't be.
    """
    ask.budget()
    arrays = read_arrays(ask.tensors) if ask.tensors is not None else {}

    def part(where: str, given: Part, kind: type, listed: Callable[[str], Any]) -> Any:
        if isinstance(given, str):
            return part_named(given, kind, listed)
        return rebuilt(given, where, arrays)

    fmt = part("format", ask.format, NumberFormat, format_named)
    chip = part("chip", ask.chip, Accelerator, chip_named)
    if ask.rounding is not None:
        fmt = replace(Formats.of(fmt), rounding=ask.rounding)
    model = part("fault_model", ask.fault_model, FaultModel, fault_model_named)
    sampler = part("sampler", ask.sampler, Sampler, sampler_named)
    protections = [
        part("protections", one, Protection, protection_named) for one in ask.protections
    ]
    criteria = {
        name: function_named(one) if isinstance(one, str)
        else rebuilt(one, f"criteria.{name}", arrays)
        for name, one in ask.criteria.items()
    }  # fmt: skip
    whole = subject(ask.model, ask.data, ask.weights, how=ask.reading(), trust=trust)
    work = _captured(whole, ask, fmt)
    if ask.arithmetic is not None:
        work = work.with_(arithmetic=_arithmetic(ask.arithmetic, part))
    if ask.multiplier is not None:
        work = work.with_(multiplier=multipliers_of(ask))
    _check(work, ask)
    struck = _struck(ask, len(work.images), whole.data)
    given = (sampler, model, criteria, ask.seed, ask.name, tuple(protections), ask.confidence_of)
    campaign = Campaign(work.on(device), chip, *given, struck)
    return Prepared(campaign, whole.data, (*whole.notes, *_doubts(work, whole)))


def chips_of(
    ask: Ask, permanent: Permanent, trust: bool = False
) -> tuple[Chips, str, tuple[str, ...]]:
    """Chips with permanent faults: the question, where its images are from, and notes.

    Of the test images at hand 1,000 are run, or as many as are asked for.

    Raises:
        ValueError, FileNotFoundError: as `prepare`; for a chip that is no systolic array.
    """
    chip = part_named(ask.chip, Accelerator, chip_named) if isinstance(ask.chip, str) else None
    if not isinstance(chip, Systolic):
        raise ValueError(
            f"permanent faults are those of a systolic array, not of {ask.chip}: use --chip "
            "systolic:128x128:ws (rows x columns, and what stays: ws, os or is)"
        )
    fmt = part_named(ask.format, NumberFormat, format_named)  # type: ignore[arg-type]
    whole = subject(ask.model, ask.data, ask.weights, how=ask.reading(), trust=trust)
    work = _captured(whole, ask, fmt)
    count = (
        min(_AT_HAND, len(work.images))
        if ask.images is None
        else _struck(ask, len(work.images), whole.data)
    )
    drawn = np.sort(spread(work.labels.cpu().numpy(), ask.seed)[:count])
    own = work.with_(work.images[drawn], work.labels[drawn])
    multiplier = multipliers_of(ask)
    array = Array(chip.rows, chip.cols, chip.dataflow, psum_bits=psum_bits_of(multiplier))
    chips = Chips(own, array, permanent, multiplier, seed=ask.seed)
    return chips, whole.data, (*whole.notes, *_doubts(work, whole))


def _arithmetic(given: Part, part: Callable[..., Any]) -> Datapaths:
    """One for all layers, or by their names."""

    def one(where: str, given: Part) -> Any:
        return part(where, given, Datapath, _listed)

    if isinstance(given, str) or isinstance(given.get("type"), str):
        return cast(Datapaths, one("arithmetic", given))
    return {name: one(f"arithmetic.{name}", each) for name, each in given.items()}


def multipliers_of(ask: Ask) -> Multipliers | None:
    """The multiplier of all layers, or of some by their names.

    Raises:
        ValueError: where it is said what else multiplies, or for an unknown name.
    """
    if ask.arithmetic is not None and ask.multiplier is not None:
        raise ValueError("both arithmetic and multiplier are given: choose one")
    if isinstance(ask.multiplier, dict):
        return {layer: multiplier_named(name) for layer, name in ask.multiplier.items()}
    return multiplier_named(ask.multiplier) if ask.multiplier is not None else None


def _listed(name: str) -> Any:
    raise ValueError(f"no arithmetic {name!r}: name your own, package.module:object")


def _captured(whole: Subject, ask: Ask, fmt: NumberFormat | Formats) -> Workload:
    """The network with the images that the answer is about.

    Formats are fitted to the same few images, whichever are struck.
    """
    check_pairs(whole.images, whole.labels)
    own = whole.data == ask.model  # a function's own images are all taken
    count = len(whole.images) if own else max(_MOST_AT_HAND, ask.at_least)
    images, labels = whole.images[:count], whole.labels[:count]
    fitted = images[spread(labels[: None if own else _AT_HAND].cpu().numpy(), 0)[:_FITTED]]
    given, seen = whole.inputs.given(images), whole.inputs.given(fitted)
    work = capture(whole.model, given, labels, fmt, whole.name, ask.nan, seen, ask.output)
    count = len(images)
    if not own:
        affordable = int(_WORK // sum(layer.macs for layer in work.layers))
        count = min(count, max(ask.at_least, affordable))
    struck = _struck(ask, count, whole.data)
    if ask.target == "task":
        return work.with_(work.images[:count], work.labels[:count])
    drawn = np.sort(spread(work.labels[:count].cpu().numpy(), ask.seed)[:struck])
    return work.with_(work.images[drawn], work.labels[drawn])


def _struck(ask: Ask, count: int, data: str) -> int:
    """How many of so many images are struck at a time."""
    if isinstance(ask.images, int) and ask.images > count:
        raise ValueError(
            f"{ask.images} images asked for, but {data} has {count}: use fewer, or all"
        )
    return count if ask.images == "all" else ask.images or min(_IMAGES, count)


def _doubts(work: Workload, whole: Subject) -> list[str]:
    """That labels may mean something else, or that the fault-free network may be guessing."""
    classes, doubts = work.task.classes, []
    if whole.classes and whole.classes != classes:
        doubts.append(
            f"{whole.data} has {whole.classes} classes, but the network tells {classes} apart: "
            "folder k in the order above must be the network's class k"
        )
    some = spread(work.labels.cpu().numpy(), 0)[:_DOUBTED]
    right = rightly_answered(work, work.images[some], work.labels[some])
    accuracy = wilson(sum(right), len(right))
    guessed = work.task.guessed
    if accuracy.low <= guessed and not all(right):
        doubts.append(
            f"fault-free accuracy {accuracy} is not better than guessing among {classes} classes "
            f"({100 * guessed:.2f} %), as far as {len(right)} images show. Usual reasons: images "
            "are not standardised as in training (--mean, --std), classes are numbered in another "
            "order, the weights are not trained or belong to other data"
        )
    return doubts


def _check(work: Workload, ask: Ask) -> None:
    if ask.fingerprint not in (None, work.fingerprint()):
        raise ValueError(
            f"{ask.model} with {len(work.images)} images of {ask.data or 'its own'} is "
            "not the network that was asked about: weights, images or operations differ; bring "
            "those back, or take the line `fingerprint` out to ask about the new ones"
        )
