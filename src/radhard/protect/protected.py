"""A captured network that runs under guards, tells of their alarms, and acts on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from radhard.engine.guard import Seen, StepGuard, rows_of, sight_of
from radhard.network.fit import activations_as_weight, parameters_of
from radhard.network.program import Program, Span, Step
from radhard.network.sums import whole
from radhard.network.workload import Learnt, Workload
from radhard.protect.checksum import ChecksumGuard
from radhard.protect.gradient import GatedGuard
from radhard.protect.quiet import scout_of
from radhard.protect.rounding import Converting

#: By name of the protection, for each image, (b,) of bool.
Alarms = dict[str, Tensor]
#: Types that it computes in.
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Policy(StrEnum):
    """What a module does with images for which a guard raised an alarm."""

    #: Nothing: corrected values stay corrected, and what is only detected stays wrong.
    KEEP = "keep"
    #: They run once more. What struck a value on its way is gone then; a wrong weight is not, and
    #: raises the alarm again, as does a false alarm.
    RERUN = "rerun"
    #: As ``rerun``; where an alarm is raised again, weights and bounds are taken from a second copy
    #: that the module holds, and they run a third time. What stays is a false alarm, or an input
    #: or a copy that is wrong.
    RESET = "reset"


class Protected(nn.Module):
    """A captured network that runs under guards, with copies of all weights and bounds.

    Weights and other constants are buffers, ``constant_`` with the number of their step. Bounds and
    sums of guards stay in float32 whatever the module is converted to, and get room for rounding.
    """

    def __init__(
        self,
        workload: Workload,
        guards: Mapping[str, StepGuard],
        alarms: bool = False,
        on_alarm: Callable[[Alarms], None] | None = None,
        policy: Policy = Policy.KEEP,
    ) -> None:
        super().__init__()
        self.alarms, self.on_alarm, self.policy = alarms, on_alarm, policy
        for k, step in enumerate(workload.program.steps):
            if isinstance(step.constant, Tensor):
                self.register_buffer(f"constant_{k}", step.constant.clone())
        self._given = bare(workload.program)
        self.workload = replace(
            workload, source=self._given, program=self._given, images=workload.images[:0].clone(),
            labels=workload.labels[:0].clone(), extremes=(), origin=None, learnt=Learnt(),
        )  # fmt: skip
        self.guards = nn.ModuleDict(
            {name: guard for name, guard in guards.items() if isinstance(guard, nn.Module)}
        )
        self._other = {n: guard for n, guard in guards.items() if n not in self.guards}
        self._order = tuple(guards)
        self._watched = {
            step: tuple(name for name, guard in guards.items() if step in guard.steps)
            for guard in guards.values()
            for step in guard.steps
        }
        self._scouts = {
            (name, step): scout
            for name, guard in guards.items()
            for step in guard.steps
            if (scout := scout_of(guard, step, workload)) is not None
        }
        program = self._given
        self._span = Span(1, len(program.steps), (program.output,), program.last_readers())
        self._second: dict[str, Tensor] | None = None
        self._since: tuple[torch.dtype, ...] = ()  # conversions after the second copy was made
        if policy == Policy.RESET:
            self._second = {}
            self._keep_second()
            self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Alarms]:
        """Logits (b, classes), with alarms where these were asked for.

        Raises:
            TypeError: for images of another type than the module's, and under autocast.
        """
        self._check(images)
        outputs, alarms = self._run(images)
        if not traced():
            outputs, alarms = self._acted(images, outputs, alarms)
        elif self.policy != Policy.KEEP:
            raise ValueError(
                f"policy {self.policy.value!r} goes by what alarms there are, which a graph can't: "
                "export with policy='keep' and alarms=True, and run again what has an alarm"
            )
        return (outputs, alarms) if self.alarms else outputs

    def weights(self, layer: str) -> Tensor:
        """The weight of a layer as it is in memory, by the layer's name.

        Raises:
            ValueError: where there is none of this name.
        """
        named = {one.name: one.operands[1] for one in self.workload.layers}
        held = getattr(self, f"constant_{named.get(layer)}", None)
        if not isinstance(held, Tensor):
            raise ValueError(f"no layer {layer!r} with a weight: {', '.join(named)}")
        return held

    def restore(self) -> None:
        """Take weights, constants and what guards hold from the second copy.

        Raises:
            ValueError: where there is none.
        """
        if self._second is None:
            raise ValueError("no second copy of the weights is held: harden with policy='reset'")
        for name, held in self._held():
            held.copy_(self._second[name])
        for dtype in self._since:
            self._convert(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """In which it computes."""
        found = (one.dtype for one in self._buffers.values() if one is not None)
        return next((dtype for dtype in found if dtype.is_floating_point), torch.float32)

    def _check(self, images: Tensor) -> None:
        if torch.is_autocast_enabled(images.device.type):
            raise TypeError(
                "autocast gives single layers other types than those that guards know of: convert "
                "the module, module.to(torch.bfloat16), and run it under "
                f"torch.autocast({images.device.type!r}, enabled=False)"
            )
        if self.workload.datapaths:
            return
        if images.is_floating_point() and images.dtype != self.dtype:
            raise TypeError(
                f"images of {images.dtype} can't be for a module in {self.dtype}: convert them, "
                f"images.to({self.dtype}), or the module"
            )
        if _rounds_products(images) and any(_checks(self.guard(name)) for name in self._order):
            raise ValueError(
                "TF32 rounds operands of float32 away from what checksums have learned: turn it off"
                " (torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False)"
                " or convert the module, module.to(torch.bfloat16)"
            )

    def guard(self, name: str) -> StepGuard:
        """That of a protection."""
        found: Any = self._other[name] if name in self._other else self.guards[name]
        return found  # type: ignore[no-any-return]

    def _run(self, images: Tensor) -> tuple[Tensor, Alarms]:
        """One run, and its alarms."""
        program = self.workload.program
        none = torch.zeros(images.shape[0], dtype=torch.bool, device=images.device)
        alarms: Alarms = dict.fromkeys(self._order, none)

        def touched(step: int, found: Any, value: Callable[[int], Any]) -> Any:
            for name in self._watched.get(step, ()):
                found, alarm = self._looked(name, step, found, value)
                if alarm is not None:
                    alarms[name] = alarms[name] | alarm
            return found

        by = self._evaluate if self.workload.datapaths else None
        found = program.run({0: images}, images.shape[0], self._span, by, touched, self._constant)
        return found[program.output], alarms

    def _looked(
        self, name: str, step: int, found: Tensor, value: Callable[[int], Any]
    ) -> tuple[Tensor, Tensor | None]:
        """A step's value as a guard leaves it, and its alarms, if any."""
        layout, scout = self.workload.program.rows[step], self._scouts.get((name, step))
        guard = self.guard(name)
        assert layout is not None
        if not found.numel():
            return found, None
        rows, some = layout.split(found), None
        if rows.device.type == "cpu" and scout is not None and not traced():
            some = scout(rows, value)
            if some is not None and not len(some):
                return found, None
        sight = sight_of(self.workload, Seen(step, rows, rows, value))
        if some is None:
            output, alarm = guard.look(sight)
            return layout.join(rows_of(self.workload, step, output)), alarm
        output = sight.output[some]
        part = replace(
            sight, output=output, clean=output, inputs=lambda: sight.inputs()[some],
            shared=sight.shared[some],
        )  # fmt: skip
        corrected, alarm = guard.look(part)
        alarm = torch.zeros_like(sight.shared).index_copy(0, some, alarm)
        if corrected is output:
            return found, alarm
        rows = rows.index_copy(0, some, rows_of(self.workload, step, corrected))
        return layout.join(rows), alarm

    def _acted(self, images: Tensor, outputs: Tensor, alarms: Alarms) -> tuple[Tensor, Alarms]:
        """What the policy makes of a run."""
        again = {Policy.KEEP: 0, Policy.RERUN: 1, Policy.RESET: 2}[self.policy]
        for turn in range(again + 1):
            some = struck(alarms)
            if not len(some):
                break
            if self.on_alarm is not None:
                self.on_alarm(alarms)
            if turn == again:
                break
            if turn == 1:
                self.restore()
            more, left = self._run(images[some])
            outputs = outputs.index_copy(0, some, more)
            alarms = {name: own.index_copy(0, some, left[name]) for name, own in alarms.items()}
        return outputs, alarms

    def _constant(self, step: int) -> Any:
        held = getattr(self, f"constant_{step}", None)
        return self.workload.program.steps[step].constant if held is None else held

    def _evaluate(self, index: int, values: Callable[[int], Any]) -> Any:
        """The value of a step by the layers' arithmetic, with the weights of the module."""
        work = self.workload
        if (number := work.numbers.get(index)) is None:
            return work.program.steps[index].run(values)
        layer, how = work.layers[number], work.arithmetic[number]
        constant = work.parameters[number] is not None
        given = (
            parameters_of(layer, how, values)
            if constant
            else activations_as_weight(how, layer, values)
        )
        own = work.parameters[number]
        if own is not None and layer.bias is None:  # one that retuning gave
            given = replace(given, bias=own.bias)
        return how.run(whole(layer, how), values(layer.operands[0]), given)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Protected:
        """As modules do; what guards hold is moved, and keeps its type."""
        before = torch.empty(0, dtype=self.dtype, device=self._device())
        after = fn(before)
        if after.dtype != before.dtype:
            self._check_type(after.dtype)
        super()._apply(fn, recurse=False)  # type: ignore[no-untyped-call]
        for guard in self.guards.values():
            guard._apply(lambda held: _moved(fn, held))
        if self._second is not None:
            own = self._buffers.keys()
            self._second = {
                name: fn(held) if name in own else _moved(fn, held)
                for name, held in self._second.items()
            }
        if after.dtype != before.dtype:
            self._convert(after.dtype)
            self._since = (*self._since, after.dtype)
        program = self._given
        if after.dtype != torch.float32 or after.device.type != "cpu":
            program = program.to(after.device, after.dtype)
        self.workload = replace(self.workload, program=program)
        return self

    def _check_type(self, dtype: torch.dtype) -> None:
        if self.workload.datapaths:
            raise TypeError(
                f"a network that computes in {self.workload.computing} has the types that its "
                f"arithmetic needs, not {dtype}: harden the network without that arithmetic"
            )
        if dtype not in _TYPES:
            raise TypeError(f"{dtype} can't be: use {', '.join(map(str, _TYPES))}")

    def _device(self) -> torch.device:
        return next((one.device for one in self.buffers()), torch.device("cpu"))

    def _held(self) -> Collection[tuple[str, Tensor]]:
        """What a fault in memory can change."""
        return [(name, t.detach()) for name, t in (*self.named_buffers(), *self.named_parameters())]

    def _keep_second(self) -> None:
        if self._second is not None:
            self._second = {name: held.clone() for name, held in self._held()}
            self._since = ()

    def _convert(self, dtype: torch.dtype) -> None:
        """Let guards make room for values of a type."""
        for part in self.guards.modules():
            if isinstance(part, Converting):
                with torch.no_grad():
                    part.convert(dtype)


def traced() -> bool:
    """Whether the run is being made a graph, in which no step can depend on values."""
    return bool(torch.compiler.is_compiling()) or torch._C._get_tracing_state() is not None


def struck(alarms: Alarms) -> Tensor:
    """The images with an alarm of any guard, (k,)."""
    if not alarms:
        return torch.zeros(0, dtype=torch.int64)
    return torch.nonzero(torch.stack(list(alarms.values())).any(0))[:, 0]


def bare(program: Program) -> Program:
    """The program without the tensors of its constants."""
    steps = (
        Step(step.name) if isinstance(step.constant, Tensor) else step for step in program.steps
    )
    return replace(program, steps=tuple(steps))


def _checks(guard: StepGuard) -> bool:
    return isinstance(guard, ChecksumGuard) or (
        isinstance(guard, GatedGuard) and guard.checks is not None
    )


def _rounds_products(images: Tensor) -> bool:
    """Whether products of float32 are rounded to fewer digits there."""
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return images.device.type == "cuda" and images.dtype == torch.float32 and tf32


def _moved(fn: Callable[[Tensor], Tensor], held: Tensor) -> Tensor:
    """What a change of device and type makes of a tensor that keeps its type."""
    after = fn(held)
    return after if after.dtype == held.dtype else held.to(after.device)


def _loaded(module: nn.Module, _: Any) -> None:
    """After other weights were loaded, these are what the second copy holds."""
    assert isinstance(module, Protected)
    module._keep_second()
