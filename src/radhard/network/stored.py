"""A network with other values in the weights that it stores, in formats that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from radhard.network.arithmetic import Arithmetic, Datapath
from radhard.network.fit import largest
from radhard.network.program import Program, Step
from radhard.network.workload import Learnt, Workload


def with_stored(
    workload: Workload,
    weights: Mapping[int, Tensor],
    biases: Mapping[int, Tensor] | None = None,
    datapaths: Mapping[int, Datapath] | None = None,
) -> Workload:
    """A copy with these weights, which may be any that their formats have.

    `Workload.with_constants` fits formats anew; here they are those of the hardware's memory.

    Args:
        workload: the network.
        weights: by number of layer, in the weight's own shape, values of its format.
        biases: likewise, as they are added to sums; of real values.
        datapaths: what computes layers, in place of what did.
    """
    biases, datapaths = biases or {}, datapaths or {}
    steps, parameters = list(workload.program.steps), list(workload.parameters)
    arithmetic = list(workload.arithmetic)
    for number in {*weights, *biases, *datapaths}:
        layer, given = workload.layers[number], parameters[number]
        how = arithmetic[number]
        how = replace(how, own=datapaths.get(number, how.own))
        how = _unbounded(workload, number, how)
        arithmetic[number] = how
        if given is None:
            continue
        if number in weights:
            weight, place = weights[number], layer.operands[1]
            steps[place] = Step(steps[place].name, constant=weight)
            held = how.integer_weight(weight) if how.exact else weight
            given = replace(given, weight=held)
        parameters[number] = given = replace(given, bias=biases.get(number, given.bias))
        if layer.bias is not None and number in biases:
            held_bias = biases[number].reshape(-1).to(steps[layer.bias].constant.dtype)
            steps[layer.bias] = Step(steps[layer.bias].name, constant=held_bias)
        arithmetic[number] = how.with_bias(parameters[number])
    program = workload.program
    changed = Program(tuple(steps), program.rows, program.sizes, program.output)
    return replace(
        workload, program=changed, parameters=tuple(parameters), arithmetic=tuple(arithmetic),
        stored=True, learnt=Learnt(),
    )  # fmt: skip


def _unbounded(workload: Workload, number: int, how: Arithmetic) -> Arithmetic:
    """With a bound on sums that holds for any weights."""
    if not how.exact:
        return how
    bound = largest(how.input) * largest(how.weight) * workload.layers[number].fan_in
    return how.with_bound(bound)
