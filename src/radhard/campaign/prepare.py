"""From the question as people write it to a campaign, or to chips: load, capture, and check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from radhard.accel.chip import Accelerator
from radhard.accel.chips import ARRAYS, chip_named
from radhard.arith.array import Array
from radhard.arith.multiplier import Multiplier
from radhard.arith.multipliers import multiplier_named
from radhard.campaign.ask import AT_HAND, Ask, Part
from radhard.campaign.campaign import Campaign, rightly_answered
from radhard.campaign.chips import Chips
from radhard.campaign.rebuild import function_named, part_named, rebuilt
from radhard.campaign.store import read_arrays
from radhard.campaign.strike import Engine
from radhard.campaign.windows import spread
from radhard.faults.model import FaultModel, fault_model_named
from radhard.faults.permanent import Permanent
from radhard.formats.catalogue import FLOAT32, INT8, format_named
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Datapath
from radhard.network.capture import capture
from radhard.network.codes import holds_codes
from radhard.network.datapath import Datapaths
from radhard.network.format import Formats
from radhard.network.multiplied import Multipliers, psum_bits_of
from radhard.network.pairs import check_pairs
from radhard.network.source import Subject, subject
from radhard.network.workload import HOST, Workload
from radhard.protect.catalogue import protection_named
from radhard.protect.learn import apart_from, untaught
from radhard.protect.protection import Protection
from radhard.sampling.catalogue import sampler_named
from radhard.sampling.sampler import Sampler
from radhard.stats.interval import wilson

#: Test images at hand: at most, and where that is no more work than so many multiply-accumulates. A
#: function's own are all taken.
_MOST_AT_HAND, _WORK = 10_000, 2e11
#: Images that are struck at a time where no number is given and there are as many.
_IMAGES = 64
#: Training images from which ranges are learned.
LEARNED = 1000
#: Images that formats are fitted to, and those that show whether the network is guessing.
FITTED, _DOUBTED = 64, 256
#: What passing faults have and permanent ones do not, with what stands for nothing.
_PASSING: Mapping[str, Any] = {
    "faults": None, "until": None, "metric": "sdc1", "fault_model": "bit-flip", "arithmetic": None,
    "sampler": "gradient-importance", "protections": (), "criteria": {}, "nan": None,
    "rounding": None, "engine": None,
}  # fmt: skip


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
    alone = [name for name in ("maps", "lose", "layers") if getattr(ask, name) not in (None, ())]
    if alone or ask.permanent is not None:
        words = ", ".join(alone) or "permanent"
        raise ValueError(
            f"{words}: of chips with permanent faults: say which bits are stuck, "
            "with permanent; other chips have none"
        )
    arrays = read_arrays(ask.tensors) if ask.tensors is not None else {}

    def part(where: str, given: Part, kind: type, listed: Callable[[str], Any]) -> Any:
        if isinstance(given, str):
            return part_named(given, kind, listed)
        return rebuilt(given, where, arrays)

    named = None
    if ask.format is not None:
        named = part("format", ask.format, NumberFormat, format_named)
    chip = part("chip", ask.chip, Accelerator, chip_named)
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
    fmt, told = _format(ask, whole, named)
    if ask.rounding is not None and fmt is not None:
        fmt = replace(Formats.of(fmt), rounding=ask.rounding)
    work = captured(whole, ask, fmt)
    if ask.arithmetic is not None:
        work = work.with_(arithmetic=_arithmetic(ask.arithmetic, part))
    if ask.multiplier is not None:
        work = work.with_(multiplier=multipliers_of(ask))
    _check(work, ask)
    struck = _struck(ask, len(work.images), whole.data)
    protections, more = _taught(protections, ask, work)
    told = (*told, *more)
    given = (sampler, model, criteria, ask.seed, ask.name, tuple(protections), ask.confidence_of)
    engine = None
    if ask.engine is not None:
        engine = part("engine", ask.engine, Engine, _no_engine)
    campaign = Campaign(work.on(device), chip, *given, struck, engine)
    return Prepared(campaign, whole.data, (*whole.notes, *told, *doubts_of(work, whole)))


def chips_of(
    ask: Ask, permanent: Permanent, trust: bool = False
) -> tuple[Chips, str, tuple[str, ...]]:
    """Chips with permanent faults: the question, where its images are from, and notes.

    Args:
        ask: what is asked.
        permanent: what is wrong with the chips.
        trust: whether a ``.pt2`` file may run code while it is loaded.

    Of the test images at hand 1,000 are run, or as many as are asked for.

    Raises:
        ValueError, FileNotFoundError: as `prepare`; for a chip that is no systolic array,
            or what only passing faults have.
    """
    passing = [name for name, nothing in _PASSING.items() if getattr(ask, name) != nothing]
    if passing:
        raise ValueError(
            f"{', '.join(passing)}: of passing faults; permanent ones have maps, lose and layers"
        )
    chip = part_named(ask.chip, Accelerator, chip_named) if isinstance(ask.chip, str) else None
    if not isinstance(chip, ARRAYS):
        raise ValueError(
            f"permanent faults are those of a systolic array, not of {ask.chip}: use --chip "
            "systolic:128x128:ws (rows x columns, and what stays: ws, os or is)"
        )
    named = None
    if ask.format is not None:
        named = part_named(ask.format, NumberFormat, format_named)  # type: ignore[arg-type]
    whole = subject(ask.model, ask.data, ask.weights, how=ask.reading(), trust=trust)
    fmt, told = _format(ask, whole, named)
    work = captured(whole, ask, fmt)
    count = (
        min(AT_HAND, len(work.images))
        if ask.images is None
        else _struck(ask, len(work.images), whole.data)
    )
    drawn = np.sort(spread(work.labels.cpu().numpy(), ask.seed)[:count])
    own = work.with_(work.images[drawn], work.labels[drawn])
    multiplier = multipliers_of(ask)
    array = Array(chip.rows, chip.cols, chip.dataflow, psum_bits=psum_bits_of(multiplier))
    chips = Chips(own, array, permanent, multiplier, ask.layers, ask.seed)
    return chips, whole.data, (*whole.notes, *told, *doubts_of(work, whole))


def _format(
    ask: Ask, whole: Subject, named: NumberFormat | Formats | None
) -> tuple[NumberFormat | Formats | None, tuple[str, ...]]:
    """What a network is in: as is said, as its file says, or as usual; and a note on that.

    ``None`` where that is known when it is captured: it holds codes.
    """
    own, coded = whole.formats, holds_codes(whole.model)
    if named is not None:
        other = (own is not None and named != own) or (coded and not _by_layer(named))
        told = f"{ask.model} has formats of its own, but is run in {named.name}, as asked"
        return named, (told,) if other else ()
    if own is not None:
        return own, (f"{ask.model} has formats of its own, {own.name}: taken as they are",)
    if coded:
        return None, (f"{ask.model} holds codes: they and their scales are taken as they are",)
    exact = ask.multiplier is None and ask.permanent is None
    return (FLOAT32 if exact else INT8), ()


def _by_layer(named: NumberFormat | Formats) -> bool:
    return isinstance(named, Formats) and bool(named.layers)


def training_of(ask: Ask, most: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Training images and labels; ``None`` for a network of the user's own, which has none.

    Args:
        ask: which network and data.
        most: images of a folder that are read beside those at hand.
    """
    if ":" in ask.model or ask.model.endswith((".pt2", ".onnx")):
        return None
    how = ask.reading(most)
    source = subject(ask.model, ask.data, ask.weights, train=True, how=how)
    return source.images, source.labels


def _taught(
    protections: list[Protection], ask: Ask, work: Workload
) -> tuple[list[Protection], tuple[str, ...]]:
    """Protections that have learned on training images, and a note where there are none.

    Then they learn on the images that they are judged on, when they are first used.
    """
    if not any(map(untaught, protections)):
        return protections, ()
    found = training_of(ask, LEARNED)
    if found is None:
        names = ", ".join(type(part).__name__ for part in protections if untaught(part))
        said = (
            f"{names} learn on the very images that they are judged on, as this network has no "
            "others: of others more raise false alarms. Give one that has learned, or ask "
            "radhard protect, which tells images apart"
        )
        return protections, (said,)
    images, labels = (part[-LEARNED:] for part in found)
    learning = apart_from(work, work.with_(images, labels))
    taught = [part.learned(learning) if untaught(part) else part for part in protections]  # type: ignore[attr-defined]
    return taught, ()


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
        return {layer: _multiplier(name) for layer, name in ask.multiplier.items()}
    return _multiplier(ask.multiplier) if ask.multiplier is not None else None


def _multiplier(name: str) -> Multiplier:
    found: Multiplier = part_named(name, Multiplier, multiplier_named)
    return found


def _no_engine(name: str) -> Any:
    raise ValueError(f"no engine {name!r}: use rtl, or name your own, package.module:object")


def _listed(name: str) -> Any:
    raise ValueError(f"no arithmetic {name!r}: name your own, package.module:object")


def captured(whole: Subject, ask: Ask, fmt: NumberFormat | Formats | None) -> Workload:
    """The network with the images that the answer is about.

    Formats are fitted to the same few images, whichever are struck.
    """
    check_pairs(whole.images, whole.labels)
    own = whole.data == ask.model  # a function's own images are all taken
    count = len(whole.images) if own else max(_MOST_AT_HAND, ask.at_least)
    images, labels = whole.images[:count], whole.labels[:count]
    fitted = images[spread(labels[: None if own else AT_HAND].cpu().numpy(), 0)[:FITTED]]
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


def doubts_of(work: Workload, whole: Subject) -> list[str]:
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
