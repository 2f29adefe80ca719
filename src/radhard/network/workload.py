"""A network, its inputs and its number formats: everything that defines the fault-free run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch import Tensor

from radhard.formats.number import NumberFormat
from radhard.network.arithmetic import Arithmetic, Datapath, Parameters
from radhard.network.comparator import NanRule, known_rule, with_rule
from radhard.network.coverage import Covered
from radhard.network.datapath import Datapaths, by_layer
from radhard.network.fit import (
    activations_as_weight,
    fitted,
    has_weight,
    parameters_of,
    samples_of,
    weights_of,
)
from radhard.network.format import Formats
from radhard.network.fuse import Captured, Extremes, fused
from radhard.network.layer import Layer
from radhard.network.multiplied import Arrays, Multiplied, Multipliers, multiplied
from radhard.network.pairs import add_to, carried, check_pairs, hashed
from radhard.network.program import Program, Step
from radhard.network.sharing import Sharing, first_read, sharing_of
from radhard.network.stepwise import Latched
from radhard.network.sums import whole
from radhard.network.task import Classification

Made = TypeVar("Made")
#: Where images and labels are, whatever device the network runs on.
HOST = torch.device("cpu")


class Learnt(dict[Hashable, Any]):
    """What was made once for a workload, and is made anew in another process."""

    def __reduce__(self) -> tuple[type[Learnt], tuple[()]]:
        return Learnt, ()


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
        datapaths: what computes layers that have no exact arithmetic, by their names.
        parameters: weight and bias per layer, ready to run; ``None`` where both operands are
            activations.
        images: (b, ...) in the carrier type, on the host.
        labels: (b,) class numbers on the host; (b, places, ...) where the network gives that many.
        covered: which share of the network its layers are.
        shared: which layers read stored weights that an earlier one reads.
        nan: what rectifiers and pooling make of not-a-number: ``propagate`` it, as PyTorch does, or
             ``zero``, as `radhard.network.comparator.Comparator` does. ``None`` leaves it to the
             campaign: zero on chips, whose rectifiers are comparators, and propagate in software.
             Without a campaign it propagates.
        origin: the network as captured, where the formats want followers fused into layers.
        device: where it runs, and where its weights are; see `on`.
        stored: whether weights are others than those of the source in these formats.
        learnt: what `once` has made.
        digests: of images and labels, for `fingerprint`, by how often these were written to.
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
    covered: Covered
    shared: Sharing
    nan: NanRule | None = None
    datapaths: Mapping[str, Datapath] = field(default_factory=dict)
    origin: Captured | None = None
    device: torch.device = HOST
    stored: bool = False
    learnt: Learnt = field(default_factory=Learnt, repr=False)
    digests: dict[tuple[int, int], str] = field(default_factory=dict, init=False, repr=False)

    def with_(
        self,
        images: Tensor | None = None,
        labels: Tensor | None = None,
        format: NumberFormat | Formats | None = None,
        nan: NanRule | None = None,
        arithmetic: Datapaths | None = None,
        multiplier: Multipliers | None = None,
        array: Arrays | None = None,
    ) -> Workload:
        """A copy with other images and labels, formats, arithmetic or rule for not-a-number.

        The ranges to which formats are fitted stay those of the images at capture.

        Args:
            images, labels: as `capture` takes them.
            format: one for everything, or `Formats`.
            nan: see `Workload`.
            arithmetic: what computes layers in place of exact arithmetic, by their names or for all
                that multiply; ``{}`` for none.
            multiplier: arithmetic in which products are those of a multiplier, of all layers or of
                some by their names; its operands are of integer formats.
            array: the array of processing elements, with stuck bits where it has `Defect`s, that
                all layers pass, or some by their names; with the multipliers that there are, or
                exact ones.

        Raises:
            ValueError: for other formats of a network whose constants were changed after its
                layers were fused, images and labels that don't match, or arithmetic for layers that
                can't have any, or two kinds of it.

        >>> import torch, radhard as rh
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]), rh.INT8)
        >>> array = rh.Array(4, 4, defects=(rh.Defect(0, 1, "product", 1, bit=14),))
        >>> work.with_(multiplier=rh.multiplier_named("mul8s_1L2H@v1"), array=array).computing
        'int8+mul8s_1L2H@v1+4x4-ws-1-product'
        """
        if multiplier is not None or array is not None:
            if arithmetic is not None:
                raise ValueError("choose arithmetic, or a multiplier and an array, not both")
            names = tuple(layer.name for layer in self.layers if layer.kind != "embedding")
            arithmetic = multiplied(multiplier, array, names, self.datapaths)
        if nan is not None:
            return self._ruled(known_rule(nan)).with_(images, labels, format, None, arithmetic)
        images = self.images if images is None else images
        labels = self.labels if labels is None else labels
        check_pairs(images, labels)
        if format is None and arithmetic is None:
            images = carried(images, self.formats.carrier).to(HOST)
            return replace(self, images=images, labels=labels.to(HOST))
        if self.stored:
            raise ValueError(
                f"{self.name} has weights of its own in memory, retuned or wrong ones: choose "
                "format, multiplier and array before that"
            )
        own = Captured(self.source, self.layers, self.extremes, self.covered)
        if self.formats.fused and self.origin is None:
            raise ValueError(
                f"{self.name} in {self.formats.name} has changed weights: choose the format first"
            )
        formats = self.formats if format is None else Formats.of(format)
        datapaths = self.datapaths if arithmetic is None else by_layer(arithmetic, self.layers)
        given = (formats, images, labels, self.nan, datapaths)
        return formatted(self.name, self.origin or own, *given).on(self.device)

    def on(self, device: torch.device) -> Workload:
        """The same network with its weights on another device, where it then runs.

        What it computes is that of the device: sums of floats may differ there in their last bits,
        sums of integers and of fixed point do not. Images stay on the host, and so do the sources
        of all formats and the identity (`fingerprint`), which say nothing of a device.

        Args:
            device: from `radhard.device_named`, or any of torch that has values and float64.

        >>> import torch, radhard as rh
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
        >>> work.on(rh.device_named("cpu")) is work
        True
        """
        if device == self.device:
            return self
        program = self.program.to(device, self.formats.carrier)
        parameters = tuple(given and given.to(device) for given in self.parameters)
        return replace(self, program=program, parameters=parameters, device=device, learnt=Learnt())

    def _ruled(self, nan: NanRule) -> Workload:
        program = with_rule(self.program, nan)
        if program is self.program:
            return replace(self, nan=nan)
        learnt = self.once(("nan", nan), Learnt)
        return replace(self, program=program, nan=nan, learnt=learnt)

    def with_constants(self, constants: Mapping[int, Tensor]) -> Workload:
        """A copy with other weights and biases, by step of the program.

        Ranges of activations stay as they are; formats of weights are fitted anew.
        """
        steps = tuple(
            Step(step.name, constant=constants[k]) if k in constants else step
            for k, step in enumerate(self.source.steps)
        )
        source = Program(steps, self.source.rows, self.source.sizes, self.source.output)
        own = Captured(source, self.layers, self.extremes, self.covered)
        given = (self.formats, self.images, self.labels, self.nan, self.datapaths)
        return _built(self.name, own, *given).on(self.device)

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
        return x, activations_as_weight(self.arithmetic[number], layer, values)

    def evaluate(self, index: int, values: Callable[[int], Any]) -> Any:
        """The value of a step in the chosen formats, given those of the steps before it."""
        number = self.numbers.get(index)
        if number is None:
            return self.program.steps[index].run(values)
        x, given = self.operands(number, values)
        how = self.arithmetic[number]
        return how.run(whole(self.layers[number], how), x, given)

    def logits(self, images: Tensor) -> Tensor:
        """The fault-free logits (images, classes) of a batch in the carrier type, on the host."""
        with torch.no_grad():
            result: Tensor = self.program.output_of(images.to(self.device), evaluate=self.evaluate)
        return result.to(HOST)

    @property
    def computing(self) -> str:
        """Formats and arithmetic in a word, such as ``int8``, or ``int8+truncated4``."""
        own = dict.fromkeys(datapath.name for datapath in self.datapaths.values())
        return "+".join([self.formats.name, *own])

    @property
    def task(self) -> Classification:
        """What the network's outputs mean: a class for each image, or for each of its places."""
        layout = self.program.rows[self.program.output]
        assert layout is not None
        *places, classes = layout.shape(1)[1:]
        return Classification(classes, tuple(places))

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

    def first_read(self, number: int) -> Tensor:
        """The elements of a layer's stored weight that no earlier layer reads, ascending, (n,)."""
        own = first_read(self.shared, number, self.weight(number).numel())
        return torch.nonzero(own)[:, 0]

    def fingerprint(self) -> str:
        """A hash of all but the formats that decides the fault-free run.

        Operations, constants, which of them are one in memory, inputs, and the ranges to which
        formats are fitted.
        """
        digest = hashlib.sha256()
        for step, given in zip(self.program.steps, self.source.steps, strict=True):
            digest.update(repr((_name(step.op), step.args, step.kwargs)).encode())
            add_to(digest, given.constant)
        alike = [self.formats.weight] * len(self.layers)
        for first, more in sharing_of(weights_of(self.source, self.layers), alike).items():
            for later, places in more.items():
                digest.update(repr((first, later)).encode())
                add_to(digest, places)
        for ends in self.extremes:
            for end in ends:
                add_to(digest, end)
        digest.update(self._digest().encode())
        return digest.hexdigest()

    def _digest(self) -> str:
        """A hash of images and labels, the same in every carrier; made once: many take long."""
        if self.images.is_inference() or self.labels.is_inference():
            return hashed(self.images, self.labels)
        key = self.images._version, self.labels._version
        if key not in self.digests:
            self.digests[key] = hashed(self.images, self.labels)
        return self.digests[key]


def formatted(
    name: str,
    captured: Captured,
    formats: Formats,
    images: Tensor,
    labels: Tensor,
    nan: NanRule | None,
    datapaths: Mapping[str, Datapath],
) -> Workload:
    """A captured network in these formats, with followers fused into layers where they say so."""
    given = (formats, images, labels, nan, datapaths)
    if not formats.fused:
        return _built(name, captured, *given)
    return replace(_built(name, fused(captured), *given), origin=captured)


def _built(
    name: str,
    captured: Captured,
    formats: Formats,
    images: Tensor,
    labels: Tensor,
    nan: NanRule | None,
    datapaths: Mapping[str, Datapath],
) -> Workload:
    if datapaths and formats.rounding == "each-step":
        raise ValueError(
            "rounding at each step is arithmetic of its own: choose it or other arithmetic"
        )
    source, layers, extremes = captured.source, captured.layers, captured.extremes
    device = images.device
    held = formats.layers or (None,) * len(layers)
    if len(held) != len(layers):
        raise ValueError(
            f"formats of {len(held)} layers are given, but {name} has {len(layers)}: they belong "
            "to another network"
        )
    arithmetic = tuple(
        fitted(
            layer, formats, samples_of(source, layer, seen), has_weight(source, layer),
            datapaths.get(layer.name), own,
        )
        for layer, seen, own in zip(layers, extremes, held, strict=True)
    )  # fmt: skip
    rounded = {
        layer.operands[1]: how.weight
        for layer, how in zip(layers, arithmetic, strict=True)
        if has_weight(source, layer)
    }
    steps = [
        Step(step.name, constant=rounded[k].round(step.constant)) if k in rounded else step
        for k, step in enumerate(source.steps)
    ]
    program = Program(tuple(steps), source.rows, source.sizes, source.output)
    program = with_rule(program.to(device, formats.carrier), nan or "propagate")

    def constant(step: int) -> Any:
        return program.steps[step].constant

    parameters = tuple(
        parameters_of(layer, how, constant) if has_weight(source, layer) else None
        for layer, how in zip(layers, arithmetic, strict=True)
    )
    arithmetic = tuple(
        how.with_bias(given) for how, given in zip(arithmetic, parameters, strict=True)
    )
    for layer, how in zip(layers, arithmetic, strict=True):
        if formats.rounding == "each-step":
            Latched.of(layer, how)  # refuses what it does not know
        if isinstance(how.own, Multiplied):
            rows = program.rows[layer.operands[0]]
            how.own.check(layer, how, rows is not None and rows.first)
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
        images=carried(images, formats.carrier).to(HOST),
        labels=labels.to(HOST),
        covered=captured.covered,
        shared=sharing_of(
            weights_of(source, layers),
            [how.weight for how in arithmetic],
        ),
        nan=nan,
        datapaths=datapaths,
        device=device,
    )


def _name(op: Any) -> str:
    """An operation's name, the same in every process."""
    return op.__qualname__ if isinstance(op, FunctionType) else str(op)
