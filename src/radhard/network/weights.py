"""Weights of zoo models: shipped, trained earlier, or from a file."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from radhard.network.cache import weights_path
from radhard.network.pickled import ForeignError, tensors_in
from radhard.network.zoo import ZooModel

#: Names of types in safetensors files.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def trained(model: ZooModel, data: str, path: Path | None = None) -> nn.Module:
    """``model`` in evaluation mode with trained weights.

    Args:
        model: the zoo's entry.
        data: the data set whose weights are wanted.
        path: a checkpoint of torch.save, or a ``.safetensors`` file; without it the shipped
            weights or those of `radhard train` are taken.

    Raises:
        FileNotFoundError: where there are no weights yet; the message says how to get them.
        ValueError: when a checkpoint doesn't fit the model.
    """
    state, classes = _state(model, data, path)
    module = model.build(classes)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"the weights in {path} don't fit {model.name}: {reason}") from error
    return module.eval()


def save_weights(module: nn.Module, model: str, data: str) -> Path:
    """Store the weights of a trained zoo model in the cache; gives the file."""
    path = weights_path(model, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(module.state_dict(), partial)
    return partial.replace(path)


def _state(model: ZooModel, data: str, path: Path | None) -> tuple[dict[str, Tensor], int]:
    if path is not None:
        state = _read(path)
    elif weights_path(model.name, data).exists():
        state = _read(weights_path(model.name, data))
    elif model.name == "digits-cnn" and data == "digits":
        with as_file(files("radhard.network") / "assets" / "digits-cnn.pt") as shipped:
            state = _read(shipped)
    else:
        how = f"`radhard train {model.name} --data {data}` makes them, " if model.recipe else ""
        raise FileNotFoundError(
            f"no weights of {model.name} for {data}: {how}--weights PATH takes a checkpoint"
        )
    return state, _outputs(state, model.classes)


def _outputs(state: dict[str, Tensor], default: int) -> int:
    """Rows of the last matrix: the classes that the checkpoint was trained for."""
    matrices = [tensor for tensor in state.values() if tensor.dim() == 2]
    return len(matrices[-1]) if matrices else default


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint: bare or under ``state_dict``, with or without ``module.``."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: check the path")
    held: Any = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    if isinstance(held, dict):
        held = held.get("state_dict", held)
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise ValueError(f"{path} holds no state dict: save it with torch.save(model.state_dict())")
    for name, tensor in held.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"{path}: {name} holds what is no finite number, of which nothing can be computed: "
                "train it anew, or use another checkpoint"
            )
    return {name.removeprefix("module."): tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in held.items()}  # fmt: skip


def _pickled(path: Path) -> Any:
    try:
        return tensors_in(path)
    except ForeignError as error:
        raise ValueError(
            f"{path} was not loaded: it asks for {error}, which could run code. Use a file that "
            "torch.save(model.state_dict(), path) wrote, or safetensors"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is no PyTorch checkpoint of tensors: {error}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: a header in JSON, and bytes."""
    held = path.read_bytes()
    start = 8 + int.from_bytes(held[:8], "little")
    try:
        if not 10 <= start <= len(held):
            raise ValueError(f"a header of {start - 8} bytes in a file of {len(held)}")
        entries = json.loads(held[8:start])
        if not isinstance(entries, dict):
            raise ValueError("its header is no table of tensors")
        entries.pop("__metadata__", None)
        values = memoryview(held)[start:]
        return {name: _tensor(name, entry, values) for name, entry in entries.items()}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error


def _tensor(name: str, entry: Any, held: memoryview) -> Tensor:
    about = entry if isinstance(entry, dict) else {}
    dtype, shape, ends = (about.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"{name} has dtype {dtype!r}, not one of {', '.join(_DTYPES)}")
    if not _are_sizes(shape) or not _are_sizes(ends) or len(ends) != 2:
        raise ValueError(f"{name} has shape {shape!r} and data_offsets {ends!r}")
    size = prod(shape) * _DTYPES[dtype].itemsize
    if ends[1] - ends[0] != size or ends[1] > len(held):
        raise ValueError(
            f"{name} of {dtype} {shape} takes {size} bytes, but lies at {ends} of {len(held)}"
        )
    if not size:
        return torch.empty(shape, dtype=_DTYPES[dtype])
    return torch.frombuffer(bytearray(held[slice(*ends)]), dtype=_DTYPES[dtype]).reshape(shape)


def _are_sizes(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and all(type(k) is int and 0 <= k < 2**63 for k in given)
