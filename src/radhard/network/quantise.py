"""A network as integer codes, by calibration alone or with training."""

from __future__ import annotations

import torch
from torch import Tensor

from radhard.formats.integer import IntegerFormat
from radhard.network.aware import Codes, LearnedSteps, Start, Watch, with_constants
from radhard.network.calibrate import Key, Stored, seen_in, stored_by
from radhard.network.fit import has_weight, weights_of
from radhard.network.format import Formats, LayerFormats
from radhard.network.fuse import Captured, extremes_of, folded
from radhard.network.pairs import check_pairs
from radhard.network.plain import tensor_of
from radhard.network.quantisation import Quantisation
from radhard.network.workload import HOST, Workload, formatted

#: Images on which ranges are seen, at most. Largest bias.
_CALIBRATED, _BIAS = 512, 2**31 - 1


def quantise(
    workload: Workload,
    plan: Quantisation,
    images: Tensor,
    labels: Tensor | None = None,
    training: LearnedSteps | None = None,
    watch: Watch | None = None,
) -> Workload:
    """The network with integer codes for weights and activations, which run bit-exactly.

    Normalisation is folded into the layers before it. What a layer gives has the format in which
    the next one reads it, so that sums are rounded once; logits have 16 bits.

    Args:
        workload: from `radhard.capture`, in any format: its real numbers are quantised.
        plan: widths, scales and where values saturate.
        images: (b, ...) of the training images, not of those on which the network is judged: ranges
            of activations are seen on at most 512 of them, evenly spaced.
        labels: of these; needed for training alone.
        training: trains weights and scales on these images, with codes in the loop.
        watch: told how many batches of how many are done.

    Raises:
        ValueError: for no images, images of another shape or kind or with what is no finite
            number, unknown layers, training without labels, or a bias that 32 bits don't hold.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
    >>> rh.quantise(work, rh.Quantisation.parse("w4a8"), torch.rand(20, 1, 2, 2)).formats.name
    'w4a8'
    """
    images = _checked(workload, tensor_of(images, "images"))
    plan.check([layer.name for layer in workload.layers])
    own = Captured(workload.source, workload.layers, workload.extremes, workload.covered)
    whole = folded(workload.origin or own)
    seen = images[:: -(-len(images) // _CALIBRATED)]
    stored = stored_by(whole.source, whole.layers, plan)
    codes = _calibrated(whole, stored, plan, seen)

    def made(codes: Codes) -> Workload:
        program = with_constants(whole.source, codes.constants)
        extremes = extremes_of(program, whole.layers, seen)
        held = Captured(program, whole.layers, extremes, whole.covered)
        pairs = workload.images, workload.labels
        return formatted(workload.name, held, codes.formats, *pairs, workload.nan, {})

    if training is not None:
        pairs = images, _labels(labels, images)
        codes = training.learned(Start(whole, stored, plan, codes), pairs, made, watch)
    found = made(codes)
    _check_biases(found)
    return found.on(workload.device)


def _checked(workload: Workload, images: Tensor) -> Tensor:
    if workload.stored or workload.datapaths:
        raise ValueError(
            f"{workload.name} has weights or arithmetic of its own in memory: quantise before that"
        )
    if not images.dim() or not len(images):
        raise ValueError(
            "no calibration images: give some of the training images, on which ranges of "
            "activations are seen"
        )
    if images.shape[1:] != workload.images.shape[1:]:
        raise ValueError(
            f"calibration images of shape {tuple(images.shape[1:])} can't be: {workload.name} "
            f"takes {tuple(workload.images.shape[1:])}"
        )
    if images.is_floating_point() != workload.images.is_floating_point():
        raise ValueError(
            f"calibration images of {images.dtype} can't be: {workload.name} takes "
            f"{workload.images.dtype}, scaled as for training"
        )
    odd = ~torch.isfinite(images).flatten(1).all(1)
    if bool(odd.any()):
        first = int(torch.nonzero(odd)[0])
        raise ValueError(
            f"{int(odd.sum())} of {len(images)} calibration images (such as number {first}) hold "
            "what is no finite number, of which no range can be seen: leave them out"
        )
    return images.to(HOST, torch.float32 if images.is_floating_point() else torch.int64)


def _labels(labels: Tensor | None, images: Tensor) -> Tensor:
    if labels is None:
        raise ValueError("training needs the labels of its images: quantise(..., labels=...)")
    check_pairs(images, labels)
    return labels.to(HOST)


def _weights(whole: Captured, plan: Quantisation) -> dict[int, IntegerFormat]:
    """The format of each stored weight, by its step."""
    found: dict[int, IntegerFormat] = {}
    for layer in whole.layers:
        step, bits = layer.operands[1], plan.of(layer.name).weight
        if not has_weight(whole.source, layer):
            continue
        if step in found and found[step].width != bits:
            raise ValueError(
                f"layer {layer.name} reads a weight that an earlier layer reads in "
                f"{found[step].width} bits: give both the same"
            )
        weight: Tensor = whole.source.steps[step].constant
        rows = layer.channels if layer.weight_first else 0
        found.setdefault(step, plan.weight_format(weight, bits, rows))
    return found


def _calibrated(
    whole: Captured, stored: tuple[Stored, ...], plan: Quantisation, images: Tensor
) -> Codes:
    """Formats of all layers, by what is seen on images."""
    program, layers, weights = whole.source, whole.layers, _weights(whole, plan)
    constants = {step: fmt.round(program.steps[step].constant) for step, fmt in weights.items()}
    own = weights_of(program, layers)
    correctable = {k for k in own if plan.bias_correction and layers[k].bias is not None}
    changed = {k: constants[layers[k].operands[1]] for k in correctable}
    seen = seen_in(program, layers, stored, images, changed)
    shifts: dict[int, list[Tensor]] = {}  # of a bias that is read several times, the mean
    for number, shift in seen.shifts.items():
        place = layers[number].bias
        assert place is not None
        shifts.setdefault(place, []).append(shift)
    for place, parts in shifts.items():
        constants[place] = program.steps[place].constant - torch.stack(parts).mean(0)

    known: dict[Key, IntegerFormat] = {}

    def fitted(key: Key, headroom: int) -> IntegerFormat:
        if key not in known:
            sample = seen.samples[key.steps]
            known[key] = plan.activation_format(sample, key.bits, headroom)
        return known[key]

    found = []
    for layer, held in zip(layers, stored, strict=True):
        output = fitted(held.output, 0 if held.logits else plan.headroom)
        second = fitted(held.second, plan.headroom) if held.second else weights[layer.operands[1]]
        source = fitted(held.input, plan.headroom) if held.input else second
        found.append(LayerFormats(source, second, output))
    weight, activation = plan.general
    return Codes(Formats(weight, activation, None, layers=tuple(found)), constants)


def _check_biases(workload: Workload) -> None:
    """Raise ValueError for a bias that 32 bits don't hold in the unit of the sums."""
    for layer, how, given in zip(
        workload.layers, workload.arithmetic, workload.parameters, strict=True
    ):
        bias = how.bias(given) if given is not None and how.exact else None
        if bias is not None and bool((bias.abs() > _BIAS).any()):
            raise ValueError(
                f"a bias of layer {layer.name} is {float(bias.abs().max()):.3g} times the unit of "
                "its sums, more than 32 bits hold: use fewer bits for its weights or activations"
            )
