"""How much each fault should move the decision, to first order: one backward pass per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radhard.engine.strike import altered
from radhard.faults.corruption import OPERANDS, Corruption
from radhard.formats.number import NumberFormat
from radhard.network.workload import Workload

#: Ratios are kept within these; nothing is said beyond them.
_LEAST, _MOST = 1e-12, 1e12
#: Images that run backwards at once.
_BATCH = 64
#: A partial sum or product is tried at this share of the output, besides all of it.
_PART = 1 / 16


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """Fault-free values of all layers and the gradients of the decision margin in them.

    The margin of an image is its highest logit less the second highest.

    Attributes:
        workload: the network with its images.
        margin: (b,).
        values, gradients: per layer and operand (input, output): (b, elements). Those of weights
            are added when a wrong weight is first asked about, since they take a backward pass
            per image: (1, elements) and (b, elements).
    """

    workload: Workload
    margin: Tensor
    values: tuple[dict[str, Tensor], ...]
    gradients: tuple[dict[str, Tensor], ...]

    @classmethod
    def of(cls, workload: Workload) -> Margins:
        """Run the images forwards and backwards once, fault-free, many at a time."""
        runs = [_backward(workload, images) for images in workload.images.split(_BATCH)]
        count = range(len(workload.layers))
        return cls(
            workload,
            torch.cat([margin for margin, _, _ in runs]),
            tuple(_joined([values[k] for _, values, _ in runs]) for k in count),
            tuple(_joined([gradients[k] for _, _, gradients in runs]) for k in count),
        )

    def _with_weights(self) -> None:
        """Add the weights of all layers: one image at a time, for a gradient per image."""
        runs = [_backward(self.workload, image) for image in self.workload.images.split(1)]
        for k, (values, gradients) in enumerate(zip(self.values, self.gradients, strict=True)):
            if "weight" in runs[0][1][k]:
                values["weight"] = runs[0][1][k]["weight"]
                gradients["weight"] = torch.cat([run[2][k]["weight"] for run in runs])

    def ratio(self, corruption: Corruption) -> NDArray[np.float64]:
        """First-order change of the margin, relative to it, of n corruptions, (n,), above 0.

        A value near 1 or above says that the top class may change. It is a guess: activation
        functions, saturation and other classes are left out, and for a partial sum stands the
        output that it becomes.
        """
        found = np.full(len(corruption), _LEAST)
        for number in np.unique(corruption.layer):
            for operand in OPERANDS:
                chosen = (corruption.layer == number) & (corruption.operand == operand)
                if chosen.any():
                    found[chosen] = self._ratio(int(number), operand, corruption[chosen])
        return found

    def _ratio(self, number: int, operand: str, corruption: Corruption) -> NDArray[np.float64]:
        how, layer = self.workload.arithmetic[number], self.workload.layers[number]
        place = "output" if operand == "psum" else operand
        if place == "weight" and "weight" not in self.values[number]:
            self._with_weights()
        formats = {"weight": how.weight, "input": how.input, "psum": how.latch}
        fmt = formats.get(operand, how.output)
        image, element = (torch.from_numpy(part) for part in (corruption.image, corruption.element))
        values, gradients = self.values[number][place], self.gradients[number][place]
        row = torch.zeros_like(image) if len(values) == 1 else image
        if operand == "weight" and hasattr(fmt, "of_channels"):
            fmt = fmt.of_channels(layer.weight_place(element)[0])
        held = values[row, element.clamp(min=0)]
        held = torch.where(element < 0, 0.0, held)
        moved = _moved(held, corruption, fmt)
        if operand == "psum":  # parts of a sum are smaller than it, on the whole
            smaller = _moved(held * _PART, corruption, fmt)
            moved = torch.where(smaller.abs() > moved.abs(), smaller, moved)
        slope = gradients[image, element.clamp(min=0)].abs()
        # what an activation function or a pooling stage holds back now may pass once it is larger
        typical = gradients.square().mean(1).sqrt()[image]
        passing = moved > 0 if operand == "output" else moved != 0
        slope = torch.where((slope == 0) & passing, typical, slope)
        ratio = (moved.abs() * slope / self.margin[image].clamp(min=1e-30)).numpy()
        known: NDArray[np.float64] = np.nan_to_num(ratio, nan=_MOST, posinf=_MOST).clip(max=_MOST)
        if place != "output":
            known = known * _share(corruption, layer.channels, layer.positions)
        return known.clip(min=_LEAST)


def _moved(held: Tensor, corruption: Corruption, fmt: NumberFormat) -> Tensor:
    change = altered(fmt.round(held), corruption, fmt)
    return (change.after - change.before).double()


def _share(corruption: Corruption, channels: int, positions: int) -> NDArray[np.float64]:
    """Share of a layer's outputs that lie in each box of reads."""
    extent = [
        np.minimum(box[:, 1], most) - box[:, 0]
        for box, most in ((corruption.channels, channels), (corruption.positions, positions))
    ]
    share: NDArray[np.float64] = extent[0] * extent[1] / (channels * positions)
    return share


def _backward(
    workload: Workload, images: Tensor
) -> tuple[Tensor, list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Margins, values and gradients, (b, elements); those of inputs through their own layer only.

    Images do not influence each other, so one pass serves them all; gradients in weights, which
    they share, are sums over them, (1, elements).
    """
    program, held = workload.program, []

    def evaluate(index: int, values: Any) -> Any:
        number = workload.numbers.get(index)
        if number is None:
            return program.steps[index].run(values)
        layer = workload.layers[number]
        own = {
            step: values(step).detach().clone().requires_grad_(True)
            if isinstance(program.steps[step].constant, Tensor)
            else values(step) + torch.zeros_like(values(step)).requires_grad_(True)
            for step in layer.operands[:2]
        }
        for value in own.values():
            value.retain_grad()
        output = program.steps[index].run(lambda s: own[s] if s in own else values(s))
        output.retain_grad()
        held.append((layer, own, output))
        return output

    with torch.enable_grad():
        found = program.run(images.clone().requires_grad_(True), evaluate)
        best = found[program.output].topk(2, dim=1).values
        margin = best[:, 0] - best[:, 1]
        margin.sum().backward()
    values, gradients = [], []
    for layer, own, output in held:
        parts = {
            "input": (own[layer.operands[0]], layer.operands[0]),
            "output": (output, layer.step),
        }
        if workload.parameters[workload.numbers[layer.step]] is not None:
            parts["weight"] = own[layer.operands[1]], -1
        values.append({n: _rows(workload, step, p.detach()) for n, (p, step) in parts.items()})
        gradients.append(
            {
                name: _rows(
                    workload, step, torch.zeros_like(part) if part.grad is None else part.grad
                )
                for name, (part, step) in parts.items()
            }
        )
    return margin.detach(), values, gradients


def _rows(workload: Workload, step: int, value: Tensor) -> Tensor:
    """A step's value as (b, elements); a weight, which has no step here, as (1, elements)."""
    layout = workload.program.rows[step] if step >= 0 else None
    return layout.split(value) if layout is not None else value.reshape(1, -1)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in ("input", "output")}
