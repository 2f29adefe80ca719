"""From corruptions to logits: continue the golden run from where each fault struck."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.again import Again
from radhard.engine.change import Change
from radhard.engine.device import exactly
from radhard.engine.guard import Seen, Wrong, guarded
from radhard.engine.passage import (
    enterable,
    followed,
    from_inputs,
    from_outputs,
    from_weights,
    passed,
)
from radhard.engine.sparse import Front
from radhard.engine.strike import by_operand, single, struck_outputs, struck_values
from radhard.engine.trace import Trace
from radhard.engine.trial import trusted
from radhard.engine.whole import Observer, Pool, walked
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.network.workload import HOST


@dataclass(frozen=True, slots=True, eq=False)
class Resumed:
    """What came out of n faulty runs.

    Attributes:
        logits: (n, classes).
        golden: the fault-free logits of the same images, (n, classes).
        alarms: (n, watched steps) where the guard raised an alarm, in the order of steps; more
            columns are of what else raised some.
        struck: what each struck value was and became, float64.
    """

    logits: Tensor
    golden: Tensor
    alarms: Tensor
    struck: Change

    @property
    def detected(self) -> Tensor:
        """(n,) whether there was an alarm."""
        return self.alarms.any(1)

    def on(self, device: torch.device) -> Resumed:
        """The same on a device."""
        logits, golden = self.logits.to(device), self.golden.to(device)
        struck = Change(*(side.to(device) for side in self.struck))
        return Resumed(logits, golden, self.alarms.to(device), struck)


@exactly()
def resume(
    trace: Trace,
    corruption: Corruption,
    pool: int | None = None,
    patches: bool | None = None,
    watch: Mapping[int, Observer] | None = None,
) -> Resumed:
    """Run the network under each corruption, from its layer on.

    Differences are followed by compiled kernels on the CPU, as far as there are some; then whole
    tensors are run. So they are from the start on other devices, and where following differences
    fails a trial, of which there is a warning. Whole runs walk through the network together: each
    joins where it begins, and leaves as soon as nothing that is still to be read differs from the
    golden run. The result for one fault does not depend on the others, nor on ``pool``.

    Not-a-number and infinities flow through the network by the rules of IEEE 754 where the format
    has them; a not-a-number differs from everything.

    Args:
        trace: the golden run.
        corruption: n corruptions.
        pool: faults in flight at once, as the trace says where ``None``.
        patches: ``False`` to run whole tensors from the start, the simpler way; otherwise
            differences are followed where they can be.
        watch: by step, who is to see the runs pass; they are then run as whole tensors. Runs that
            differ nowhere any more have been finished and are not shown.

    Returns:
        Logits in the order of ``corruption``, and all that comes with them, on the host.
    """
    follows = patches is not False and followed(trace) and not watch
    follows = follows and trusted(trace, enterable(trace), _logits)
    return _run(trace, corruption, follows, pool or trace.pool, watch or {}).on(HOST)


#: Number of a layer, and of some corruptions (k,) of it, to its outputs under them (k, elements).
Begun = Callable[[int, NDArray[np.int64]], Tensor]


@exactly()
def continued(trace: Trace, corruption: Corruption, outputs: Begun) -> Resumed:
    """The same from outputs of struck layers that something else has computed.

    Whole tensors are run. What guards are told of the values that are struck, which checkers may
    read, is what they become here; nobody else is told.

    Args:
        trace: the golden run.
        corruption: n corruptions: in which layers, during which images.
        outputs: gives the outputs of a layer.
    """
    run = _Runs.of(trace, corruption)
    for start in range(0, len(corruption), trace.pool):
        these = np.arange(start, min(start + trace.pool, len(corruption)))
        waiting: dict[int, list[Pool]] = {}
        for number, _, own in by_operand(corruption[these]):
            which = these[own]
            part, fault = corruption[which], torch.from_numpy(which).to(trace.logits.device)
            with torch.no_grad():
                change = _changed(trace, number, part) if trace.guard is not None else run.struck
                begun = _struck(trace, number, part, fault, outputs(number, which), change)
            waiting.setdefault(begun.position, []).append(begun)
        run.finish(waiting, {})
    return run.found.on(HOST)


def _changed(trace: Trace, number: int, corruption: Corruption) -> Change:
    """What values of one operand of a layer were and become, (n,)."""
    one = single(trace, number, corruption)
    found = [torch.zeros(len(one), dtype=torch.float64) for _ in range(3)]
    for alone, chosen in ((True, one), (False, ~one)):
        if chosen.any():
            strike = struck_values if alone else struck_outputs
            change = strike(trace, number, corruption[chosen])[-1]
            for side, values in zip(found, change, strict=True):
                side[torch.from_numpy(chosen)] = values.double()
    return Change(found[0], found[1], found[2].long())


def _logits(trace: Trace, corruption: Corruption, follows: bool) -> Tensor:
    return _run(trace, corruption, follows, trace.pool, {}).logits


def _run(
    trace: Trace, corruption: Corruption, follows: bool, pool: int, watch: Mapping[int, Observer]
) -> Resumed:
    """See `resume`; ``follows`` says whether differences are followed."""
    run = _Runs.of(trace, corruption)
    n, device = len(corruption), trace.logits.device
    with torch.no_grad():
        for start in range(0, n, pool):
            flight = torch.arange(start, min(start + pool, n), device=device)
            waiting: dict[int, list[Pool]] = {}
            fronts: dict[int, list[Front]] | None = {} if follows else None
            these = corruption[start : start + pool]
            for begun in _beginnings(trace, fronts, these, flight, run.struck, run.again):
                waiting.setdefault(begun.position, []).append(begun)
            for left in passed(trace, fronts, run.logits, run.detected) if fronts else ():
                waiting.setdefault(left.position, []).append(left)
            run.finish(waiting, watch)
    return run.found


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Runs of n corruptions: as without a fault, until they are finished."""

    trace: Trace
    golden: Tensor
    logits: Tensor
    detected: Tensor
    again: Again
    struck: Change

    @classmethod
    def of(cls, trace: Trace, corruption: Corruption) -> _Runs:
        image = torch.from_numpy(corruption.image).to(trace.logits.device)
        golden = trace.logits[image]
        none = torch.zeros(len(image), dtype=torch.float64, device=image.device)
        struck = Change(none, none.clone(), none.to(torch.int64))
        again = Again.of(trace, corruption)
        return cls(trace, golden, golden.clone(), trace.alarms[image].clone(), again, struck)

    def finish(self, waiting: dict[int, list[Pool]], watch: Mapping[int, Observer]) -> None:
        """Take those that wait at steps through the network."""
        with torch.no_grad():
            for done in walked(self.trace, waiting, self.detected, watch, self.again):
                self.logits[done.fault] = done.values[self.trace.workload.program.output]
                self.detected[done.fault] = done.detected

    @property
    def found(self) -> Resumed:
        return Resumed(self.logits, self.golden, self.detected, self.struck)


def _beginnings(
    trace: Trace,
    fronts: dict[int, list[Front]] | None,
    corruption: Corruption,
    fault: Tensor,
    struck: Change,
    again: Again,
) -> Iterator[Pool]:
    """The runs with whole values, each where its own begin; fills in ``struck``.

    Runs that compiled kernels take on are put into ``fronts`` instead, by the step of their layer.
    """
    entries = enterable(trace) if fronts is not None else set()
    for number, layer in enumerate(trace.workload.layers):
        here = np.flatnonzero(corruption.layer == number)
        held = fronts.setdefault(layer.step, []) if fronts is not None else []
        for operand in OPERANDS if len(here) else ():
            chosen = here[corruption.operand[here] == operand]
            if not len(chosen):
                continue
            part, place = corruption[chosen], fault[torch.from_numpy(chosen).to(fault.device)]
            if operand == "weight" and (read_again := again.due(place, layer.step)).any():
                hit = read_again.cpu().numpy()
                outputs, change = struck_outputs(trace, number, part[hit])
                yield _struck(trace, number, part[hit], place[read_again], outputs, change)
                _note(struck, place[read_again], change)
                part, place = part[~hit], place[~read_again]
            one = single(trace, number, part)
            alone = torch.from_numpy(one).to(place.device)
            enters = held if layer.step in entries else None
            yield from _from_values(trace, enters, number, part[one], place[alone], struck)
            if not one.all():
                part, place = part[~one], place[~alone]
                if enters is not None:
                    begin = from_weights if operand == "weight" else from_inputs
                    front, change = begin(trace, number, place, part)
                    enters.append(front)
                else:
                    outputs, change = struck_outputs(trace, number, part)
                    yield _struck(trace, number, part, place, outputs, change)
                _note(struck, place, change)


def _note(struck: Change, fault: Tensor, change: Change) -> None:
    for side, values in zip(struck, change, strict=True):
        side[fault] = values.to(side.dtype)


def _from_values(
    trace: Trace,
    enters: list[Front] | None,
    number: int,
    corruption: Corruption,
    fault: Tensor,
    struck: Change,
) -> Iterator[Pool]:
    """The runs that begin with one wrong output."""
    if not len(fault):
        return
    step = trace.workload.layers[number].step
    image = torch.from_numpy(corruption.image).to(fault.device)
    element, golden, faulty, change = struck_values(trace, number, corruption)
    _note(struck, fault, change)
    if enters is not None:
        wrong = element, golden, faulty
        enters.append(from_outputs(trace, number, fault, image, wrong))
        return
    rows = trace.golden(step, image)
    rows[torch.arange(len(rows), device=rows.device), element] = faulty
    yield _struck(trace, number, corruption, fault, rows, change)


def _struck(
    trace: Trace, number: int, corruption: Corruption, fault: Tensor, output: Tensor,
    change: Change,
) -> Pool:  # fmt: skip
    """The runs that begin at the end of layer ``number``, with these outputs of it."""
    image = torch.from_numpy(corruption.image).to(fault.device)
    step = trace.workload.layers[number].step
    detected = trace.alarms[image].clone()
    if trace.guard is not None and step in trace.guard.steps:
        clean = trace.golden(step, image)
        shared = torch.from_numpy(_shared(trace, number, corruption)).to(image.device)
        wrong = Wrong(corruption, change.before, change.after)
        seen = Seen(step, output, clean, lambda step: trace.value(step, image), shared, wrong)
        output, alarm = guarded(trace.guard, trace.workload, seen)
        detected[:, trace.column(step)] = alarm
    values = {
        live: output if live == step else trace.golden(live, image)
        for live in trace.live_after(step)
    }
    return Pool(step, fault, image, detected, values)


def _shared(trace: Trace, number: int, corruption: Corruption) -> NDArray[np.bool_]:
    """Which corruptions lie in a stored operand, which a repetition would read again, (n,)."""
    stored = (corruption.operand == "weight") | (corruption.operand == "input")
    found: NDArray[np.bool_] = stored & ~single(trace, number, corruption)
    return found
