"""From a PyTorch model with images and labels to a `Workload`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from radhard.formats.catalogue import FLOAT32
from radhard.formats.integer import IntegerFormat
from radhard.formats.number import NumberFormat
from radhard.network.adopted import own_formats, unrounded
from radhard.network.archive import program_in
from radhard.network.comparator import NanRule, known_rule
from radhard.network.coverage import covered_by, macs_of
from radhard.network.datapath import Datapaths, by_layer
from radhard.network.finder import layers_of
from radhard.network.format import Formats
from radhard.network.fuse import Captured, extremes_of
from radhard.network.given import packed
from radhard.network.inputs import Inputs
from radhard.network.layer import Layer
from radhard.network.layout import CaptureError
from radhard.network.pairs import check_pairs
from radhard.network.plain import evaluating, plain, tensor_of, unwrapped
from radhard.network.program import Program
from radhard.network.quantised import formats_in
from radhard.network.remembered import Graph, remembered
from radhard.network.silence import tell_of_readers, tell_of_silence
from radhard.network.workload import Workload, formatted

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def capture(
    model: nn.Module | ExportedProgram | Path | str,
    images: Tensor | ArrayLike | Mapping[str, Tensor | ArrayLike],
    labels: Tensor | ArrayLike,
    format: NumberFormat | Formats | None = None,
    name: str | None = None,
    nan: NanRule | None = None,
    fit_to: Tensor | ArrayLike | Mapping[str, Tensor | ArrayLike] | None = None,
    output: str | None = None,
    arithmetic: Datapaths | None = None,
) -> Workload:
    """Turn a PyTorch model with images and labels into a `Workload`.

    The model goes through ``torch.export`` with a dynamic batch; formats without a range of
    their own (integers, ``FIXED16``) are fitted to the ranges seen on some images.

    Args:
        model: a module, a program of ``torch.export``, or the path of a ``.pt2`` file, with the
            formats that `radhard.save` put into it. In evaluation mode it takes (b, ...) and gives
            logits (b, classes), or those of several places, (b, places, ..., classes); it is left
            in the mode that it is in. Wrappers (``DataParallel``, ``torch.compile``) are taken off.
        images: (b, ...) as the model expects them: floating point, taken as float32, or whole
            numbers, such as those of words. A mapping gives several by the names of the
            parameters of the model's ``forward``, each (b, ...).
        labels: (b,) class numbers, or (b, places, ...), one for each place.
        format: one number format for everything, or `Formats`; ``None`` for the codes that the
            model has (pairs of ``quantize`` and ``dequantize``, as PT2E writes them), else float32.
        name: for tables and pages; the class name of the model where ``None``.
        nan: what rectifiers and pooling make of not-a-number: ``propagate``, or ``zero``; ``None``
            for zero on chips and propagate in software. See `Workload`.
        fit_to: (k, ...), images on which ranges are seen, and whose logits are looked at for what
            is not a number; ``images`` where ``None``.
        output: the name of the model's result that holds the logits, where it gives several:
            ``logits`` of a mapping or a data class, ``0`` of a tuple.
        arithmetic: what multiplies and adds in layers where that is not exact, by their names or
            for all that multiply; see `Datapath`.

    Raises:
        CaptureError: when the model can't be exported, mixes images, draws random numbers, or
            gives no logits.
        ValueError: when images and labels don't match each other or the model, or for a ``nan``
            that is neither.
        TypeError: for what is no model, no images or no labels.

    Warns:
        UserWarning: where parameters are not float32, fault-free logits are not numbers, or a
            stored weight is read by more than layers.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2])).layers[0].macs
    12
    """
    if isinstance(model, Path | str):
        path = Path(model)
        name = name or path.stem
        model, format = program_in(path), formats_in(path) if format is None else format
    (inputs, images), labels = packed(images, "images"), tensor_of(labels, "labels")
    check_pairs(images, labels)
    rule = known_rule(nan) if nan is not None else None
    images, labels = _as_numbers(images), labels.to(torch.int64)
    seen = images if fit_to is None else _alike(packed(fit_to, "fit_to")[1], images)
    taken = plain(model)
    with torch.no_grad():
        with evaluating(taken) if isinstance(taken, nn.Module) else nullcontext():
            program, weights, stored, macs = _graph(taken, unwrapped(model), images, inputs, output)
        shapes = _shapes(program, images[:1])
        layers = _named_apart(layers_of(program, shapes))
        if not layers:
            raise CaptureError(
                "the model has no layer that multiplies and accumulates (convolution, linear, "
                "matrix product, attention): there is nothing to strike"
            )
        program, asked = _formats(program, layers, weights, format, seen)
        _check_labels(labels, shapes(program.output)[1:])
        extremes = extremes_of(program, layers, seen)
        title = name or type(taken).__name__
        covered = covered_by(layers, program, stored, macs)
        captured = Captured(program, layers, extremes, covered)
        own = by_layer(arithmetic, layers) if arithmetic is not None else {}
        work = formatted(title, captured, asked, images, labels, rule, own)
    tell_of_silence(work, seen.to(work.images))
    tell_of_readers(work)
    return work


def _graph(
    model: nn.Module | ExportedProgram,
    given: nn.Module | ExportedProgram,
    images: Tensor,
    inputs: Inputs,
    output: str | None,
) -> Graph:
    """The steps of a model, which a module need not be followed for where it was before.

    One that was ``given`` in another precision, and casts what it is given to that, can't be
    followed in float32, but as it is.
    """

    def made() -> Graph:
        # which takes a second to import
        from radhard.network.export import exported, exported_as_is, program_of

        try:
            graph = exported(model, images, inputs)
        except CaptureError as error:
            if model is given or not isinstance(given, nn.Module):
                raise
            try:
                graph = exported_as_is(given, images, inputs)
            except CaptureError:
                raise error from None
        own = {part.data_ptr(): part.numel() for _, part in graph.named_parameters()}
        program, weights = program_of(graph, images, inputs, output)
        return Graph(program, weights, sum(own.values()), macs_of(program, images[:1]))

    if isinstance(model, nn.Module):
        return remembered(model, images, inputs, output, made)
    return made()


def _formats(
    program: Program,
    layers: tuple[Layer, ...],
    weights: Mapping[int, IntegerFormat],
    asked: NumberFormat | Formats | None,
    seen: Tensor,
) -> tuple[Program, Formats]:
    """The network in the codes that it has, or in what was asked for in place of them.

    Warns:
        UserWarning: where results of layers have no codes.
    """
    if not weights:
        return program, Formats.of(FLOAT32 if asked is None else asked)
    if asked is None or (isinstance(asked, Formats) and asked.layers):
        own = own_formats(program, layers, weights, seen)
        if asked is None and own.missing:
            warnings.warn(
                f"results of {', '.join(own.missing)} have no codes in the model: they get 16 "
                "bits, fitted to what images show",
                stacklevel=3,
            )
        if asked in (None, own.formats):
            return own.program, own.formats
    return unrounded(program), Formats.of(asked)


def _check_labels(labels: Tensor, shape: tuple[int, ...]) -> None:
    """Labels (b, ...) of outputs that have this shape for one image."""
    *places, classes = shape
    if list(labels.shape[1:]) != places:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} don't match outputs of (b, "
            f"{', '.join(map(str, shape))}): give one class number for each image"
            + f" and place, (b, {', '.join(map(str, places))})"
            * bool(places)
        )
    if int(labels.max()) >= classes:
        raise ValueError(
            f"label {int(labels.max())} can't be: the model tells {classes} classes apart, "
            f"so labels are 0 to {classes - 1}"
        )


def _shapes(program: Program, image: Tensor) -> Callable[[int], tuple[int, ...]]:
    values = program.values(image)

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


def _alike(some: Tensor, images: Tensor) -> Tensor:
    """Some more images, which must have the shape of ``images``."""
    if not some.dim() or not len(some) or some.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"fit_to of shape {tuple(some.shape)} can't be: use at least one image of shape "
            f"{tuple(images.shape[1:])}, as images are"
        )
    return _as_numbers(some)


def _as_numbers(images: Tensor) -> Tensor:
    if images.is_complex() or images.dtype in (torch.bool, torch.uint8):
        raise ValueError(
            f"images of type {images.dtype} can't be: use floating point, scaled as for training, "
            "or int64 for numbers of words"
        )
    if not images.is_floating_point():
        return images.to(torch.int64)
    wrong = images.isnan().flatten(1).any(1).nonzero().flatten()
    if len(wrong):
        raise ValueError(
            f"image {int(wrong[0])} holds not-a-number ({len(wrong)} of {len(images)} images do): "
            "leave such images out, or mend how they are read"
        )
    return images.to(torch.float32)
