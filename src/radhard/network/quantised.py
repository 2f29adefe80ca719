"""Quantised networks as files: an exported program, and beside it the formats of its layers."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radhard.formats.integer import IntegerFormat
from radhard.network.format import Formats, LayerFormats
from radhard.network.inputs import Part
from radhard.network.layout import CaptureError
from radhard.network.program import Program
from radhard.network.workload import HOST, Workload

#: The member that holds the formats, and what its first key says.
_MEMBER, _VERSION = "radhard.json", 1
#: Most that is read of it.
_LARGEST = 2**28


def save(workload: Workload, path: Path | str) -> None:
    """Write a quantised network as a ``.pt2`` file, which `radhard assess` reads with its formats.

    It holds the program in real numbers, with weights as their codes stand for them, and the
    formats of all layers: any reader of torch.export's files runs it, without the rounding.

    Args:
        workload: from `radhard.quantise`.
        path: ends in ``.pt2``.

    Raises:
        ValueError: for a network that has no formats by layer, was changed in memory, or takes
            several inputs; or another ending.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"{path} can't be: the network is written as a file named .pt2")
    if not workload.formats.layers or workload.stored:
        raise ValueError(
            f"{workload.name} in {workload.computing} is not as radhard.quantise gives it: that is "
            "what can be written"
        )
    if any(isinstance(step.op, Part) for step in workload.source.steps):
        raise ValueError(f"{workload.name} takes several inputs, which no .pt2 file is written of")
    module = _Real(workload.source)
    images = workload.images[:1].repeat_interleave(2, 0)
    program = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    text = json.dumps(_told(workload), indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, path, extra_files={_MEMBER: text})


class _Real(nn.Module):
    """A program in real numbers, its constants under the names that they had in the model."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program, self.held = program, dict[int, tuple[nn.Module, str]]()
        for k, step in enumerate(program.steps):
            if isinstance(step.constant, Tensor):
                *inner, last = step.name.split(".")
                place: nn.Module = self
                for name in inner:
                    if name not in place._modules:
                        place.add_module(name, nn.Module())
                    place = place.get_submodule(name)
                place.register_buffer(last, step.constant.to(HOST))
                self.held[k] = place, last

    def forward(self, images: Tensor) -> Any:
        """Logits (b, classes)."""

        def constant(step: int) -> Any:
            place, name = self.held.get(step, (None, ""))
            return getattr(place, name) if place else self.program.steps[step].constant

        return self.program.output_of(images, constant=constant)


def _told(workload: Workload) -> dict[str, Any]:
    formats = workload.formats
    layers = [
        {"layer": layer.name, **{part: _plain(getattr(own, part)) for part in _PARTS}}
        for layer, own in zip(workload.layers, formats.layers, strict=True)
    ]
    return {
        "radhard": _VERSION,
        "weight": _plain(formats.weight),
        "activation": _plain(formats.activation),
        "layers": layers,
    }


#: What `LayerFormats` has, and the fields of each.
_PARTS = ("input", "weight", "output")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": lambda it: isinstance(it, str),
    "width": lambda it: type(it) is int,
    "affine": lambda it: isinstance(it, bool),
    "per_channel": lambda it: isinstance(it, bool),
    "scale": lambda it: _all(it, float) and all(math.isfinite(s) and s > 0 for s in it),
    "zero": lambda it: _all(it, int),
}


def _all(held: Any, kind: type) -> bool:
    return isinstance(held, list) and all(type(part) is kind for part in held)


def _plain(fmt: Any) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value := getattr(fmt, name), tuple) else value
        for name in _FIELDS
    }


def formats_in(path: Path) -> Formats | None:
    """The number formats in a ``.pt2`` file, of which nothing is run; ``None`` where it has none.

    Raises:
        CaptureError: for formats that can't be.
    """
    try:
        with zipfile.ZipFile(path) as held:
            names = [name for name in held.namelist() if name.endswith(f"/extra/{_MEMBER}")]
            if not names:
                return None
            if held.getinfo(names[0]).file_size > _LARGEST:
                raise ValueError("they take too much room")
            told = json.loads(held.read(names[0]))
        if told["radhard"] != _VERSION:
            raise ValueError(f"they are of version {told['radhard']!r}, of which 1 is read")
        layers = [LayerFormats(*(_format(one[part]) for part in _PARTS)) for one in told["layers"]]
        weight, activation = _format(told["weight"]), _format(told["activation"])
        return Formats(weight, activation, None, layers=tuple(layers))
    except (ValueError, TypeError, KeyError, zipfile.BadZipFile, RecursionError) as error:
        raise CaptureError(
            f"{path} has number formats that can't be read ({type(error).__name__}: {error}): "
            "write it anew with radhard quantise"
        ) from error


def _format(held: Any) -> IntegerFormat:
    for name, fits in _FIELDS.items():
        if not fits(held[name]):
            raise ValueError(f"{name} = {held[name]!r}")
    if len(held["scale"]) != len(held["zero"]):
        raise ValueError(f"{len(held['scale'])} scales and {len(held['zero'])} zero points")
    given = {name: held[name] for name in _FIELDS}
    return IntegerFormat(**{**given, "scale": tuple(held["scale"]), "zero": tuple(held["zero"])})
