"""Which networks are captured, how they run, and whether their faults are those of a plain pass.

For each network of `benchmarks.architectures`: whether it is captured, how many of its layers'
faults begin as differences in compiled kernels, what shares of parameters and of
multiply-accumulates can be struck, seconds per 1,000 random faults, and how many of 20 faults end
as in a plain forward pass in which the same stored value was overwritten. Goal: all of them, for at
least 60. torchvision, timm and transformers are used where they are installed, all with random
weights and small settings: `pip install torchvision timm transformers`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import radhard as rh
from benchmarks.architectures import Subject, subjects
from benchmarks.overwrite import (
    Forward,
    calls_of,
    output_overwritten,
    shared_storages,
    weight_overwritten,
)  # fmt: skip
from radhard.engine.memory import keep_freed_memory
from radhard.engine.passage import enterable, followed
from radhard.faults.corruption import Corruption
from radhard.network.workload import Workload

#: Faults that are timed, that are compared, that are tried for these, and that are drawn.
_TIMED, _COMPARED, _TRIED, _DRAWN = 100, 20, 60, 2000
#: The least bit that is flipped in what is compared, so that most of these change something.
_HIGH = 1 << 20
#: Largest difference of logits, in units of the largest of a row.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """What was found of one network; ``message`` says why there is nothing."""

    name: str
    source: str
    layers: int = 0
    compiled: int = 0
    parameters: float = 0.0
    macs: float = 0.0
    missing: tuple[str, ...] = ()
    capture_s: float = 0.0
    per_1000_s: float = 0.0
    agree: int = 0
    compared: int = 0
    changed: int = 0
    message: str = ""


def main(arguments: list[str]) -> None:
    """Measure, and print a table or JSON lines."""
    parser = argparse.ArgumentParser(prog="make bench ARGS='models ...'", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object per line")
    parser.add_argument("--only", default="", help="comma-separated names, or sources")
    asked = parser.parse_args(arguments)
    keep_freed_memory()
    only = set(filter(None, asked.only.split(",")))
    for subject in subjects():
        if not only or {subject.name, subject.source} & only:
            row = measure(subject)
            print(json.dumps(asdict(row)) if asked.json else _line(row), flush=True)


def measure(subject: Subject, timed: int = _TIMED) -> Row:
    """One network; what it raises becomes its message."""
    torch.manual_seed(0)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, inputs = subject.make()
            model = _settled(model, inputs)
            work = rh.capture(model, inputs, _labels(model, inputs, subject), output=subject.output)
            row = _measured(subject, model, inputs, work, timed)
    except Exception as error:  # any: a row that fails names its message
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Row(subject.name, subject.source, message=message[:300])
    return Row(**{**asdict(row), "capture_s": round(time.perf_counter() - started, 1)})


def _settled(model: nn.Module, inputs: Any) -> nn.Module:
    """In evaluation mode, with statistics of normalisation from a few forward passes."""
    model.train()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    with torch.no_grad():
        try:
            for _ in range(2):
                _called(model, inputs)
        except Exception:  # one that does not run in training mode has nothing to settle
            pass
    return model.eval()


def _called(model: nn.Module, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _logits(found: Any, output: str | None) -> Tensor:
    if isinstance(found, Tensor):
        return found
    if output is not None and output.isdecimal():
        return found[int(output)]
    return found[output or "logits"]


def _labels(model: nn.Module, inputs: Any, subject: Subject) -> Tensor:
    with torch.no_grad():
        found = _logits(_called(model, inputs), subject.output)
    return found.argmax(-1)


def _measured(subject: Subject, model: nn.Module, inputs: Any, work: Workload, timed: int) -> Row:
    trace, space = rh.record(work), rh.chips.SOFTWARE.sites(work)
    drawn = rh.Uniform().draw(space, timed, np.random.default_rng(1))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, drawn)
    rh.resume(trace, corruption[:2])  # compiles, and tries its plans
    start = time.perf_counter()
    rh.resume(trace, corruption)
    seconds = time.perf_counter() - start
    agree, compared, changed = agreement(subject, model, inputs, work)
    covered = work.covered
    return Row(
        subject.name, subject.source, len(work.layers),
        len(enterable(trace)) if followed(trace) else 0,
        round(covered.parameters, 4), round(covered.macs, 4), covered.missing,
        per_1000_s=round(seconds * 1000 / timed, 2),
        agree=agree, compared=compared, changed=changed,
    )  # fmt: skip


def agreement(
    subject: Subject, model: nn.Module, inputs: Any, work: Workload
) -> tuple[int, int, int]:
    """How many faults end as in a plain pass in which the same value was overwritten, of how many.

    Half of them are in weights as the model stores them, half in what its modules give. The last
    number is of those that change the logits of the plain pass, which are looked for. The engine
    runs one image at a time, as the plain pass does: libraries add up in another order for another
    number of images, and a flipped exponent makes the last bit of a value its first.
    """
    space = rh.chips.SOFTWARE.sites(work)
    drawn = rh.Stratified().draw(space, _DRAWN, np.random.default_rng(2))
    corruption = rh.chips.SOFTWARE.corrupt(work, space, drawn)

    def forward(image: int) -> Tensor:
        one = _one(inputs, image)
        with torch.no_grad():
            return _logits(_called(model, one), subject.output)[0].reshape(-1)

    golden = [forward(image) for image in range(len(work.images))]
    plain: dict[int, Tensor] = {}
    idle: dict[int, Tensor] = {}
    for k in _comparable(model, forward, work, corruption):
        with _overwritten(model, work, corruption, k):
            found = forward(int(corruption.image[k]))
        same = torch.equal(found, golden[int(corruption.image[k])])
        (idle if same else plain)[k] = found
        if len(plain) == _COMPARED:
            break
    changed = len(plain)
    plain.update(list(idle.items())[: _COMPARED - changed])
    trace = rh.record(work, rows=1)
    logits = rh.resume(trace, corruption[np.array(list(plain), np.int64)]).logits
    agree = sum(map(_alike, logits, plain.values()))
    return agree, len(plain), changed


def _one(inputs: Any, image: int) -> Any:
    if isinstance(inputs, Mapping):
        return {name: value[image : image + 1] for name, value in inputs.items()}
    return inputs[image : image + 1]


def _comparable(
    model: nn.Module, forward: Forward, work: Workload, corruption: Corruption
) -> Iterator[int]:
    """Corruptions of higher bits that can be done to the model itself, weights and outputs in turn.

    At most `_TRIED` of them, in random order.
    """
    calls, memory = calls_of(model, forward), shared_storages(model)
    modules = dict(model.named_modules())
    found: dict[str, list[int]] = {"weight": [], "output": []}
    for k in np.random.default_rng(3).permutation(len(corruption)).tolist():
        layer, operand = work.layers[int(corruption.layer[k])], str(corruption.operand[k])
        if operand == "weight":
            stored = work.source.steps[layer.operands[1]].constant
            able = stored.untyped_storage().data_ptr() in memory
        else:
            name, call = _module_of(layer.name)
            looks_up = isinstance(modules.get(name), nn.Embedding)  # tied weights have one name
            able = calls.get(name, 0) >= call and looks_up == (layer.kind == "embedding")
        if able and int(corruption.flip[k]) >= _HIGH:
            found[operand].append(k)
    pairs = itertools.zip_longest(*found.values())
    both = (k for pair in pairs for k in pair if k is not None)
    return itertools.islice(both, _TRIED)


def _module_of(layer: str) -> tuple[str, int]:
    """The module that a layer was, and which of its calls."""
    name, _, call = layer.partition("#")
    return name, int(call or 1)


def _overwritten(model: nn.Module, work: Workload, corruption: Corruption, k: int) -> Any:
    layer = work.layers[int(corruption.layer[k])]
    masks = int(corruption.keep[k]), int(corruption.flip[k])
    element = int(corruption.element[k])
    if corruption.operand[k] == "weight":
        return weight_overwritten(work.source.steps[layer.operands[1]].constant, element, *masks)
    name, call = _module_of(layer.name)
    return output_overwritten(model.get_submodule(name), call, element, *masks)


def _alike(found: Tensor, plain: Tensor) -> bool:
    """Whether logits are the same but for rounding; what is no number must be none in both."""
    finite = torch.isfinite(plain)
    if not torch.equal(found.isnan(), plain.isnan()):
        return False
    if not torch.equal(found[~finite & ~found.isnan()], plain[~finite & ~plain.isnan()]):
        return False
    scale = plain[finite].abs().max().clamp(min=1e-3) if finite.any() else torch.ones(())
    return bool(((found[finite] - plain[finite]).abs() <= _TOLERANCE * scale).all())


def _line(row: Row) -> str:
    if row.message:
        return f"{row.name:28} {row.source:12} {row.message}"
    return (
        f"{row.name:28} {row.source:12} {row.compiled:3}/{row.layers:<3} {row.parameters:7.1%} "
        f"{row.macs:7.1%} {row.per_1000_s:8.2f} s {row.agree:3}/{row.compared}, "
        f"{row.changed} change"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
