"""What follows a layer value by value, such as normalisation, residual sums and rectifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from radhard.engine.trace import Trace
from radhard.network.layer import Layer
from radhard.network.operation import Elementwise, Verb, affine_of, operation_of
from radhard.network.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The elementwise steps behind a layer, through which a wrong output is followed as it is.

    Each is read by nobody but the next one, and what else they read is computed before the layer.

    Attributes:
        layer: the layer.
        steps: the steps in run order; none where the layer's outputs are read otherwise.
        affine: slope and offset per channel of those that normalise.
    """

    layer: Layer
    steps: tuple[int, ...]
    affine: Mapping[int, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, workload: Workload, layer: Layer, users: Sequence[Sequence[int]]) -> Tail:
        """The longest one, given who reads each step."""
        program, own = workload.program, workload.program.rows[layer.step]
        step, steps = layer.step, []
        while len(users[step]) == 1 and step != program.output:
            after = users[step][0]
            done, others = operation_of(program.steps[after]), set(program.steps[after].inputs)
            alike = all(program.rows[k] == own and k < layer.step for k in others - {step})
            if done == Elementwise(Verb.NORMALISE):
                alike = layer.kind == "conv"
            if program.rows[after] != own or not (isinstance(done, Elementwise) and alike):
                break
            step = after
            steps.append(step)
        normal = Elementwise(Verb.NORMALISE)
        normal_steps = [index for index in steps if operation_of(program.steps[index]) == normal]
        affine = {index: affine_of(program.steps, index) for index in normal_steps}
        return cls(layer, tuple(steps), affine)

    @property
    def end(self) -> int:
        """The step whose value comes out, the layer's own where nothing follows."""
        return (self.layer.step, *self.steps)[-1]

    def passed(self, trace: Trace, image: Tensor, element: Tensor, value: Tensor) -> Tensor:
        """Outputs of the layer, (m,), as they are at the end."""
        steps, read = trace.workload.program.steps, self.layer.step
        value = value.clone()
        for index in self.steps:
            if index in self.affine:
                slope, offset = self.affine[index]
                channel, _ = self.layer.output_place(element)
                value = value * slope[channel] + offset[channel]
            else:
                value = steps[index].run(_Held(trace, read, value, image, element))
            read = index
        return value


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Values (m,) by step, as an elementwise step reads them: one is at hand, others golden."""

    trace: Trace
    step: int
    value: Tensor
    image: Tensor
    element: Tensor

    def __call__(self, step: int) -> Tensor:
        if step == self.step:
            return self.value
        return self.trace.values[step][self.image, self.element]
