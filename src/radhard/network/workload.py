"""A network, its inputs and its number formats: everything that defines the fault-free run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from radhard.formats.catalogue import FLOAT32
from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Formats, Parameters, fitted
from radhard.network.export import CaptureError, exported, program_of
from radhard.network.layer import Layer, layers_of
from radhard.network.program import Program, Step

Made = TypeVar("Made")
#: Smallest and largest values of a layer's input, second operand and output.
Extremes = tuple[Tensor, Tensor, Tensor]

#: Images that run at once while formats are fitted.
_CALIBRATION_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A captured network with images, labels and number formats; made by `capture`.

    The inputs and results of layers are rounded to their formats; what happens between layers
    runs in the carrier type, the smaller of float32 and float64 that holds all formats' values.

    Attributes:
        name: for tables and pages.
        source: the steps with the model's own constants.
        program: the steps with weights rounded to their formats, all in the carrier type.
        layers: the layers that multiply and accumulate, in run order.
        numbers: from the step of each layer to its number.
        extremes: fault-free ranges per layer, to which formats were fitted.
        formats: as asked.
        arithmetic: the fitted formats, per layer.
        parameters: weight and bias per layer, ready to run; ``None`` where both operands are
            activations.
        images: (b, ...) in the carrier type.
        labels: (b,) class numbers.
        learnt: what `once` has made.
    """

    name: str
    source: Program
    program: Program
    layers: tuple[Layer, ...]
    numbers: Mapping[int, int]
    extremes: tuple[Extremes, ...]
    formats: Formats
    arithmetic: tuple[Arithmetic, ...]
    parameters: tuple[Parameters | None, ...]
    images: Tensor
    labels: Tensor
    learnt: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def with_(
        self,
        images: Tensor | None = None,
        labels: Tensor | None = None,
        format: NumberFormat | Formats | None = None,
    ) -> Workload:
        """A copy with other images and labels, or other formats.

        The ranges to which formats are fitted stay those of the images at capture.
        """
        images = self.images if images is None else images
        labels = self.labels if labels is None else labels
        _check_pairs(images, labels)
        if format is None and images.device == self.images.device:
            return replace(self, images=images.to(self.formats.carrier), labels=labels)
        formats = self.formats if format is None else Formats.of(format)
        return _built(self.name, self.source, self.layers, self.extremes, formats, images, labels)

    def with_constants(self, constants: Mapping[int, Tensor]) -> Workload:
        """A copy with other weights and biases, by step of the program; ranges stay as they are."""
        steps = tuple(
            Step(step.name, constant=constants[k]) if k in constants else step
            for k, step in enumerate(self.source.steps)
        )
        source = Program(steps, self.source.rows, self.source.sizes, self.source.output)
        given = (self.extremes, self.formats, self.images, self.labels)
        return _built(self.name, source, self.layers, *given)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, made once for all images, under a key of the caller's own."""
        if key not in self.learnt:
            self.learnt[key] = make()
        made: Made = self.learnt[key]
        return made

    def operands(self, number: int, values: Callable[[int], Any]) -> tuple[Tensor, Parameters]:
        """Input and parameters of a layer, given the values of the steps before it."""
        layer, given = self.layers[number], self.parameters[number]
        x = values(layer.operands[0])
        if given is not None:
            return x, given
        return x, _activations_as_weight(self.arithmetic[number], layer, values)

    def evaluate(self, index: int, values: Callable[[int], Any]) -> Any:
        """The value of a step in the chosen formats, given those of the steps before it."""
        number = self.numbers.get(index)
        if number is None:
            return self.program.steps[index].run(values)
        x, given = self.operands(number, values)
        return self.arithmetic[number].run(self.layers[number].product, x, given)

    def logits(self, images: Tensor) -> Tensor:
        """The fault-free logits (images, classes) of a batch in the carrier type."""
        with torch.no_grad():
            values = self.program.run(images, self.evaluate)
        result: Tensor = values[self.program.output]
        return result

    def weight(self, number: int) -> Tensor:
        """The weight of a layer as stored, rounded to its format.

        Raises:
            ValueError: when both operands of the layer are activations.
        """
        layer = self.layers[number]
        value = self.program.steps[layer.operands[1]].constant
        if self.parameters[number] is None or not isinstance(value, Tensor):
            raise ValueError(f"layer {layer.name} has no weight: both operands are activations")
        return value

    def fingerprint(self) -> str:
        """A hash of all that decides the fault-free run: operations, constants, formats, inputs."""
        digest = hashlib.sha256(repr((self.formats, self.arithmetic)).encode())
        for step in self.program.steps:
            digest.update(repr((_name(step.op), step.args, step.kwargs)).encode())
            _add(digest, step.constant)
        _add(digest, self.images)
        _add(digest, self.labels)
        return digest.hexdigest()


def capture(
    model: nn.Module | ExportedProgram,
    images: Tensor,
    labels: Tensor,
    format: NumberFormat | Formats = FLOAT32,
    name: str | None = None,
) -> Workload:
    """Turn a PyTorch model with images and labels into a `Workload`.

    The model goes through ``torch.export`` with a dynamic batch; formats without a range of
    their own (integers, ``FIXED16``) are fitted to the ranges seen on ``images``.

    Args:
        model: in evaluation mode it takes (b, ...) and gives logits (b, classes).
        images: (b, ...), floating point, as the model expects them.
        labels: (b,) class numbers.
        format: one number format for everything, or `Formats`.
        name: for tables and pages; the class name of the model where ``None``.

    Raises:
        CaptureError: when the model can't be exported, mixes images, or gives no logits.
        ValueError: when images and labels don't match each other or the model.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2])).layers[0].macs
    12
    """
    _check_pairs(images, labels)
    if not images.is_floating_point():
        raise ValueError(f"images of type {images.dtype} can't be: use floating point")
    images = images.detach().to(torch.float32)
    with torch.no_grad():
        program = program_of(exported(model, images), images)
        shapes = _shapes(program, images[:1])
        layers = _named_apart(layers_of(program, shapes))
        if not layers:
            raise CaptureError(
                "the model has no layer that multiplies and accumulates (convolution, linear, "
                "matrix product, attention): there is nothing to strike"
            )
        classes = shapes(program.output)[1]
        if int(labels.max()) >= classes:
            raise ValueError(
                f"label {int(labels.max())} can't be: the model tells {classes} classes apart, "
                f"so labels are 0 to {classes - 1}"
            )
        extremes = _extremes(program, layers, images)
        title = name or type(model).__name__
        return _built(title, program, layers, extremes, Formats.of(format), images, labels)


def _built(
    name: str,
    source: Program,
    layers: tuple[Layer, ...],
    extremes: tuple[Extremes, ...],
    formats: Formats,
    images: Tensor,
    labels: Tensor,
) -> Workload:
    arithmetic = tuple(
        fitted(layer, formats, _samples(source, layer, seen), _has_weight(source, layer))
        for layer, seen in zip(layers, extremes, strict=True)
    )
    rounded = {
        layer.operands[1]: how.weight
        for layer, how in zip(layers, arithmetic, strict=True)
        if _has_weight(source, layer)
    }
    steps = [
        Step(step.name, constant=rounded[k].round(step.constant)) if k in rounded else step
        for k, step in enumerate(source.steps)
    ]
    program = Program(tuple(steps), source.rows, source.sizes, source.output)
    program = program.to(images.device, formats.carrier)
    parameters = tuple(
        _parameters(program, layer, how) if _has_weight(source, layer) else None
        for layer, how in zip(layers, arithmetic, strict=True)
    )
    arithmetic = tuple(
        how.with_bias(given) for how, given in zip(arithmetic, parameters, strict=True)
    )
    numbers = {layer.step: number for number, layer in enumerate(layers)}
    return Workload(
        name=name,
        source=source,
        program=program,
        layers=layers,
        numbers=numbers,
        extremes=extremes,
        formats=formats,
        arithmetic=arithmetic,
        parameters=parameters,
        images=images.to(formats.carrier),
        labels=labels,
    )


def _parameters(program: Program, layer: Layer, how: Arithmetic) -> Parameters:
    weight = program.steps[layer.operands[1]].constant
    bias = program.steps[layer.bias].constant if layer.bias is not None else None
    if not how.exact:
        return Parameters(weight, bias, torch.ones((), device=weight.device))
    scale = how.weight.scales(weight).reshape(-1)  # type: ignore[attr-defined]
    after = [1] * (weight.dim() - 2)
    bias = bias.reshape(-1, *after).to(torch.float64) if bias is not None else None
    scale = scale.reshape(-1, *after) if scale.numel() > 1 else scale.reshape(())
    return Parameters(how.integer_weight(weight), bias, scale)


def _activations_as_weight(
    how: Arithmetic, layer: Layer, values: Callable[[int], Any]
) -> Parameters:
    others = [values(step) for step in layer.operands[1:]]
    if how.exact:
        scale = how.weight.scales(others[0])  # type: ignore[attr-defined]
        return Parameters(how.integer_weight(others[0]), None, scale)
    held = [how.weight.round(other) for other in others]
    one = torch.ones((), device=others[0].device)
    if layer.kind != "attention":
        return Parameters(held[0], None, one)
    mask = values(layer.mask) if layer.mask is not None else None
    return Parameters((*held, mask), None, one)


def _has_weight(program: Program, layer: Layer) -> bool:
    return layer.one_channel is not None and program.rows[layer.operands[1]] is None


def _samples(source: Program, layer: Layer, seen: Extremes) -> Extremes:
    """The extremes, with the whole weight in the middle where there is one."""
    if not _has_weight(source, layer):
        return seen
    return seen[0], source.steps[layer.operands[1]].constant, seen[2]


def _extremes(program: Program, layers: tuple[Layer, ...], images: Tensor) -> tuple[Extremes, ...]:
    found: list[list[list[Tensor]]] = [[[], [], []] for _ in layers]
    for part in images.split(_CALIBRATION_BATCH):
        values = program.run(part)
        for layer, kept in zip(layers, found, strict=True):
            groups = (layer.operands[:1], layer.operands[1:], (layer.step,))
            for place, steps in zip(kept, groups, strict=True):
                for step in steps:
                    place.extend(torch.aminmax(values[step]))
    return tuple(tuple(torch.stack(part) for part in kept) for kept in found)  # type: ignore[misc]


def _shapes(program: Program, image: Tensor) -> Callable[[int], tuple[int, ...]]:
    values = program.run(image)

    def shape(step: int) -> tuple[int, ...]:
        return tuple(values[step].shape)

    return shape


def _named_apart(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Layers whose names differ: a module that runs twice gets a number from its second run on."""
    seen: dict[str, int] = {}
    named = []
    for layer in layers:
        seen[layer.name] = seen.get(layer.name, 0) + 1
        run = seen[layer.name]
        named.append(layer if run == 1 else replace(layer, name=f"{layer.name}#{run}"))
    return tuple(named)


def _check_pairs(images: Tensor, labels: Tensor) -> None:
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype} can't be: use one "
            "class number (integer) per image"
        )
    if images.dim() < 2 or not len(images):
        raise ValueError(f"images of shape {tuple(images.shape)} can't be: use (images, ...)")
    if len(images) != len(labels):
        raise ValueError(
            f"{len(labels)} labels for {len(images)} images don't match: give one label per image"
        )
    if int(labels.min()) < 0:
        raise ValueError(f"label {int(labels.min())} can't be: class numbers start at 0")


def _name(op: Any) -> str:
    """An operation's name, the same in every process."""
    return op.__qualname__ if isinstance(op, FunctionType) else str(op)


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous()
        digest.update(f"{held.dtype}{tuple(held.shape)}".encode())
        digest.update(held.numpy().tobytes())
    else:
        digest.update(repr(value).encode())
