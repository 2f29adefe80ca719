"""What people bring (wrapped, compiled, half precision, NumPy) as what capture takes."""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from radhard.network.layout import CaptureError

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def is_exported(model: object) -> TypeGuard[ExportedProgram]:
    """Whether a model is a program of torch.export, which takes a second to import.

    >>> import torch
    >>> is_exported(torch.nn.Linear(4, 3))
    False
    """
    module = sys.modules.get("torch.export")
    return module is not None and isinstance(model, module.ExportedProgram)


def plain(model: nn.Module | ExportedProgram) -> nn.Module | ExportedProgram:
    """The module itself, out of its wrappers, in float32.

    ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile`` are unwrapped. Parameters of
    another precision are converted in a copy, with a warning. An exported program stays one.

    Raises:
        CaptureError: for what hides its operations or has no float values: scripts, quantised
            modules, the meta device, parameters not made yet, a program of a fixed batch.
        TypeError: for what is no model.

    >>> import torch
    >>> plain(torch.nn.DataParallel(torch.nn.Linear(4, 3)))
    Linear(in_features=4, out_features=3, bias=True)
    """
    if is_exported(model):
        _check_program(model)
        check_numbers(model)
        return model
    while (inner := _inside(model)) is not None:
        model = inner
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"a {type(model).__name__} is no model: use a torch.nn.Module or an ExportedProgram"
        )
    for name, part in model.named_modules():
        _check_part(name or type(model).__name__, part)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        _check_value(name, value)
    check_numbers(model)
    return _in_float32(model)


def check_numbers(model: nn.Module | ExportedProgram, where: str = "the model") -> None:
    """Refuse weights that are no numbers.

    Raises:
        CaptureError: naming the first, and ``where`` it is.
    """
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point() and not value.is_meta and bool(value.isnan().any()):
            raise CaptureError(
                f"{where}: {name} holds not-a-number, of which nothing can be computed: train it "
                "anew, or use another file"
            )


def unwrapped(model: Any) -> Any:
    """A model out of its wrappers, in its own precision."""
    while (inner := _inside(model)) is not None:
        model = inner
    return model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The module in evaluation mode; afterwards each part is in the mode that it was in.

    The module of an exported program has no modes, and refuses to be asked for one.
    """
    training = [part for part in model.modules() if part.training]
    try:
        with suppress(NotImplementedError):
            model.eval()
        yield model
    finally:
        for part in training:
            part.training = True


def tensor_of(values: Tensor | ArrayLike, what: str) -> Tensor:
    """A tensor of a tensor, a NumPy array, or a list of numbers or tensors.

    Raises:
        TypeError: naming ``what`` it is about, for anything else.
    """
    if isinstance(values, Tensor):
        found = values.detach()
    elif isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
        found = torch.stack([torch.as_tensor(value).detach() for value in values])
    else:
        try:
            found = torch.from_numpy(np.array(values))
        except (TypeError, ValueError) as error:
            why = f" ({error})" if isinstance(error, ValueError) else ""  # torch lists its types
            raise TypeError(
                f"{what} of type {type(values).__name__} can't be: use a tensor, a NumPy array or "
                f"a list of numbers{why}"
            ) from error
    if found.is_meta:
        raise ValueError(f"{what} on the meta device have no values: load them on the processor")
    if found.is_complex():
        raise TypeError(f"{what} of complex numbers can't be: give real ones, such as two channels")
    return found.to(torch.int64) if found.dtype in _UNSIGNED else found


#: Types of numbers of which PyTorch has few operations.
_UNSIGNED = {torch.uint16, torch.uint32, torch.uint64}


def _inside(model: Any) -> Any:
    """What a wrapper wraps; ``None`` for anything else."""
    if isinstance(model, DataParallel | DistributedDataParallel):
        return model.module
    return getattr(model, "_orig_mod", None)  # of torch.compile


def _check_program(program: ExportedProgram) -> None:
    names = program.graph_signature.user_inputs
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    values = [node.meta.get("val") for node in inputs if node.name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Tensor):
            raise CaptureError(f"input {name} of the program is no tensor: give its module")
        check_batch(value.shape[0] if value.dim() else 1)
        if value.is_floating_point() and value.dtype != torch.float32:
            raise CaptureError(
                f"the program was exported for images of {value.dtype}: export the module in "
                "float32 (model.float()); number formats are chosen with format, or --format"
            )


def named_forward(names: Sequence[str], run: Callable[..., Any]) -> Callable[..., Any]:
    """A function of parameters with these names, in this order, that runs another."""
    signature = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )

    def forward(*given: Any, **named: Any) -> Any:
        return run(*signature.bind(*given, **named).arguments.values())

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return forward


def check_batch(size: int | torch.SymInt | None) -> None:
    """Refuse a program whose first axis is a number.

    Raises:
        CaptureError: saying how to export with a dynamic batch.
    """
    if isinstance(size, int):
        raise CaptureError(
            f"the program was exported for batches of exactly {size} images: export it with "
            "dynamic_shapes=({0: torch.export.Dim('batch')},)"
        )


def _check_part(name: str, part: nn.Module) -> None:
    if isinstance(part, torch.jit.ScriptModule):
        raise CaptureError(
            f"{name} is a ScriptModule, which torch.export can't follow: give the nn.Module that "
            "it was made from"
        )
    if "quantized" in type(part).__module__.split("."):
        raise CaptureError(_quantised(f"layer {name} is quantised already"))


def _check_value(name: str, value: Tensor) -> None:
    if is_lazy(value):
        raise CaptureError(f"parameter {name} of a lazy layer has no shape yet: run the model once")
    if type(value) not in {Tensor, nn.Parameter} or value.is_quantized:
        kind = type(value).__name__ if type(value) is not Tensor else str(value.dtype)
        raise CaptureError(_quantised(f"parameter {name} is a {kind}"))
    if value.is_meta:
        raise CaptureError(f"parameter {name} is on the meta device, without values: load weights")


def _quantised(what: str) -> str:
    return (
        f"{what}: give the network as PT2E or QDQ-ONNX write it, whose codes are taken, or "
        "as it was before, in float32; radhard quantises it itself (--format int8, or "
        "capture(..., format=rh.INT8))"
    )


def _in_float32(model: nn.Module) -> nn.Module:
    values = (*model.parameters(), *model.buffers())
    other = {v.dtype for v in values if v.is_floating_point()} - {torch.float32}
    if not other:
        return model
    named = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in other))
    loss = "rounded" if torch.float64 in other else "the values stay the same"
    warnings.warn(
        f"parameters of {named} are taken as float32 ({loss}); the number format of the run is "
        "chosen with format, or --format",
        stacklevel=4,
    )
    return copy.deepcopy(model).float()
