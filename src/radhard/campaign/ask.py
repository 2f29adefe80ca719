"""The question as people write it: the fields of a campaign file and of `radhard assess`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from radhard.campaign.store import TENSORS
from radhard.metrics.outcome import STANDARD, counted_as, metrics_of
from radhard.network.comparator import NanRule
from radhard.network.folder import Reading
from radhard.network.format import Rounding
from radhard.network.task import ConfidenceOf
from radhard.stats.stopping import Precision
from radhard.toml import read_toml

#: Test images that are at hand whatever the work, which are also as many as are read of a folder.
AT_HAND = 1000


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
        model: a zoo name, ``package.module:function``, a ``.pt2`` or an ``.onnx`` file.
        data: a data set's name, an image folder, or an ``.npz`` file of inputs by name; a zoo model
            has a home data set.
        weights: a checkpoint for a zoo model.
        output: which of several results of the model holds the logits, by name or number.
        images: test images that are struck at a time, about, or ``all``; where left out 64, or all
            of fewer.
        target: what the answer is about: the ``task``, which is all test images at hand, or these
            ``images`` only, drawn by the seed and spread over classes.
        size, grey, mean, std: how images are read, as in `radhard.network.folder.Reading`.
        format: number format; where left out those of a quantised network, else fp32, or int8
            with a multiplier.
        chip: what is struck: a chip's name, or a ``.toml`` file that describes one.
        fault_model: what happens to the struck value.
        faults: how many; not together with ``until``.
        until: half width of the 95 % interval of ``metric`` at which to stop.
        metric: an outcome, or ``ra``; with that, RA is reported in all its formulations; or
            ``recall`` or ``precision`` of alarms.
        sampler: how faults are drawn.
        seed: of the random draws.
        nan: what rectifiers make of not-a-number; the chip's rule where left out.
        confidence_of: what SDC-10 % and SDC-20 % compare.
        arithmetic: what multiplies and adds in layers, where that is not exact: for all that
            multiply, or a table by their names.
        multiplier: whose products those of layers are, of all or, in a table, of some.
        engine: what computes struck layers, ``package.module:object``; the fault model where left
            out, and the emitted array where ``rtl``.
        rounding: where fixed point rounds; once, after a sum, where left out.
        permanent: which bits of a systolic array are stuck, in place of passing faults, as in
            `radhard.Permanent.parsed`.
        maps: how many chips with such faults; 20.
        lose: accuracy that a good one of them may lose; 0.01.
        layers: those that run on the faulty array; all where empty.
        protections: what changes the chip, the network or the run.
        criteria: outcomes of your own, by name.
        confidence: of the intervals.
        most: faults after which to stop in any case, with ``until``.
        name: of the campaign and its folder; made from the parts where empty.
        fingerprint: hash of the network with its images that is meant; any where ``None``.
        tensors: file of what protections have learned.

    What is a `Part` is a name, or data as `radhard.campaign.description` describes it.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False
    )

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
    format: Part | None = None
    chip: Part = "eyeriss"
    fault_model: Part = "bit-flip"
    faults: Annotated[int, Field(ge=1, le=10**15, strict=True)] | None = None
    until: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    metric: str = "sdc1"
    sampler: Part = "gradient-importance"
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    nan: NanRule | None = None
    confidence_of: ConfidenceOf = "top-class"
    arithmetic: Part | None = None
    multiplier: str | dict[str, str] | None = None
    engine: Part | None = None
    rounding: Rounding | None = None
    permanent: str | None = None
    maps: Annotated[int, Field(ge=1, strict=True)] | None = None
    lose: Annotated[float, Field(ge=0, le=1)] | None = None
    layers: tuple[str, ...] = ()
    protections: tuple[Part, ...] = ()
    criteria: dict[str, Part] = {}
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    most: Annotated[int, Field(ge=1, strict=True)] = 10_000_000
    name: str = ""
    fingerprint: str | None = None
    tensors: Path | None = None

    def budget(self) -> int | Precision:
        """When to stop: 10,000 faults unless something else is asked.

        Raises:
            ValueError: when both ``faults`` and ``until`` are given, or ``confidence`` without
                ``until``, or for an unknown metric.
        """
        names = metrics_of((*STANDARD, *self.criteria))
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
        return max(AT_HAND, self.images if isinstance(self.images, int) else 0)

    def as_toml(self) -> dict[str, Any]:
        """The fields that say something of model and data, for ``campaign.toml``.

        What the campaign itself says stands there as data.
        """
        return self.model_dump(mode="json", exclude_none=True, exclude=_OF_CAMPAIGN)


def asked(path: Path, model: str | None = None) -> Ask:
    """The question in a campaign file; a store's ``campaign.toml`` is one too.

    Args:
        path: of the file.
        model: the network, where the file doesn't name it or another is meant.

    Raises:
        ValueError: when the file can't be read or says something impossible.
    """
    held = read_toml(path, "campaign file")
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
