"""A network as integer codes, by calibration alone or with training."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from radhard.formats.integer import IntegerFormat
from radhard.network.calibrate import coded_at, seen_in, stored_by
from radhard.network.fit import has_weight, weights_of
from radhard.network.format import Formats, LayerFormats
from radhard.network.fuse import Captured, extremes_of, folded
from radhard.network.program import Program, Step
from radhard.network.quantisation import Quantisation
from radhard.network.workload import HOST, Workload, formatted

#: Width of results that no layer multiplies: logits. Largest bias.
_LOGITS, _BIAS = 16, 2**31 - 1


def quantise(workload: Workload, plan: Quantisation, images: Tensor) -> Workload:
    """The network with integer codes for weights and activations, which run bit-exactly.

    Normalisation is folded into the layers before it. What a layer gives has the format in which
    the next one reads it, so that sums are rounded once; logits have 16 bits.

    Args:
        workload: from `radhard.capture`, in any format: its real numbers are quantised.
        plan: widths, scales and where values saturate.
        images: (b, ...) on which ranges of activations are seen. Take them from the training
            images, not from those on which the network is judged.

    Raises:
        ValueError: for no images or images of another shape, unknown layers, or a bias that 32 bits
            don't hold.

    >>> import torch, radhard as rh
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    >>> work = rh.capture(model, torch.rand(2, 1, 2, 2), torch.tensor([0, 2]))
    >>> rh.quantise(work, rh.Quantisation.parse("w4a8"), torch.rand(20, 1, 2, 2)).formats.name
    'w4a8'
    """
    images = _checked(workload, images)
    plan.check([layer.name for layer in workload.layers])
    whole = folded(_captured(workload))
    weights = _weights(whole, plan)
    formats, constants = _calibrated(whole, plan, weights, images)
    program = with_constants(whole.source, constants)
    extremes = extremes_of(program, whole.layers, images)
    own = Captured(program, whole.layers, extremes, whole.covered)
    pairs = workload.images, workload.labels
    found = formatted(workload.name, own, formats, *pairs, workload.nan, {})
    check_biases(found)
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
    return images.to(HOST)


def _captured(workload: Workload) -> Captured:
    """The network before any formats."""
    own = Captured(workload.source, workload.layers, workload.extremes, workload.covered)
    return workload.origin or own


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
    whole: Captured, plan: Quantisation, weights: dict[int, IntegerFormat], images: Tensor
) -> tuple[Formats, dict[int, Tensor]]:
    """The formats of all layers, and weights and biases by step, as they are stored."""
    program, layers = whole.source, whole.layers
    constants = {step: fmt.round(program.steps[step].constant) for step, fmt in weights.items()}
    own = weights_of(program, layers)
    correctable = {k for k in own if plan.bias_correction and layers[k].bias is not None}
    changed = {k: constants[layers[k].operands[1]] for k in correctable}
    seen = seen_in(program, layers, images, changed)
    for number, shift in seen.shifts.items():
        place = layers[number].bias
        assert place is not None
        constants[place] = program.steps[place].constant - shift
    widths = _widths(whole, plan)

    def fitted(key: tuple[int, ...], bits: int) -> IntegerFormat:
        headroom = plan.headroom if widths[key] != _LOGITS else 0
        return plan.activation_format(seen.samples[key], bits, headroom)

    found = []
    for layer, stored in zip(layers, stored_by(program, layers), strict=True):
        bits = plan.of(layer.name).activation
        output = fitted(stored.output, widths[stored.output])
        second = fitted(stored.second, bits) if stored.second else weights[layer.operands[1]]
        source = fitted(stored.input, bits) if stored.input else second
        found.append(LayerFormats(source, second, output))
    general = IntegerFormat(f"int{plan.bits.weight}", plan.bits.weight, False, plan.per_channel)
    kind = "int" if plan.signed else "uint"
    wide = plan.bits.activation
    activation = IntegerFormat(f"{kind}{wide}", wide, not plan.signed)
    return Formats(general, activation, None, layers=tuple(found)), constants


def _widths(whole: Captured, plan: Quantisation) -> dict[tuple[int, ...], int]:
    """The width in which each value is stored: the largest in which a layer reads it."""
    stored, found = stored_by(whole.source, whole.layers), dict[tuple[int, ...], int]()
    for layer, own in zip(whole.layers, stored, strict=True):
        for key in (own.input, own.second):
            if key:
                found[key] = max(found.get(key, 0), plan.of(layer.name).activation)
    last = coded_at(whole.source, whole.source.output)
    for layer, own in zip(whole.layers, stored, strict=True):
        bits = _LOGITS if layer.step == last else plan.of(layer.name).activation
        found.setdefault(own.output, bits)
    return found


def with_constants(program: Program, constants: dict[int, Tensor]) -> Program:
    """A program with other constants, by step."""
    steps = tuple(
        Step(step.name, constant=constants[k]) if k in constants else step
        for k, step in enumerate(program.steps)
    )
    return replace(program, steps=steps)


def check_biases(workload: Workload) -> None:
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
