"""Retuning a network to the array that it runs on: its faults, and what its multiplier gets wrong.

Siddique and Hoque, arXiv:2301.07484 ("Fal-reTune"), of which the rules are not published; these are
the weight map of ALWANN (Mrazek et al., ICCAD 2019) with the table of each faulty element, bypass
(Zhang et al., VTS 2018: FAP), and rules of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from radhard.accel.chip import Accelerator
from radhard.network.layer import Layer
from radhard.network.multiplied import Multiplied, port_of
from radhard.network.sums import per_group_of, whole
from radhard.network.workload import Workload
from radhard.protect.held import (
    applied,
    as_weight,
    held_by,
    integers_of,
    with_learned,
)
from radhard.protect.place import least_hurt
from radhard.protect.protection import UNFITTED, Cost, Fitted, Protection
from radhard.protect.rules import Hybrid, Rule
from radhard.protect.slopes import Slopes, StraightThrough
from radhard.protect.tune import trained_in_loop

#: Images of which a fifth can be held out.
_LEAST = 5
#: Means and squared slopes of layers' sums, by channel.
Exact = tuple[dict[int, Tensor], dict[int, Tensor]]
_STRAIGHT, _HYBRID = StraightThrough(), Hybrid()


@dataclass(frozen=True, slots=True)
class Retune(Protection):
    """Weights, biases and places that suit an array with stuck bits, learned from images.

    The workload must run on such an array (`Workload.with_`), which keeps weights in its elements
    (``ws``): then every weight has an element of its own. `fit` learns, layer after layer, from the
    images of the workload that it is given; without it nothing changes.

    Attributes:
        rule: what becomes of weights on faulty elements.
        epochs: of training after that, with the faulty array in the loop, if any; the best network
            on a held-out fifth of the images is kept, that without training among them.
        remap: whether layers are first placed on the array so that the weights that matter least
            lie on faulty elements: output channels over columns, input channels over rows.
        seed: of the training.
        slopes: that training takes for those of products: `StraightThrough` or `TableSlopes`.
        learned: from `fit`.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(8, 1, 2, 2), torch.arange(8) % 3, rh.INT8)
    >>> array = rh.Array(4, 4, defects=(rh.Defect(0, 1, "product", 1, bit=14),))
    >>> chip = work.with_(array=array)
    >>> retuned = rh.Retune().fit(chip).retune(chip)
    >>> retuned.computing
    'int8+mul8s_exact+4x4-ws-1-product'
    """

    rule: Rule = _HYBRID
    remap: bool = False
    epochs: int = 0
    seed: int = 0
    slopes: Slopes = _STRAIGHT
    learned: Fitted = UNFITTED

    def __post_init__(self) -> None:
        if isinstance(self.rule, type) or not isinstance(self.rule, Rule):
            raise TypeError(
                f"rule {self.rule!r} is none: use Keep(), WeightMap(), Bypass(), Hybrid() or one "
                "of your own"
            )
        if not isinstance(self.slopes, Slopes):
            raise TypeError(
                f"slopes {self.slopes!r} are none: use StraightThrough() or TableSlopes()"
            )
        if self.epochs < 0:
            raise ValueError(f"{self.epochs} epochs can't be: use 0 or more")

    def fit(self, workload: Workload, exact: Exact | None = None) -> Retune:
        """The same, with what it learned for this array from these images.

        What has learned already stays as it is.

        Args:
            workload: the network on its array.
            exact: what `of_exact_run` gives, where many arrays share it.

        Raises:
            ValueError: for a network on no array, or where weights do not stay in its elements.
        """
        if self.learned:
            return self
        exact = exact or self.of_exact_run(workload)
        found, loss = self._learned(workload, self.rule, exact)
        for rival in self.rule.rivals:
            other, its_loss = self._learned(workload, rival, exact)
            if its_loss < loss:
                found, loss = other, its_loss
        if self.epochs:
            if len(workload.images) < _LEAST:
                raise ValueError(
                    f"{len(workload.images)} images are too few to train on: use {_LEAST} or more"
                )
            found = trained_in_loop(workload, found, self.slopes, self.epochs, self.seed)
        return replace(self, learned=Fitted(found))

    def _learned(
        self, workload: Workload, rule: Rule, exact: Exact
    ) -> tuple[dict[int, tuple[Tensor, ...]], float]:
        """What a rule makes of all layers, one after the other, and the network's loss then."""
        found: dict[int, tuple[Tensor, ...]] = {}
        means, slopes = exact

        def visited(index: int, values: Callable[[int], Any]) -> Any:
            number = workload.numbers.get(index)
            if number is None:
                return workload.program.steps[index].run(values)
            x, given = workload.operands(number, values)
            how, layer = workload.arithmetic[number], workload.layers[number]
            if isinstance(how.own, Multiplied) and workload.parameters[number] is not None:
                new = self._layer(workload, number, how.operand(x), slopes.get(number), rule)
                how, given, change = applied(workload, number, new, None)
                sums = how.sums(whole(layer, how), how.operand(x), given)
                if rule.compensates:
                    off = means[number] - _by_channel(layer, sums)
                    before = how.bias(given)
                    how, given, change = applied(workload, number, new, off)
                    bias = how.bias(given)
                    assert bias is not None
                    sums = sums + (bias if before is None else bias - before).to(sums.dtype)
                found[number] = (*new, change)
                return how.finished(sums, given).to(x.dtype)
            return how.run(whole(layer, how), x, given)

        with torch.no_grad():
            logits = workload.program.output_of(workload.images, evaluate=visited)
            loss = float(workload.task.loss(logits.to(torch.float64), workload.labels))
        if not found:
            raise ValueError(
                f"{workload.name} in {workload.computing} runs on no array: give it one with "
                "with_(multiplier=..., array=...)"
            )
        return found, loss

    def of_exact_run(self, workload: Workload) -> Exact:
        """What is learned from exact arithmetic, whatever the array is.

        Mean sums of layers by channel, and mean squared slopes of the loss by them where layers are
        placed.
        """
        return _of_exact_run(workload, self.remap)

    def retune(self, workload: Workload) -> Workload:
        """The network with what was learned."""
        return with_learned(workload, self.learned.tensors)

    def on_array(self, workload: Workload) -> dict[str, Any]:
        """What an array needs to know of each layer, by name, as plain data.

        Codes of weights (channels, terms), their scales, the biases in units of sums, with what
        takes mean errors off in them and, ``added``, by itself, bypassed elements (row, column),
        and the places of terms and channels.
        """
        found = {}
        for number, (*new, off) in self.learned.tensors.items():
            how, given, _ = applied(workload, number, tuple(new), off)
            layer = workload.layers[number]
            assert isinstance(how.own, Multiplied)
            found[layer.name] = {
                "weights": layer.weight_rows(given.weight).to(torch.int64).tolist(),
                "scales": given.scale.reshape(-1).tolist(),
                "biases": _biases(layer, how.bias(given)),
                "added": off.to(torch.int64).tolist(),
                "bypassed": [list(place) for place in how.own.array.bypassed],
                "terms": new[2].tolist(),
                "channels": new[3].tolist(),
            }
        return found

    def cost(self, workload: Workload, chip: Accelerator) -> Cost:
        """Nothing in the run; weights have to be learned for each chip."""
        return Cost(retraining=True)

    def _layer(
        self, workload: Workload, number: int, operand: Tensor, slope: Tensor | None, rule: Rule
    ) -> tuple[Tensor, ...]:
        """Weights, bypassed elements (rows, cols), places of terms and channels."""
        how, layer = workload.arithmetic[number], workload.layers[number]
        own = how.own
        assert isinstance(own, Multiplied)
        placing = own.placing
        held = held_by(workload, number, operand)
        if self.remap and slope is not None:
            placing = least_hurt(layer, held, slope)
            own = replace(own, placing=placing)
            held = held_by(workload, number, operand, own)
        new = rule.chosen(held)
        rows = integers_of(new.codes, port_of(own.multiplier, how.weight))
        weight = as_weight(layer, how, workload.weight(number), rows)
        passed = torch.zeros(own.array.rows * own.array.cols, dtype=torch.bool)
        passed[torch.from_numpy(new.bypassed)] = True
        terms = torch.tensor(placing.terms if placing is not None else range(layer.fan_in))
        columns = placing.channels if placing is not None else range(per_group_of(layer))
        return weight, passed, terms, torch.tensor(columns)


def _of_exact_run(workload: Workload, sloped: bool) -> Exact:
    """Mean sums by channel, and mean squared slopes of the loss by them, of exact arithmetic."""
    means: dict[int, Tensor] = {}
    slopes: dict[int, Tensor] = {}
    taken: dict[int, Tensor] = {}

    def visited(index: int, values: Callable[[int], Any]) -> Any:
        number = workload.numbers.get(index)
        if number is None:
            return workload.program.steps[index].run(values)
        x, given = workload.operands(number, values)
        layer, how = workload.layers[number], replace(workload.arithmetic[number], own=None)
        with torch.no_grad():
            sums = how.sums(layer.product, how.operand(x.detach()), given)
            means[number] = _by_channel(layer, sums)
            found = how.finished(sums, given).to(x.dtype)
        if not sloped:
            return found
        if workload.parameters[number] is None:
            if layer.kind != "matmul":
                return how.run(layer.product, x, given)
            smooth = layer.product(x, values(layer.operands[1]), None)
            return smooth + (found - smooth).detach()
        weight = workload.weight(number).to(x.dtype)
        smooth = layer.product(x, weight, None)
        result = smooth + (found - smooth).detach()
        if not result.requires_grad:
            result.requires_grad_()
        result.retain_grad()
        taken[number] = result
        return result

    with torch.set_grad_enabled(sloped):
        logits = workload.program.output_of(workload.images, evaluate=visited)
        if sloped:
            workload.task.loss(logits, workload.labels).backward()
    for number, result in taken.items():
        if result.grad is None:  # nothing tells the loss of it
            continue
        slopes[number] = _by_channel(workload.layers[number], result.grad.square())
    return means, slopes


def _biases(layer: Layer, bias: Tensor | None) -> list[int]:
    held = torch.zeros(layer.channels) if bias is None else bias.reshape(-1)
    return held.to(torch.int64).tolist()


def _by_channel(layer: Layer, values: Tensor) -> Tensor:
    """Means over images and positions of a layer's outputs, (m,)."""
    layout = values.reshape(-1, layer.channels * layer.positions).to(torch.float64)
    channel, _ = layer.output_place(torch.arange(layout.shape[1]))
    found = torch.zeros(layer.channels, dtype=torch.float64)
    return found.index_add(0, channel, layout.mean(0)) / layer.positions
